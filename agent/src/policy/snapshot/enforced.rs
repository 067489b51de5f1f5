//! What is enforced, for whoever enforces it elsewhere and knows nothing of zones: what is exempt or a proxy is carved
//! out of every prefix.

use edgeward_ebpf::{
    abi::{SCORE_BLOCKED_ZONE, zone},
    lookup::Meta,
};
use ipnet::IpNet;

use super::Snapshot;
use crate::policy::{clock::Now, mode::Mode};

/// One prefix that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Enforced {
    /// No address of it is exempt or a trusted proxy.
    pub prefix: IpNet,
    /// Its class ([`Snapshot::class`]).
    pub class: u8,
    /// Tick at which it ends.
    pub expires: u32,
}

/// Pieces that one prefix is carved into; a prefix that would need more is left out.
const PIECES_MAX: usize = 4_096;

impl Snapshot {
    /// Everything that is refused now, by rising prefix, and how many entries had to be left out since too much of them
    /// is exempt. Nothing unless the mode is block.
    #[must_use]
    pub fn enforced(&self, now: Now) -> (Vec<Enforced>, u64) {
        if self.mode != Mode::Block {
            return (Vec::new(), 0);
        }
        let spared = self.zones.spared(now);
        let refused = |meta: &Meta| {
            let score = meta.score();
            now.is_live(meta.expires())
                && (score == SCORE_BLOCKED_ZONE || score >= self.policy.block())
        };
        let (mut out, mut left_out) = (Vec::new(), 0_u64);
        let mut pieces = Vec::new();
        for (prefix, meta) in self.entries.iter().filter(|(_, meta)| refused(meta)) {
            pieces.clear();
            if !carve(prefix, &spared, &mut pieces) {
                left_out = left_out.saturating_add(1);
                continue;
            }
            out.extend(pieces.iter().map(|piece| Enforced {
                prefix: *piece,
                class: meta.class(),
                expires: meta.expires(),
            }));
        }
        // Of a prefix that several pieces came to be, the one that lasts.
        out.sort_unstable_by_key(|one| (one.prefix, std::cmp::Reverse(one.expires), one.class));
        out.dedup_by_key(|one| one.prefix);
        (out, left_out)
    }
}

/// Those among [`Snapshot::enforced`] that cover a network or lie in it.
#[must_use]
pub fn enforced_about(all: &[Enforced], network: &IpNet) -> Vec<Enforced> {
    let covering = crate::policy::zone::covers(network)
        .skip(1)
        .filter_map(|cover| {
            let at = all.binary_search_by_key(&cover, |one| one.prefix).ok()?;
            all.get(at).copied()
        });
    let first = all.partition_point(|one| one.prefix < *network);
    let within = all
        .iter()
        .skip(first)
        .take_while(|one| network.contains(&one.prefix));
    covering.chain(within.copied()).collect()
}

impl super::zones::Zones {
    /// Every prefix that is exempt now or a trusted proxy, sorted.
    fn spared(&self, now: Now) -> Vec<IpNet> {
        let mut out: Vec<IpNet> = self
            .iter()
            .filter(|(_, value)| {
                let exempt = value.uses & zone::EXEMPT != 0 && now.is_live(value.exempt_until);
                exempt || value.uses & zone::TRUSTED_PROXY != 0
            })
            .map(|(prefix, _)| prefix)
            .collect();
        out.sort_unstable();
        out
    }
}

/// The parts of `prefix` that nothing in `spared` touches; false if they are too many.
fn carve(prefix: IpNet, spared: &[IpNet], pieces: &mut Vec<IpNet>) -> bool {
    if crate::policy::zone::covers(&prefix).any(|cover| spared.binary_search(&cover).is_ok()) {
        return true;
    }
    let first = spared.partition_point(|one| *one < prefix);
    let within = spared.get(first).is_some_and(|one| prefix.contains(one));
    if !within {
        pieces.push(prefix);
        return pieces.len() <= PIECES_MAX;
    }
    let Ok(halves) = prefix.subnets(prefix.prefix_len().saturating_add(1)) else {
        return true;
    };
    halves.into_iter().all(|half| carve(half, spared, pieces))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::random::Random;

    #[test]
    fn what_is_carved_is_the_rest_and_nothing_else() {
        let mut random = Random::new(611);
        let mut carved = 0;
        for _ in 0..500 {
            let mut spared: Vec<IpNet> = (0..random.below(6)).map(|_| random.prefix()).collect();
            spared.sort_unstable();
            let prefix = random.prefix();
            let mut pieces = Vec::new();
            assert!(carve(prefix, &spared, &mut pieces));
            carved += u32::from(pieces.len() > 1);
            for _ in 0..50 {
                let address = random.address();
                let wanted =
                    prefix.contains(&address) && !spared.iter().any(|one| one.contains(&address));
                let found = pieces
                    .iter()
                    .filter(|piece| piece.contains(&address))
                    .count();
                assert_eq!(found, usize::from(wanted), "{address} {prefix} {spared:?}");
            }
        }
        assert!(carved > 20, "{carved}");
    }
}
