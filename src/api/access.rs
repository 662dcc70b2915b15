//! Who may use the API: whoever knows the key, or, if there is none, whoever reaches it.

use std::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use log::warn;
use subtle::ConstantTimeEq;

use super::http::Request;
use super::problem::Problem;
use crate::config::Api;
use crate::seldom::Seldom;

/// Lets requests pass or not.
#[derive(Default)]
pub struct Access {
    failures: Seldom,
}

impl Access {
    /// Lets a request pass, or says why not (RFC 6750). Without a key whoever asks may pass, except
    /// for web pages of others.
    pub fn check(&self, api: &Api, request: &Request) -> Result<(), Problem> {
        let Some(key) = &api.key else {
            let is_local = api
                .address
                .is_some_and(|address| address.ip().is_loopback());
            return same_site(request, is_local);
        };
        let Some(token) = request.header("authorization").and_then(bearer) else {
            let detail = "this needs the api_key: Authorization: Bearer KEY";
            return Err(Problem::new(401, detail).with("WWW-Authenticate", CHALLENGE));
        };
        // Hashes have one length, so comparing them tells nothing about the length of the key.
        let key = digest(&SHA256, key.expose().as_bytes());
        let token = digest(&SHA256, token.as_bytes());
        if bool::from(token.as_ref().ct_eq(key.as_ref())) {
            return Ok(());
        }
        if let Some(unsaid) = self.failures.now() {
            let peer = request
                .peer
                .map_or_else(|| "-".to_owned(), |peer| peer.to_string());
            warn!(
                "API: {peer} came with a wrong key: {} {}{unsaid}",
                request.method, request.path
            );
        }
        let challenge = format!("{CHALLENGE}, error=\"invalid_token\"");
        Err(Problem::new(401, "this is not the api_key").with("WWW-Authenticate", challenge))
    }
}

/// Where no key is asked for, a web page that an operator happens to look at must not command the
/// API through the operator's browser: browsers say in `Origin` which page it was.
///
/// A page may have its own name point here (DNS rebinding), and then is of this very site to the
/// browser. So names do not count, except for those that nobody else can point anywhere. Such a page
/// reads without an `Origin`; where only this machine can ask (`is_local`) nobody needs a name.
fn same_site(request: &Request, is_local: bool) -> Result<(), Problem> {
    let host = request.header("host");
    let origin = request.header("origin");
    if let Some(origin) = origin {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || authority != host {
            let detail = "this request was made by a web page of another site";
            return Err(Problem::new(403, detail));
        }
    }
    match host.filter(|host| !is_sure(host)) {
        Some(host) if is_local || origin.is_some() => Err(Problem::new(
            403,
            format!(
                "without an api_key this is not to be had by the name {host:?}, which a web page may have pointed here: use the IP address, or localhost"
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a `Host` is an address, or a name that means the machine of whoever says it (RFC 6761, 6.3).
fn is_sure(host: &str) -> bool {
    let port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, after)) if port(after) => name,
        _ => host,
    };
    let in_brackets = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let name = name.to_ascii_lowercase();
    in_brackets.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok())
        || name.parse::<Ipv4Addr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
}

/// The token of `Bearer TOKEN`; the scheme's name may be in any case.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

const CHALLENGE: &str = "Bearer realm=\"dbbouncer\"";

#[cfg(test)]
mod tests {
    use super::*;
    use shards::contract::Secret;

    fn api(address: &str, key: Option<&str>) -> Api {
        Api {
            address: address.parse().ok(),
            metrics_address: None,
            key: key.map(Secret::new),
            metrics_auth: false,
            metrics_tenant_limit: 10,
            state_file: None,
        }
    }

    fn with(name: &str, value: &str) -> Request {
        from(HOST, name, value)
    }

    fn from(host: &str, name: &str, value: &str) -> Request {
        let headers = vec![
            ("host".to_owned(), host.to_owned()),
            (name.to_owned(), value.to_owned()),
        ];
        Request {
            headers,
            ..Request::default()
        }
    }

    #[test]
    fn only_the_key_opens() {
        let api = api(OPEN, Some("s3cret"));
        let check = |header: &str| {
            let request = with("authorization", header);
            Access::default().check(&api, &request)
        };
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer ",
            "Bearer",
            "Basic s3cret",
            "s3cret",
            "",
        ] {
            let problem = check(bad).err().map(Problem::response);
            let problem = problem.filter(|response| response.status == 401);
            let challenged = problem.is_some_and(|response| {
                response
                    .headers
                    .iter()
                    .any(|(name, _)| *name == "WWW-Authenticate")
            });
            assert!(challenged, "{bad:?}");
        }
    }

    #[test]
    fn without_a_key_other_sites_pages_are_kept_out() {
        let check =
            |name, value: &str| Access::default().check(&api(OPEN, None), &with(name, value));
        assert_eq!(check("accept", "*/*"), Ok(()));
        assert_eq!(check("origin", &format!("http://{HOST}")), Ok(()));
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:2"] {
            assert!(check("origin", foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn a_page_whose_own_name_points_here_is_of_another_site() {
        let check = |address, host, name, value: &str| {
            let request = from(host, name, value);
            Access::default()
                .check(&api(address, None), &request)
                .is_ok()
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:1",
            "[::1]",
            "localhost:1",
            "LOCALHOST",
            "a.localhost:1",
        ] {
            let origin = format!("http://{host}");
            assert!(check(OPEN, host, "origin", &origin), "{host}");
            assert!(check(LOCAL, host, "accept", "*/*"), "{host}");
        }
        for host in [
            "evil:1",
            "evil",
            "127.0.0.1.evil:1",
            "notlocalhost",
            "localhost.evil",
            "[evil]:1",
            "",
        ] {
            let origin = format!("http://{host}");
            assert!(!check(OPEN, host, "origin", &origin), "{host}");
            // Pages read without an Origin.
            assert!(!check(LOCAL, host, "accept", "*/*"), "{host}");
            // Programs of other machines ask by name.
            assert!(check(OPEN, host, "accept", "*/*"), "{host}");
        }
    }

    const HOST: &str = "127.0.0.1:1";
    const LOCAL: &str = "127.0.0.1:1";
    const OPEN: &str = "0.0.0.0:1";
}
