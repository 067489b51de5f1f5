//! A proxied request and how it is judged: the kernel's verdict for the client behind the proxies.

use std::net::IpAddr;

use super::{
    chain::Chain,
    explain::{Action, Judged},
};

/// What is known of a request besides its forwarding header.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Index into [`Snapshot::services`](super::snapshot::Snapshot::services).
    pub service: usize,
    /// The other end of the (proxy's) connection.
    pub peer: IpAddr,
    /// Path without query, as received.
    pub path: &'a str,
    /// `User-Agent`, as received.
    pub user_agent: Option<&'a [u8]>,
}

/// Why a request is refused or slowed; the counter label, the event field and what `explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A blocked zone holds an address of the chain.
    BlockedZone,
    /// It reaches around the proxies of a restricted service.
    RestrictedOrigin,
    /// Reputation.
    Reputation,
    /// Over a rate limit.
    RateLimit,
    /// The client cannot be read and the service refuses such requests.
    ClientUnknown,
}

/// How a request is judged, before rate limits of requests.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// The chain with the client.
    pub chain: Chain,
    /// The judgement before the mode.
    pub verdict: Judged,
    /// What the mode makes of it: pass, refuse or limit.
    pub action: Action,
    /// Why, unless it passes.
    pub reason: Option<Reason>,
    /// The client is exempt: no rate limits, no events.
    pub exempt: bool,
    /// 1..=100, or 0 where no reputation was found.
    pub score: u8,
    /// Class of the entry found, see [`Snapshot::class`](super::snapshot::Snapshot::class).
    pub class: u8,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::BlockedZone,
        Self::RestrictedOrigin,
        Self::Reputation,
        Self::RateLimit,
        Self::ClientUnknown,
    ];

    /// Its place in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word of events, counters and `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockedZone => "blocked_zone",
            Self::RestrictedOrigin => "restricted_origin",
            Self::Reputation => "reputation",
            Self::RateLimit => "rate_limit",
            Self::ClientUnknown => "client_unknown",
        }
    }
}
