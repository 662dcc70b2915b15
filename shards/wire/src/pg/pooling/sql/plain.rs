//! Texts that are known to do nothing to a session. Applications ask the same over and over, and to
//! compare is much cheaper than to read.
//!
//! A text is kept when it comes for the second time, so that those that are never the same, because
//! their values stand in them, cost no more than their hash.

/// The texts of one tenant, at most one at each place: what comes later takes it.
#[derive(Debug, Default)]
pub struct PlainTexts {
    /// None before the first text.
    places: Box<[Place]>,
}

#[derive(Debug, Clone, Default)]
struct Place {
    hash: u64,
    /// Empty until the text has come twice.
    text: Box<[u8]>,
}

impl PlainTexts {
    /// Whether this text is known.
    pub fn know(&self, text: &[u8]) -> bool {
        // Not even hashed: it may have megabytes.
        if text.len() > LONGEST {
            return false;
        }
        let hash = hash(text);
        let place = self.places.get(place_of(hash));
        // An empty text does nothing anyway.
        place.is_some_and(|place| place.hash == hash && *place.text == *text)
    }

    /// A text has been read that does nothing.
    pub fn note(&mut self, text: &[u8]) {
        if text.len() > LONGEST {
            return;
        }
        if self.places.is_empty() {
            self.places = vec![Place::default(); PLACES].into();
        }
        let hash = hash(text);
        let place = &mut self.places[place_of(hash)];
        match place.hash == hash {
            true => place.text = text.into(),
            false => place.hash = hash,
        }
    }
}

/// Where a text of this hash stands.
fn place_of(hash: u64) -> usize {
    (hash >> 32) as usize % PLACES
}

/// Spreads texts over places; no more is asked of it, since texts are compared themselves.
fn hash(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).copied();
    words
        .map(u64::from_le_bytes)
        .fold(text.len() as u64, |hash, word| {
            (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
}

/// How many are known at most.
const PLACES: usize = 64;

/// The longest text that is kept, in bytes.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_from_the_second_time_on_and_no_other_one_is() {
        let mut texts = PlainTexts::default();
        assert!(!texts.know(b"SELECT 1"));
        texts.note(b"SELECT 1");
        assert!(!texts.know(b"SELECT 1"));
        texts.note(b"SELECT 1");
        assert!(texts.know(b"SELECT 1"));
        for other in [&b"SELECT 2"[..], b"SELECT 1 ", b"SELECT ", b"SELECT 1\0"] {
            assert!(!texts.know(other), "{other:?}");
        }
    }

    #[test]
    fn many_texts_take_each_others_places() {
        let mut texts = PlainTexts::default();
        let all: Vec<String> = (0..10_000)
            .map(|number| format!("SELECT {number}"))
            .collect();
        for text in all.iter().flat_map(|text| [text, text]) {
            texts.note(text.as_bytes());
            texts.note(text.as_bytes());
        }
        let known = all
            .iter()
            .filter(|text| texts.know(text.as_bytes()))
            .count();
        assert_eq!(known, PLACES, "each place holds one");
        let long = vec![b'x'; LONGEST + 1];
        (0..3).for_each(|_| texts.note(&long));
        assert!(!texts.know(&long));
    }
}
