//! The packet as a source of bytes for the shared parser.

use aya_ebpf::programs::XdpContext;
use edgeward_ebpf::frame::Bytes;

use super::scratch;

/// One load of any alignment: the processors that we run on take it, and so their verifiers do.
macro_rules! load {
    ($width:literal, $from:expr, $offset:expr) => {{
        let word: u64;
        core::arch::asm!(
            concat!("{word} = *(", $width, " *)({from} + 0)"),
            word = lateout(reg) word,
            from = in(reg) $from.add($offset),
            options(pure, readonly, nostack, preserves_flags),
        );
        word
    }};
}

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

impl Packet {
    /// Eight bytes at an offset that the verifier knows nothing of, in a loop: the check and the load are of one and
    /// the same register.
    #[inline(always)]
    pub(crate) fn word(&self, offset: usize) -> Option<[u8; 8]> {
        let offset = unknown(offset);
        if offset > OFFSET_MAX {
            return None;
        }
        let start = unknown(self.start + offset);
        (start + 8 <= self.end).then(|| words(start as *mut [u8; 8]))
    }
}

impl Bytes for Packet {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.at::<N>(offset).map(words)
    }

    #[inline(always)]
    fn forget(&self, word: u64) -> u64 {
        scratch::forget(word)
    }
}

/// `N` bytes of the packet by the widest loads there are. A header is seldom aligned, and the compiler would read such
/// memory byte by byte: two hundred instructions for a pair of headers.
#[inline(always)]
fn words<const N: usize>(start: *mut [u8; N]) -> [u8; N] {
    let mut bytes = [0; N];
    let to = bytes.as_mut_ptr();
    let from: *const u8 = start.cast();
    let mut done = 0;
    // SAFETY: each load and store stays within the `N` bytes that the caller has checked.
    unsafe {
        // An IPv4 header by words of 32 bits, so that an address is one of them.
        while N % 8 == 0 && done < N {
            to.add(done)
                .cast::<u64>()
                .write_unaligned(load!("u64", from, done));
            done += 8;
        }
        while done + 4 <= N {
            let word: u64 = load!("u32", from, done);
            to.add(done).cast::<u32>().write_unaligned(word as u32);
            done += 4;
        }
        while done + 2 <= N {
            let word: u64 = load!("u16", from, done);
            to.add(done).cast::<u16>().write_unaligned(word as u16);
            done += 2;
        }
        while done < N {
            to.add(done).write(from.add(done).read());
            done += 1;
        }
    }
    bytes
}

/// `value`, of which the compiler knows nothing any more.
#[inline(always)]
pub(crate) fn unknown(value: usize) -> usize {
    let mut value = value;
    // SAFETY: a register copied to itself. Without any instruction here there would be two lines for the next
    // one, which the kernel takes for damaged debug information.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
    value
}

/// No header that we read begins later: Ethernet, tags, IP and eight extension headers of 2 KiB.
const OFFSET_MAX: usize = 0x4fff;
