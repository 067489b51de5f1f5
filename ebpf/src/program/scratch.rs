//! Where the parsed frame rests between reading and judging.
//!
//! The verifier follows every path through the parser with its own constants (a header at 14, 18 or 22,
//! with or without extensions) and would walk the look-ups once for each. A value read back from a map
//! is unknown to it, so all those paths become one and it proves the rest once.

use edgeward_ebpf::frame::{Address, Cause, Fragment, Frame, Held};

use super::{maps, word::Word};

/// A frame as words.
#[repr(C)]
pub(crate) struct FrameCell {
    family: Word,
    source: [Word; 2],
    destination: [Word; 2],
    /// Protocol, ports and fragment in one word.
    transport: Word,
    /// Offsets and the cause for which the transport could not be read (0 for none).
    layout: Word,
    /// `CLOCK_BOOTTIME` in ns once somebody asked, 0 before.
    pub(crate) now_ns: Word,
    /// The strongest live entry so far ([`edgeward_ebpf::lookup::Meta`]); 0 where there is none.
    pub(crate) best: Word,
    /// [`super::source::touched`].
    pub(crate) touched: Word,
    /// Not 0 if the last IPv4 source that was looked for among the hosts is one: in a flood the next one
    /// will be too. It outlives the frame, and decides only what is asked first.
    pub(crate) in_flood: Word,
}

/// Whether the next IPv4 source is likely to be a listed host.
#[inline(always)]
pub(crate) fn expects_host() -> bool {
    maps::SCRATCH
        .get(0)
        .is_some_and(|cell| cell.in_flood.load() != 0)
}

/// Puts `frame` down and takes it up again. What is found out while judging stays in the cell for the
/// same reason.
#[inline(always)]
pub(crate) fn forget_paths(frame: &Frame, touched: u64) -> Option<(Frame, &'static FrameCell)> {
    let cell = maps::SCRATCH.get(0)?;
    let (family, source, destination) = match (frame.source.address(), frame.destination.address())
    {
        (Address::V4(source), Address::V4(destination)) => {
            (4, (0, source as u64), (0, destination as u64))
        }
        (Address::V6(s0, s1), Address::V6(d0, d1)) => (6, (s0, s1), (d0, d1)),
        _ => return None,
    };
    cell.family.store(family);
    cell.source[0].store(source.0);
    cell.source[1].store(source.1);
    cell.destination[0].store(destination.0);
    cell.destination[1].store(destination.1);
    let fragment = match frame.fragment {
        Fragment::Whole => 0,
        Fragment::First => 1,
        Fragment::Later => 2,
    };
    cell.transport.store(
        frame.protocol as u64
            | (frame.source_port as u64) << 16
            | (frame.destination_port as u64) << 32
            | fragment << 48,
    );
    let cause = match frame.transport {
        None => 0,
        Some(cause) => cause as u64 + 1,
    };
    cell.layout
        .store(frame.network_offset as u64 | (frame.transport_offset as u64) << 16 | cause << 32);
    cell.now_ns.store(0);
    cell.best.store(0);
    cell.touched.store(touched);
    Some((read(cell), cell))
}

/// [`edgeward_ebpf::frame::Bytes::forget`] of the packet.
#[inline(always)]
pub(crate) fn forget(word: u64) -> u64 {
    match maps::SCRATCH.get(0) {
        Some(cell) => {
            cell.layout.store(word);
            cell.layout.load()
        }
        None => word,
    }
}

/// The frame that was put down.
#[inline(always)]
pub(crate) fn read(cell: &FrameCell) -> Frame {
    let (s0, s1) = (cell.source[0].load(), cell.source[1].load());
    let (d0, d1) = (cell.destination[0].load(), cell.destination[1].load());
    let (source, destination) = if cell.family.load() == 4 {
        (Held::v4(s1 as u32), Held::v4(d1 as u32))
    } else {
        (Held::v6(s0, s1), Held::v6(d0, d1))
    };
    let transport = cell.transport.load();
    let layout = cell.layout.load();
    Frame {
        source,
        destination,
        protocol: transport as u8,
        source_port: (transport >> 16) as u16,
        destination_port: (transport >> 32) as u16,
        fragment: match transport >> 48 & 3 {
            0 => Fragment::Whole,
            1 => Fragment::First,
            _ => Fragment::Later,
        },
        transport: match layout >> 32 & 7 {
            0 => None,
            5 => Some(Cause::TruncatedExtension),
            6 => Some(Cause::TooManyExtensions),
            _ => Some(Cause::TruncatedTransport),
        },
        // Bounded where they are born: Linux 6.1 does not carry a later check over to a copy on the stack,
        // and refuses a packet pointer that could lie past 64 KiB.
        network_offset: layout as u16 & OFFSET_MASK,
        transport_offset: (layout >> 16) as u16 & OFFSET_MASK,
    }
}

/// No header begins at or after 32 KiB ([`super::packet`] has the exact limit).
const OFFSET_MASK: u16 = 0x7fff;
