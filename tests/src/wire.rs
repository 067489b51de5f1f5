//! Raw frames on a lab wire, and the tap that tells which of them an XDP program let through.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::Result;
use crate::frames::marker;
use crate::host::Host;
use crate::network::Lab;
use crate::sys::packet::PacketSocket;
use crate::topology::EDGE;

/// A raw socket on one interface of a host.
#[derive(Debug)]
pub struct Wire {
    socket: PacketSocket,
}

/// Both ends of the login host's wire.
///
/// Whether a frame was dropped is known without waiting: a marker (ARP, which no verdict is about) follows it through
/// the same queue, so when the marker is there the frame is there or never comes.
#[derive(Debug)]
pub struct EdgeTap {
    outside: Wire,
    inside: Wire,
    markers: u32,
}

/// What became of a frame that was sent to the login host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// It came out of `edge0` behind XDP, byte for byte.
    pub passed: bool,
    /// What the login host sent back meanwhile, from XDP or from its stack.
    pub replies: Vec<Vec<u8>>,
}

impl Wire {
    /// Opens the interface. What this socket sends is not received by it; what arrives is seen behind XDP.
    ///
    /// # Errors
    /// When there is no such interface, or no right to.
    pub fn open(host: &Host, interface: &str) -> Result<Self> {
        let socket = host
            .in_ns(|| PacketSocket::open(interface))?
            .with_context(|| format!("cannot open {interface} in {}", host.name()))?;
        Ok(Self { socket })
    }

    /// Sends one frame, from its destination MAC to its last byte.
    ///
    /// # Errors
    /// When the kernel refuses it: too short for a header, too long for the interface.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket
            .send(frame)
            .with_context(|| format!("cannot send {} bytes", frame.len()))
    }

    /// The next frame that arrives, VLAN tags included; `None` when the time is over.
    ///
    /// # Errors
    /// When the interface went away.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        Ok(self.socket.receive(timeout)?)
    }

    /// The next frame that `wanted` accepts, the others thrown away; `None` when the time is over.
    ///
    /// # Errors
    /// When the interface went away.
    pub fn receive_where(
        &self,
        timeout: Duration,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + timeout;
        while let Some(frame) = self.receive(deadline.saturating_duration_since(Instant::now()))? {
            if wanted(&frame) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Everything that has arrived so far, without waiting.
    ///
    /// # Errors
    /// When the interface went away, or frames were lost because nobody read them in time.
    pub fn drain(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.receive(Duration::ZERO)? {
            frames.push(frame);
        }
        match self.socket.overflowed()? {
            0 => Ok(frames),
            lost => bail!("{lost} frames were lost at the tap"),
        }
    }
}

impl EdgeTap {
    pub(crate) fn open(lab: &Lab) -> Result<Self> {
        Ok(Self {
            outside: lab.wire()?,
            inside: Wire::open(&lab.login, EDGE)?,
            markers: 0,
        })
    }

    /// The router's end.
    #[must_use]
    pub fn outside(&self) -> &Wire {
        &self.outside
    }

    /// The login host's end, behind XDP.
    #[must_use]
    pub fn inside(&self) -> &Wire {
        &self.inside
    }

    /// Sends a frame and tells whether it passed.
    ///
    /// # Errors
    /// When it cannot be sent, or the marker behind it does not arrive.
    pub fn passes(&mut self, frame: &[u8]) -> Result<bool> {
        Ok(self.exchange(frame, Duration::ZERO)?.passed)
    }

    /// Sends a frame, tells whether it passed, and what came back; waits for a first reply up to `reply_within`.
    ///
    /// # Errors
    /// As [`EdgeTap::passes`].
    pub fn exchange(&mut self, frame: &[u8], reply_within: Duration) -> Result<Outcome> {
        self.inside.drain()?;
        self.outside.drain()?;
        self.outside.send(frame)?;
        self.markers = self.markers.wrapping_add(1);
        let marker = marker(self.markers);
        self.outside.send(&marker)?;
        let mut passed = false;
        let arrived = self.inside.receive_where(MARKER_MAX, |seen| {
            passed |= seen == frame;
            seen == marker
        })?;
        if arrived.is_none() {
            bail!("the marker behind the frame did not come out of {EDGE}: is everything dropped?");
        }
        let mut replies = Vec::new();
        if !reply_within.is_zero() {
            replies.extend(self.outside.receive(reply_within)?);
        }
        replies.extend(self.outside.drain()?);
        Ok(Outcome { passed, replies })
    }
}

/// Longest a marker may take: only a failure does.
const MARKER_MAX: Duration = Duration::from_secs(5);
