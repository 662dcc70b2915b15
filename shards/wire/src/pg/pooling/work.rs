//! How much is done, counted in tests only: what a client can make us do must not grow with the square of what it says.

/// So many bytes are read, or things gone through.
#[inline(always)]
pub(super) fn note(_amount: usize) {
    #[cfg(test)]
    DONE.set(DONE.get() + _amount);
}

/// How much something does.
#[cfg(test)]
pub(super) fn of<T>(run: impl FnOnce() -> T) -> usize {
    let before = DONE.get();
    run();
    DONE.get() - before
}

#[cfg(test)]
thread_local! {
    static DONE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
