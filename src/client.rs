//! A client of our own API, for the subcommands that ask a running DBBouncer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use shards::contract::Secret;
use ureq::typestate::WithoutBody;
use ureq::{Agent, RequestBuilder};

use crate::cli::WhichApi;
use crate::config;

/// Where an API is, and with which key it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `http://host:port`, without a slash at its end.
    pub url: String,
    /// The `api_key`, if there is one.
    pub key: Option<Secret>,
}

/// Asks an API. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    target: Target,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody answered in time, or what answered does not speak HTTP.
    #[error("no answer from {url}: {why}")]
    Silent {
        /// Who was asked.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The key is missing or wrong.
    #[error(
        "{url} wants another API key: set DBBOUNCER_API_KEY, or name --api-key-file or --config"
    )]
    Key {
        /// Who was asked.
        url: String,
    },
    /// What was asked for is not there, or not now.
    #[error("{url} says: {detail}")]
    Refused {
        /// Who was asked.
        url: String,
        /// Why, in its words.
        detail: String,
    },
    /// Something else than was asked for.
    #[error("{url} answered {status}, which is not what a DBBouncer says")]
    Strange {
        /// Who was asked.
        url: String,
        /// The status of the answer, or what is wrong with its body.
        status: String,
    },
}

impl Target {
    /// The API that the command line names; the error says what is missing.
    pub fn find(which: &WhichApi) -> Result<Target, String> {
        Target::find_at(which, |api| api.address)
    }

    /// The same for the probes, which the port of the metrics answers, too.
    pub fn find_probes(which: &WhichApi) -> Result<Target, String> {
        Target::find_at(which, |api| api.address.or(api.metrics_address))
    }

    fn find_at(
        which: &WhichApi,
        at: impl FnOnce(&config::Api) -> Option<SocketAddr>,
    ) -> Result<Target, String> {
        let key = match &which.key_file {
            Some(path) => Some(key_in(path)?),
            None => std::env::var("DBBOUNCER_API_KEY").ok().map(Secret::new),
        };
        let key = key.filter(|key| !key.expose().is_empty());
        if let Some(url) = &which.url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(format!(
                    "{url:?} is not the URL of an API, such as {BY_DEFAULT_URL}"
                ));
            }
            let url = url.trim_end_matches('/').to_owned();
            return Ok(Target { url, key });
        }
        let Some(path) = &which.config else {
            return Ok(Target::at(BY_DEFAULT, key));
        };
        let api = config::load_api(path).map_err(|complaints| {
            complaints
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        })?;
        let address = at(&api).ok_or_else(|| {
            format!(
                "{}: api_port is 0, so there is no API to ask",
                path.display()
            )
        })?;
        Ok(Target::at(address, key.or(api.key)))
    }

    /// An API that listens on this address of this machine.
    pub fn at(address: SocketAddr, key: Option<Secret>) -> Target {
        // One that listens everywhere is reached by loopback.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, address.port());
        Target {
            url: format!("http://{address}"),
            key,
        }
    }
}

fn key_in(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Secret::new(text.trim_end()))
}

impl Client {
    /// One that gives up on an answer after `patience`.
    pub fn new(target: Target, patience: Duration) -> Client {
        let config = Agent::config_builder()
            .timeout_global(Some(patience))
            .http_status_as_error(false)
            // The API is near, and a proxy of the environment is for what is far.
            .proxy(None)
            .user_agent(concat!("dbbouncer/", env!("CARGO_PKG_VERSION")))
            .build();
        Client {
            agent: config.new_agent(),
            target,
        }
    }

    /// The status and the body at this path.
    pub fn get(&self, path: &str) -> Result<(u16, Vec<u8>), Failure> {
        self.ask(path, |agent, url| agent.get(url))
    }

    /// Deletes what is at this path.
    pub fn delete(&self, path: &str) -> Result<(), Failure> {
        match self.ask(path, |agent, url| agent.delete(url))? {
            (204, _) => Ok(()),
            (status, body) => Err(self.unexpected(path, status, &body, "")),
        }
    }

    fn ask(
        &self,
        path: &str,
        method: impl FnOnce(&Agent, &str) -> RequestBuilder<WithoutBody>,
    ) -> Result<(u16, Vec<u8>), Failure> {
        let url = format!("{}{path}", self.target.url);
        let silent = |error: ureq::Error| Failure::Silent {
            url: url.clone(),
            why: error.to_string(),
        };
        let mut request = method(&self.agent, &url);
        if let Some(key) = &self.target.key {
            request = request.header("Authorization", format!("Bearer {}", key.expose()));
        }
        let mut response = request.call().map_err(silent)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_BODY);
        let body = body.read_to_vec().map_err(silent)?;
        match status {
            401 | 403 => Err(Failure::Key { url }),
            status => Ok((status, body)),
        }
    }

    /// A document of the API. `/health` comes with a 503 where the process is unhealthy, and is one, too.
    pub fn document<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (status, body) = self.get(path)?;
        serde_json::from_slice(&body)
            .map_err(|error| self.unexpected(path, status, &body, &format!(" ({error})")))
    }

    /// Why the answer is not what was asked for.
    fn unexpected(&self, path: &str, status: u16, body: &[u8], more: &str) -> Failure {
        let url = format!("{}{path}", self.target.url);
        match serde_json::from_slice(body) {
            Ok(Problem { detail }) => Failure::Refused { url, detail },
            Err(_) => Failure::Strange {
                url,
                status: format!("{status}{more}"),
            },
        }
    }
}

/// What the API says when something is wrong (RFC 9457), as far as it is for people.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Where the API is unless a config says otherwise.
const BY_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// And as a URL.
const BY_DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// The largest answer, in bytes: some 50,000 tenants with their statistics.
const MAX_BODY: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_that_listens_everywhere_is_reached_by_loopback() {
        let url = |address: &str| address.parse().map(|address| Target::at(address, None).url);
        assert_eq!(url("0.0.0.0:8080"), Ok("http://127.0.0.1:8080".to_owned()));
        assert_eq!(url("[::]:80"), Ok("http://[::1]:80".to_owned()));
        assert_eq!(url("10.1.2.3:81"), Ok("http://10.1.2.3:81".to_owned()));
    }
}
