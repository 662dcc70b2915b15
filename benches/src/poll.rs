//! epoll, level-triggered, with a number for each socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::time::Timespec;

/// One epoll instance.
pub struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// An empty one.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// Tells from now on when `source` can be read.
    pub fn add(&self, source: impl AsFd, token: usize) -> io::Result<()> {
        let data = EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, source, data, EventFlags::IN)?)
    }

    /// Tells from now on when `source` can be read, and also when it can be written to.
    pub fn watch_writing(&self, source: impl AsFd, token: usize, writing: bool) -> io::Result<()> {
        let data = EventData::new_u64(token as u64);
        let flags = match writing {
            true => EventFlags::IN | EventFlags::OUT,
            false => EventFlags::IN,
        };
        Ok(epoll::modify(&self.epoll, source, data, flags)?)
    }

    /// Moves the numbers of sockets that are ready to `ready`; none when the time is over.
    pub fn wait(&self, timeout: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS];
        match epoll::wait(&self.epoll, &mut events[..], Some(&timeout)) {
            Ok((told, _)) => ready.extend(told.iter().map(|event| event.data.u64() as usize)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Sockets told of at once.
const EVENTS: usize = 256;
