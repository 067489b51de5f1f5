//! What one prefix should hold, and what one address has against it: `listing` seen from a single
//! point, by binary search instead of a sweep over everything.

use std::net::IpAddr;

use edgeward_ebpf::{abi::SCORE_BLOCKED_ZONE, lookup::Meta};
use ipnet::IpNet;

use super::{
    classes::{ClassOrigin, Classes},
    clock::Now,
    decision::{Decision, Kind, Origin},
    prefix::host_network,
    zone::{covers, deciding},
};
use crate::config::{List, Uses, Zone};

/// Who lists a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    /// A zone with the use `blocked`.
    Zone(&'a Zone),
    /// A list of the configuration.
    List(&'a List),
    /// A decision of the kind block.
    Decision(&'a Decision),
}

/// A live entry and who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The prefix under which it is listed.
    pub prefix: IpNet,
    /// 1..=100, or [`SCORE_BLOCKED_ZONE`].
    pub score: u8,
    /// Tick at which it ends.
    pub expires: u32,
    /// Who lists it.
    pub by: By<'a>,
}

impl<'a> By<'a> {
    /// The origin of its class.
    #[must_use]
    pub fn origin(self) -> ClassOrigin {
        match self {
            Self::Zone(_) => ClassOrigin::BlockedZone,
            Self::List(_) => ClassOrigin::List,
            Self::Decision(decision) => decision.origin.into(),
        }
    }

    /// The name of its class: the zone's, the list's, the feed's, the decision's reason.
    #[must_use]
    pub fn class_name(self) -> &'a str {
        match self {
            Self::Zone(zone) => &zone.name,
            Self::List(list) => &list.name,
            Self::Decision(decision) if decision.origin == Origin::Feed => &decision.actor,
            Self::Decision(decision) => &decision.reason,
        }
    }

    /// Why, in the words of whoever made it; `None` for a zone, whose name says it.
    #[must_use]
    pub fn reason(self) -> Option<&'a str> {
        match self {
            Self::Zone(_) => None,
            Self::List(list) => Some(&list.reason),
            Self::Decision(decision) => Some(&decision.reason),
        }
    }

    /// Milliseconds since the epoch; `None` is never.
    #[must_use]
    pub fn expires(self) -> Option<u64> {
        match self {
            Self::Zone(_) | Self::List(_) => None,
            Self::Decision(decision) => decision.expires,
        }
    }

    fn score(self) -> u8 {
        match self {
            Self::Zone(_) => SCORE_BLOCKED_ZONE,
            Self::List(list) => list.score,
            Self::Decision(decision) => decision.score,
        }
    }

    /// As an entry for `prefix`; `None` once it has expired.
    fn entry(self, prefix: IpNet, now: Now) -> Option<Found<'a>> {
        let expires = now.expiry_tick(self.expires());
        now.is_live(expires).then(|| Found {
            prefix,
            score: self.score(),
            expires,
            by: self,
        })
    }
}

/// What the kernel should hold for `prefix` (canonical) now; `None` for nothing.
///
/// `decisions` are those for this prefix; others, and exemptions, are passed over. The answer is what
/// [`Desired::build`](super::listing::Desired::build) would hold under it.
pub fn effective(
    prefix: IpNet,
    zones: &[Zone],
    lists: &[List],
    decisions: &[&Decision],
    classes: &mut Classes,
    now: Now,
) -> Option<Meta> {
    let listing_zone = zones
        .iter()
        .find(|zone| zone.uses.contains(Uses::BLOCKED) && zone.networks.lists(&prefix))
        .and_then(|zone| By::Zone(zone).entry(prefix, now));
    let found = listing_zone.or_else(|| reputation(prefix, lists, decisions, now))?;
    // The verdict asks for blocked zones before reputation, but the kernel's search ends at the first
    // entry that is enough: an entry inside a blocked zone must say so itself.
    let found = match deciding(zones, Uses::BLOCKED, &prefix) {
        Some((zone, _)) => By::Zone(zone).entry(prefix, now)?,
        None => found,
    };
    let class = classes.intern(found.by.origin(), found.by.class_name());
    Some(Meta::new(found.score, class, found.expires))
}

/// The live entry with the highest score that covers `address`; the search ends at the first one whose
/// score reaches `enough`.
///
/// A blocked zone (its longest prefix) always comes first, as in the verdict. The others are asked in
/// the kernel's order, so that both name the same entry: exact lengths, then the tries' from long to
/// short. `decisions` may be all there are or only those that cover the address.
#[must_use]
pub fn strongest<'a>(
    address: IpAddr,
    zones: &'a [Zone],
    lists: &'a [List],
    decisions: &[&'a Decision],
    enough: u8,
    now: Now,
) -> Option<Found<'a>> {
    let host = host_network(address);
    if let Some((zone, prefix)) = deciding(zones, Uses::BLOCKED, &host) {
        return By::Zone(zone).entry(prefix, now);
    }
    let near: Vec<&Decision> = decisions
        .iter()
        .copied()
        .filter(|decision| decision.prefix.contains(&host))
        .collect();
    let mut best: Option<Found<'a>> = None;
    let exact = covers(&host).filter(is_exact);
    for prefix in exact.chain(covers(&host).filter(|prefix| !is_exact(prefix))) {
        let Some(found) = reputation(prefix, lists, &near, now) else {
            continue;
        };
        if best.is_none_or(|best| best.score < found.score) {
            best = Some(found);
        }
        if found.score >= enough {
            break;
        }
    }
    best
}

/// Whether the kernel keeps this length by exact match rather than in a trie.
#[must_use]
pub fn is_exact(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(v4) => matches!(v4.prefix_len(), 32 | 24),
        IpNet::V6(v6) => matches!(v6.prefix_len(), 128 | 64 | 56 | 48),
    }
}

/// The strongest list or decision with exactly this prefix: score, then expiry, then origin.
fn reputation<'a>(
    prefix: IpNet,
    lists: &'a [List],
    decisions: &[&'a Decision],
    now: Now,
) -> Option<Found<'a>> {
    let lists = lists
        .iter()
        .filter(|list| list.networks.lists(&prefix))
        .map(By::List);
    let decisions = decisions
        .iter()
        .filter(|decision| decision.kind == Kind::Block && decision.prefix == prefix)
        .map(|decision| By::Decision(decision));
    let mut best: Option<Found<'a>> = None;
    for found in lists
        .chain(decisions)
        .filter_map(|by| by.entry(prefix, now))
    {
        if best.is_none_or(|best| stronger(&found, &best)) {
            best = Some(found);
        }
    }
    best
}

/// Whether `new` takes the place of `old`, which came before it.
fn stronger(new: &Found<'_>, old: &Found<'_>) -> bool {
    let key = |found: &Found<'_>| {
        (
            found.score,
            found.expires,
            std::cmp::Reverse(found.by.origin()),
        )
    };
    key(new) > key(old)
}
