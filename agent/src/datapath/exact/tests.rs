//! The buckets against a plain map, in both families.
#![expect(clippy::cast_possible_truncation, reason = "tests")]

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use edgeward_ebpf::{
    abi::FOREVER,
    lookup::{EXACT6, Kind4, Meta},
};

use super::{Exact, Family, Put, V4, V6};

/// Xorshift: the same sequence in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn against_a_map<F: Family>(
    shift: u32,
    entries: usize,
    mut draw: impl FnMut(&mut Random) -> F::Key,
) {
    let seed = 0x0123_4567_89ab_cdef;
    let words = words(Exact::<F, Vec<AtomicU64>>::words_of(shift));
    let mut exact = Exact::<F, _>::begin(words, seed, shift);
    let mut model = BTreeMap::new();
    let mut random = Random(42);
    for round in 0..entries {
        let key = draw(&mut random);
        let meta = Meta::new(
            (random.next() % 100 + 1) as u8,
            random.next() as u8,
            FOREVER,
        );
        match exact.put(key, meta) {
            Put::Added => assert_eq!(model.insert(key, meta), None),
            Put::Changed => assert_ne!(model.insert(key, meta), Some(meta)),
            Put::Same => assert_eq!(model.get(&key), Some(&meta)),
            Put::Full => assert!(!model.contains_key(&key)),
        }
        if round % 3 == 0 {
            let key = draw(&mut random);
            assert_eq!(exact.remove(key), model.remove(&key).is_some());
        }
    }
    assert_eq!(exact.used(), model.len());
    for (key, meta) in &model {
        assert_eq!(exact.get(*key), Some(*meta));
    }
    for _ in 0..10_000 {
        let key = draw(&mut random);
        assert_eq!(exact.get(key), model.get(&key).copied());
    }
    let listed: BTreeMap<_, _> = exact.entries().map(|(key, meta, _)| (key, meta)).collect();
    assert_eq!(listed, model);
    let adopted = Exact::<F, _>::adopt(exact.words, seed, shift).unwrap();
    assert_eq!(adopted.used(), model.len());
    assert_eq!(adopted.shift(), shift);
}

#[test]
fn ipv4_agrees_with_a_map() {
    against_a_map::<V4>(16, 200_000, |random| {
        let bits = random.next();
        // A narrow range, so that removals and changes meet what is there.
        let address = (bits as u32) % 150_000 * 3;
        if bits >> 63 == 0 {
            (address, Kind4::Host)
        } else {
            (address & !0xff, Kind4::Net24)
        }
    });
}

#[test]
fn ipv6_agrees_with_a_map() {
    against_a_map::<V6>(12, 20_000, |random| {
        let bits = random.next();
        let length = EXACT6[(bits >> 60) as usize % EXACT6.len()].0;
        let address = u128::from(bits % 5_000) << 80 | u128::from(bits % 7);
        (address & u128::MAX << (128 - length), length)
    });
}

#[test]
fn a_full_bucket_says_so_and_names_its_weakest() {
    let words = words(Exact::<V6, Vec<AtomicU64>>::words_of(6));
    let mut exact = Exact::<V6, _>::begin(words, 7, 6);
    let mut full = None;
    for address in 1..1_000u128 {
        let score = (address % 90) as u8 + 10;
        if exact.put((address, 128), Meta::new(score, 1, FOREVER)) == Put::Full {
            full = Some(address);
            break;
        }
    }
    let (weakest, meta) = exact.weakest_beside((full.unwrap(), 128)).unwrap();
    assert!(exact.remove(weakest));
    assert_eq!(exact.put((full.unwrap(), 128), meta), Put::Added);
}

#[test]
fn an_array_of_another_size_is_not_adopted() {
    let words = words(Exact::<V4, Vec<AtomicU64>>::words_of(16));
    assert!(Exact::<V4, _>::adopt(words, 1, 17).is_none());
}

#[test]
fn hits_of_neighbours_stay_apart_and_end_at_what_a_counter_holds() {
    let words = words(Exact::<V4, Vec<AtomicU64>>::words_of(16));
    let mut exact = Exact::<V4, _>::begin(words, 7, 16);
    // Enough that many buckets have neighbours in both halves of a word.
    let keys: Vec<_> = (0..100_000).map(|address| (address, Kind4::Host)).collect();
    let meta = Meta::new(50, 1, FOREVER);
    let added: Vec<_> = keys
        .into_iter()
        .filter(|key| exact.put(*key, meta) == Put::Added)
        .collect();
    for (count, key) in (1..).zip(&added) {
        exact.add_hits(*key, count);
    }
    for (count, key) in (1..).zip(&added) {
        assert_eq!(exact.hits(*key), Some(count));
    }
    exact.add_hits(added[0], u64::MAX);
    assert_eq!(exact.hits(added[0]), Some(u64::from(u32::MAX)));
    assert_eq!(exact.hits(added[1]), Some(2));
    assert!(exact.remove(added[0]));
    assert_eq!(exact.put(added[0], meta), Put::Added);
    assert_eq!(
        exact.hits(added[0]),
        Some(0),
        "a new entry counts from nothing"
    );
}
