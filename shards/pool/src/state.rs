//! How a pool stands: what it says of itself, and what it decides by.

/// How many there are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections nobody uses.
    pub idle: usize,
    /// Connections that are out.
    pub leased: usize,
    /// Dials under way.
    pub opening: usize,
    /// Clients in the queue.
    pub waiting: usize,
}

/// Whether connections may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// To whoever asks.
    Open,
    /// Not now: clients wait.
    Paused,
    /// Not any more: clients are refused.
    Draining,
}

/// Whom a dial would serve.
pub(crate) enum Wanted {
    /// The client at this position of the queue.
    For(usize),
    /// Nobody yet: fewer than `min` stand.
    Ahead,
}
