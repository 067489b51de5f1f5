//! What the keeper tells those who look at the set-up, and which tasks operators have dismissed.

use ipnet::IpNet;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    Keeper,
    commands::{Answer, data, unavailable},
};
use crate::{
    config::Scopes,
    control::{Failure, FailureKind, ReportKind, report::Verification},
    forwarders::Forwarders,
    health::{self, Told, Watched},
    journal::Log,
    policy::{
        decision::{Decision, Key, Kind, Origin},
        posture::{
            Dismissal, Dismissals, Facts, Feed, Interface, Journal, Overlap, Posture, Service,
            Stream, Table, Verified, Zone,
        },
    },
    stream::StreamHealth,
};

impl Keeper {
    /// From now on somebody looks at the set-up.
    pub(crate) fn command_health(&mut self, orders: health::Orders) {
        self.onlookers.health = Some(orders);
    }

    /// Who forwards requests, as the gate counts them.
    pub(crate) fn forwarders(&self) -> Forwarders {
        self.gate.forwarders().clone()
    }

    /// Hands a question over to those who may take their time.
    pub(super) fn ask_health(&self, order: health::Order) {
        if let Some(orders) = &self.onlookers.health {
            orders.give(order);
        }
    }

    pub(super) fn ask_report(
        &self,
        what: ReportKind,
        rows: usize,
        since_ms: u64,
        reply: oneshot::Sender<Answer>,
    ) {
        self.ask_health(health::Order::Report {
            what,
            since_ms,
            rows,
            reply,
        });
    }

    /// An operator says that a task is nothing to do, or takes that back.
    pub(super) fn dismiss(&mut self, task: &str, reason: Option<String>, actor: &str) -> Answer {
        if !Posture::knows(task) {
            let what = format!("there is no task \"{task}\"; `edgeward health --all` shows them");
            return Err(Failure::new(FailureKind::NotFound, what));
        }
        let mut dismissals = self.dismissals();
        let now = self.clock.now().wall_ms;
        let state = if reason.is_some() {
            "dismissed"
        } else {
            "restored"
        };
        match &reason {
            Some(reason) => {
                let dismissal = Dismissal {
                    reason: reason.clone(),
                    actor: actor.to_owned(),
                    at: now,
                };
                dismissals.insert(task.to_owned(), dismissal);
            }
            None => {
                if dismissals.remove(task).is_none() {
                    let what = format!("the task \"{task}\" is not dismissed");
                    return Err(Failure::new(FailureKind::Conflict, what));
                }
            }
        }
        let text = json!(dismissals).to_string();
        self.store
            .set_setting(SETTING, &text)
            .map_err(|error| unavailable(&error.into()))?;
        let detail = json!({ "task": task, "to": state, "why": reason });
        self.announce("system.posture.update", actor, detail);
        data(json!({ "task": task, "state": state }))
    }

    fn dismissals(&self) -> Dismissals {
        let text = match self.store.setting(SETTING) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                warn!(%error, "dismissed tasks cannot be read");
                String::new()
            }
        };
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Everything that the keeper knows; `asked` by an operator rather than by the clock.
    pub(super) fn tell_facts(&mut self, reply: oneshot::Sender<Told>, asked: bool) {
        self.verify_if_due(asked);
        match self.facts() {
            // Whoever asked may be gone.
            Ok(facts) => drop(reply.send(Told {
                facts,
                dismissals: self.dismissals(),
                certificates: self.served_certificates(),
                files: self.watched(),
                tokens: self.api_tokens(),
            })),
            Err(error) => warn!("the set-up cannot be looked at: {error:#}"),
        }
    }

    /// Compares with the kernel now and then, where that takes no time; where it would, `verify` of an operator counts.
    fn verify_if_due(&mut self, asked: bool) {
        let now = self.clock.now().wall_ms;
        let due = |(at, _): &(u64, Verification)| asked || now.saturating_sub(*at) > VERIFY_MS;
        let entries: u64 = self.tables().iter().map(|table| table.used).sum();
        if entries > VERIFY_ENTRIES_MAX || !self.onlookers.verified.as_ref().is_none_or(due) {
            return;
        }
        if let Err(error) = self.verify() {
            warn!("the kernel's tables cannot be compared: {error:#}");
        }
    }

    fn facts(&self) -> anyhow::Result<Facts> {
        let now = self.clock.now().wall_ms;
        let status = self.status()?;
        let exempt = status.packets.get("exempt").copied().unwrap_or_default();
        let services = &status.proxied.services;
        let exempt_requests: u64 = services.iter().map(|service| service.exempt).sum();
        let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
        Ok(Facts {
            now_ms: now,
            uptime_ms: status.uptime_ms,
            mode: Some(self.mode.mode),
            mode_since_ms: self.mode.since,
            zones: self.zones_looked_at(),
            exempt_seen: exempt.saturating_add(exempt_requests),
            overlaps: self.overlaps(),
            services: self.service_facts(),
            interfaces: status
                .interfaces
                .iter()
                .map(|interface| Interface {
                    name: interface.name.clone(),
                    attached: interface.attached.clone(),
                })
                .collect(),
            feeds: self.feed_facts(),
            streams: self.stream_facts(),
            journal: Journal {
                bytes: status.journal.get("bytes").copied().unwrap_or_default(),
                bytes_max: self.config.journal.bytes_max,
                oldest_ms: status.journal.get("oldest_ms").copied().unwrap_or_default(),
                retention_ms: self.config.journal.retention_ms,
                failing: self.feed.log().and_then(Log::failing),
            },
            tables: status
                .tables
                .iter()
                .map(|table| Table {
                    name: table.name.clone(),
                    used: table.used,
                    max: table.max,
                    displaced: table.displaced,
                })
                .collect(),
            verified: self.onlookers.verified.as_ref().map(|(_, found)| Verified {
                differences: found.differences_total,
                first: found.differences.first().cloned().unwrap_or_default(),
            }),
            requests: services
                .iter()
                .map(|service| sum(&service.passed) + sum(&service.refused) + service.exempt)
                .sum(),
            unknown_clients: services.iter().map(|service| service.unknown_clients).sum(),
            ..Facts::default()
        })
    }

    fn zones_looked_at(&self) -> Vec<Zone> {
        use crate::config::Uses;
        let zones = self.config.zones.iter().map(|zone| {
            let networks = zone.networks.iter().take(NETWORKS_MAX);
            // The share of all addresses of its family.
            let wide = |network: &IpNet| network.max_prefix_len() - network.prefix_len();
            Zone {
                name: zone.name.clone(),
                exempt: zone.uses.contains(Uses::EXEMPT),
                trusted_proxy: zone.uses.contains(Uses::TRUSTED_PROXY),
                widest: networks.max_by_key(wide),
            }
        });
        zones.collect()
    }

    /// Blocks of operators and detection that lie in an exempt zone: a look-up for each of its networks.
    fn overlaps(&self) -> Vec<Overlap> {
        let mut found = Vec::new();
        let zones = self.config.zones.iter();
        for zone in zones.filter(|zone| zone.uses.contains(crate::config::Uses::EXEMPT)) {
            for network in zone.networks.iter().take(NETWORKS_MAX) {
                let first = Key {
                    prefix: network,
                    kind: Kind::Block,
                    origin: Origin::Operator,
                };
                let within = self.decisions.range(first..).map(|(_, decision)| decision);
                let within = within
                    .take_while(|decision| network.contains(&decision.prefix))
                    .filter(|decision| decision.kind == Kind::Block);
                found.extend(
                    within
                        .take(OVERLAPS_MAX)
                        .map(|decision: &Decision| Overlap {
                            zone: zone.name.clone(),
                            prefix: decision.prefix,
                            reason: decision.reason.clone(),
                        }),
                );
                if found.len() >= OVERLAPS_MAX {
                    return found;
                }
            }
        }
        found
    }

    fn service_facts(&self) -> Vec<Service> {
        let services = self.config.services.iter().map(|service| Service {
            name: service.name.clone(),
            restricted: service.restricted,
            proxied: service.gateway.is_some()
                || service.observe
                || self
                    .config
                    .endpoints
                    .iter()
                    .any(|endpoint| endpoint.service == service.name),
            around: 0,
        });
        services.collect()
    }

    fn feed_facts(&self) -> Vec<Feed> {
        let states = self.feed_rows().feeds;
        let feeds = states.iter().zip(&self.config.feeds);
        let feeds = feeds.map(|(state, feed)| Feed {
            name: state.name.clone(),
            failing: state.error.is_some(),
            heard_ms: state.heard,
            every_ms: u64::try_from(feed.interval.as_millis()).unwrap_or(u64::MAX),
        });
        feeds.collect()
    }

    fn stream_facts(&self) -> Vec<Stream> {
        let streams = self.stream_rows().streams.into_iter();
        let streams = streams.map(|state| Stream {
            name: state.name,
            lag_ms: state.lag_ms,
            failing: matches!(state.health, StreamHealth::Failing | StreamHealth::Paused),
            off: state.health == StreamHealth::Off,
            error: state.error,
        });
        streams.collect()
    }

    fn served_certificates(&self) -> Vec<crate::config::Certificate> {
        let gateways = self.config.services.iter();
        let gateways = gateways.filter_map(|service| service.gateway.as_ref());
        let api = self.config.api.iter().filter_map(|api| api.tls.as_ref());
        gateways
            .flat_map(|gateway| &gateway.certificates)
            .chain(api)
            .cloned()
            .collect()
    }

    fn api_tokens(&self) -> Vec<(String, std::path::PathBuf, bool)> {
        let tokens = self.config.api.iter().flat_map(|api| &api.tokens);
        let tokens = tokens.map(|token| {
            let mut scopes = Scopes::NAMED.iter();
            let everything = scopes.all(|(_, scope)| token.scopes.allow(*scope));
            (token.name.clone(), token.secret_file.clone(), everything)
        });
        tokens.collect()
    }

    /// What nobody else should change, and what nobody else should read.
    fn watched(&self) -> Vec<Watched> {
        let watch = |path: &std::path::Path, forbidden| Watched {
            path: path.to_owned(),
            forbidden,
        };
        let mut files = vec![watch(&self.config.state_dir, ALL_OTHERS)];
        files.extend(self.config.path.as_deref().map(|path| watch(path, WRITE)));
        let feeds = self.config.feeds.iter();
        let keys = feeds.filter_map(|feed| feed.key.as_ref());
        files.extend(keys.map(|key| watch(&key.file, ALL_OTHERS)));
        let bouncers = self.config.lapi.iter().flat_map(|lapi| &lapi.bouncers);
        files.extend(bouncers.map(|bouncer| watch(&bouncer.key_file, ALL_OTHERS)));
        let tokens = self.config.api.iter().flat_map(|api| &api.tokens);
        files.extend(tokens.map(|token| watch(&token.secret_file, ALL_OTHERS)));
        let lapi = self.config.lapi.iter().map(|lapi| &lapi.listen);
        let metrics = self.config.metrics.iter().map(|metrics| &metrics.listen);
        let endpoints = self
            .config
            .endpoints
            .iter()
            .map(|endpoint| &endpoint.listen);
        for listen in endpoints.chain(lapi).chain(metrics) {
            if let crate::config::Listen::Unix(path, _) = listen {
                // Whoever may write to a socket may connect to it.
                files.push(watch(path, OTHERS_WRITE));
            }
        }
        files
    }
}

const SETTING: &str = "posture.dismissed";
/// Between two comparisons with the kernel that nobody asked for.
const VERIFY_MS: u64 = 600_000;
/// Entries that are compared without being asked: a few milliseconds.
const VERIFY_ENTRIES_MAX: u64 = 20_000;
/// Networks of a zone that are looked at.
const NETWORKS_MAX: usize = 1_000;
/// Attackers in exempt zones that are told.
const OVERLAPS_MAX: usize = 10;
/// Mode bits: anything for group and others, writing for either, writing for others.
const ALL_OTHERS: u32 = 0o077;
const WRITE: u32 = 0o022;
const OTHERS_WRITE: u32 = 0o002;
