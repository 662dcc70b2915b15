//! The end of our certificate's validity: said in the log before clients say it.

use std::time::{Duration, Instant, SystemTime};

use log::{error, warn};

/// Remembers when it was said last.
#[derive(Default)]
pub struct Expiry {
    said: Option<Instant>,
}

impl Expiry {
    /// Says how long the certificate holds, if that is not long: now, and again after a while.
    pub fn look(&mut self, expires: Option<SystemTime>) {
        let Some(expires) = expires else { return };
        let due = self
            .said
            .is_none_or(|said| said.elapsed() >= SAY_AGAIN_AFTER);
        match standing(expires, SystemTime::now()) {
            Standing::Well => self.said = None,
            _ if !due => {}
            Standing::Soon { days } => {
                self.said = Some(Instant::now());
                warn!(
                    "the certificate in tls_cert expires in {days} days: replace tls_cert and tls_key, they are read again without a restart"
                );
            }
            Standing::Over => {
                self.said = Some(Instant::now());
                error!(
                    "the certificate in tls_cert has expired: clients that verify it cannot connect"
                );
            }
        }
    }
}

/// How a certificate stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Well,
    Soon { days: u64 },
    Over,
}

fn standing(expires: SystemTime, now: SystemTime) -> Standing {
    match expires.duration_since(now) {
        Err(_) => Standing::Over,
        Ok(left) if left < SOON => Standing::Soon {
            days: left.as_secs() / DAY.as_secs(),
        },
        Ok(_) => Standing::Well,
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Two weeks, which is when the usual tools for renewal have failed several times.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const SAY_AGAIN_AFTER: Duration = DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_two_weeks_before_the_end() {
        let now = SystemTime::UNIX_EPOCH + 1000 * DAY;
        assert_eq!(standing(now + 15 * DAY, now), Standing::Well);
        assert_eq!(
            standing(now + 13 * DAY + DAY / 2, now),
            Standing::Soon { days: 13 }
        );
        assert_eq!(standing(now - DAY, now), Standing::Over);
    }
}
