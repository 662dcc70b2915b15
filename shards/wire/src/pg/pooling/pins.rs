//! Why a client must stay with its backend.

/// A reason to keep a backend between transactions. Each is a kind of state that lives in the
/// backend, and cannot be made again on another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Pin {
    /// LISTEN; ends with UNLISTEN, of all or of the last channel.
    Listen,
    /// A cursor WITH HOLD; ends with CLOSE, of all or of the last one.
    HoldCursor,
    /// A temporary table, view or sequence; ends with DISCARD TEMP, or when the last of them is gone.
    TemporaryTable,
    /// A session-level advisory lock; ends when the last of them is given back, or was not got.
    AdvisoryLock,
    /// A statement that lives under the client's own name: SQL PREPARE, one too long to be kept, or
    /// any with `prepared_statements: pin`. Ends when the last of them is deallocated.
    PreparedStatement,
    /// An unnamed statement too long to be kept; ends with the next one.
    LongStatement,
    /// `currval` or `lastval`, which mean the sequences as this backend has used them; ends with
    /// DISCARD SEQUENCES.
    SequenceValue,
    /// LOAD: a library cannot be unloaded. Nor is there a word that ends a connection of dblink's, a replication
    /// origin, a temporary replication slot or a backup, whosever they were.
    Load,
    /// `setseed()`: what `random()` will say cannot be made uncertain again.
    RandomSeed,
    /// A setting whose value cannot be followed; ends with DISCARD ALL.
    Setting,
    /// A DO whose code may have done any of the above, CALL, a statement that is not known here, a name in escapes, or
    /// text too long to be read; ends with DISCARD ALL. (What a DO does for good is named beside it, where it shows.)
    Unknown,
}

impl Pin {
    /// All of them, in the order of [`Pin::index`].
    pub const ALL: [Pin; 11] = [
        Pin::Listen,
        Pin::HoldCursor,
        Pin::TemporaryTable,
        Pin::AdvisoryLock,
        Pin::PreparedStatement,
        Pin::LongStatement,
        Pin::SequenceValue,
        Pin::Load,
        Pin::RandomSeed,
        Pin::Setting,
        Pin::Unknown,
    ];

    /// Its place in tables of counters, below `Pin::ALL.len()`.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics, logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Pin::Listen => "listen",
            Pin::HoldCursor => "hold_cursor",
            Pin::TemporaryTable => "temporary_table",
            Pin::AdvisoryLock => "advisory_lock",
            Pin::PreparedStatement => "prepared_statement",
            Pin::LongStatement => "long_statement",
            Pin::SequenceValue => "sequence_value",
            Pin::Load => "load",
            Pin::RandomSeed => "random_seed",
            Pin::Setting => "setting",
            Pin::Unknown => "unknown",
        }
    }
}

/// A set of reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pins(u16);

impl Pins {
    /// No reason.
    pub const NONE: Pins = Pins(0);

    /// Whether there is no reason.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a reason is among them.
    pub fn contains(self, pin: Pin) -> bool {
        self.0 & bit(pin) != 0
    }

    /// Adds a reason.
    pub fn insert(&mut self, pin: Pin) {
        self.0 |= bit(pin);
    }

    /// Takes a reason away.
    pub fn remove(&mut self, pin: Pin) {
        self.0 &= !bit(pin);
    }

    /// Those that nothing takes away: the backend ends with its client.
    pub(super) fn for_good(self) -> Pins {
        Pins(self.0 & (bit(Pin::Load) | bit(Pin::RandomSeed)))
    }

    /// The reasons of both.
    pub fn union(self, other: Pins) -> Pins {
        Pins(self.0 | other.0)
    }

    /// The reasons of these that are not among the others: what is new since then.
    pub fn without(self, other: Pins) -> Pins {
        Pins(self.0 & !other.0)
    }

    /// Each reason once.
    pub fn iter(self) -> impl Iterator<Item = Pin> {
        Pin::ALL.into_iter().filter(move |&pin| self.contains(pin))
    }
}

impl FromIterator<Pin> for Pins {
    fn from_iter<I: IntoIterator<Item = Pin>>(pins: I) -> Pins {
        let mut set = Pins::NONE;
        pins.into_iter().for_each(|pin| set.insert(pin));
        set
    }
}

fn bit(pin: Pin) -> u16 {
    1 << pin.index()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_place() {
        for (at, pin) in Pin::ALL.into_iter().enumerate() {
            assert_eq!(pin.index(), at);
        }
        let mut pins: Pins = [Pin::Listen, Pin::Unknown].into_iter().collect();
        pins.remove(Pin::Listen);
        assert_eq!(pins.iter().collect::<Vec<_>>(), [Pin::Unknown]);
        assert!(!pins.is_empty());
    }
}
