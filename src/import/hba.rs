//! auth_hba_file: from where which database may be entered, and where without a proof.
//!
//! Its lines are tried in order and the first that fits decides; here a tenant has a list of networks
//! that may come in and one that needs no proof. So a line that trusts comes over only where no line
//! before it could have said otherwise, and the networks of a line that rejects are taken out of those after it,
//! for all users. One thing opens, and is said: a line for some users lets in from there whoever has a password.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Remarks;

/// The lines that let somebody in, and those that let nobody in.
#[derive(Debug, Default)]
pub struct Hba {
    lines: Vec<Line>,
    /// Whether one of them wants TLS.
    pub wants_tls: bool,
}

#[derive(Debug)]
struct Line {
    /// `None` for all of them.
    databases: Option<Vec<String>>,
    /// `None` for anywhere.
    network: Option<IpNet>,
    does: Does,
    for_all_users: bool,
}

/// What a line does with those who come from its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Ask,
    Trust,
    Reject,
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
    /// Reads the file. `speaks_tls` is whether clients can have TLS at all.
    pub fn parse(text: &str, speaks_tls: bool, remarks: &mut Remarks) -> Hba {
        let mut lines = Vec::new();
        let mut wants_tls = false;
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
                Ok(_) if text.starts_with("hostssl") && !speaks_tls => {
                    let why = "there is no TLS towards clients, so that it fits none";
                    remarks.left_out("auth_hba_file", text, why);
                }
                Ok(line) if line.does == Does::Reject => {
                    if text.starts_with("hostssl")
                        || text.starts_with("hostnossl")
                        || !line.for_all_users
                    {
                        remarks.add(format!(
                            "auth_hba_file: {text}: nobody may come from there, with TLS or without, whoever it is"
                        ));
                    }
                    asked_before = true;
                    lines.push(line);
                }
                Ok(line) if line.does == Does::Trust && asked_before => remarks.left_out(
                    "auth_hba_file",
                    text,
                    "a line before it asks for a proof, and here trust_addresses come first",
                ),
                Ok(line) => {
                    if text.starts_with("hostssl") {
                        wants_tls = true;
                        remarks.add("auth_hba_file: hostssl: tls_mode: require demands TLS, everywhere or nowhere: it is written".into());
                    }
                    if !line.for_all_users {
                        remarks.add(format!(
                            "auth_hba_file: {text}: whoever has a password may come from there, not these users alone"
                        ));
                    }
                    asked_before |= line.does == Does::Ask;
                    lines.push(line);
                }
                Err(why) => {
                    asked_before = true;
                    remarks.left_out("auth_hba_file", text, why);
                }
            }
        }
        Hba { lines, wants_tls }
    }

    /// What it says of this database; `None` if nobody may enter it by TCP.
    pub fn rules(&self, database: &str) -> Option<Rules> {
        let concerns = |line: &&Line| {
            let names = line.databases.as_ref();
            names.is_none_or(|names| names.iter().any(|name| name == database))
        };
        let mut rejected: Vec<IpNet> = Vec::new();
        let (mut allowed, mut trusted) = (Vec::new(), Vec::new());
        let mut lets_in = false;
        for line in self.lines.iter().filter(concerns) {
            let networks = match line.network {
                Some(network) => vec![network],
                None => everywhere(),
            };
            if line.does == Does::Reject {
                rejected.extend(networks);
                continue;
            }
            let networks = networks.into_iter();
            let networks: Vec<_> = networks.flat_map(|net| without(net, &rejected)).collect();
            lets_in |= !networks.is_empty();
            if line.does == Does::Trust {
                trusted.extend(networks.iter().copied());
            }
            allowed.extend(networks);
        }
        let is_anywhere = everywhere().iter().all(|net| allowed.contains(net));
        lets_in.then(|| Rules {
            allowed: if is_anywhere {
                Vec::new()
            } else {
                texts(allowed)
            },
            trusted: texts(trusted),
        })
    }
}

/// What is left of a network without these.
fn without(network: IpNet, rejected: &[IpNet]) -> Vec<IpNet> {
    if rejected.iter().any(|net| net.contains(&network)) {
        return Vec::new();
    }
    if !rejected.iter().any(|net| network.contains(net)) {
        return vec![network];
    }
    // One that is as long as an address is has nothing inside but itself.
    let halves = network.subnets(network.prefix_len() + 1);
    let halves = halves.into_iter().flatten();
    halves.flat_map(|half| without(half, rejected)).collect()
}

fn texts(mut networks: Vec<IpNet>) -> Vec<String> {
    networks.dedup();
    networks.iter().map(ToString::to_string).collect()
}

fn everywhere() -> Vec<IpNet> {
    vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
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
    let does = match *method {
        "trust" if *kind == "hostssl" => {
            return Err("trust_addresses hold without TLS, too");
        }
        "trust" => Does::Trust,
        "reject" => Does::Reject,
        "md5" | "scram-sha-256" | "password" | "cert" => Does::Ask,
        _ => return Err("there is no such method here"),
    };
    let for_all_users = *users == "all";
    if !for_all_users && does == Does::Trust {
        return Err("trust_addresses are for all users");
    }
    let databases = match *databases {
        "all" => None,
        names
            if names.contains(['@', '+', '/'])
                || ["sameuser", "samerole", "replication"].contains(&names) =>
        {
            // Whom it rejects nobody else may let in: it is as if it were for all.
            if does != Does::Reject {
                return Err("a tenant is meant by its name");
            }
            None
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
        does,
        for_all_users,
    })
}

fn network(address: &str) -> Result<Option<IpNet>, &'static str> {
    if address == "all" {
        return Ok(None);
    }
    let network = address.parse::<IpNet>();
    let network = network.map_err(|_| "networks are said by their addresses")?;
    Ok(Some(network.trunc()))
}

fn masked(address: &str, mask: &str) -> Result<Option<IpNet>, &'static str> {
    let said = address.parse().ok().zip(mask.parse().ok());
    let network =
        said.and_then(|(address, mask): (IpAddr, IpAddr)| IpNet::with_netmask(address, mask).ok());
    let network = network.ok_or("networks are said by their addresses")?;
    Ok(Some(network.trunc()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(text: &str, database: &str) -> (Option<Rules>, usize) {
        let mut remarks = Remarks::default();
        let rules = Hba::parse(text, true, &mut remarks).rules(database);
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
    fn nobody_comes_in_from_where_a_line_before_rejects() {
        let text = "host all all 10.0.0.0/30 md5\nhost all all 10.0.0.4/30 reject\nhost all all 10.0.0.0/29 md5\n";
        assert_eq!(rules(text, "any"), (said(&["10.0.0.0/30"], &[]), 0));
        let one = "host all all 10.0.0.1/32 reject\nhost all all 10.0.0.0/30 md5\n";
        assert_eq!(
            rules(one, "any"),
            (said(&["10.0.0.0/32", "10.0.0.2/31"], &[]), 0)
        );
        let all = "host all all all reject\nhost all all 10.0.0.0/30 md5\n";
        assert_eq!(rules(all, "any"), (None, 0));
        let of_one_family = "host all all ::/0 reject\nhost all all all md5\n";
        assert_eq!(rules(of_one_family, "any"), (said(&["0.0.0.0/0"], &[]), 0));
        // Of some it is of all: more is closed, and it is said where it shows.
        let bobs = "host sameuser bob 10.0.0.2/31 reject\nhost all all 10.0.0.0/30 md5\n";
        assert_eq!(rules(bobs, "any"), (said(&["10.0.0.0/31"], &[]), 1));
        assert_eq!(
            rules(
                "host crm all all reject\nhost all all 10.0.0.0/30 md5\n",
                "any"
            ),
            (said(&["10.0.0.0/30"], &[]), 0)
        );
    }

    #[test]
    fn a_line_that_wants_tls_has_it_demanded_or_fits_nobody() {
        let text = "hostssl all all 10.0.0.0/30 md5\n";
        let mut remarks = Remarks::default();
        assert!(Hba::parse(text, true, &mut remarks).wants_tls);
        assert_eq!(Hba::parse(text, false, &mut remarks).rules("any"), None);
    }

    #[test]
    fn trust_comes_over_only_where_nothing_before_it_asks() {
        let first = "host all all 127.0.0.0/8 trust\nhost all all all scram-sha-256\n";
        assert_eq!(rules(first, "any"), (said(&[], &["127.0.0.0/8"]), 0));
        let later =
            "host all all 10.0.0.0/8 md5\nhost all all 127.0.0.0/8 trust\nhost all all all md5\n";
        assert_eq!(rules(later, "any"), (said(&[], &[]), 1));
        assert_eq!(
            rules("host all all all trust", "any").0,
            said(&[], &["0.0.0.0/0", "::/0"])
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
