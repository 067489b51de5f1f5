//! The addresses of a chain: a list that stays off the heap as long as chains are as short as they are.

use std::{fmt, net::IpAddr};

use serde::{Serialize, Serializer};

use super::super::prefix::canonical_address;

/// Addresses from left to right; last the peer.
#[derive(Clone)]
pub struct Hops {
    length: usize,
    /// From the right: first the peer.
    near: [IpAddr; NEAR],
    far: Vec<IpAddr>,
}

/// Hops, the peer among them, that need no memory of their own.
const NEAR: usize = 8;

impl Hops {
    pub(super) fn new(peer: IpAddr) -> Self {
        Self {
            length: 1,
            near: [canonical_address(peer); NEAR],
            far: Vec::new(),
        }
    }

    /// The next one to the left.
    pub(super) fn prepend(&mut self, address: IpAddr) {
        match self.near.get_mut(self.length) {
            Some(place) => *place = address,
            None => self.far.push(address),
        }
        self.length = self.length.saturating_add(1);
    }

    /// How many there are, the peer among them: at least one.
    #[expect(clippy::len_without_is_empty, reason = "the peer is always there")]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// From left to right.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = IpAddr> + '_ {
        let near = self.near.iter().take(self.length);
        self.far.iter().rev().chain(near.rev()).copied()
    }
}

impl PartialEq for Hops {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Hops {}

impl Serialize for Hops {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl fmt::Debug for Hops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_header_however_long_it_is() {
        let address = |index: u8| IpAddr::from([192, 0, 2, index]);
        let mut hops = Hops::new("::ffff:192.0.2.0".parse().unwrap());
        for length in 1..=64 {
            assert_eq!(hops.len(), usize::from(length));
            let expected: Vec<IpAddr> = (0..length).rev().map(address).collect();
            assert_eq!(hops.iter().collect::<Vec<_>>(), expected);
            assert!(hops.iter().rev().eq(expected.into_iter().rev()));
            hops.prepend(address(length));
        }
        assert_ne!(hops, Hops::new(address(0)));
    }
}
