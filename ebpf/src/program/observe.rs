//! Copies of request heads of plain HTTP from trusted proxies, for services that are only watched.
//!
//! A segment whose first bytes are a request's method is copied as far as [`HEAD_BYTES_MAX`] goes. Nothing is
//! put together: the rest of a head that comes in the next segment is not seen, and the agent counts that.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use edgeward_ebpf::{
    abi::{Control, HEAD_BYTES_MAX, ObservedHead, counter, port},
    frame::{Address, Bytes as _, Fragment, Frame},
};

use super::{
    count::count,
    events::octets,
    maps,
    packet::{Packet, unknown},
    scratch::{self, FrameCell},
};

/// Copies the head that begins in this frame, if its port is watched. A function of its own, so that the
/// paths of everybody else keep their registers. Everything comes out of memory, and again where it is needed
/// again: all functions together have 512 bytes of stack, and the judgement takes most of them.
#[inline(never)]
pub(crate) fn copy<const FRAGS: bool>(ctx: &XdpContext) {
    let (Some(control), Some(cell)) = (maps::control(), maps::SCRATCH.get(0)) else {
        return;
    };
    if !is_watched::<FRAGS>(ctx, cell) {
        return;
    }
    if !is_within_budget(control) {
        count(counter::HEADS_SUPPRESSED, 0);
        return;
    }
    let Some(mut record) = maps::HEADS.reserve::<ObservedHead>(0) else {
        count(counter::HEADS_LOST, 0);
        return;
    };
    let head = record.as_mut_ptr();
    let (offset, segment) = place(cell);
    let length = if segment > HEAD_BYTES_MAX {
        HEAD_BYTES_MAX
    } else {
        segment
    };
    // SAFETY: the record has room for all fields and is written through its pointer only, since most of
    // its bytes are not initialised; at most `HEAD_BYTES_MAX` of them are asked for.
    let copied = unsafe {
        let bytes = (&raw mut (*head).bytes).cast::<u8>();
        if FRAGS {
            load(ctx, offset, bytes, length)
        } else {
            load_linear(&Packet::new(ctx), offset, bytes, length)
        }
    };
    if !copied {
        record.discard(0);
        return;
    }
    let frame = scratch::read(cell);
    let (_, segment) = place(cell);
    // SAFETY: as above.
    unsafe {
        (*head).time_ns = bpf_ktime_get_boot_ns();
        (*head).source = octets(frame.source.address());
        (*head).destination = octets(frame.destination.address());
        (*head).source_port = frame.source_port;
        (*head).destination_port = frame.destination_port;
        (*head).length = if segment > HEAD_BYTES_MAX {
            HEAD_BYTES_MAX as u32
        } else {
            segment as u32
        };
        (*head).segment = segment as u32;
        (*head).reserved = 0;
    }
    record.submit(0);
    count(counter::HEADS_COPIED, 0);
}

/// Whether the frame's port is watched and a request begins in it. Then its payload's place is in the cell.
#[inline(always)]
fn is_watched<const FRAGS: bool>(ctx: &XdpContext, cell: &'static FrameCell) -> bool {
    let frame = scratch::read(cell);
    let rules = maps::PORTS
        .get(frame.destination_port as u32)
        .copied()
        .unwrap_or(0);
    if rules & port::OBSERVE == 0 || frame.protocol != TCP || frame.transport.is_some() {
        return false;
    }
    if !matches!(frame.fragment, Fragment::Whole) {
        return false;
    }
    let packet = Packet::new(ctx);
    let Some((offset, segment)) = payload::<FRAGS>(ctx, &packet, &frame) else {
        return false;
    };
    // Nobody asks for the entry of a source that passed.
    cell.best.store(offset as u64 | (segment as u64) << 32);
    first::<FRAGS>(ctx, offset).is_some_and(begins_request)
}

/// Offset and length of the payload.
#[inline(always)]
fn place(cell: &FrameCell) -> (usize, usize) {
    let place = cell.best.load();
    (place as u32 as usize, (place >> 32) as usize)
}

/// Where the segment's payload begins and how long it is, without what pads a short frame.
#[inline(always)]
fn payload<const FRAGS: bool>(
    ctx: &XdpContext,
    packet: &Packet,
    frame: &Frame,
) -> Option<(usize, usize)> {
    let (network, transport) = (
        frame.network_offset as usize,
        frame.transport_offset as usize,
    );
    let [data_offset] = packet.read::<1>(transport + DATA_OFFSET)?;
    let header = (data_offset >> 4) as usize * 4;
    if header < TCP_HEADER_MIN {
        return None;
    }
    let offset = transport + header;
    let end = match frame.source.address() {
        Address::V4(_) => {
            network + u16::from_be_bytes(packet.read(network + TOTAL_LENGTH)?) as usize
        }
        Address::V6(..) => {
            let length = u16::from_be_bytes(packet.read(network + PAYLOAD_LENGTH)?) as usize;
            network + IPV6_HEADER + length
        }
    };
    let frame_end = if FRAGS {
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) as usize }
    } else {
        packet.len() as usize
    };
    let end = if end < frame_end { end } else { frame_end };
    let length = end.checked_sub(offset)?;
    (length >= METHOD_BYTES).then_some((offset, length))
}

/// The payload's first bytes as one word, the first one lowest.
#[inline(always)]
fn first<const FRAGS: bool>(ctx: &XdpContext, offset: usize) -> Option<u64> {
    if !FRAGS {
        return Packet::new(ctx).read(offset).map(u64::from_le_bytes);
    }
    let mut bytes = [0; METHOD_BYTES];
    // SAFETY: the buffer has the length given.
    let failed = unsafe {
        bpf_xdp_load_bytes(
            ctx.as_ptr().cast(),
            offset as u32,
            bytes.as_mut_ptr().cast(),
            METHOD_BYTES as u32,
        )
    };
    (failed == 0).then_some(u64::from_le_bytes(bytes))
}

/// Whether it is a method of RFC 9110 or PATCH, and the space behind it.
#[inline(always)]
fn begins_request(word: u64) -> bool {
    let is = |method: &[u8; METHOD_BYTES], length: u32| {
        let mask = u64::MAX >> (64 - 8 * length);
        (word ^ u64::from_le_bytes(*method)) & mask == 0
    };
    is(b"GET     ", 4)
        || is(b"POST    ", 5)
        || is(b"PUT     ", 4)
        || is(b"HEAD    ", 5)
        || is(b"PATCH   ", 6)
        || is(b"DELETE  ", 7)
        || is(b"OPTIONS ", 8)
        || is(b"CONNECT ", 8)
        || is(b"TRACE   ", 6)
}

/// As many a second as events, on each CPU.
#[inline(always)]
fn is_within_budget(control: &Control) -> bool {
    let Some(budget) = maps::HEAD_BUDGET.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own element; XDP does not preempt itself on one CPU.
    let budget = unsafe { &mut *budget };
    if budget.epoch != control.epoch {
        budget.epoch = control.epoch;
        budget.sent = 0;
    }
    if budget.sent >= control.events_an_epoch {
        budget.suppressed += 1;
        return false;
    }
    budget.sent += 1;
    true
}

/// Copies from wherever the packet's bytes lie (Linux 5.18).
///
/// # Safety
/// `to` has room for [`HEAD_BYTES_MAX`] bytes.
#[inline(always)]
unsafe fn load(ctx: &XdpContext, offset: usize, to: *mut u8, length: usize) -> bool {
    // The compiler knows both bounds and would leave them out; the verifier must see them, one at a time.
    let length = unknown(length);
    if length > HEAD_BYTES_MAX {
        return false;
    }
    let length = unknown(length);
    if length < METHOD_BYTES {
        return false;
    }
    // SAFETY: the caller's promise, and the check above.
    unsafe {
        bpf_xdp_load_bytes(
            ctx.as_ptr().cast(),
            offset as u32,
            to.cast::<c_void>(),
            length as u32,
        ) == 0
    }
}

/// Copies from the linear part.
///
/// # Safety
/// `to` has room for [`HEAD_BYTES_MAX`] bytes.
#[inline(always)]
unsafe fn load_linear(packet: &Packet, offset: usize, to: *mut u8, length: usize) -> bool {
    let mut done = 0;
    while done < HEAD_BYTES_MAX {
        if done + METHOD_BYTES > length {
            break;
        }
        let Some(word) = packet.word(offset + done) else {
            return false;
        };
        // SAFETY: below `HEAD_BYTES_MAX`, which is a multiple of eight.
        unsafe { put(to, done, word) };
        done += METHOD_BYTES;
    }
    // The last eight bytes, some of them once more.
    let last = unknown(length - METHOD_BYTES);
    if last > HEAD_BYTES_MAX - METHOD_BYTES {
        return false;
    }
    let Some(word) = packet.word(offset + last) else {
        return false;
    };
    // SAFETY: checked just before.
    unsafe { put(to, last, word) };
    true
}

/// # Safety
/// `to` has room for eight bytes at `offset`.
#[inline(always)]
unsafe fn put(to: *mut u8, offset: usize, word: [u8; METHOD_BYTES]) {
    // SAFETY: the caller's promise.
    unsafe {
        to.add(offset)
            .cast::<u64>()
            .write_unaligned(u64::from_ne_bytes(word));
    }
}

/// IPPROTO_TCP.
const TCP: u8 = 6;
/// Offsets and sizes of RFC 9293, 791 and 8200.
const DATA_OFFSET: usize = 12;
const TCP_HEADER_MIN: usize = 20;
const TOTAL_LENGTH: usize = 2;
const PAYLOAD_LENGTH: usize = 4;
const IPV6_HEADER: usize = 40;
/// The longest method with its space; no request line is shorter.
const METHOD_BYTES: usize = 8;
