//! Why a proxied request is let in or refused: the gate's own judgement, with every hop of the chain and
//! every question of the verdict written down.
//!
//! The verdict is the snapshot's. This file looks up the names behind it.

use std::net::IpAddr;

use edgeward_ebpf::verdict::judge;
use ipnet::IpNet;

use super::{
    asked::{Asked, NO, YES, step},
    chain::{Chain, ClientReason, Fate, Forwarding, Seen, Unreadable},
    classes::ClassOrigin,
    clock::Now,
    explain::{Explanation, Facts, Judged, Step, evidence, feed, list, listing_zone},
    mode::Mode,
    request::{Described, Reason, RequestFacts, Ruling},
    snapshot::Snapshot,
    zone::ZoneMatch,
};
use crate::config::{Config, Header, Service, UnknownClient, Uses};

/// A request whose chain has been walked, on its way to its explanation.
#[derive(Clone, Debug)]
pub struct Walked<'a> {
    asked: Described<'a>,
    ruling: Ruling,
    hops: Vec<Seen<'a>>,
    header: Header,
}

impl<'a> Walked<'a> {
    /// Walks the chain and judges, exactly as the gate does.
    #[must_use]
    pub fn new(snapshot: &Snapshot, asked: Described<'a>, now: Now) -> Self {
        let service = asked.service.and_then(|index| snapshot.services.get(index));
        let header = service.map(|service| service.header).unwrap_or_default();
        let facts = RequestFacts {
            service: asked.service.unwrap_or(usize::MAX),
            peer: asked.peer,
            path: asked.path,
            user_agent: None,
            sign_in: None,
        };
        let lines: Vec<&'a [u8]> = asked
            .headers
            .iter()
            .filter(|line| line.is(header.name()))
            .map(|line| line.value().as_bytes())
            .collect();
        let mut hops = Vec::new();
        let forwarding = Forwarding::Lines(header, lines.into_iter());
        let chain = snapshot.chain(&facts, forwarding, now, |seen| hops.push(seen));
        Self {
            ruling: snapshot.rule(chain, &facts, now),
            asked,
            hops,
            header,
        }
    }

    /// The chain: decisions about its addresses belong to the facts of the explanation.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.ruling.chain
    }

    /// The judgement.
    #[must_use]
    pub const fn ruling(&self) -> &Ruling {
        &self.ruling
    }
}

/// Explains a walked request. The decisions among the facts are those that cover an address of the chain.
#[must_use]
pub fn explain_request(facts: &Facts<'_>, walked: &Walked<'_>) -> Explanation {
    let (asked, ruling) = (&walked.asked, &walked.ruling);
    let service = asked.service.and_then(|index| facts.services.get(index));
    let mut client = Asked::new(facts, ruling.chain.client, None);
    let told = Told {
        facts,
        walked,
        service,
    };
    let mut steps = told.chain();
    let blocked = told.blocked_hop();
    let mut zone = None;
    if facts.mode == Mode::Off {
        steps.push(step("mode", "off", "nothing is evaluated".to_owned()));
    } else {
        // Asks for the entry, as the gate has done.
        let _ = judge(facts.policy(), &mut client);
        let decided = told.decided();
        zone = match decided {
            Decided::BlockedZone => blocked.as_ref().map(|(_, found)| found.zone.clone()),
            Decided::Exempt => client.zone(Uses::EXEMPT).map(|found| found.zone.clone()),
            Decided::TrustedProxy => client
                .zone(Uses::TRUSTED_PROXY)
                .map(|found| found.zone.clone()),
            _ => None,
        };
        let all = [
            told.blocked_step(blocked.as_ref()),
            client.exempt_step(),
            told.origin_step(),
            told.unknown_step(),
            client.zone_step("trusted proxy", Uses::TRUSTED_PROXY),
            client.reputation_step(),
            told.rate_step(),
        ];
        steps.extend(all.into_iter().take(decided as usize));
    }
    let found = client
        .found
        .filter(|_| ruling.score > 0 && ruling.reason != Some(Reason::BlockedZone));
    Explanation {
        client: ruling.chain.client,
        client_reason: ruling.chain.reason,
        peer: ruling.chain.addresses.iter().next_back(),
        chain: Some(ruling.chain.addresses.iter().collect()),
        service: service.map(|service| service.name.clone()),
        port: asked.port,
        verdict: ruling.verdict,
        action: ruling.action,
        reason: ruling.reason.map(|reason| reason.name().to_owned()),
        mode: facts.mode,
        score: found.map(|found| found.score),
        prefix: found
            .map(|found| found.prefix)
            .or_else(|| blocked_prefix(ruling, blocked.as_ref())),
        zone: zone.or_else(|| found.and_then(listing_zone)),
        list: found.and_then(list),
        feed: found.and_then(feed),
        origin: match ruling.reason {
            Some(Reason::BlockedZone) => Some(ClassOrigin::BlockedZone.name().to_owned()),
            _ => found.map(|found| found.by.origin().name().to_owned()),
        },
        detail: found.and_then(|found| found.by.reason()).map(str::to_owned),
        evidence: found.and_then(evidence),
        expires: found.and_then(|found| found.by.expires()),
        zones: client.matches,
        steps,
    }
}

/// The service that a request is asked about: the named one, the port's, the only one, the first.
///
/// # Errors
/// A sentence, if a service is named that is not there.
pub fn service_of(
    snapshot: &Snapshot,
    name: Option<&str>,
    port: Option<u16>,
) -> Result<Option<usize>, String> {
    match (name, port) {
        (Some(name), _) => match snapshot.service_named(name) {
            Some(index) => Ok(Some(index)),
            None => Err(format!("there is no service \"{name}\"")),
        },
        (None, Some(port)) => Ok(snapshot.service_at(port)),
        (None, None) => Ok((!snapshot.services.is_empty()).then_some(0)),
    }
}

/// Explains from the configuration alone: no daemon, no decisions, the mode of a first start.
///
/// # Errors
/// A sentence, if a service is named that is not there.
pub fn offline(
    config: &Config,
    asked: Described<'_>,
    service: Option<&str>,
) -> Result<serde_json::Value, String> {
    let now = Now::default();
    let snapshot = Snapshot::of_config(config, now);
    let service = service_of(&snapshot, service, asked.port)?;
    let walked = Walked::new(&snapshot, Described { service, ..asked }, now);
    let facts = Facts::new(config, config.mode, &[], now);
    // Every field is a word, a number or a list of them: there is nothing that JSON cannot hold.
    Ok(serde_json::to_value(explain_request(&facts, &walked)).unwrap_or_default())
}

fn blocked_prefix(ruling: &Ruling, blocked: Option<&(IpAddr, ZoneMatch)>) -> Option<IpNet> {
    let (_, found) = blocked?;
    (ruling.reason == Some(Reason::BlockedZone)).then_some(found.prefix)
}

/// Which question decided; its number is how many were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    BlockedZone = 1,
    Exempt,
    RestrictedOrigin,
    ClientUnknown,
    TrustedProxy,
    Reputation,
    RateLimit,
}

/// What is told, with what it is told from.
struct Told<'a> {
    facts: &'a Facts<'a>,
    walked: &'a Walked<'a>,
    service: Option<&'a Service>,
}

impl Told<'_> {
    fn decided(&self) -> Decided {
        let ruling = &self.walked.ruling;
        let trusted = matches!(
            ruling.chain.reason,
            ClientReason::AllTrusted | ClientReason::NoHeader | ClientReason::Unknown
        );
        match ruling.reason {
            Some(Reason::BlockedZone) => Decided::BlockedZone,
            Some(Reason::RestrictedOrigin) => Decided::RestrictedOrigin,
            Some(Reason::ClientUnknown) => Decided::ClientUnknown,
            _ if ruling.exempt => Decided::Exempt,
            _ if trusted => Decided::TrustedProxy,
            Some(Reason::Reputation) if ruling.verdict == Judged::Deny => Decided::Reputation,
            _ => Decided::RateLimit,
        }
    }

    /// The steps that find the client.
    fn chain(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let header = self.walked.header.name();
        let mut hops = self.walked.hops.iter();
        if let Some(peer) = hops.next() {
            steps.push(self.peer_step(peer));
        }
        let mut hops = hops.peekable();
        if hops.peek().is_none() && self.walked.ruling.chain.reason == ClientReason::NoHeader {
            steps.push(step(
                header,
                NO,
                "the proxy names nobody: it is judged itself".to_owned(),
            ));
        }
        for (number, hop) in (1..).zip(hops) {
            steps.push(self.hop_step(number, hop));
        }
        if self.walked.ruling.chain.cut {
            let service = self.service.cloned().unwrap_or_default();
            let detail = format!(
                "only the last {} hops and {} bytes are read",
                service.hops_max, service.header_bytes_max
            );
            steps.push(step("limits", "cut", detail));
        }
        let mut named: Vec<&str> = Vec::new();
        for line in self.walked.asked.headers {
            let known = named.iter().any(|name| line.is(name));
            if !line.is(header) && !known {
                named.push(line.name());
                let detail = match self.service {
                    Some(service) => format!("service \"{}\" reads {header}", service.name),
                    None => format!("no service: {header} is read"),
                };
                steps.push(step(&format!("header {}", line.name()), "ignored", detail));
            }
        }
        steps
    }

    fn peer_step(&self, peer: &Seen<'_>) -> Step {
        let Ok(address) = peer.read else {
            return step("peer", NO, String::new());
        };
        let header = self.walked.header.name();
        if peer.fate == Fate::PeerTrusted {
            let found = self.zone(Uses::TRUSTED_PROXY, address);
            return step(
                "peer",
                "trusted proxy",
                format!("{address} in {found}: its {header} is read"),
            );
        }
        let has_header = self.walked.asked.headers.iter().any(|line| line.is(header));
        let ignored = if has_header {
            format!(", and {header} is ignored")
        } else {
            String::new()
        };
        if self.is_in(Uses::GATEWAY, address) {
            let found = self.zone(Uses::GATEWAY, address);
            let detail = format!("{address} in {found}: it is the client{ignored}");
            return step("peer", "gateway", detail);
        }
        step(
            "peer",
            "not a trusted proxy",
            format!("{address} is the client{ignored}"),
        )
    }

    /// One hop of the header, counted from the right.
    fn hop_step(&self, number: u32, hop: &Seen<'_>) -> Step {
        let check = format!("hop {number}");
        let text = shown(hop.text);
        let address = match hop.read {
            Ok(address) if address.to_string() == text => text,
            Ok(address) => format!("{address} (`{text}`)"),
            Err(why) => return unreadable_step(&check, &text, why, hop.fate),
        };
        let zone = |role| match hop.read {
            Ok(address) => self.zone(role, address),
            Err(_) => String::new(),
        };
        let (result, detail) = match hop.fate {
            Fate::Skipped => {
                let found = zone(Uses::TRUSTED_PROXY);
                (
                    "skipped",
                    format!("{address} is a trusted proxy in {found}"),
                )
            }
            Fate::Gateway => {
                let found = zone(Uses::GATEWAY);
                let detail =
                    format!("{address} is a gateway in {found}: what it forwards is ignored");
                ("client", detail)
            }
            Fate::Beyond => (
                "not walked",
                format!(
                    "{address} is left of where the walk ended: it says nothing about the client"
                ),
            ),
            Fate::Client | Fate::Stopped | Fate::PeerJudged | Fate::PeerTrusted => {
                ("client", format!("{address} is not a trusted proxy"))
            }
        };
        step(&check, result, detail)
    }

    /// The first hop from the right that a blocked zone refuses.
    fn blocked_hop(&self) -> Option<(IpAddr, ZoneMatch)> {
        let chain = &self.walked.ruling.chain;
        chain.addresses.iter().rev().find_map(|address| {
            let hop = Asked::new(self.facts, address, None);
            let spared = hop.is_exempt() || hop.zone(Uses::TRUSTED_PROXY).is_some();
            let found = hop.zone(Uses::BLOCKED).filter(|_| !spared)?;
            Some((address, found.clone()))
        })
    }

    fn blocked_step(&self, blocked: Option<&(IpAddr, ZoneMatch)>) -> Step {
        let check = "blocked zone";
        match blocked {
            Some((address, found)) => step(
                check,
                YES,
                format!("{address} in \"{}\" {}", found.zone, found.prefix),
            ),
            None => step(
                check,
                NO,
                "no address of the chain, proxies and exempt ones aside".to_owned(),
            ),
        }
    }

    fn origin_step(&self) -> Step {
        let check = "restricted service";
        let peer = self.walked.asked.peer;
        let Some(service) = self.service else {
            return step(check, NO, "it belongs to no service".to_owned());
        };
        let name = &service.name;
        if !service.restricted {
            return step(check, NO, format!("\"{name}\" is open to all"));
        }
        for role in [Uses::TRUSTED_PROXY, Uses::ALLOWED_ORIGIN] {
            if self.is_in(role, peer) {
                let detail = format!("the peer is a {role} in {}", self.zone(role, peer));
                return step(check, NO, detail.replace("a allowed", "an allowed"));
            }
        }
        let path = self.walked.asked.path;
        let exempting = service
            .restricted_except
            .iter()
            .find(|pattern| pattern.exempts(path));
        match exempting {
            Some(pattern) => step(check, NO, format!("anybody may reach {pattern}")),
            None => step(
                check,
                YES,
                format!("\"{name}\" takes trusted proxies and allowed origins only"),
            ),
        }
    }

    fn unknown_step(&self) -> Step {
        let check = "unknown client";
        let refuses = self
            .service
            .is_some_and(|service| service.unknown_client == UnknownClient::Deny);
        match (self.walked.ruling.chain.reason, refuses) {
            (ClientReason::Unknown, true) => step(
                check,
                YES,
                "the service refuses requests whose client cannot be read".to_owned(),
            ),
            (ClientReason::Unknown, false) => step(
                check,
                YES,
                "judged by the nearest hop that can be read".to_owned(),
            ),
            _ => step(check, NO, String::new()),
        }
    }

    fn rate_step(&self) -> Step {
        let mut limits: Vec<&str> = Vec::new();
        if self.walked.ruling.verdict == Judged::Limit {
            limits.push("that of limited reputation");
        }
        if let Some(service) = self.service {
            limits.extend(service.limits.iter().map(|limit| limit.name.as_str()));
        }
        if limits.is_empty() {
            return step("rate limit", NO, "no limit applies".to_owned());
        }
        let detail = format!(
            "limits: {}; its rate is not evaluated here",
            limits.join(", ")
        );
        step("rate limit", "not evaluated", detail)
    }

    fn is_in(&self, role: Uses, address: IpAddr) -> bool {
        Asked::new(self.facts, address, None).zone(role).is_some()
    }

    /// `"name" prefix` of the zone that holds an address.
    fn zone(&self, role: Uses, address: IpAddr) -> String {
        let asked = Asked::new(self.facts, address, None);
        asked.zone(role).map_or_else(String::new, |found| {
            format!("\"{}\" {}", found.zone, found.prefix)
        })
    }
}

fn unreadable_step(check: &str, text: &str, why: Unreadable, fate: Fate) -> Step {
    if fate == Fate::Beyond {
        let detail = format!("`{text}` {why}, left of where the walk ended");
        return step(check, "not walked", detail);
    }
    let detail = format!("`{text}` {why}: the client is unknown");
    step(check, "unreadable", detail)
}

/// What a hop says, safe to print and not too long.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out: String = text.escape_debug().take(SHOWN_CHARS_MAX).collect();
    if text.escape_debug().nth(SHOWN_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

const SHOWN_CHARS_MAX: usize = 60;

#[cfg(test)]
#[path = "explain_request_tests.rs"]
mod tests;
