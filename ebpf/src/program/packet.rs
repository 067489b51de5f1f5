//! The packet as a source of bytes for the shared parser.

use aya_ebpf::programs::XdpContext;
use edgeward_ebpf::frame::Bytes;

use super::scratch;

/// Bounds of the linear part of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    start: usize,
    end: usize,
}

impl Packet {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self {
            start: ctx.data(),
            end: ctx.data_end(),
        }
    }

    /// Bytes of the linear part.
    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        (self.end - self.start) as u64
    }

    /// A pointer to `N` writable bytes at `offset`.
    #[inline(always)]
    pub(crate) fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        // Without a bound the verifier cannot know that the addition below does not wrap.
        if offset > OFFSET_MAX {
            return None;
        }
        let start = self.start + offset;
        (start + N <= self.end).then_some(start as *mut [u8; N])
    }
}

impl Bytes for Packet {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` has checked that the bytes lie in the packet.
        self.at::<N>(offset)
            .map(|bytes| unsafe { bytes.read_unaligned() })
    }

    #[inline(always)]
    fn forget(&self, word: u64) -> u64 {
        scratch::forget(word)
    }
}

/// No header that we read begins later: Ethernet, tags, IP and eight extension headers of 2 KiB.
const OFFSET_MAX: usize = 0x4fff;
