//! auth_hba_file: from where which database may be entered, and where without a proof.
//!
//! Its lines are tried in order and the first that fits decides; here a tenant has a list of networks
//! that may come in and one that needs no proof. So a line that trusts comes over only where no line
//! before it could have said otherwise, and what cannot be said closes rather than opens.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Remarks;

/// The lines that let somebody in.
#[derive(Debug, Default)]
pub struct Hba(Vec<Line>);

#[derive(Debug)]
struct Line {
    /// `None` for all of them.
    databases: Option<Vec<String>>,
    /// `None` for anywhere.
    network: Option<IpNet>,
    trusts: bool,
    for_all_users: bool,
}

/// What holds for one database.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where clients may come from; none is anywhere.
    pub allowed: Vec<String>,
    /// Where nothing is asked of them.
    pub trusted: Vec<String>,
}

impl Hba {
    /// Reads the file.
    pub fn parse(text: &str, remarks: &mut Remarks) -> Hba {
        let mut lines = Vec::new();
        let mut asked_before = false;
        for text in text.lines() {
            let text = text.split('#').next().unwrap_or("").trim();
            if text.is_empty() {
                continue;
            }
            if text.starts_with("local") {
                remarks.left_out("auth_hba_file", text, "clients come by TCP only");
                continue;
            }
            match line(text) {
                Ok(line) if line.trusts && asked_before => remarks.left_out(
                    "auth_hba_file",
                    text,
                    "a line before it asks for a proof, and here trust_addresses come first",
                ),
                Ok(line) => {
                    if text.starts_with("hostssl") {
                        remarks.add("auth_hba_file: hostssl: tls_mode: require demands TLS, everywhere or nowhere".into());
                    }
                    if !line.for_all_users {
                        remarks.add(format!(
                            "auth_hba_file: {text}: whoever has a password may come from there, not these users alone"
                        ));
                    }
                    asked_before |= !line.trusts;
                    lines.push(line);
                }
                Err(why) => {
                    asked_before = true;
                    remarks.left_out("auth_hba_file", text, why);
                }
            }
        }
        Hba(lines)
    }

    /// What it says of this database; `None` if nobody may enter it by TCP.
    pub fn rules(&self, database: &str) -> Option<Rules> {
        let concerns = |line: &&Line| {
            let names = line.databases.as_ref();
            names.is_none_or(|names| names.iter().any(|name| name == database))
        };
        let lines: Vec<_> = self.0.iter().filter(concerns).collect();
        let networks = |lines: &[&Line]| -> Vec<String> {
            let networks = lines.iter().filter_map(|line| line.network);
            let mut networks: Vec<_> = networks.map(|network| network.to_string()).collect();
            networks.dedup();
            networks
        };
        let anywhere = lines.iter().any(|line| line.network.is_none());
        let trusting: Vec<_> = lines.iter().copied().filter(|line| line.trusts).collect();
        let trusted = match trusting.iter().any(|line| line.network.is_none()) {
            true => ANYWHERE.map(ToOwned::to_owned).into(),
            false => networks(&trusting),
        };
        (!lines.is_empty()).then(|| Rules {
            allowed: if anywhere {
                Vec::new()
            } else {
                networks(&lines)
            },
            trusted,
        })
    }
}

/// One line, or why it cannot be said here.
fn line(text: &str) -> Result<Line, &'static str> {
    let words: Vec<_> = text.split_whitespace().collect();
    let [kind, databases, users, address, rest @ ..] = words.as_slice() else {
        return Err("it is no rule");
    };
    let (network, method) = match rest {
        [mask, method, ..] if mask.parse::<IpAddr>().is_ok() => (masked(address, mask)?, method),
        [method, ..] => (network(address)?, method),
        [] => return Err("it is no rule"),
    };
    let trusts = match *method {
        "trust" if *kind == "hostssl" => {
            return Err("trust_addresses hold without TLS, too");
        }
        "trust" => true,
        "reject" => return Err("only networks that may come in are listed: see allowed_addresses"),
        "md5" | "scram-sha-256" | "password" | "cert" => false,
        _ => return Err("there is no such method here"),
    };
    let for_all_users = *users == "all";
    if !for_all_users && trusts {
        return Err("trust_addresses are for all users");
    }
    let databases = match *databases {
        "all" => None,
        names
            if names.contains(['@', '+', '/'])
                || ["sameuser", "samerole", "replication"].contains(&names) =>
        {
            return Err("a tenant is meant by its name");
        }
        names => Some(
            names
                .split(',')
                .map(|name| name.trim_matches('"').to_owned())
                .collect(),
        ),
    };
    Ok(Line {
        databases,
        network,
        trusts,
        for_all_users,
    })
}

fn network(address: &str) -> Result<Option<IpNet>, &'static str> {
    let network = match address {
        "all" => return Ok(None),
        address => address.parse::<IpNet>().map(|network| network.trunc()),
    };
    let network = network.map_err(|_| "networks are said by their addresses")?;
    Ok(Some(network).filter(|network| network.prefix_len() > 0))
}

fn masked(address: &str, mask: &str) -> Result<Option<IpNet>, &'static str> {
    let said = address.parse().ok().zip(mask.parse().ok());
    let network =
        said.and_then(|(address, mask): (IpAddr, IpAddr)| IpNet::with_netmask(address, mask).ok());
    let network = network
        .ok_or("networks are said by their addresses")?
        .trunc();
    Ok(Some(network).filter(|network| network.prefix_len() > 0))
}

/// All addresses there are.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(text: &str, database: &str) -> (Option<Rules>, usize) {
        let mut remarks = Remarks::default();
        let rules = Hba::parse(text, &mut remarks).rules(database);
        (rules, remarks.0.len())
    }

    fn said(allowed: &[&str], trusted: &[&str]) -> Option<Rules> {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Some(Rules {
            allowed: texts(allowed),
            trusted: texts(trusted),
        })
    }

    #[test]
    fn networks_come_over_database_by_database() {
        let text = "# who\nlocal all all trust\nhost app all 127.0.0.1/32 trust\n\
                    host app,crm all 10.1.0.0 255.255.0.0 md5\nhost crm bob ::1/128 scram-sha-256\n";
        // The local line, and the one that was bob's alone.
        assert_eq!(
            rules(text, "crm"),
            (said(&["10.1.0.0/16", "::1/128"], &[]), 2)
        );
        assert_eq!(
            rules(text, "app").0,
            said(&["127.0.0.1/32", "10.1.0.0/16"], &["127.0.0.1/32"])
        );
        assert_eq!(rules(text, "other").0, None);
    }

    #[test]
    fn trust_comes_over_only_where_nothing_before_it_asks() {
        let first = "host all all 127.0.0.0/8 trust\nhost all all all scram-sha-256\n";
        assert_eq!(rules(first, "any"), (said(&[], &["127.0.0.0/8"]), 0));
        let later = "host all all 127.0.0.1/32 reject\nhost all all 127.0.0.0/8 trust\nhost all all 0.0.0.0/0 md5\n";
        assert_eq!(rules(later, "any"), (said(&[], &[]), 2));
        assert_eq!(
            rules("host all all all trust", "any").0,
            said(&[], &ANYWHERE)
        );
        for not_for_all in [
            "hostssl all all all trust",
            "host all bob all trust",
            "host sameuser all all trust",
            "host all all samenet md5",
            "host all all all ldap",
            "host all",
        ] {
            assert_eq!(rules(not_for_all, "any"), (None, 1), "{not_for_all}");
        }
    }
}
