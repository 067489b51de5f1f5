//! Ids of events: UUIDs of version 7 (RFC 9562), which sort by time and, within a millisecond, by the order of making.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Makes ids.
#[derive(Debug)]
pub struct Ids {
    seed: u64,
    made: AtomicU64,
}

impl Ids {
    /// Ids of two makers differ if their seeds do.
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            made: AtomicU64::new(0),
        }
    }

    /// The next id, for an event of `now_ms` (milliseconds since the Unix epoch).
    pub(crate) fn next(&self, now_ms: u64) -> String {
        let made = self.made.fetch_add(1, Relaxed).wrapping_add(1);
        let random =
            mixed(self.seed ^ made.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ now_ms.rotate_left(32));
        let order = made & 0xfff;
        let (high, low) = (now_ms >> 16 & 0xffff_ffff, now_ms & 0xffff);
        let (variant, rest) = (random >> 48 & 0x3fff | 0x8000, random & 0xffff_ffff_ffff);
        format!("{high:08x}-{low:04x}-7{order:03x}-{variant:04x}-{rest:012x}")
    }
}

/// The time within an id, milliseconds since the Unix epoch; none if it is no UUID of version 7.
pub(crate) fn time_of(id: &str) -> Option<u64> {
    let is_uuid = id.len() == 36
        && id.char_indices().all(|(at, character)| match at {
            8 | 13 | 18 | 23 => character == '-',
            _ => character.is_ascii_hexdigit(),
        });
    if !is_uuid || id.as_bytes().get(14) != Some(&b'7') {
        return None;
    }
    let high = u64::from_str_radix(id.get(..8)?, 16).ok()?;
    let low = u64::from_str_radix(id.get(9..13)?, 16).ok()?;
    Some(high << 16 | low)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mixed(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_sort_by_time_and_tell_it() {
        let ids = Ids::new(7);
        let now = 1_795_348_800_123;
        let made: Vec<String> = (0..5_000)
            .map(|index| ids.next(now + index / 1_000))
            .collect();
        let distinct: std::collections::BTreeSet<&String> = made.iter().collect();
        assert_eq!(distinct.len(), made.len());
        assert_eq!(time_of(&made[0]), Some(now));
        assert_eq!(time_of(&made[4_999]), Some(now + 4));
        assert!(made[999] < made[1_000]);
        assert_eq!(time_of("1.2.3.4"), None);
        assert_eq!(time_of("00000000-0000-4000-8000-000000000000"), None);
    }
}
