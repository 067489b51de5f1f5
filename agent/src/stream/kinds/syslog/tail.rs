//! What was written to a socket and may still be lost: the tail that is sent again after a break.

use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use tokio::time::Instant;

use crate::datapath::unacknowledged_bytes;

/// Flights that were written to one socket.
pub(super) struct Tail {
    /// The socket itself, to ask what is still in it.
    socket: OwnedFd,
    open: VecDeque<Open>,
}

/// One of them.
struct Open {
    /// Where it ends among the bytes that went into the socket.
    end: u64,
    /// Its last event.
    seq: u64,
    /// Since when the other host has it.
    arrived: Option<Instant>,
}

impl Tail {
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            open: VecDeque::new(),
        }
    }

    /// A flight was written, up to byte `end` of all that went into the socket.
    pub(super) fn wrote(&mut self, end: u64, seq: u64) {
        self.open.push_back(Open {
            end,
            seq,
            arrived: None,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The last event that needs no care any more: the other host has it for as long as `settle`. `written` bytes went into
    /// the socket in all.
    pub(super) fn settled(&mut self, written: u64, settle: Duration) -> Option<u64> {
        let now = Instant::now();
        // A socket that says nothing has everything still in it.
        let held = unacknowledged_bytes(self.socket.as_fd()).map_or(written, u64::from);
        let there = written.saturating_sub(held);
        for open in self.open.iter_mut().take_while(|open| open.end <= there) {
            open.arrived.get_or_insert(now);
        }
        let mut upto = None;
        while let Some(open) = self.open.front()
            && let Some(at) = open.arrived
            && now.saturating_duration_since(at) >= settle
        {
            upto = Some(open.seq);
            self.open.pop_front();
        }
        upto
    }
}
