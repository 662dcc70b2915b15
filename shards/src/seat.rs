//! Where a client sits while it waits for a backend, and where the backend is put down for it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One end of a seat; the pool holds one, the waiting client the other. What is given and never
/// taken stays in the seat until somebody [takes](Seat::take) it, so nothing can be lost.
pub struct Seat<T>(Rc<RefCell<State<T>>>);

enum State<T> {
    Waiting(Option<Waker>),
    Given(T),
    Taken,
}

impl<T> Seat<T> {
    /// A seat's two ends.
    pub fn new() -> (Seat<T>, Seat<T>) {
        let state = Rc::new(RefCell::new(State::Waiting(None)));
        (Seat(Rc::clone(&state)), Seat(state))
    }

    /// Puts `gift` down and wakes who waits.
    pub fn give(self, gift: T) {
        let before = self.0.replace(State::Given(gift));
        if let State::Waiting(Some(waker)) = before {
            sockets::wake(waker);
        }
    }

    /// Waits until something is given. Cancel-safe: what is given meanwhile stays in the seat.
    pub async fn given(&self) -> T {
        poll_fn(|cx| self.poll_given(cx)).await
    }

    /// Ready when something is given. What is given to who asks no more stays in the seat.
    pub fn poll_given(&self, cx: &Context<'_>) -> Poll<T> {
        match self.take() {
            Some(gift) => Poll::Ready(gift),
            None => {
                *self.0.borrow_mut() = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// What has been given and not been taken.
    pub fn take(&self) -> Option<T> {
        let mut state = self.0.borrow_mut();
        if !matches!(*state, State::Given(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Given(gift) => Some(gift),
            State::Waiting(_) | State::Taken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gift_that_nobody_awaited_is_still_there() {
        let (pool, client) = Seat::new();
        assert_eq!(client.take(), None);
        pool.give(7);
        assert_eq!(client.take(), Some(7));
        assert_eq!(client.take(), None);
    }
}
