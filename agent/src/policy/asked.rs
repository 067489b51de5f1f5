//! The verdict's source of facts in userspace, and what it was asked, in words.

use std::{net::IpAddr, time::Duration};

use edgeward_ebpf::{
    abi::{profile, zone as bits},
    verdict::{Entry, Outcome, Port, Source},
};

use super::{
    clock::Now,
    decision::{Decision, Kind, Origin},
    explain::{Facts, Step},
    prefix::host_network,
    standing::{By, Found, strongest},
    zone::{ZoneMatch, matches},
};
use crate::config::{Service, Thresholds, Uses, duration};

/// The verdict's source of facts in userspace; remembers what it answered.
pub(super) struct Asked<'a> {
    facts: &'a Facts<'a>,
    address: IpAddr,
    port: Option<u16>,
    /// Every zone that holds the address, by use.
    pub(super) matches: Vec<ZoneMatch>,
    /// The exempt decision that covers the address and ends last.
    exempt: Option<&'a Decision>,
    /// The entry found, once the verdict has asked for one.
    pub(super) found: Option<Found<'a>>,
    profile: Option<u32>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, address: IpAddr, port: Option<u16>) -> Self {
        let host = host_network(address);
        let until = |decision: &&Decision| facts.now.expiry_tick(decision.expires);
        let exempt = facts
            .decisions
            .iter()
            .copied()
            .filter(|decision| decision.kind == Kind::Exempt && decision.prefix.contains(&host))
            .filter(|decision| facts.now.is_live(until(decision)))
            .max_by_key(until);
        let matches = matches(facts.zones, address);
        Self {
            facts,
            address,
            port,
            matches,
            exempt,
            found: None,
            profile: None,
        }
    }

    /// Whether an exempt zone or decision holds the address.
    pub(super) fn is_exempt(&self) -> bool {
        self.exempt.is_some() || self.zone(Uses::EXEMPT).is_some()
    }

    pub(super) fn zone(&self, role: Uses) -> Option<&ZoneMatch> {
        let names = role.names();
        self.matches
            .iter()
            .find(|found| names.contains(&found.role.as_str()))
    }

    fn service(&self) -> Option<&'a Service> {
        let port = self.port?;
        self.facts
            .services
            .iter()
            .find(|service| service.ports.contains(&port))
    }
}

impl Source for Asked<'_> {
    fn zones(&mut self) -> u32 {
        let uses = Uses::NAMED
            .iter()
            .filter(|(_, role)| self.zone(*role).is_some())
            .fold(0, |uses, (_, role)| uses | u32::from(role.bits()));
        if self.exempt.is_some() {
            uses | bits::EXEMPT
        } else {
            uses
        }
    }

    fn listed(&mut self, enough: u8) -> Option<Entry> {
        let facts = self.facts;
        self.found = strongest(
            self.address,
            facts.zones,
            facts.lists,
            facts.decisions,
            enough,
            facts.now,
        );
        self.found.map(|found| Entry {
            score: found.score,
            class: 0,
        })
    }

    fn port(&mut self) -> Port {
        let service = self.service();
        Port {
            restricted: service.is_some_and(|service| service.restricted),
            protected: service.is_some(),
        }
    }

    fn over_limit(&mut self, profile: u32) -> bool {
        self.profile = Some(profile);
        false
    }
}

/// What was asked, in words.
impl Asked<'_> {
    /// The steps up to the one that decided.
    pub(super) fn steps(&self, outcome: Outcome) -> Vec<Step> {
        let asked = match outcome {
            Outcome::Exempt => 1,
            Outcome::Defer => 2,
            Outcome::BlockedZone => 3,
            Outcome::RestrictedOrigin => 4,
            Outcome::Reputation => 5,
            Outcome::Pass | Outcome::Limited | Outcome::RateLimit => 6,
        };
        let all = [
            self.exempt_step(),
            self.zone_step("trusted proxy", Uses::TRUSTED_PROXY),
            self.zone_step("blocked zone", Uses::BLOCKED),
            self.origin_step(),
            self.reputation_step(),
            self.rate_step(),
        ];
        all.into_iter().take(asked).collect()
    }

    pub(super) fn exempt_step(&self) -> Step {
        let step = self.zone_step("exempt zone", Uses::EXEMPT);
        match self.exempt {
            Some(decision) if step.result == NO => {
                let detail = format!(
                    "decision of {} for {}{}{}",
                    decision.origin,
                    decision.prefix,
                    quoted(&decision.reason),
                    ending(decision.expires, self.facts.now)
                );
                Step {
                    check: "exempt decision".to_owned(),
                    detail,
                    result: YES.to_owned(),
                }
            }
            _ => step,
        }
    }

    pub(super) fn zone_step(&self, check: &str, role: Uses) -> Step {
        match self.zone(role) {
            Some(found) => step(check, YES, format!("\"{}\" {}", found.zone, found.prefix)),
            None => step(check, NO, String::new()),
        }
    }

    fn origin_step(&self) -> Step {
        let check = "restricted service";
        if let Some(found) = self.zone(Uses::ALLOWED_ORIGIN) {
            return step(
                check,
                NO,
                format!("allowed origin \"{}\" {}", found.zone, found.prefix),
            );
        }
        match (self.port, self.service()) {
            (Some(port), Some(service)) if service.restricted => step(
                check,
                YES,
                format!(
                    "\"{}\" on port {port} takes trusted proxies and allowed origins only",
                    service.name
                ),
            ),
            (Some(port), Some(service)) => step(
                check,
                NO,
                format!("\"{}\" on port {port} is open to all", service.name),
            ),
            (Some(port), None) => step(check, NO, format!("port {port} belongs to no service")),
            (None, _) => self.unreachable_step(check),
        }
    }

    /// Without a port: which services would turn the address away.
    fn unreachable_step(&self, check: &str) -> Step {
        let restricted: Vec<String> = self
            .facts
            .services
            .iter()
            .filter(|service| service.restricted)
            .map(|service| {
                let ports: Vec<String> = service.ports.iter().map(u16::to_string).collect();
                format!("\"{}\" (port {})", service.name, ports.join(", "))
            })
            .collect();
        if restricted.is_empty() {
            return step(check, NO, "no service is restricted".to_owned());
        }
        let detail = format!(
            "no port given; neither a trusted proxy nor an allowed origin, it could not reach {}",
            restricted.join(", ")
        );
        step(check, "not asked", detail)
    }

    pub(super) fn reputation_step(&self) -> Step {
        let Thresholds { block, limit } = self.facts.thresholds;
        let Some(found) = self.found else {
            return step("reputation", NO, "not listed".to_owned());
        };
        let result = match found.score {
            score if score >= block => format!("score {score}, refused from {block} on"),
            score if score >= limit => format!("score {score}, limited from {limit} on"),
            score => format!("score {score}, below {limit}"),
        };
        let who = match found.by {
            By::Zone(zone) => format!("zone \"{}\"", zone.name),
            By::List(list) => format!("list \"{}\"", list.name),
            By::Decision(decision) if decision.origin == Origin::Feed => {
                format!("feed \"{}\"", decision.actor)
            }
            By::Decision(decision) => format!("decision of {}", decision.origin),
        };
        let reason = found.by.reason().map(quoted).unwrap_or_default();
        let evidence = match found.by {
            By::Decision(decision) if !decision.evidence.is_empty() => {
                format!(" ({})", decision.evidence)
            }
            _ => String::new(),
        };
        let detail = format!(
            "{who} for {}{reason}{evidence}{}",
            found.prefix,
            ending(found.by.expires(), self.facts.now)
        );
        Step {
            check: "reputation".to_owned(),
            result,
            detail,
        }
    }

    fn rate_step(&self) -> Step {
        let detail = match (self.profile, self.port) {
            (Some(profile), _) if profile & profile::LIMITED != 0 => {
                "held to the tighter limits; its rate is not evaluated here"
            }
            (Some(_), _) => "held to the limits of a service; its rate is not evaluated here",
            (None, None) => "no port given; the limits of services are not evaluated here",
            (None, Some(_)) => "no limit applies: the port belongs to no service",
        };
        let result = if self.profile.is_some() || self.port.is_none() {
            "not evaluated"
        } else {
            NO
        };
        step("rate limit", result, detail.to_owned())
    }
}

pub(super) fn step(check: &str, result: &str, detail: String) -> Step {
    Step {
        check: check.to_owned(),
        result: result.to_owned(),
        detail,
    }
}

fn quoted(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(", \"{reason}\"")
    }
}

/// How long something lasts, to the second: a person asks how much longer, not until which date.
fn ending(expires: Option<u64>, now: Now) -> String {
    let Some(at) = expires else {
        return String::new();
    };
    let left = Duration::from_secs(at.saturating_sub(now.wall_ms) / 1_000);
    format!(", for another {}", duration::format(left))
}

pub(super) const YES: &str = "yes";
pub(super) const NO: &str = "no";
