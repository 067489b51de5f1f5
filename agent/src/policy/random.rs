//! Pseudo-random prefixes for the property tests: the same on every run, and dense enough to nest.

use std::net::IpAddr;

use ipnet::IpNet;

/// Marsaglia's xorshift64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0..bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = self.below(u64::try_from(from.len()).unwrap());
        from[usize::try_from(index).unwrap()]
    }

    /// One of few addresses, in both families: collisions are what the tests are about.
    pub(crate) fn address(&mut self) -> IpAddr {
        let bits = self.next();
        if bits & 1 == 0 {
            let [a, b, ..] = bits.to_be_bytes();
            return IpAddr::from([10, a & 1, b & 0x81, self.pick(&[0, 1, 2, 127, 128, 255])]);
        }
        let subnet = self.pick(&[0_u16, 0x40, 0x100, 0x8000]);
        let host = self.pick(&[0_u16, 1, 2, 0xff00]);
        IpAddr::from([
            0x2001,
            0xdb8,
            self.pick(&[0_u16, 1]),
            subnet,
            self.pick(&[0_u16, 0x8000]),
            0,
            0,
            host,
        ])
    }

    /// A canonical prefix around such an address.
    pub(crate) fn prefix(&mut self) -> IpNet {
        let address = self.address();
        let lengths: &[u8] = match address {
            IpAddr::V4(_) => &[0, 8, 15, 16, 17, 20, 23, 24, 24, 25, 26, 30, 31, 32, 32, 32],
            IpAddr::V6(_) => &[
                0, 19, 32, 47, 48, 48, 49, 56, 58, 64, 64, 65, 72, 112, 127, 128, 128, 128,
            ],
        };
        IpNet::new(address, self.pick(lengths)).unwrap().trunc()
    }
}
