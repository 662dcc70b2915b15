//! Names for the revisions of tenants, so that nobody overwrites what they have not seen.

use super::http::Request;
use super::operator::When;

/// Makes and understands entity tags (RFC 9110, 8.8.3). Those of another process mean nothing
/// here, since each counts its revisions from the start.
pub struct ETags {
    process: u64,
}

impl ETags {
    /// `process` is a random number.
    pub fn new(process: u64) -> ETags {
        ETags { process }
    }

    /// The tag of a revision.
    pub fn of(&self, revision: u64) -> String {
        format!("\"{:x}-{revision}\"", self.process)
    }

    /// What a request asks to be true: `If-Match` before `If-None-Match`, as RFC 9110, 13.2.2 says.
    pub fn when(&self, request: &Request) -> When {
        match (request.header("if-match"), request.header("if-none-match")) {
            (Some("*"), _) => When::Exists,
            (Some(tags), _) => When::IsAt(
                tags.split(',')
                    .filter_map(|tag| self.revision(tag.trim()))
                    .collect(),
            ),
            (None, Some("*")) => When::IsNew,
            // "None of these tags" guards caches, and nobody caches what they are about to write.
            (None, _) => When::Always,
        }
    }

    fn revision(&self, tag: &str) -> Option<u64> {
        let (process, revision) = tag.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
        let ours = u64::from_str_radix(process, 16) == Ok(self.process);
        revision.parse().ok().filter(|_| ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(name: &str, value: &str) -> When {
        let headers = vec![(name.to_owned(), value.to_owned())];
        ETags::new(0xab).when(&Request {
            headers,
            ..Request::default()
        })
    }

    #[test]
    fn a_tag_of_ours_is_known_again_and_no_other() {
        let tag = ETags::new(0xab).of(7);
        assert_eq!(when("if-match", &tag), When::IsAt(vec![7]));
        assert_eq!(
            when("if-match", &format!("\"cd-7\", {tag}, W/{tag}, 7, \"\"")),
            When::IsAt(vec![7])
        );
        assert_eq!(when("if-match", "nonsense"), When::IsAt(vec![]));
        assert_eq!(when("if-match", "*"), When::Exists);
        assert_eq!(when("if-none-match", "*"), When::IsNew);
        assert_eq!(when("if-none-match", &tag), When::Always);
    }
}
