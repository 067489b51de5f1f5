//! The arithmetic of places: bijections, round trips, masks against a slow answer, and spread.

use super::{
    BUCKET4_BYTES, BUCKET6_BYTES, Bucket4, Bucket6, ELEMENT_BYTES, EXACT6, Kind4, Meta, OCCUPIED4,
    SHIFT4_MAX, SHIFT4_MIN, SHIFT6_MAX, SHIFT6_MIN, bucket6, filter6, hash6, length_of, mask6,
    mix4, place4, slot4, table4, unmix4, unplace4,
};
use crate::abi::{FOREVER, SCORE_BLOCKED_ZONE};
use std::{collections::HashSet, vec, vec::Vec};

const SEEDS: [u64; 6] = [
    0,
    1,
    u64::MAX,
    0x0123_4567_89ab_cdef,
    0xffff_ffff_0000_0000,
    0x9e37_79b9_7f4a_7c15,
];

/// Marsaglia's xorshift64: the same numbers on every run.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn addresses(count: usize) -> Vec<u32> {
    let mut state = 0x00ed_9e3a_4d00_u64;
    let edges = [0, 1, u32::MAX, 0x7fff_ffff, 0x8000_0000, 0xc000_0201];
    let drawn = (0..count).map(|_| (random(&mut state) >> 32) as u32);
    edges.into_iter().chain(drawn).collect()
}

#[test]
fn the_mix_has_an_inverse() {
    for seed in SEEDS {
        for address in addresses(50_000) {
            assert_eq!(unmix4(mix4(address, seed), seed), address, "seed {seed:#x}");
            assert_eq!(mix4(unmix4(address, seed), seed), address, "seed {seed:#x}");
        }
    }
}

#[test]
fn every_place_leads_back_to_its_address() {
    for seed in SEEDS {
        for shift in SHIFT4_MIN..=SHIFT4_MAX {
            for address in addresses(1_000) {
                for kind in [Kind4::Host, Kind4::Net24] {
                    let place = place4(address, kind, seed, shift);
                    assert!(place.bucket < 1 << shift, "{place:?} shift {shift}");
                    assert!(place.tag < 1 << 18, "{place:?} shift {shift}");
                    assert!(
                        place.tag & OCCUPIED4 != 0,
                        "or it would match an empty slot"
                    );
                    let slot = slot4(place, Meta::new(80, 7, FOREVER));
                    assert_eq!(
                        slot >> 46,
                        u64::from(place.tag),
                        "the program compares these"
                    );
                    assert_eq!(Meta::of(slot), Meta::new(80, 7, FOREVER));
                    assert_eq!(unplace4(place.bucket, slot, seed, shift), (address, kind));
                }
            }
        }
    }
}

#[test]
fn an_entry_keeps_its_parts_apart() {
    for score in [1, 40, 100, SCORE_BLOCKED_ZONE] {
        for class in [0, 1, 6, 255] {
            for expires in [0, 1, FOREVER - 1, FOREVER] {
                let meta = Meta::new(score, class, expires);
                assert_eq!(
                    (meta.score(), meta.class(), meta.expires()),
                    (score, class, expires)
                );
                for length in [0, 1, 32, 64, 128] {
                    let word = meta.with_length(length);
                    assert_eq!((Meta::of(word), length_of(word)), (meta, length));
                    assert_ne!(word, 0, "0 is an empty slot");
                }
            }
        }
    }
}

/// Sequential addresses are what a scanner's network looks like: they must not crowd one bucket.
#[test]
fn neighbours_spread_over_the_buckets() {
    for seed in SEEDS {
        let shift = SHIFT4_MIN;
        for stride in [1_u32, 256, 65_536] {
            let mut load = vec![0_u32; 1 << shift];
            for index in 0..1 << 16 {
                let address = 0x0a00_0000_u32.wrapping_add(stride.wrapping_mul(index));
                load[place4(address, Kind4::Host, seed, shift).bucket as usize] += 1;
            }
            let fullest = load.iter().max().unwrap();
            // One a bucket on average; 12 or more at random have a chance below one in ten thousand.
            assert!(
                *fullest < 12,
                "{fullest} in one bucket, seed {seed:#x}, stride {stride}"
            );
        }
    }
}

#[test]
fn ipv6_hashes_spread_and_tell_lengths_apart() {
    // Seed 0 is excluded: the agent draws its seed from the system, and 0 switches the last step off.
    for seed in SEEDS.into_iter().filter(|seed| *seed != 0) {
        let mut hashes = HashSet::new();
        let mut load = vec![0_u32; 1 << 12];
        for index in 0..1_u64 << 13 {
            for (length, _) in EXACT6 {
                let (hi, lo) = mask6(0x2001_0db8_0000_0000 | index << 16, index, length);
                let hash = hash6(hi, lo, length, seed);
                assert!(hashes.insert(hash), "{length} {index} seed {seed:#x}");
                load[bucket6(hash, 12) as usize] += 1;
            }
        }
        let fullest = load.iter().max().unwrap();
        // Eight a bucket on average.
        assert!(*fullest < 32, "{fullest} in one bucket, seed {seed:#x}");
    }
    assert_ne!(hash6(1, 0, 64, 7), hash6(1, 0, 64, 8), "the seed counts");
}

#[test]
fn ipv6_buckets_stay_in_their_array() {
    let mut state = 5;
    for shift in SHIFT6_MIN..=SHIFT6_MAX {
        for hash in [0, u64::MAX, random(&mut state), random(&mut state)] {
            assert!(bucket6(hash, shift) < 1 << shift, "{hash:#x} {shift}");
        }
    }
}

#[test]
fn masks_are_those_of_a_slow_answer() {
    let (hi, lo) = (0xfedc_ba98_7654_3211, 0x0f1e_2d3c_4b5a_6979);
    let whole = u128::from(hi) << 64 | u128::from(lo);
    for length in 0..=128_u8 {
        let mut kept = 0;
        for bit in 0..u32::from(length) {
            kept |= whole & 1 << (127 - bit);
        }
        let expected = ((kept >> 64) as u64, kept as u64);
        assert_eq!(mask6(hi, lo, length), expected, "/{length}");
    }
}

#[test]
fn table_positions_are_one_to_each_network() {
    let mut seen = HashSet::new();
    for network in (0..1_u32 << 24).step_by(4_099).chain([0, 1, (1 << 24) - 1]) {
        let (word, bit) = table4::position(network << 8);
        assert_eq!(
            table4::position(network << 8 | 0xff),
            (word, bit),
            "host bits do not count"
        );
        assert!(word < table4::NETWORK_WORDS && bit <= 62 && bit.is_multiple_of(2));
        assert_eq!(word * 32 + bit / 2, network);
        let (area, area_bit) = table4::area(network << 8);
        assert!((table4::NETWORK_WORDS..table4::WORDS).contains(&area) && area_bit <= 63);
        assert_eq!((area - table4::NETWORK_WORDS) * 64 + area_bit, network >> 8);
        seen.insert((word, bit));
    }
    assert_eq!(seen.len(), (1_usize << 24).div_ceil(4_099) + 2);
}

#[test]
fn filter_positions_stay_in_the_bitmap_and_use_all_of_it() {
    let mut state = 11;
    let (mut low, mut high, mut bits) = (u32::MAX, 0, 0_u64);
    for _ in 0..100_000 {
        let (word, bit) = filter6::position(random(&mut state));
        assert!(word < filter6::WORDS && bit < 64);
        low = low.min(word);
        high = high.max(word);
        bits |= 1 << bit;
    }
    assert!(
        low < filter6::WORDS / 100 && high > filter6::WORDS / 100 * 99,
        "{low}..{high}"
    );
    assert_eq!(bits, u64::MAX);
}

#[test]
fn buckets_are_whole_cache_lines() {
    assert_eq!((size_of::<Bucket4>(), BUCKET4_BYTES), (64, 64));
    assert_eq!(size_of::<Bucket6>(), BUCKET6_BYTES);
    assert_eq!(BUCKET6_BYTES % 64, 0);
    assert_eq!(ELEMENT_BYTES, 2 * BUCKET4_BYTES);
    assert_eq!(ELEMENT_BYTES, BUCKET6_BYTES);
}
