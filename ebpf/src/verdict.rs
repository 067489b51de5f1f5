//! The verdict: one function for the kernel and for the agent.
//!
//! Order (product contract): exempt, trusted proxy, blocked zone, restricted origin, reputation against
//! the block and the limit threshold, rate limit, pass. The function asks a [`Source`] for facts and
//! asks each at most once; it does not know where they come from.

use crate::abi::{PolicyWord, SCORE_BLOCKED_ZONE, profile, zone};

/// What the verdict is about: one packet or request from one source.
pub trait Source {
    /// Uses of the zones that hold the source, bits of [`zone`].
    fn zones(&mut self) -> u32;
    /// The live entry with the highest score that covers the source; the search may stop at the first
    /// one whose score reaches `enough`.
    fn listed(&mut self, enough: u8) -> Option<Entry>;
    /// What the destination port belongs to.
    fn port(&mut self) -> Port;
    /// Counts this packet against the limits of `profile` and says whether they are exceeded.
    fn over_limit(&mut self, profile: u32) -> bool;
}

/// What decided about the source's reputation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1..=100, or [`SCORE_BLOCKED_ZONE`].
    pub score: u8,
    /// Class of the entry.
    pub class: u8,
}

/// Rules of the destination port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Only trusted proxies and allowed origins may reach it.
    pub restricted: bool,
    /// It belongs to a service: rate limits apply.
    pub protected: bool,
}

/// How a judgement ended: verdict and reason in one, since no other pairs exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Nothing against the source.
    Pass = 0,
    /// In an exempt zone.
    Exempt = 1,
    /// A trusted proxy: judged in userspace by the client behind it.
    Defer = 2,
    /// In a blocked zone.
    BlockedZone = 3,
    /// Reaches around the proxies of a restricted service.
    RestrictedOrigin = 4,
    /// Reputation at or above the block threshold.
    Reputation = 5,
    /// Reputation at or above the limit threshold, within the tighter limits.
    Limited = 6,
    /// Over its rate limit.
    RateLimit = 7,
}

/// What is to be done, before the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it on.
    Pass,
    /// Let it on; userspace judges the client behind it.
    Defer,
    /// Refuse it.
    Deny,
    /// Let it on within the tighter limits.
    Limit,
}

impl Outcome {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::Pass,
        Self::Exempt,
        Self::Defer,
        Self::BlockedZone,
        Self::RestrictedOrigin,
        Self::Reputation,
        Self::Limited,
        Self::RateLimit,
    ];

    /// Its verdict.
    #[inline(always)]
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Pass | Self::Exempt => Verdict::Pass,
            Self::Defer => Verdict::Defer,
            Self::Limited => Verdict::Limit,
            Self::BlockedZone | Self::RestrictedOrigin | Self::Reputation | Self::RateLimit => {
                Verdict::Deny
            }
        }
    }

    /// Its name as a counter label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Exempt => "exempt",
            Self::Defer => "trusted_proxy",
            Self::BlockedZone => "blocked_zone",
            Self::RestrictedOrigin => "restricted_origin",
            Self::Reputation => "reputation",
            Self::Limited => "limited",
            Self::RateLimit => "rate_limit",
        }
    }

    /// The reason as users see it: `None` where nothing is held against the source.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Pass | Self::Exempt | Self::Defer => None,
            Self::Limited => Some("reputation"),
            refused => Some(refused.name()),
        }
    }
}

/// An outcome with the entry behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The outcome.
    pub outcome: Outcome,
    /// Score of the entry found, 0 for none.
    pub score: u8,
    /// Class of the entry found, 0 for none.
    pub class: u8,
}

/// Judges one source.
#[inline(always)]
pub fn judge<S: Source>(policy: PolicyWord, source: &mut S) -> Judgement {
    let zones = source.zones();
    if zones & zone::EXEMPT != 0 {
        return bare(Outcome::Exempt);
    }
    if zones & zone::TRUSTED_PROXY != 0 {
        return bare(Outcome::Defer);
    }
    let entry = source.listed(policy.block());
    let (score, class) = match entry {
        Some(entry) => (entry.score, entry.class),
        None => (0, 0),
    };
    let with = |outcome| Judgement {
        outcome,
        score,
        class,
    };
    if score == SCORE_BLOCKED_ZONE {
        return with(Outcome::BlockedZone);
    }
    let port = source.port();
    if port.restricted && zones & zone::ALLOWED_ORIGIN == 0 {
        return with(Outcome::RestrictedOrigin);
    }
    if score >= policy.block() {
        return with(Outcome::Reputation);
    }
    let limited = score >= policy.limit();
    if port.protected || limited {
        let base = if limited {
            profile::LIMITED
        } else {
            profile::NORMAL
        };
        let attack = if policy.attack() { profile::ATTACK } else { 0 };
        if source.over_limit(base + attack) {
            return with(Outcome::RateLimit);
        }
    }
    with(if limited {
        Outcome::Limited
    } else {
        Outcome::Pass
    })
}

#[inline(always)]
const fn bare(outcome: Outcome) -> Judgement {
    Judgement {
        outcome,
        score: 0,
        class: 0,
    }
}

#[cfg(test)]
mod tests;
