//! The TCP reset that answers a refused segment (RFC 9293 section 3.5.2, group 1 and 2).
//!
//! Built as plain bytes from the IP header up, so the program only swaps the Ethernet addresses, cuts
//! the frame and copies. Never longer than what it answers, so a forged source cannot use it to amplify.
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "sizes of headers, folded sums, and constant offsets into arrays of their own size"
)]

use crate::frame::{Address, Bytes, Fragment, Frame, protocol};

/// IPv4 header without options and a TCP header without options.
pub const RESET4_BYTES: usize = 40;
/// IPv6 header and a TCP header without options.
pub const RESET6_BYTES: usize = 60;

/// What of a segment a reset answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    /// Sequence numbers it takes up: payload, SYN and FIN.
    length: u32,
}

impl Segment {
    /// Reads the segment of `frame`; `None` where there is no answer: not TCP, a fragment, a reset, or
    /// an IPv6 packet with extension headers.
    #[inline(always)]
    pub fn read<B: Bytes>(bytes: &B, frame: &Frame) -> Option<Self> {
        if frame.protocol != protocol::TCP
            || frame.transport_offset == 0
            || !matches!(frame.fragment, Fragment::Whole)
        {
            return None;
        }
        let network = frame.network_offset as usize;
        let transport = frame.transport_offset as usize;
        let ip_bytes = match frame.source.address() {
            Address::V4(_) => u16::from_be_bytes(bytes.read(network + 2)?) as usize,
            Address::V6(..) if transport != network + 40 => return None,
            Address::V6(..) => u16::from_be_bytes(bytes.read(network + 4)?) as usize + 40,
        };
        let sequence = u32::from_be_bytes(bytes.read(transport + 4)?);
        let acknowledgement = u32::from_be_bytes(bytes.read(transport + 8)?);
        let [offset, flags] = bytes.read(transport + 12)?;
        if flags & RST != 0 {
            return None;
        }
        let headers = transport - network + (offset >> 4) as usize * 4;
        let payload = ip_bytes.saturating_sub(headers) as u32;
        let length = payload + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Some(Self {
            source_port: frame.source_port,
            destination_port: frame.destination_port,
            sequence,
            acknowledgement,
            flags,
            length,
        })
    }

    /// The answer from `destination` (who is asked) to `source` (who asked), IPv4.
    #[inline(always)]
    #[must_use]
    pub fn answer4(&self, source: u32, destination: u32) -> [u8; RESET4_BYTES] {
        let mut out = [0; RESET4_BYTES];
        out[0] = 0x45;
        out[3] = RESET4_BYTES as u8;
        out[6] = 0x40;
        out[8] = 64;
        out[9] = protocol::TCP;
        put(&mut out, 12, destination.to_be_bytes());
        put(&mut out, 16, source.to_be_bytes());
        let sum = sum32(destination) + sum32(source);
        let header = 0x4500 + RESET4_BYTES as u32 + 0x4000 + 0x4000 + protocol::TCP as u32 + sum;
        put(&mut out, 10, fold(header).to_be_bytes());
        put(&mut out, 20, self.tcp(sum));
        out
    }

    /// The same for IPv6; addresses as upper and lower halves.
    #[inline(always)]
    #[must_use]
    pub fn answer6(&self, source: (u64, u64), destination: (u64, u64)) -> [u8; RESET6_BYTES] {
        let mut out = [0; RESET6_BYTES];
        out[0] = 0x60;
        out[5] = TCP_BYTES as u8;
        out[6] = protocol::TCP;
        out[7] = 64;
        put(&mut out, 8, destination.0.to_be_bytes());
        put(&mut out, 16, destination.1.to_be_bytes());
        put(&mut out, 24, source.0.to_be_bytes());
        put(&mut out, 32, source.1.to_be_bytes());
        let sum = sum64(destination.0) + sum64(destination.1) + sum64(source.0) + sum64(source.1);
        put(&mut out, 40, self.tcp(sum));
        out
    }

    /// The TCP header; `addresses` is the unfolded sum of the pseudo-header's addresses.
    #[inline(always)]
    fn tcp(&self, addresses: u32) -> [u8; TCP_BYTES] {
        let (sequence, acknowledgement, flags) = if self.flags & ACK == 0 {
            (0, self.sequence.wrapping_add(self.length), RST | ACK)
        } else {
            (self.acknowledgement, 0, RST)
        };
        let sum = addresses
            + protocol::TCP as u32
            + TCP_BYTES as u32
            + self.source_port as u32
            + self.destination_port as u32
            + sum32(sequence)
            + sum32(acknowledgement)
            + (0x5000 | flags as u32);
        let mut out = [0; TCP_BYTES];
        put(&mut out, 0, self.destination_port.to_be_bytes());
        put(&mut out, 2, self.source_port.to_be_bytes());
        put(&mut out, 4, sequence.to_be_bytes());
        put(&mut out, 8, acknowledgement.to_be_bytes());
        out[12] = 0x50;
        out[13] = flags;
        put(&mut out, 16, fold(sum).to_be_bytes());
        out
    }
}

/// Copies `bytes` into `out` at `at`; the callers' offsets are constants inside their arrays.
#[inline(always)]
fn put<const N: usize, const M: usize>(out: &mut [u8; N], at: usize, bytes: [u8; M]) {
    let mut index = 0;
    while index < M {
        if let Some(byte) = out.get_mut(at + index) {
            *byte = bytes[index];
        }
        index += 1;
    }
}

#[inline(always)]
const fn sum32(value: u32) -> u32 {
    (value >> 16) + (value & 0xffff)
}

#[inline(always)]
const fn sum64(value: u64) -> u32 {
    sum32((value >> 32) as u32) + sum32(value as u32)
}

/// One's complement of the folded sum (RFC 1071).
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    let twice = (once >> 16) + (once & 0xffff);
    !(twice as u16)
}

const TCP_BYTES: usize = 20;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

#[cfg(test)]
mod tests;
