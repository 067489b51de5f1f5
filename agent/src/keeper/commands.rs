//! What operators ask for. A change is first in force, then on disk, then answered.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Keeper, guard};
use crate::{
    control::{
        Command, Failure, FailureKind, Peer, ReportKind, Request,
        report::{Listed, Listing},
    },
    detection::Order,
    health,
    origins::SOURCES_MAX,
    policy::{
        decision::{Author, Decision, Kind, Origin, SCORE_MAX},
        explain::{Explanation, Facts, Judged, explain},
        explain_request::{self, Walked},
        mode::Mode,
        prefix::host_network,
        request::Described,
        zone::covers,
    },
    stream::What,
};

/// Rows of a report if the request does not say.
const REPORT_ROWS: usize = 100;
const REPORT_ROWS_MAX: usize = 100_000;
/// How far back a report looks if the request does not say, ms.
const REPORT_MS: u64 = 7 * 86_400_000;

/// The same for reports out of the System Log.
const MONTH_MS: u64 = 30 * 86_400_000;

fn actor(peer: Peer) -> String {
    format!("uid {}", peer.uid)
}

pub(super) type Answer = Result<Value, Failure>;

impl Keeper {
    /// Does one command and answers it.
    pub(crate) fn execute(&mut self, command: Command) {
        let Command {
            request,
            peer,
            token,
            ssh_peers,
            reply,
        } = command;
        let actor = match token {
            Some(token) => format!("token {token}"),
            None => actor(peer),
        };
        let request = match request {
            Request::Report {
                what: ReportKind::Impact,
                limit,
                since_ms,
            } => return self.ask_impact(limit, since_ms, reply),
            Request::Report {
                what: what @ (ReportKind::Proxies | ReportKind::Threats | ReportKind::Zones),
                limit,
                since_ms,
            } => {
                let rows = limit.unwrap_or(REPORT_ROWS).min(SOURCES_MAX);
                return self.ask_report(what, rows, since_ms.unwrap_or(MONTH_MS), reply);
            }
            Request::Health => return self.ask_health(health::Order::Look(reply)),
            Request::FeedRefresh { name, force } => return self.refresh_feed(name, force, reply),
            Request::StreamTest { name } => {
                return self.wish_stream(name, What::Test, actor, reply);
            }
            Request::StreamReplay { name, since_ms } => {
                let what = What::Replay { since_ms };
                return self.wish_stream(name, what, actor, reply);
            }
            Request::AttackStatus => return self.ask_attacks(reply),
            Request::AttackStart { service, for_ms } => {
                return self.say_attack(service, true, for_ms, actor, reply);
            }
            Request::AttackEnd { service, for_ms } => {
                return self.say_attack(service, false, for_ms, actor, reply);
            }
            request => request,
        };
        // Whoever asked may be gone; what was asked for is done all the same.
        drop(reply.send(self.answer(request, &actor, &ssh_peers)));
    }

    /// Whether the agent should end.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    fn answer(&mut self, request: Request, actor: &str, ssh_peers: &[IpAddr]) -> Answer {
        match request {
            Request::Status => data(self.status().map_err(internal)?),
            Request::Mode { set: None, .. } => data(self.mode_report()),
            Request::Mode {
                set: Some(mode),
                for_ms,
                confirm_within_ms,
            } => {
                if mode == Mode::Block && confirm_within_ms.is_none() {
                    self.protect_session(ssh_peers)?;
                }
                self.set_mode(mode, for_ms, confirm_within_ms, actor)
            }
            Request::ModeConfirm => self.confirm_mode(actor),
            Request::Block {
                prefix,
                for_ms,
                reason,
                score,
                force,
            } => {
                if !force {
                    self.protect(prefix.networks(), ssh_peers)?;
                }
                let reason = reason.unwrap_or_else(|| "operator".to_owned());
                let author = self.author(actor, for_ms);
                let made = prefix
                    .networks()
                    .iter()
                    .map(|net| Decision::block(*net, score.unwrap_or(SCORE_MAX), &reason, author))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(usage)?;
                self.decide(made, actor)
            }
            Request::Exempt { prefix, for_ms } => self.exempt(prefix.networks(), for_ms, actor),
            Request::Unblock { prefix } => self.undecide(prefix.networks(), actor),
            Request::List { origin, reason } => data(self.listing(origin, reason.as_deref())),
            Request::ZoneList => data(self.zone_rows()),
            Request::ZoneShow { name } => self.zone_shown(&name),
            request @ (Request::ZoneFacts
            | Request::ZonePut { .. }
            | Request::ZoneActive { .. }
            | Request::ZoneDelete { .. }
            | Request::Threats { .. }) => self.zones_asked(request, actor),
            Request::FeedList => data(self.feed_rows()),
            Request::FeedShow { name } => self.feed_row(&name),
            Request::StreamList => data(self.stream_rows()),
            request @ Request::Explain { .. } => self.explained(request),
            Request::Report { what, limit, .. } => self.reported(what, limit),
            Request::Verify => data(self.verify().map_err(internal)?),
            Request::Reload => self.reload(actor),
            Request::Detach => self.detach(actor),
            Request::StreamTest { .. }
            | Request::StreamReplay { .. }
            | Request::FeedRefresh { .. }
            | Request::Events { .. }
            | Request::Log(_) => Err(Failure::new(
                FailureKind::Internal,
                "it is answered elsewhere",
            )),
            Request::HealthDismiss { task, reason } => self.dismiss(&task, reason, actor),
            Request::AttackStatus
            | Request::AttackStart { .. }
            | Request::AttackEnd { .. }
            | Request::Health => Err(detection_busy()),
        }
    }

    fn exempt(&mut self, networks: &[IpNet], for_ms: Option<u64>, actor: &str) -> Answer {
        let author = self.author(actor, for_ms);
        let made = networks
            .iter()
            .map(|net| Decision::exempt(*net, "operator", author))
            .collect::<Result<Vec<_>, _>>()
            .map_err(usage)?;
        self.decide(made, actor)
    }

    fn zone_shown(&self, name: &str) -> Answer {
        match self.zone_detail(name) {
            Some(zone) => data(zone),
            None => Err(Failure::new(
                FailureKind::NotFound,
                format!("there is no zone \"{name}\"; `edgeward zone list` shows them"),
            )),
        }
    }

    fn reported(&self, what: ReportKind, limit: Option<usize>) -> Answer {
        let rows = limit.unwrap_or(REPORT_ROWS).min(SOURCES_MAX);
        match what {
            ReportKind::Origins => data(self.origins.report(rows)),
            ReportKind::Impact | ReportKind::Proxies | ReportKind::Threats | ReportKind::Zones => {
                Err(detection_busy())
            }
        }
    }

    /// Detection answers by itself: the keeper never waits for it, since it may be waiting for the keeper.
    fn ask_impact(
        &self,
        limit: Option<usize>,
        since_ms: Option<u64>,
        reply: oneshot::Sender<Answer>,
    ) {
        let order = Order::Impact {
            since_ms: since_ms.unwrap_or(REPORT_MS),
            rows: limit.unwrap_or(REPORT_ROWS).min(REPORT_ROWS_MAX),
            reply,
        };
        let orders = self.detection.as_ref();
        if let Some(Order::Impact { reply, .. }) = orders.and_then(|orders| orders.hand(order)) {
            drop(reply.send(Err(detection_busy())));
        }
    }

    fn author<'a>(&self, actor: &'a str, lifetime_ms: Option<u64>) -> Author<'a> {
        let now = self.clock.now().wall_ms;
        Author {
            origin: Origin::Operator,
            actor,
            now,
            lifetime_ms,
        }
    }

    pub(super) fn protect(&self, targets: &[IpNet], ssh_peers: &[IpAddr]) -> Result<(), Failure> {
        let objection = targets
            .iter()
            .find_map(|net| guard::objection(net, ssh_peers, &self.config));
        match objection {
            Some(why) => Err(Failure::new(FailureKind::Protected, why)),
            None => Ok(()),
        }
    }

    /// Switching to block must not cut off whoever does it.
    fn protect_session(&self, ssh_peers: &[IpAddr]) -> Result<(), Failure> {
        for peer in ssh_peers {
            let host = host_network(*peer);
            let told = self.told(covers(&host));
            let decisions = self.against(covers(&host), &told);
            let facts = Facts::new(&self.config, Mode::Block, &decisions, self.clock.now())
                .under(self.policy());
            let found = explain(&facts, *peer, None);
            if let Judged::Deny = found.verdict {
                let reason = found.reason.unwrap_or_default();
                return Err(Failure::new(
                    FailureKind::Protected,
                    format!(
                        "your own SSH session comes from {peer}, which would be refused ({reason}): exempt it \
                         first, or add --confirm-within 5m, which goes back by itself"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn listing(&self, origin: Option<Origin>, reason: Option<&str>) -> Listing {
        let is_wanted = |decision: &Decision| {
            origin.is_none_or(|origin| origin == decision.origin)
                && reason.is_none_or(|reason| reason == decision.reason)
        };
        let of_lists: u64 = self
            .config
            .lists
            .iter()
            .map(|list| list.networks.len() as u64)
            .sum();
        let lists = match origin {
            Some(Origin::List) => self.config.lists.as_slice(),
            _ => &[],
        };
        let from_lists = lists.iter().flat_map(|list| {
            list.networks.iter().map(move |prefix| Decision {
                prefix,
                kind: Kind::Block,
                score: list.score,
                reason: list.reason.clone(),
                origin: Origin::List,
                created: self.started_ms,
                expires: None,
                actor: list.name.clone(),
                evidence: String::new(),
            })
        });
        let feeds = match origin {
            Some(Origin::Feed) => Some(&self.feeds),
            _ => None,
        };
        let now_ms = self.clock.now().wall_ms;
        let from_feeds = feeds
            .into_iter()
            .flat_map(|feeds| feeds.tables(&self.config))
            .flat_map(|table| table.decisions(now_ms));
        let of_feeds: u64 = self
            .feeds
            .tables(&self.config)
            .map(|table| table.len() as u64)
            .sum();
        let mut total = 0;
        let mut decisions = Vec::new();
        for decision in self
            .decisions
            .values()
            .cloned()
            .chain(from_lists)
            .chain(from_feeds)
            .filter(is_wanted)
        {
            total += 1;
            if decisions.len() < DECISIONS_SHOWN_MAX {
                let is_block = decision.kind == Kind::Block;
                let hits = is_block
                    .then(|| self.datapath.hits(decision.prefix))
                    .flatten();
                decisions.push(Listed { decision, hits });
            }
        }
        Listing {
            decisions,
            total,
            of_lists: if lists.is_empty() { of_lists } else { 0 },
            of_feeds: if feeds.is_none() { of_feeds } else { 0 },
        }
    }

    pub(super) fn explain(&self, address: IpAddr, port: Option<u16>) -> Explanation {
        let host = host_network(address);
        let told = self.told(covers(&host));
        let decisions = self.against(covers(&host), &told);
        let facts = Facts::new(&self.config, self.mode.mode, &decisions, self.clock.now())
            .under(self.policy());
        explain(&facts, address, port)
    }

    fn explained(&self, request: Request) -> Answer {
        match request {
            Request::Explain {
                address: Some(address),
                port,
                peer: None,
                ..
            } => data(self.explain(address, port)),
            Request::Explain {
                address: None,
                port,
                peer: Some(peer),
                headers,
                service,
                path,
            } => {
                let path = path.as_deref().unwrap_or("/");
                let asked = Described::new(peer, &headers, path, port);
                self.explain_request(asked, service.as_deref())
            }
            _ => Err(usage("either an address or a peer is explained")),
        }
    }

    /// The judgement of the gate, by the very snapshot that it judges with.
    fn explain_request(&self, asked: Described<'_>, service: Option<&str>) -> Answer {
        let snapshot = self.published.get();
        let now = self.clock.now();
        let service = explain_request::service_of(&snapshot, service, asked.port)
            .map_err(|error| Failure::new(FailureKind::NotFound, error))?;
        let walked = Walked::new(&snapshot, Described { service, ..asked }, now);
        let chain = walked.chain().addresses.iter();
        let prefixes: BTreeSet<IpNet> = chain.flat_map(|hop| covers(&host_network(hop))).collect();
        let told = self.told(prefixes.iter().copied());
        let decisions = self.against(prefixes.iter().copied(), &told);
        let facts =
            Facts::new(&self.config, snapshot.mode, &decisions, now).under(snapshot.policy());
        data(explain_request::explain_request(&facts, &walked))
    }
}

/// Decisions that one answer shows.
const DECISIONS_SHOWN_MAX: usize = 100_000;

pub(super) fn data(value: impl Serialize) -> Answer {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
}

pub(super) fn detection_busy() -> Failure {
    Failure::new(
        FailureKind::Unavailable,
        "detection is busy; ask again".to_owned(),
    )
}

fn usage(error: impl ToString) -> Failure {
    Failure::new(FailureKind::Usage, error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn internal(error: anyhow::Error) -> Failure {
    Failure::new(FailureKind::Internal, format!("{error:#}"))
}

pub(super) fn unavailable(error: &anyhow::Error) -> Failure {
    Failure::new(FailureKind::Unavailable, format!("{error:#}"))
}
