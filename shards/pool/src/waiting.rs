//! The clients that wait, in the order in which they came.

use std::collections::VecDeque;

/// A client's place in the queue, to be given up with [`Pool::abandon`](crate::Pool::abandon).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// First come, first served, each with the shape it needs. Tickets rise from front to back.
#[derive(Debug)]
pub(crate) struct Queue<S, W> {
    line: VecDeque<Place<S, W>>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Place<S, W> {
    ticket: Ticket,
    shape: S,
    waiter: W,
}

impl<S: Eq, W> Queue<S, W> {
    pub fn new() -> Self {
        Queue {
            line: VecDeque::new(),
            next_ticket: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.line.len()
    }

    pub fn push(&mut self, shape: S, waiter: W) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.line.push_back(Place {
            ticket,
            shape,
            waiter,
        });
        ticket
    }

    /// The shapes that are waited for, longest wait first.
    pub fn shapes(&self) -> impl Iterator<Item = &S> {
        self.line.iter().map(|place| &place.shape)
    }

    /// The first in line who waits for this shape.
    pub fn first_of(&self, shape: &S) -> Option<usize> {
        self.shapes().position(|wanted| wanted == shape)
    }

    /// The first in line whom none of the connections that are coming will serve: each will serve
    /// the first of its shape whom no other serves.
    pub fn first_beyond(&self, coming: &[S]) -> Option<usize> {
        let mut coming: Vec<&S> = coming.iter().collect();
        self.shapes().position(
            |wanted| match coming.iter().position(|shape| *shape == wanted) {
                Some(serving) => {
                    coming.swap_remove(serving);
                    false
                }
                None => true,
            },
        )
    }

    /// Takes out who stands at this position.
    pub fn take(&mut self, position: usize) -> Option<W> {
        self.line.remove(position).map(|place| place.waiter)
    }

    pub fn abandon(&mut self, ticket: Ticket) -> Option<W> {
        // Most are asked about when they have been served, which is before all who still wait.
        let first = self.line.front()?;
        if ticket < first.ticket {
            return None;
        }
        let position = self
            .line
            .binary_search_by_key(&ticket, |place| place.ticket)
            .ok()?;
        self.take(position)
    }

    /// Takes out all whose shape is meant, in order.
    pub fn take_all(&mut self, meant: impl Fn(&S) -> bool) -> Vec<W> {
        let (gone, stay): (VecDeque<_>, _) = std::mem::take(&mut self.line)
            .into_iter()
            .partition(|place| meant(&place.shape));
        self.line = stay;
        gone.into_iter().map(|place| place.waiter).collect()
    }
}
