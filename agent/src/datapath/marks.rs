//! The filters in front of the look-ups: two bits for each IPv4 /24 and one for each /16, hashed bits for IPv6.
//!
//! A bit that is set too much costs a look-up; a bit that is missing would let a listed source through.
//! So bits are set before what they announce is removed from anywhere else, and cleared last.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use edgeward_ebpf::lookup::{Kind4, filter6, hash6, mask6, table4};
use ipnet::IpNet;

use super::exact::halves;

/// Marks an exact IPv4 entry.
pub(super) fn exact4(words: &[AtomicU64], (address, kind): (u32, Kind4)) {
    let bits = match kind {
        Kind4::Host => table4::HOSTS,
        Kind4::Net24 => table4::NETS,
    };
    let (word, shift) = table4::position(address);
    set(words, word, bits << shift);
    if kind == Kind4::Net24 {
        areas(words, address, address);
    }
}

/// Marks an exact IPv6 entry.
pub(super) fn exact6(words: &[AtomicU64], (address, length): (u128, u8), seed: u64) {
    let (hi, lo) = halves(address);
    hashed(words, hash6(hi, lo, length, seed));
}

/// Marks a prefix of a trie, of listed prefixes or of zones. Says whether an IPv6 prefix is too short
/// for the filter, so that the program must ask the trie for every packet.
pub(super) fn prefix(table: &[AtomicU64], filter: &[AtomicU64], net: IpNet, seed: u64) -> bool {
    match net {
        IpNet::V4(net) => {
            let first = u32::from(net.network());
            let last = u32::from(net.broadcast());
            networks(table, first, last);
            areas(table, first, last);
            false
        }
        IpNet::V6(net) => {
            let length = net.prefix_len();
            if length < filter6::TRIE_LENGTH_MIN {
                return true;
            }
            let (hi, _) = halves(u128::from(net.network()));
            let (hi, _) = mask6(hi, 0, length.min(filter6::TRIE_LENGTH));
            let count = 1u64 << filter6::TRIE_LENGTH.saturating_sub(length);
            for index in 0..count {
                let hi = hi + (index << (64 - u32::from(filter6::TRIE_LENGTH)));
                hashed(filter, hash6(hi, 0, filter6::TRIE_LENGTH, seed));
            }
            false
        }
    }
}

/// Adds the bits of `wanted` to `live`.
pub(super) fn widen(live: &[AtomicU64], wanted: &[AtomicU64]) {
    for (live, wanted) in live.iter().zip(wanted) {
        let wanted = wanted.load(Relaxed);
        if live.load(Relaxed) & wanted != wanted {
            live.fetch_or(wanted, Relaxed);
        }
    }
}

/// Makes `live` equal to `wanted`, touching only words that differ.
pub(super) fn narrow(live: &[AtomicU64], wanted: &[AtomicU64]) {
    for (live, wanted) in live.iter().zip(wanted) {
        let wanted = wanted.load(Relaxed);
        if live.load(Relaxed) != wanted {
            live.store(wanted, Relaxed);
        }
    }
}

/// Zeroed words.
pub(super) fn blank(count: u32) -> Vec<AtomicU64> {
    std::iter::repeat_with(AtomicU64::default)
        .take(count as usize)
        .collect()
}

/// Marks every /24 from `first` to `last`, a word of 32 networks at a time.
fn networks(words: &[AtomicU64], first: u32, last: u32) {
    let (first_word, first_bit) = table4::position(first);
    let (last_word, last_bit) = table4::position(last);
    for word in first_word..=last_word {
        let mut bits = NETS_EVERYWHERE;
        if word == first_word {
            bits &= u64::MAX << first_bit;
        }
        if word == last_word {
            bits &= u64::MAX >> (62 - last_bit);
        }
        set(words, word, bits);
    }
}

/// Marks every /16 from `first` to `last`.
fn areas(words: &[AtomicU64], first: u32, last: u32) {
    for area in first >> 16..=last >> 16 {
        let (word, bit) = table4::area(area << 16);
        set(words, word, 1 << bit);
    }
}

fn hashed(words: &[AtomicU64], hash: u64) {
    let (word, bit) = filter6::position(hash);
    set(words, word, 1 << bit);
}

fn set(words: &[AtomicU64], word: u32, bits: u64) {
    if let Some(word) = words.get(word as usize) {
        word.fetch_or(bits, Relaxed);
    }
}

/// [`table4::NETS`] of all 32 networks of a word.
const NETS_EVERYWHERE: u64 = 0xaaaa_aaaa_aaaa_aaaa;

#[cfg(test)]
mod tests {

    use std::sync::atomic::Ordering::Relaxed;

    use edgeward_ebpf::lookup::{Kind4, table4};

    use super::{blank, exact4, prefix};

    #[test]
    fn a_prefix_marks_its_networks_and_no_other() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/19",
            "10.1.32.0/20",
            "192.0.2.0/25",
            "203.0.113.7/32",
            "255.255.254.0/23",
        ] {
            let net: ipnet::Ipv4Net = text.parse().unwrap();
            let table = blank(table4::WORDS);
            assert!(!prefix(&table, &[], net.into(), 0));
            for third in (0..1u32 << 24).step_by(if net.prefix_len() < 12 { 97 } else { 1 }) {
                let address = third << 8;
                let (word, bit) = table4::position(address);
                let marked = table[word as usize].load(Relaxed) >> bit & 3;
                let first = u32::from(net.network()) >> 8;
                let last = u32::from(net.broadcast()) >> 8;
                let wanted = if (first..=last).contains(&third) {
                    table4::NETS
                } else {
                    0
                };
                assert_eq!(marked, wanted, "{text} {third:x}");
            }
        }
    }

    #[test]
    fn an_area_is_marked_where_one_of_its_networks_is() {
        let table = blank(table4::WORDS);
        let mut number = 7_u32;
        for round in 0..64 {
            number = number.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
            match round % 4 {
                // Neither hosts nor what is only near.
                0 => exact4(&table, (number, Kind4::Host)),
                1 => exact4(&table, (number & !0xff, Kind4::Net24)),
                _ => {
                    let length = u8::try_from(8 + number % 25).unwrap();
                    let net = ipnet::Ipv4Net::new(number.rotate_left(7).into(), length).unwrap();
                    assert!(!prefix(&table, &[], net.trunc().into(), 0));
                }
            }
        }
        let (networks, areas) = table.split_at(table4::NETWORK_WORDS as usize);
        let mut marked = 0;
        for (index, area) in networks.chunks_exact(8).enumerate() {
            let touched = area
                .iter()
                .any(|word| word.load(Relaxed) & super::NETS_EVERYWHERE != 0);
            let (word, bit) = table4::area(u32::try_from(index << 16).unwrap());
            let word = word as usize - networks.len();
            assert_eq!(
                areas[word].load(Relaxed) >> bit & 1 != 0,
                touched,
                "{index:x}"
            );
            marked += usize::from(touched);
        }
        assert!((64..65_000).contains(&marked), "{marked} areas say little");
    }
}
