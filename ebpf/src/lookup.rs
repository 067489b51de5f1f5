//! The look-up structures for exact entries, as arithmetic on integers: what the agent writes into the
//! mapped arrays and what the program reads from them is defined here once.
//!
//! IPv4 goes through two steps. [`table4`] has two bits for each /24: does it hold listed hosts, does a
//! listed prefix or zone touch it. Most sources end there, and in a flood of listed hosts the program may
//! skip it. Hosts (/32) and networks (/24) are in an
//! array of buckets of one cache line: five 64-bit slots and their hit counters of 32 bits. A seeded
//! bijection of the address picks the bucket, and the bits of it that did not pick the bucket are in the
//! slot, so membership is exact. What does not fit its bucket is in a stash that is asked only when the
//! bucket is full. A second line a packet would be dearer than the stash: a million entries lie far from
//! the processor, and so many lines at a time is all it can wait for.
//!
//! IPv6 has a bitmap filter by hash of (prefix, length), and buckets of four whole keys in two lines.
//!
//! One array is one generation. Which one is in force, and how many bits pick a bucket in it, is one word
//! of the control map ([`crate::abi::InForce`]), so a larger array takes over by one store.
#![expect(
    clippy::cast_possible_truncation,
    reason = "hashes and slots are cut to their bits"
)]

use crate::abi::FOREVER;

/// Bytes of an array's element: one IPv6 bucket, or two of IPv4. All arrays behind one outer map are alike.
pub const ELEMENT_BYTES: usize = 128;
/// Bytes of an IPv4 bucket, one cache line.
pub const BUCKET4_BYTES: usize = 64;
/// Bytes of an IPv6 bucket.
pub const BUCKET6_BYTES: usize = ELEMENT_BYTES;
/// Slots of an IPv4 bucket.
pub const SLOTS4: usize = 5;
/// Slots of an IPv6 bucket.
pub const SLOTS6: usize = 4;
/// Fewest bits that pick an IPv4 bucket: the other 16, the kind and [`OCCUPIED4`] have room in a slot.
pub const SHIFT4_MIN: u32 = 16;
/// Most bits that pick an IPv4 bucket (2^23 buckets are 512 MiB).
pub const SHIFT4_MAX: u32 = 23;
/// Fewest bits that pick an IPv6 bucket.
pub const SHIFT6_MIN: u32 = 6;
/// Most bits that pick an IPv6 bucket (2^22 buckets are 512 MiB).
pub const SHIFT6_MAX: u32 = 22;
/// Set in the tag of every IPv4 slot that is taken: an empty one is never mistaken for an entry.
pub const OCCUPIED4: u32 = 1 << 17;

/// Score, class and expiry of an entry: the lower 46 bits of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta(pub u64);

impl Meta {
    /// Packs a score (1..=127), a class and an expiry tick ([`FOREVER`] for none).
    #[inline(always)]
    #[must_use]
    pub const fn new(score: u8, class: u8, expires: u32) -> Self {
        Self((score as u64 & 0x7f) << 39 | (class as u64) << 31 | (expires & FOREVER) as u64)
    }
    /// The score; 0 only in an empty slot.
    #[inline(always)]
    #[must_use]
    pub const fn score(self) -> u8 {
        (self.0 >> 39 & 0x7f) as u8
    }
    /// The class.
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> u8 {
        (self.0 >> 31 & 0xff) as u8
    }
    /// The tick from which the entry no longer counts.
    #[inline(always)]
    #[must_use]
    pub const fn expires(self) -> u32 {
        (self.0 & FOREVER as u64) as u32
    }
    /// The lower 46 bits of a slot or of a trie value.
    #[inline(always)]
    #[must_use]
    pub const fn of(word: u64) -> Self {
        Self(word & META_MASK)
    }
    /// The same with a prefix length in the top byte, as tries, stash and IPv6 buckets keep it.
    #[inline(always)]
    #[must_use]
    pub const fn with_length(self, length: u8) -> u64 {
        self.0 & META_MASK | (length as u64) << 56
    }
}

/// The prefix length of a word made by [`Meta::with_length`].
#[inline(always)]
#[must_use]
pub const fn length_of(word: u64) -> u8 {
    (word >> 56) as u8
}

const META_MASK: u64 = (1 << 46) - 1;

/// Kind of an exact IPv4 entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind4 {
    /// A host.
    Host = 0,
    /// A /24.
    Net24 = 1,
}

/// An IPv4 bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket4 {
    /// Frames that matched each slot, up to what 32 bits hold; the last one belongs to none.
    pub hits: [u32; SLOTS4 + 1],
    /// Slots; 0 is empty.
    pub slots: [u64; SLOTS4],
}

/// An IPv6 bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket6 {
    /// Upper and lower half of each key.
    pub keys: [[u64; 2]; SLOTS6],
    /// [`Meta::with_length`] of each key; 0 is empty. Written last, cleared first.
    pub metas: [u64; SLOTS6],
    /// Frames that matched each slot.
    pub hits: [u64; SLOTS6],
}

const _: () =
    assert!(size_of::<Bucket4>() == BUCKET4_BYTES && size_of::<Bucket6>() == BUCKET6_BYTES);

/// Where an IPv4 entry lives: its bucket and the upper 18 bits of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place4 {
    /// Number of the bucket; two share an element.
    pub bucket: u32,
    /// Rest of the address, kind and [`OCCUPIED4`], to compare with `slot >> 46`.
    pub tag: u32,
}

/// Finds the place of `address` (for a /24 with its host bits cleared).
#[inline(always)]
#[must_use]
pub const fn place4(address: u32, kind: Kind4, seed: u64, shift: u32) -> Place4 {
    let mixed = mix4(address, seed);
    let rest = (32 - (shift & 31)) & 31;
    Place4 {
        bucket: mixed >> rest,
        tag: OCCUPIED4 | (mixed & ((1 << rest) - 1)) << 1 | kind as u32,
    }
}

/// The slot of an entry.
#[inline(always)]
#[must_use]
pub const fn slot4(place: Place4, meta: Meta) -> u64 {
    (place.tag as u64) << 46 | meta.0
}

/// The address and kind behind a slot: the inverse of [`place4`] and [`slot4`].
#[must_use]
pub const fn unplace4(bucket: u32, slot: u64, seed: u64, shift: u32) -> (u32, Kind4) {
    let tag = (slot >> 46) as u32 & !OCCUPIED4;
    let mixed = bucket << (32 - shift) | tag >> 1;
    (
        unmix4(mixed, seed),
        if tag & 1 == 0 {
            Kind4::Host
        } else {
            Kind4::Net24
        },
    )
}

/// A bijection of 32 bits: xor-shifts and odd multipliers (the finalizer form of Appleby's
/// `MurmurHash3`), with the seed in the input and in one multiplier.
#[inline(always)]
#[must_use]
pub const fn mix4(address: u32, seed: u64) -> u32 {
    let mut x = address ^ seed as u32;
    x ^= x >> 16;
    x = x.wrapping_mul(MIX);
    x ^= x >> 15;
    x = x.wrapping_mul((seed >> 32) as u32 | 1);
    x ^ x >> 16
}

const fn unmix4(mixed: u32, seed: u64) -> u32 {
    let mut x = mixed ^ mixed >> 16;
    x = x.wrapping_mul(inverse((seed >> 32) as u32 | 1));
    x ^= x >> 15 ^ x >> 30;
    x = x.wrapping_mul(inverse(MIX));
    x ^= x >> 16;
    x ^ seed as u32
}

/// Inverse of an odd number modulo 2^32 (Newton's iteration doubles the right bits each time).
const fn inverse(odd: u32) -> u32 {
    let mut x = odd;
    let mut rounds = 0;
    while rounds < 4 {
        x = x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x)));
        rounds += 1;
    }
    x
}

const MIX: u32 = 0x7feb_352d;

/// The two-bit table of /24 networks, and behind it one bit for each /16: whether any of its networks has
/// [`table4::NETS`]. Those few bits stay in the first cache. Where one is clear, a source is a listed host or
/// nothing, and whoever expects a host may go to its bucket at once.
pub mod table4 {
    /// Words of 64 bits, each for 32 networks.
    pub const NETWORK_WORDS: u32 = 1 << 19;
    /// Words of 64 bits, each for 64 areas (/16).
    pub const AREA_WORDS: u32 = 1 << 10;
    /// All of them.
    pub const WORDS: u32 = NETWORK_WORDS + AREA_WORDS;
    /// The network holds listed hosts.
    pub const HOSTS: u64 = 1;
    /// A listed prefix or a zone touches the network.
    pub const NETS: u64 = 2;

    /// Word and bit position of the network of `address`.
    #[inline(always)]
    #[must_use]
    pub const fn position(address: u32) -> (u32, u32) {
        (address >> 13, (address >> 8 & 31) * 2)
    }

    /// Word and bit of the /16 of `address`.
    #[inline(always)]
    #[must_use]
    pub const fn area(address: u32) -> (u32, u32) {
        (NETWORK_WORDS + (address >> 22), address >> 16 & 63)
    }
}

/// The bitmap filter of IPv6.
pub mod filter6 {
    /// Words of 64 bits.
    pub const WORDS: u32 = 1 << 17;
    /// Length under which the prefixes of a trie and of zones are entered.
    pub const TRIE_LENGTH: u8 = 32;
    /// Shorter prefixes are entered as all their /32, down to this length.
    pub const TRIE_LENGTH_MIN: u8 = 20;

    /// Word and bit of a hash.
    #[inline(always)]
    #[must_use]
    pub const fn position(hash: u64) -> (u32, u32) {
        ((hash >> 6) as u32 & (WORDS - 1), hash as u32 & 63)
    }
}

/// Hash of an IPv6 prefix and its length; `hi` and `lo` are masked to that length. The high bits pick
/// the bucket, the low ones the filter bit. Multiply and xor-shift with a secret seed: attackers choose
/// their addresses, but not where they fall.
#[inline(always)]
#[must_use]
pub const fn hash6(hi: u64, lo: u64, length: u8, seed: u64) -> u64 {
    let mut x = (hi ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 32;
    x = (x ^ lo ^ (length as u64) << 56).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^= x >> 32;
    x = x.wrapping_mul(seed | 1);
    x ^ x >> 29
}

/// Number of the bucket of a hash.
#[inline(always)]
#[must_use]
pub const fn bucket6(hash: u64, shift: u32) -> u32 {
    (hash >> ((64 - shift) & 63)) as u32
}

/// Masks an IPv6 address to `length` bits.
#[inline(always)]
#[must_use]
pub const fn mask6(hi: u64, lo: u64, length: u8) -> (u64, u64) {
    match length {
        0 => (0, 0),
        1..=63 => (hi & !(u64::MAX >> length), 0),
        64 => (hi, 0),
        65..=127 => (hi, lo & !(u64::MAX >> (length - 64))),
        _ => (hi, lo),
    }
}

/// The IPv6 lengths that have exact entries, with their [`crate::abi::present`] bits.
pub const EXACT6: [(u8, u16); 4] = [
    (128, crate::abi::present::HOST128),
    (64, crate::abi::present::NET64),
    (56, crate::abi::present::NET56),
    (48, crate::abi::present::NET48),
];

#[cfg(test)]
mod tests;
