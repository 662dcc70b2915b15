//! Whose fault it is that a backend would not be set.

use bytes::Bytes;

use super::super::BackendFault;
use super::super::tracker::field;
use super::Settings;
use crate::pg::error_response;

impl Settings {
    /// The backend would not be set as the client must see it, and has said this.
    pub(in super::super) fn refused(&self, body: &[u8]) -> BackendFault {
        let why = error_response::parse(Bytes::copy_from_slice(body));
        match self.is_worn_out(body) || self.is_left_over(body) {
            true => BackendFault::Worn(why),
            false => BackendFault::SettingsRefused(why),
        }
    }

    /// The buffers for temporary tables cannot be changed any more when there has been one: `check_temp_buffers` in
    /// PostgreSQL, which is asked when a number has been found to be one and within its range.
    fn is_worn_out(&self, body: &[u8]) -> bool {
        let [wanted, actual] = [self.wanted(), self.actual()].map(|map| map.get("temp_buffers"));
        let checked = field(body, b'R') == Some(b"call_int_check_hook");
        checked && wanted.is_some() && wanted != actual
    }

    /// Whether an error is about a setting that somebody else has left, and that the client does not ask for. (It was set
    /// under a role that might, or belongs to an extension that has come since.) In whatever language, its name is said.
    fn is_left_over(&self, body: &[u8]) -> bool {
        let message = field(body, b'M').unwrap_or_default().to_ascii_lowercase();
        let says = |name: &str| {
            message
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        let left = |name: &str| !self.wanted().contains_key(name);
        self.actual().keys().any(|name| left(name) && says(name))
    }
}
