//! Why an address is let in or refused: the kernel's own verdict, asked in userspace, with every step.
//!
//! The verdict is `edgeward_ebpf::verdict::judge`; this file answers its questions from configuration
//! and decisions and writes down what it asked. Whoever judges the client behind a proxy derives that
//! client first and then enters at [`explain_client`].

use std::net::IpAddr;

use edgeward_ebpf::{
    abi::{PolicyWord, SCORE_BLOCKED_ZONE, mode as word_mode},
    verdict::{Outcome, Verdict, judge},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    asked::{Asked, step},
    chain::ClientReason,
    clock::Now,
    decision::{Decision, Origin},
    mode::{Mode, Refusal},
    prefix::canonical_address,
    standing::{By, Found},
    zone::ZoneMatch,
};
use crate::config::{Config, List, Service, Thresholds, Uses, Zone};

/// Everything a verdict is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Zones of the configuration.
    pub zones: &'a [Zone],
    /// Lists of the configuration.
    pub lists: &'a [List],
    /// Services of the configuration.
    pub services: &'a [Service],
    /// Decisions of both kinds: all, or those whose prefix covers the address.
    pub decisions: &'a [&'a Decision],
    /// The mode in force, which may not be the configuration's.
    pub mode: Mode,
    /// How the kernel refuses.
    pub refusal: Refusal,
    /// Scores that refuse or slow.
    pub thresholds: Thresholds,
    /// The present.
    pub now: Now,
}

/// The address to be judged, and how it was found.
#[derive(Clone, Debug)]
pub struct Client {
    /// Any spelling; it is judged in its canonical form.
    pub address: IpAddr,
    /// How it was found.
    pub reason: ClientReason,
    /// Steps of the search for it; they come before those of the verdict.
    pub steps: Vec<Step>,
}

/// The judgement before the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// Nothing is held against it, or it is exempt.
    Pass,
    /// A trusted proxy: the client behind it is judged.
    Defer,
    /// To be refused.
    Deny,
    /// To be held to the tighter rate limits.
    Limit,
}

/// What the mode makes of the judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Let on.
    Pass,
    /// Dropped in the kernel.
    Drop,
    /// TCP is answered by a reset, the rest dropped.
    Reset,
    /// A proxied request is answered with a refusal.
    Refuse,
    /// Held to the tighter rate limits.
    Limit,
}

/// One question of the verdict and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was asked: `exempt zone`, `reputation`, …
    pub check: String,
    /// `yes`, `no`, `not asked`, or the answer in a word or two.
    pub result: String,
    /// What decided; empty where there is nothing to add.
    pub detail: String,
}

/// The answer. Fields without a value are `null` in JSON, so that scripts find each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The judged address, canonical.
    pub client: IpAddr,
    /// How it was found.
    pub client_reason: ClientReason,
    /// The other end of the connection, where a proxied request was asked about.
    #[serde(default)]
    pub peer: Option<IpAddr>,
    /// The chain as it was read, left to right, last the peer; likewise.
    #[serde(default)]
    pub chain: Option<Vec<IpAddr>>,
    /// The service whose rules held; likewise.
    #[serde(default)]
    pub service: Option<String>,
    /// The port it was judged for; without one, rules of ports are left out.
    pub port: Option<u16>,
    /// The judgement before the mode.
    pub verdict: Judged,
    /// What the mode makes of it.
    pub action: Action,
    /// Why, as events and counters name it.
    pub reason: Option<String>,
    /// The mode in force.
    pub mode: Mode,
    /// Score of the entry found, 1..=100; absent without one and for blocked zones.
    pub score: Option<u8>,
    /// The listed prefix that was found.
    pub prefix: Option<IpNet>,
    /// The zone that decided.
    pub zone: Option<String>,
    /// The list that the entry comes from.
    pub list: Option<String>,
    /// The feed that the entry comes from.
    #[serde(default)]
    pub feed: Option<String>,
    /// Who made the entry: `blocked_zone`, `list`, `operator`, `detection`, `feed`.
    pub origin: Option<String>,
    /// The reason of the decision or of the list.
    pub detail: Option<String>,
    /// What speaks for it, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// When the entry ends, milliseconds since the epoch.
    pub expires: Option<u64>,
    /// Every zone that holds the address, by use.
    pub zones: Vec<ZoneMatch>,
    /// Every question in the order of the verdict, up to the one that decided.
    pub steps: Vec<Step>,
}

impl<'a> Facts<'a> {
    /// Facts of a configuration, with the operator's mode and the decisions.
    #[must_use]
    pub fn new(config: &'a Config, mode: Mode, decisions: &'a [&'a Decision], now: Now) -> Self {
        Self {
            zones: &config.zones,
            lists: &config.lists,
            services: &config.services,
            decisions,
            mode,
            refusal: config.refusal,
            thresholds: config.reputation,
            now,
        }
    }

    /// The same with the thresholds of the policy word in force, which are lower under attack.
    #[must_use]
    pub const fn under(mut self, policy: PolicyWord) -> Self {
        self.thresholds = Thresholds {
            block: policy.block(),
            limit: policy.limit(),
        };
        self
    }

    pub(super) fn policy(&self) -> PolicyWord {
        let mode = match self.mode {
            Mode::Off => word_mode::OFF,
            Mode::Log => word_mode::LOG,
            Mode::Block => word_mode::BLOCK,
        };
        let reset = self.refusal == Refusal::Reset;
        PolicyWord::new(
            mode,
            self.thresholds.block,
            self.thresholds.limit,
            reset,
            false,
            false,
            0,
        )
    }
}

/// Explains what happens to a direct source. `port` is the destination.
#[must_use]
pub fn explain(facts: &Facts<'_>, address: IpAddr, port: Option<u16>) -> Explanation {
    explain_client(
        facts,
        Client {
            address,
            reason: ClientReason::Peer,
            steps: Vec::new(),
        },
        port,
    )
}

/// Explains what happens to a client that was found already.
#[must_use]
pub fn explain_client(facts: &Facts<'_>, client: Client, port: Option<u16>) -> Explanation {
    let address = canonical_address(client.address);
    let mut source = Asked::new(facts, address, port);
    let mut steps = client.steps;
    let outcome = if facts.mode == Mode::Off {
        steps.push(step("mode", "off", "nothing is evaluated".to_owned()));
        Outcome::Pass
    } else {
        let outcome = judge(facts.policy(), &mut source).outcome;
        steps.extend(source.steps(outcome));
        outcome
    };
    let found = source.found;
    let verdict = match outcome.verdict() {
        Verdict::Pass => Judged::Pass,
        Verdict::Defer => Judged::Defer,
        Verdict::Deny => Judged::Deny,
        Verdict::Limit => Judged::Limit,
    };
    let decided = match outcome {
        Outcome::Exempt => source.zone(Uses::EXEMPT).map(|found| found.zone.clone()),
        Outcome::Defer => source
            .zone(Uses::TRUSTED_PROXY)
            .map(|found| found.zone.clone()),
        _ => None,
    };
    Explanation {
        client: address,
        client_reason: client.reason,
        peer: None,
        chain: None,
        service: None,
        port,
        verdict,
        action: action(verdict, facts),
        reason: outcome.reason().map(str::to_owned),
        mode: facts.mode,
        score: found
            .map(|found| found.score)
            .filter(|score| *score != SCORE_BLOCKED_ZONE),
        prefix: found.map(|found| found.prefix),
        zone: decided.or_else(|| found.and_then(listing_zone)),
        list: found.and_then(list),
        feed: found.and_then(feed),
        origin: found.map(|found| found.by.origin().name().to_owned()),
        detail: found.and_then(|found| found.by.reason()).map(str::to_owned),
        evidence: found.and_then(evidence),
        expires: found.and_then(|found| found.by.expires()),
        zones: source.matches,
        steps,
    }
}

/// Explains from the configuration alone: no daemon, no decisions, the mode of a first start.
#[must_use]
pub fn offline(config: &Config, address: IpAddr, port: Option<u16>) -> serde_json::Value {
    let facts = Facts::new(config, config.mode, &[], Now::default());
    let explanation = explain(&facts, address, port);
    // Every field is a word, a number or a list of them: there is nothing that JSON cannot hold.
    serde_json::to_value(explanation).unwrap_or_default()
}

/// The feed that an entry comes from.
pub(super) fn feed(found: Found<'_>) -> Option<String> {
    match found.by {
        By::Decision(decision) if decision.origin == Origin::Feed => Some(decision.actor.clone()),
        By::Zone(_) | By::List(_) | By::Decision(_) => None,
    }
}

/// The blocked zone that an entry comes from.
pub(super) fn listing_zone(found: Found<'_>) -> Option<String> {
    match found.by {
        By::Zone(zone) => Some(zone.name.clone()),
        By::List(_) | By::Decision(_) => None,
    }
}

/// What speaks for an entry.
pub(super) fn evidence(found: Found<'_>) -> Option<String> {
    match found.by {
        By::Decision(decision) if !decision.evidence.is_empty() => Some(decision.evidence.clone()),
        By::Decision(_) | By::List(_) | By::Zone(_) => None,
    }
}

/// The list that an entry comes from.
pub(super) fn list(found: Found<'_>) -> Option<String> {
    match found.by {
        By::List(list) => Some(list.name.clone()),
        By::Zone(_) | By::Decision(_) => None,
    }
}

fn action(verdict: Judged, facts: &Facts<'_>) -> Action {
    match (facts.mode, verdict, facts.refusal) {
        (Mode::Off | Mode::Log, _, _) | (_, Judged::Pass | Judged::Defer, _) => Action::Pass,
        (Mode::Block, Judged::Limit, _) => Action::Limit,
        (Mode::Block, Judged::Deny, Refusal::Drop) => Action::Drop,
        (Mode::Block, Judged::Deny, Refusal::Reset) => Action::Reset,
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
