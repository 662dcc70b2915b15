//! Error codes we send, in MySQL's own numbers and names, and when each is used.
//!
//! Drivers decide by these whether to retry; hence the server's code for the nearest thing that a
//! server would have said, never one general code for all.

/// An error number and the SQLSTATE that MySQL's reference pairs with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// MySQL's error number.
    pub number: u16,
    /// Five characters.
    pub sqlstate: &'static str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $sqlstate:literal;)*) => {
        $($(#[$doc])* pub const $name: Code = Code { number: $number, sqlstate: $sqlstate };)*

        #[cfg(test)]
        const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    /// Our own or the tenant's limit of client connections is reached, or no backend came free
    /// within the acquire time-out.
    ER_CON_COUNT_ERROR = 1040 "08004";
    /// The pooler itself has run out of something.
    ER_OUT_OF_RESOURCES = 1041 "HY000";
    /// The client's first packet is no handshake response.
    ER_HANDSHAKE_ERROR = 1043 "08S01";
    /// Wrong password, unknown user, unknown tenant, or no tenant named.
    ER_ACCESS_DENIED_ERROR = 1045 "28000";
    /// A command that this pool mode does not carry.
    ER_UNKNOWN_COM_ERROR = 1047 "08S01";
    /// The tenant's database does not exist at its server.
    ER_BAD_DB_ERROR = 1049 "42000";
    /// We are shutting down or the tenant is being drained, said to who logs in. A session ends without a word.
    ER_SERVER_SHUTDOWN = 1053 "08S01";
    /// KILL of a connection id that is none of the tenant's.
    ER_NO_SUCH_THREAD = 1094 "HY000";
    /// A packet above a limit of ours (logins, COM_CHANGE_USER).
    ER_NET_PACKET_TOO_LARGE = 1153 "08S01";
    /// The database broke the protocol.
    ER_NET_READ_ERROR = 1158 "08S01";
    /// The login was not complete within the login time-out.
    ER_NET_READ_INTERRUPTED = 1159 "08S01";
    /// The client cannot authenticate in a way that is spoken here.
    ER_NOT_SUPPORTED_AUTH_MODE = 1251 "08004";
    /// The statement was killed.
    ER_QUERY_INTERRUPTED = 1317 "70100";
    /// The tenant's database cannot be reached, or refuses our login. (The nearest code a server has;
    /// the clients' own 2003 cannot be sent, see [`FOR_CLIENTS`].)
    ER_CONNECT_TO_FOREIGN_DATA_SOURCE = 1429 "HY000";
    /// The statement exceeded the tenant's query time-out.
    ER_QUERY_TIMEOUT = 3024 "HY000";
    /// This listener demands TLS.
    ER_SECURE_TRANSPORT_REQUIRED = 3159 "HY000";
    /// The client was idle beyond its time-out.
    ER_CLIENT_INTERACTION_TIMEOUT = 4031 "HY000";
}

/// Numbers that clients keep for errors of their own. libmariadb takes an ERR packet with one of
/// them for malformed (2027) and hides our text, so none is ever sent.
pub const FOR_CLIENTS: std::ops::RangeInclusive<u16> = 2000..=2999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_stands_once_with_a_whole_sqlstate() {
        let mut numbers: Vec<u16> = ALL.iter().map(|code| code.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ALL.len());
        assert!(ALL.iter().all(|code| code.sqlstate.len() == 5));
        assert!(ALL.iter().all(|code| !FOR_CLIENTS.contains(&code.number)));
    }
}
