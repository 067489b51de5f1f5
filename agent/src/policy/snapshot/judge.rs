//! The judgement of a proxied request: the chain, what only a proxied request can be refused for, and
//! then the kernel's verdict about the client.

use std::{net::IpAddr, sync::LazyLock};

use edgeward_ebpf::{
    abi::{SCORE_BLOCKED_ZONE, SCORE_MAX, zone},
    verdict::{Entry, Outcome, Port, Source, Verdict, judge},
};

use super::{Snapshot, zones::ZonesNow};
use crate::{
    config::{Service, UnknownClient},
    policy::{
        chain::{Chain, ChainLimits, ClientReason, Forwarding, Role, Seen, Trust as _, walk_seen},
        classes::ClassOrigin,
        clock::Now,
        explain::{Action, Judged},
        mode::Mode,
        request::{Reason, RequestFacts, Ruling},
        suspects::{SignInFacts, Suspects},
    },
};

/// Rules of a request that belongs to no service.
static NO_SERVICE: LazyLock<Service> = LazyLock::new(Service::default);

impl Snapshot {
    /// Judges a proxied request: finds the client and asks the kernel's verdict about it.
    #[must_use]
    pub fn judge<'a, L>(
        &self,
        facts: &RequestFacts<'_>,
        forwarding: Forwarding<L>,
        now: Now,
    ) -> Ruling
    where
        L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        let chain = self.chain(facts, forwarding, now, |_| {});
        self.rule(chain, facts, now)
    }

    /// Whether what such a peer says of others is believed.
    #[must_use]
    pub fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        let now = Now::default();
        let zones = ZonesNow {
            zones: &self.zones,
            now,
        };
        zones.role(peer) == Role::TrustedProxy
    }

    /// Whether no reputation is ever given to an address: it is exempt, or a trusted proxy.
    #[must_use]
    pub fn is_spared(&self, address: IpAddr, now: Now) -> bool {
        self.zones.uses(address, now) & (zone::EXEMPT | zone::TRUSTED_PROXY) != 0
    }

    /// The name of what block mode would refuse an address for: a detection, a list, a feed, a zone.
    #[must_use]
    pub fn would_refuse(&self, address: IpAddr, now: Now) -> Option<String> {
        let mut client = Client {
            snapshot: self,
            address,
            uses: self.zones.uses(address, now),
            now,
        };
        let judgement = judge(self.policy, &mut client);
        let refused = judgement.outcome.verdict() == Verdict::Deny;
        refused.then(|| {
            let class = self.class(judgement.class);
            class.map_or_else(String::new, |(origin, name)| match origin {
                ClassOrigin::Detection => name.to_owned(),
                other => format!("{} \"{name}\"", other.name()),
            })
        })
    }

    /// The chain of a request, and each hop as it is read.
    pub(in crate::policy) fn chain<'a, L>(
        &self,
        facts: &RequestFacts<'_>,
        forwarding: Forwarding<L>,
        now: Now,
        seen: impl FnMut(Seen<'a>),
    ) -> Chain
    where
        L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        let service = self.service(facts.service);
        let limits = ChainLimits {
            hops_max: service.hops_max,
            bytes_max: service.header_bytes_max,
        };
        let trust = ZonesNow {
            zones: &self.zones,
            now,
        };
        walk_seen(facts.peer, forwarding, limits, &trust, seen)
    }

    /// Judges the client of a chain, in this order: blocked zones on every hop, exemption of the client,
    /// restricted origin of the peer, unknown client, and the kernel's verdict.
    pub(in crate::policy) fn rule(
        &self,
        chain: Chain,
        facts: &RequestFacts<'_>,
        now: Now,
    ) -> Ruling {
        let mut ruling = Ruling {
            chain,
            verdict: Judged::Pass,
            action: Action::Pass,
            reason: None,
            exempt: false,
            score: 0,
            class: 0,
        };
        if self.mode == Mode::Off {
            return ruling;
        }
        let client = ruling.chain.client;
        let uses = self.zones.uses(client, now);
        if let Some(entry) = self.blocked_hop(&ruling.chain, now) {
            ruling.class = entry.class;
            return self.deny(ruling, Reason::BlockedZone);
        }
        if uses & zone::EXEMPT != 0 {
            ruling.exempt = true;
            return ruling;
        }
        let service = self.service(facts.service);
        if service.restricted && !self.may_reach(service, facts, now) {
            return self.deny(ruling, Reason::RestrictedOrigin);
        }
        if ruling.chain.reason == ClientReason::Unknown
            && service.unknown_client == UnknownClient::Deny
        {
            return self.deny(ruling, Reason::ClientUnknown);
        }
        let judgement = judge(
            self.policy,
            &mut Client {
                snapshot: self,
                address: client,
                uses,
                now,
            },
        );
        if judgement.score <= SCORE_MAX {
            ruling.score = judgement.score;
        }
        ruling.class = judgement.class;
        match judgement.outcome.verdict() {
            // A trusted proxy that nobody stands behind: it has no reputation of its own.
            Verdict::Pass | Verdict::Defer => ruling,
            Verdict::Deny => {
                let reason = match judgement.outcome {
                    Outcome::BlockedZone => Reason::BlockedZone,
                    _ => Reason::Reputation,
                };
                self.deny(ruling, reason)
            }
            Verdict::Limit => {
                ruling.verdict = Judged::Limit;
                ruling.reason = Some(Reason::Reputation);
                if self.mode == Mode::Block {
                    ruling.action = Action::Limit;
                }
                ruling
            }
        }
    }

    /// The judgement of a sign-in with what is known of its user and user agent: a user at home is let through
    /// whatever detection holds against the network. What an operator, a list or a feed says stays.
    #[must_use]
    pub fn with_suspects(
        &self,
        mut ruling: Ruling,
        suspects: &Suspects,
        facts: &SignInFacts,
        now: Now,
    ) -> Ruling {
        let client = ruling.chain.client;
        let uses = self.zones.uses(client, now);
        if self.mode == Mode::Off || uses & (zone::EXEMPT | zone::TRUSTED_PROXY) != 0 {
            return ruling;
        }
        let detected = matches!(self.class(ruling.class), Some((ClassOrigin::Detection, _)));
        if ruling.reason == Some(Reason::Reputation)
            && detected
            && suspects.is_at_home(facts, client)
        {
            (ruling.verdict, ruling.action, ruling.reason) = (Judged::Pass, Action::Pass, None);
            return ruling;
        }
        match suspects.refuses(facts, client, self.policy.block(), now.wall_ms) {
            Some(suspect) if ruling.verdict != Judged::Deny => {
                ruling.score = ruling.score.max(suspect.score);
                self.deny(ruling, Reason::Reputation)
            }
            _ => ruling,
        }
    }

    fn deny(&self, mut ruling: Ruling, reason: Reason) -> Ruling {
        ruling.verdict = Judged::Deny;
        ruling.reason = Some(reason);
        if self.mode == Mode::Block {
            ruling.action = Action::Refuse;
        }
        ruling
    }

    /// The first hop, from the right, in a blocked zone that neither is a trusted proxy nor exempt.
    fn blocked_hop(&self, chain: &Chain, now: Now) -> Option<Entry> {
        if !self.blocks_zones {
            return None;
        }
        chain.addresses.iter().rev().find_map(|address| {
            let entry = self.entries.strongest(address, SCORE_BLOCKED_ZONE, now)?;
            let spared = zone::EXEMPT | zone::TRUSTED_PROXY;
            let blocked =
                entry.score == SCORE_BLOCKED_ZONE && self.zones.uses(address, now) & spared == 0;
            blocked.then_some(entry)
        })
    }

    /// Whether the peer, or anybody on this path, may reach a restricted service.
    fn may_reach(&self, service: &Service, facts: &RequestFacts<'_>, now: Now) -> bool {
        let welcome = zone::TRUSTED_PROXY | zone::ALLOWED_ORIGIN;
        self.zones.uses(facts.peer, now) & welcome != 0
            || service
                .restricted_except
                .iter()
                .any(|pattern| pattern.exempts(facts.path))
    }

    fn service(&self, index: usize) -> &Service {
        self.services.get(index).unwrap_or(&NO_SERVICE)
    }
}

/// The verdict's source of facts: a client behind proxies.
struct Client<'a> {
    snapshot: &'a Snapshot,
    address: IpAddr,
    uses: u32,
    now: Now,
}

impl Source for Client<'_> {
    fn zones(&mut self) -> u32 {
        self.uses
    }

    fn listed(&mut self, enough: u8) -> Option<Entry> {
        self.snapshot
            .entries
            .strongest(self.address, enough, self.now)
    }

    /// Origins are a matter of the peer, and requests are counted by [`super::super::limits`].
    fn port(&mut self) -> Port {
        Port::default()
    }

    fn over_limit(&mut self, _profile: u32) -> bool {
        false
    }
}
