//! Values in their units: what one text of a config can mean, and what is out of its range.
//!
//! Each function takes the text as written and answers with a value, or with words that fit behind
//! the name of a key: "must be ...".

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use shards::contract::IpNet;

/// A time with its unit, such as `30s`, `5m`, `1h 30m` or `250ms`, within a [`Span`].
pub fn time(span: Span) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        if !text.is_empty() && text != "0" && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("needs a unit: did you mean {text}s or {text}ms?"));
        }
        let time = match text {
            "0" => Ok(Duration::ZERO),
            text => humantime::parse_duration(text),
        };
        match time {
            Ok(time) if span.holds(time) => Ok(time),
            Ok(_) => Err(format!("must be {span}")),
            Err(_) => Err(format!(
                "is not written like a time (30s, 5m, 1h 30m): must be {span}"
            )),
        }
    }
}

/// The times that make sense somewhere: with a shorter one nothing would ever be in time, or something
/// would be done over and over; a longer one is a slip of the pen.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    least: Duration,
    most: Duration,
    can_be_off: bool,
}

impl Span {
    /// How long connecting to a database, or asking it how it is, may take.
    pub const ASKING: Span = Span::new(Duration::from_millis(10), hours(1));
    /// How long a login may take.
    pub const LOGIN: Span = Span::new(Duration::from_millis(100), hours(1));
    /// How long somebody may have to wait; zero is for ever.
    pub const PATIENCE: Span = Span::new(Duration::from_millis(10), hours(24)).or_off();
    /// How long something that users do may take; zero is as long as they like.
    pub const WORK: Span = Span::new(Duration::from_millis(10), YEAR).or_off();
    /// How long a connection to a database is kept, each of which costs it a login; zero is for ever.
    pub const AGE: Span = Span::new(Duration::from_secs(1), YEAR).or_off();
    /// How often something is looked at again; zero is never.
    pub const ROUND: Span = Span::new(Duration::from_millis(100), hours(24)).or_off();
    /// How long an answer of yesterday is believed; zero is not at all.
    pub const MEMORY: Span = Span::new(Duration::from_millis(10), hours(24)).or_off();

    const fn new(least: Duration, most: Duration) -> Span {
        Span {
            least,
            most,
            can_be_off: false,
        }
    }

    /// The same, or zero, which switches something off.
    const fn or_off(self) -> Span {
        Span {
            can_be_off: true,
            ..self
        }
    }

    fn holds(&self, time: Duration) -> bool {
        (self.least..=self.most).contains(&time) || (self.can_be_off && time.is_zero())
    }

    /// The time that is nearest to this one and makes sense; `None` for zero, where nothing can be
    /// switched off.
    pub fn nearest(&self, time: Duration) -> Option<Duration> {
        match self.holds(time) {
            true => Some(time),
            false => Some(time.clamp(self.least, self.most)).filter(|_| !time.is_zero()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (in_one_unit(self.least), in_one_unit(self.most));
        write!(f, "a time from {least} to {most}")?;
        match self.can_be_off {
            true => f.write_str(", or 0 for none"),
            false => Ok(()),
        }
    }
}

/// A time of whole milliseconds by the largest unit of which it is a whole number.
fn in_one_unit(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| millis.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "ms"));
    format!("{}{name}", millis / unit)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 60 * 60)
}

/// Zero switches a time off.
pub fn unless_zero(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}

/// A range of addresses such as `10.0.0.0/8`, or a single address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let range = text.parse::<IpNet>().map(|range| range.trunc());
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    range
        .or_else(|_| one())
        .map_err(|_| "must be an address or a range such as 10.0.0.0/8 or 2001:db8::/32".to_owned())
}

/// Zero switches a limit off.
pub fn unless_none(count: usize) -> Option<usize> {
    Some(count).filter(|&count| count != 0)
}

/// A whole number within bounds.
pub fn count(bounds: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        let (least, most) = (bounds.start(), bounds.end());
        number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
    }
}

/// A TCP port that somebody else listens on.
pub fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|&port| port != 0);
    port.ok_or_else(|| "must be a port from 1 to 65535".to_owned())
}

/// A TCP port to listen on; `0` for not listening.
pub fn own_port(text: &str) -> Result<Option<u16>, String> {
    let port: Option<u16> = text.parse().ok();
    let port = port.ok_or_else(|| "must be a port from 1 to 65535, or 0 for none".to_owned())?;
    Ok(Some(port).filter(|&port| port != 0))
}

/// An address of this machine to listen on.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let address = text.parse();
    address.map_err(|_| "must be an IP address such as 0.0.0.0, :: or 127.0.0.1".to_owned())
}

/// The name or IP address of another machine. Whether it can be resolved shows when it is dialled.
pub fn host(text: &str) -> Result<String, String> {
    let says = |text: &str| Err(text.to_owned());
    if text.is_empty() || text.len() > LONGEST_HOST {
        return says("must be a host name or an IP address");
    }
    if text.contains("://") || text.contains(['/', '@']) {
        return says("must be the host name alone, with no scheme, user or path");
    }
    if text.contains([':', '[', ']']) && text.parse::<Ipv6Addr>().is_err() {
        return says(
            "must be the host name alone: the port has a key of its own, and IPv6 addresses need no brackets",
        );
    }
    if text.contains(',') {
        return says("must be one host: give several addresses one name, each of them is tried");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return says("must be a host name of ASCII characters, without spaces");
    }
    Ok(text.to_owned())
}

/// Where a database is: a host, or with a slash at its beginning the folder of its socket, or the socket. See
/// [`socket_folder`] for what else holds for a folder.
pub fn server(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => host(text),
            false => Err(
                "must be a host name of ASCII characters, without spaces, or the path of a socket or its folder"
                    .to_owned(),
            ),
        };
    }
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match text.len() <= LONGEST_SOCKET && is_printable {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be the path of a socket or its folder in at most {LONGEST_SOCKET} characters of ASCII"
        )),
    }
}

/// What is wrong with a place of [`server`]'s whose socket is one of PostgreSQL's, if anything.
pub fn socket_folder(text: &str) -> Result<(), String> {
    match text.starts_with('/') && text.len() > LONGEST_FOLDER {
        true => Err(format!(
            "must be the path of a socket's folder in at most {LONGEST_FOLDER} characters: PostgreSQL's socket in it is `.s.PGSQL.` and the port"
        )),
        false => Ok(()),
    }
}

/// The name of a database or a user.
pub fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=LONGEST_NAME if !text.contains('\0') => Ok(text.to_owned()),
        0 => Err("is empty".to_owned()),
        _ => Err(format!(
            "must be a name of at most {LONGEST_NAME} bytes, without NUL"
        )),
    }
}

/// A path of this machine.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("is empty".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

/// `auto`, which is `None`, or what the unit says.
pub fn auto_or<T>(
    unit: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| match text {
        "auto" => Ok(None),
        text => unit(text)
            .map(Some)
            .map_err(|says| format!("{says}, or auto")),
    }
}

/// `true` or `false`.
pub fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

/// One of the words given. A word without a value is known, but its feature does not exist yet.
pub fn choice<T: Copy>(words: &[(&str, Option<T>)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| match words.iter().find(|(word, _)| *word == text) {
        Some((_, Some(value))) => Ok(*value),
        Some((word, None)) => Err(format!("{word} is {NOT_YET}")),
        None => {
            let available = words.iter().filter(|(_, value)| value.is_some());
            let words: Vec<&str> = available.map(|(word, _)| *word).collect();
            Err(format!(
                "must be {}{}",
                words.join(" or "),
                did_you_mean(text, &words)
            ))
        }
    }
}

/// `; did you mean X?`, where something known is near; else nothing.
pub fn did_you_mean(text: &str, known: &[&str]) -> String {
    let nearness = |known: &str| strsim::normalized_damerau_levenshtein(text, known);
    let nearest = known
        .iter()
        .max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
    let near = nearest.filter(|nearest| nearness(nearest) >= NEAR);
    near.map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default()
}

/// What is said of keys and words that this project promises and this version does not have.
const NOT_YET: &str = "not available yet in this version";

/// A year of the calendar, the longest there is: what humantime calls a year is shorter.
const YEAR: Duration = hours(366 * 24);
/// The longest path of a socket that unix(7) allows, in bytes.
const LONGEST_SOCKET: usize = 107;
/// The longest that leaves room in it for the name of PostgreSQL's socket, `/.s.PGSQL.65535`.
const LONGEST_FOLDER: usize = 92;

/// The longest host name, in bytes, by RFC 1035.
const LONGEST_HOST: usize = 253;
/// The longest name of a database or user, in bytes. PostgreSQL stops at 63, MySQL at 64 characters.
const LONGEST_NAME: usize = 256;
/// How alike two words must be for the one to be meant by the other, from 0 to 1.
const NEAR: f64 = 0.6;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times() {
        let seconds = |text| time(Span::WORK)(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("0"), Ok(0.0));
        assert_eq!(seconds("5m"), Ok(300.0));
        assert_eq!(seconds("1h 30m"), Ok(5400.0));
        assert_eq!(seconds("1h30m"), Ok(5400.0));
        assert_eq!(seconds("250ms"), Ok(0.25));
        assert_eq!(seconds("0s"), Ok(0.0));
        assert!(seconds("1y").is_ok());
        assert!(seconds("30").is_err_and(|says| says.contains("did you mean 30s")));
        for wrong in [
            "",
            "-5s",
            "5 apples",
            "m",
            "1.5.5s",
            "1ns",
            "9ms 999us",
            "367d",
            "99999999999999999999s",
        ] {
            let says = seconds(wrong).unwrap_err();
            assert!(
                says.ends_with("must be a time from 10ms to 366d, or 0 for none"),
                "{wrong}: {says}"
            );
            // Who can write one need not be told how.
            let is_one = ["1ns", "9ms 999us", "367d"].contains(&wrong);
            assert_eq!(says.contains("(30s, 5m, 1h 30m)"), !is_one, "{wrong}");
        }
    }

    #[test]
    fn what_is_out_of_its_span_has_a_nearest_time() {
        let nearest = |span: Span, text| span.nearest(humantime::parse_duration(text).unwrap());
        for (span, text, expected) in [
            (Span::PATIENCE, "2days", Some("1day")),
            (Span::PATIENCE, "10s", Some("10s")),
            (Span::PATIENCE, "0s", Some("0s")),
            (Span::AGE, "1ms", Some("1s")),
            (Span::LOGIN, "0s", None),
        ] {
            let expected = expected.map(|text| humantime::parse_duration(text).unwrap());
            assert_eq!(nearest(span, text), expected, "{text}");
        }
    }

    #[test]
    fn a_time_that_is_needed_cannot_be_switched_off() {
        let login = time(Span::LOGIN);
        assert_eq!(login("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(login("60m"), Ok(Duration::from_secs(3600)));
        for wrong in ["0", "0ms", "99ms", "60m 1ns"] {
            let says = login(wrong).unwrap_err();
            assert_eq!(says, "must be a time from 100ms to 1h", "{wrong}");
        }
    }

    #[test]
    fn numbers_and_ports_within_bounds() {
        assert_eq!(count(1..=10)("10"), Ok(10));
        for wrong in ["0", "11", "-1", "1.5", "ten", ""] {
            let says = count(1..=10)(wrong).unwrap_err();
            assert_eq!(says, "must be a whole number from 1 to 10");
        }
        assert_eq!(port("65535"), Ok(65535));
        assert!(port("0").is_err() && port("65536").is_err());
        assert_eq!(
            (own_port("0"), own_port("6432")),
            (Ok(None), Ok(Some(6432)))
        );
        assert!(own_port("x").is_err());
    }

    #[test]
    fn networks() {
        let shown = |text| network(text).map(|network| network.to_string());
        assert_eq!(shown("10.1.2.3/8").as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(shown("10.1.2.3").as_deref(), Ok("10.1.2.3/32"));
        assert_eq!(shown("2001:db8::1/32").as_deref(), Ok("2001:db8::/32"));
        assert_eq!(shown("::1").as_deref(), Ok("::1/128"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "localhost", "::/129"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts() {
        for right in [
            "db",
            "pg-host.example.com",
            "10.0.0.1",
            "::1",
            "fe80::1",
            "a_b.svc",
        ] {
            assert_eq!(host(right).as_deref(), Ok(right));
        }
        let long = "x".repeat(254);
        for (wrong, why) in [
            ("", "host name or an IP"),
            (&long, "host name or an IP"),
            ("db:5432", "port has a key"),
            ("[::1]", "brackets"),
            ("postgres://db", "scheme"),
            ("me@db", "user"),
            ("/run/postgresql", "path"),
            ("a b", "spaces"),
            ("dü", "ASCII"),
        ] {
            let says = host(wrong).unwrap_err();
            assert!(says.contains(why), "{wrong}: {says}");
        }
    }

    #[test]
    fn servers() {
        for right in ["db", "/run/postgresql", "/var/run/my data/mysqld.sock"] {
            assert_eq!(server(right).as_deref(), Ok(right));
        }
        let long = format!("/{}", "x".repeat(LONGEST_SOCKET));
        for wrong in [&long[..], "/tmp/\n", "/tmp/ü"] {
            let says = server(wrong).unwrap_err();
            assert!(says.contains("path of a socket"), "{wrong}: {says}");
        }
        for (length, is_folder) in [(92, true), (93, false), (107, false)] {
            let path = format!("/{}", "x".repeat(length - 1));
            assert!(server(&path).is_ok(), "{length}");
            assert_eq!(socket_folder(&path).is_ok(), is_folder, "{length}");
        }
        assert!(server("me@db").is_err());
    }

    #[test]
    fn words_near_and_far() {
        let mode = choice(&[
            ("session", Some(1)),
            ("transaction", None),
            ("never", Some(2)),
        ]);
        assert_eq!(mode("session"), Ok(1));
        assert_eq!(
            mode("transaction"),
            Err(format!("transaction is {NOT_YET}"))
        );
        assert_eq!(
            mode("sesion").unwrap_err(),
            "must be session or never; did you mean session?"
        );
        assert_eq!(mode("elephant").unwrap_err(), "must be session or never");
    }

    #[test]
    fn names_and_addresses() {
        assert!(name("äpp user").is_ok());
        assert!(name("").is_err() && name("a\0b").is_err() && name(&"x".repeat(257)).is_err());
        assert_eq!(address("::"), Ok(IpAddr::from([0u16; 8])));
        assert!(address("localhost").is_err());
        assert_eq!((flag("true"), flag("false")), (Ok(true), Ok(false)));
        assert!(flag("yes").is_err());
    }
}
