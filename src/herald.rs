//! What the service manager is told: that we serve, load the config again, live, and stop.
//!
//! systemd names a socket in `NOTIFY_SOCKET` for a unit of `Type=notify`, and in `WATCHDOG_USEC` how
//! soon it takes silence for death (sd_notify(3), sd_watchdog_enabled(3)). Where nobody asks, nothing
//! is said.

use std::time::Duration;

use log::debug;
use sd_notify::NotifyState;

/// We serve; `status` is for people.
pub fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The config is being loaded again, until [`ready`] is said.
pub fn reloading() {
    // Since version 253 the manager wants to know when this was, to tell it from an earlier reload.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        say(&[NotifyState::Reloading, now]);
    }
}

/// We stop, and may take this long for it.
pub fn stopping(within: Duration, status: &str) {
    let micros = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    say(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status(status),
    ]);
}

/// We live.
pub fn alive() {
    say(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be said; `None` where nobody waits for it. A third of the time allowed,
/// so that one that comes late is no death.
pub fn heartbeat() -> Option<Duration> {
    let beat = sd_notify::watchdog_enabled().map(|allowed| allowed / 3);
    beat.filter(|beat| !beat.is_zero())
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("the service manager does not listen: {error}");
    }
}
