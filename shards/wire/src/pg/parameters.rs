//! Names and values of settings: what a StartupMessage asks for, what ParameterStatus reports.

use bytes::Bytes;

/// Settings in the order in which they were said.
///
/// Names compare without regard to ASCII case, as PostgreSQL compares them. Values are bytes, for
/// their encoding is not ours to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Parameters(Vec<(String, Bytes)>);

impl Parameters {
    /// Says one more; an earlier one of the same name stays before it.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// Says one anew, in the place of an earlier one of the same name.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        match self
            .0
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            Some((_, old)) => *old = value.into(),
            None => self.push(name, value),
        }
    }

    /// The value that counts: the last one said by that name.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.iter()
            .rev()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Bytes)> + ExactSizeIterator {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Parameters {
    type Item = (String, Bytes);
    type IntoIter = std::vec::IntoIter<(String, Bytes)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<N: Into<String>, V: Into<Bytes>> FromIterator<(N, V)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Parameters(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_set_keeps_the_place() {
        let mut parameters: Parameters =
            [("DateStyle", "ISO"), ("a", "1"), ("datestyle", "German")]
                .into_iter()
                .collect();
        assert_eq!(
            parameters.get("DATESTYLE").map(|value| &value[..]),
            Some(&b"German"[..])
        );
        parameters.set("A", "2");
        assert_eq!(parameters.len(), 3);
        assert_eq!(parameters.get("a").map(|value| &value[..]), Some(&b"2"[..]));
        assert_eq!(parameters.get("b"), None);
    }
}
