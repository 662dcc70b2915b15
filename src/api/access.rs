//! Who may use the API: whoever knows the key, or, if there is none, whoever reaches it.

use aws_lc_rs::digest::{SHA256, digest};
use log::warn;
use shards::contract::Secret;
use subtle::ConstantTimeEq;

use super::http::Request;
use super::problem::Problem;
use crate::seldom::Seldom;

/// Lets requests pass or not.
#[derive(Default)]
pub struct Access {
    failures: Seldom,
}

impl Access {
    /// Lets a request pass, or says why not (RFC 6750). Without a key whoever asks may pass.
    pub fn check(&self, key: Option<&Secret>, request: &Request) -> Result<(), Problem> {
        let Some(key) = key else {
            return same_site(request);
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
fn same_site(request: &Request) -> Result<(), Problem> {
    let Some(origin) = request.header("origin") else {
        return Ok(());
    };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    if authority.is_some() && authority == request.header("host") {
        return Ok(());
    }
    Err(Problem::new(
        403,
        "this request was made by a web page of another site",
    ))
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

    fn with(name: &str, value: &str) -> Request {
        let headers = vec![
            ("host".to_owned(), "h:1".to_owned()),
            (name.to_owned(), value.to_owned()),
        ];
        Request {
            headers,
            ..Request::default()
        }
    }

    #[test]
    fn only_the_key_opens() {
        let key = Secret::new("s3cret");
        let check = |header: &str| {
            let request = with("authorization", header);
            Access::default().check(Some(&key), &request)
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
        let check = |name, value| Access::default().check(None, &with(name, value));
        assert_eq!(check("accept", "*/*"), Ok(()));
        assert_eq!(check("origin", "http://h:1"), Ok(()));
        for foreign in ["http://evil.example", "null", "http://h:2"] {
            assert!(check("origin", foreign).is_err(), "{foreign}");
        }
    }
}
