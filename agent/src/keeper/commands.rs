//! What operators ask for. A change is first in force, then on disk, then answered.

use std::net::IpAddr;

use anyhow::Context as _;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::{Keeper, guard};
use crate::{
    config::{Config, diff},
    control::{
        Command, Failure, FailureKind, Peer, Request,
        report::{Change, Listed, Listing},
        roles::Roles,
    },
    policy::{
        decision::{Author, Decision, Key, Kind, Origin, SCORE_MAX},
        explain::{Explanation, Facts, Judged, explain},
        mode::Mode,
        prefix::host_network,
        zone::covers,
    },
    store::{ModeOrigin, ModeState, Revert},
};

type Answer = Result<Value, Failure>;

impl Keeper {
    /// Does one command and answers it.
    pub(crate) fn execute(&mut self, command: Command) {
        let Command {
            request,
            peer,
            ssh_peers,
            reply,
        } = command;
        // Whoever asked may be gone; what was asked for is done all the same.
        drop(reply.send(self.answer(request, peer, &ssh_peers)));
    }

    /// Whether the agent should end.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    fn answer(&mut self, request: Request, peer: Peer, ssh_peers: &[IpAddr]) -> Answer {
        let actor = format!("uid {}", peer.uid);
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
                self.set_mode(mode, for_ms, confirm_within_ms, &actor)
            }
            Request::ModeConfirm => self.confirm_mode(&actor),
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
                let author = self.author(&actor, for_ms);
                let made = prefix
                    .networks()
                    .iter()
                    .map(|net| Decision::block(*net, score.unwrap_or(SCORE_MAX), &reason, author))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(usage)?;
                self.decide(made, &actor)
            }
            Request::Exempt { prefix, for_ms } => {
                let author = self.author(&actor, for_ms);
                let made = prefix
                    .networks()
                    .iter()
                    .map(|net| Decision::exempt(*net, "operator", author))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(usage)?;
                self.decide(made, &actor)
            }
            Request::Unblock { prefix } => self.undecide(prefix.networks(), &actor),
            Request::List { origin, reason } => data(self.listing(origin, reason.as_deref())),
            Request::ZoneList => data(self.zone_rows()),
            Request::ZoneShow { name } => match self.zone_detail(&name) {
                Some(zone) => data(zone),
                None => Err(Failure::new(
                    FailureKind::NotFound,
                    format!("there is no zone \"{name}\"; `edgeward zone list` shows them"),
                )),
            },
            Request::Explain { address, port } => data(self.explain(address, port)),
            Request::Verify => data(self.verify().map_err(internal)?),
            Request::Reload => self.reload(&actor),
            Request::Detach => self.detach(&actor),
            Request::Events { .. } => Err(Failure::new(
                FailureKind::Internal,
                "events are answered by the control server",
            )),
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

    fn protect(&self, targets: &[IpNet], ssh_peers: &[IpAddr]) -> Result<(), Failure> {
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
            let decisions: Vec<&Decision> = covers(&host).flat_map(|net| self.at(net)).collect();
            let facts = Facts::new(&self.config, Mode::Block, &decisions, self.clock.now());
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

    /// Puts decisions in force and writes them down, all or none.
    fn decide(&mut self, made: Vec<Decision>, actor: &str) -> Answer {
        let before: Vec<(Key, Option<Decision>)> = made
            .iter()
            .map(|decision| (decision.key(), self.decisions.get(&decision.key()).cloned()))
            .collect();
        for decision in &made {
            self.remember(decision.clone());
        }
        let keys: Vec<Key> = made.iter().map(Decision::key).collect();
        let done = self.enforce(&keys).and_then(|()| {
            self.store
                .put_all(&made)
                .context("cannot write the decision down")
        });
        if let Err(error) = done {
            for (key, old) in before {
                self.forget(&key);
                old.into_iter().for_each(|old| self.remember(old));
            }
            if let Err(again) = self.enforce(&keys) {
                error!("a decision could not be taken back: {again:#}");
            }
            return Err(unavailable(&error));
        }
        for decision in &made {
            self.announce_decision("decision.create", actor, decision);
        }
        let notes = self.notes(&made);
        data(Change {
            decisions: made,
            notes,
        })
    }

    /// What the maker of a decision should know about its effect.
    fn notes(&self, made: &[Decision]) -> Vec<String> {
        let mut notes = Vec::new();
        let Some(first) = made.first() else {
            return notes;
        };
        if first.kind == Kind::Exempt {
            return notes;
        }
        match self.mode.mode {
            Mode::Block => {}
            Mode::Log => {
                notes.push("mode is log: it is counted and reported, and passes".to_owned())
            }
            Mode::Off => notes.push("mode is off: nothing is judged".to_owned()),
        }
        let thresholds = self.config.reputation;
        if first.score < thresholds.limit {
            notes.push(format!(
                "score {} is below the limit threshold {}: it changes nothing by itself",
                first.score, thresholds.limit
            ));
        } else if first.score < thresholds.block {
            notes.push(format!(
                "score {} is below the block threshold {}: it is rate limited, not refused",
                first.score, thresholds.block
            ));
        }
        for decision in made {
            let exempt = covers(&decision.prefix)
                .any(|net| self.at(net).any(|other| other.kind == Kind::Exempt));
            if exempt {
                notes.push(format!(
                    "{} lies in an exemption, which wins",
                    decision.prefix
                ));
            }
        }
        notes
    }

    fn enforce(&mut self, keys: &[Key]) -> anyhow::Result<()> {
        if keys.iter().any(|key| key.kind == Kind::Exempt) {
            self.refresh_zones()?;
        }
        for key in keys.iter().filter(|key| key.kind == Kind::Block) {
            self.refresh(key.prefix)?;
        }
        Ok(())
    }

    /// Takes the operator's own decisions back.
    fn undecide(&mut self, targets: &[IpNet], actor: &str) -> Answer {
        let kinds = [Kind::Block, Kind::Exempt];
        let keys: Vec<Key> = targets
            .iter()
            .flat_map(|net| {
                kinds.map(|kind| Key {
                    prefix: *net,
                    kind,
                    origin: Origin::Operator,
                })
            })
            .filter(|key| self.decisions.contains_key(key))
            .collect();
        if keys.is_empty() {
            return Err(self.nothing_to_unblock(targets));
        }
        let gone: Vec<Decision> = keys.iter().filter_map(|key| self.forget(key)).collect();
        let done = self.enforce(&keys).and_then(|()| {
            self.store
                .delete_all(&keys)
                .context("cannot write the change down")
        });
        if let Err(error) = done {
            gone.into_iter()
                .for_each(|decision| self.remember(decision));
            if let Err(again) = self.enforce(&keys) {
                error!("a change could not be taken back: {again:#}");
            }
            return Err(unavailable(&error));
        }
        let mut notes = Vec::new();
        for decision in &gone {
            self.announce_decision("decision.delete", actor, decision);
            let still = self.explain(decision.prefix.addr(), None);
            if let Some(reason) = still.reason {
                notes.push(format!(
                    "{} is still refused: {reason}; `edgeward explain {}` says why",
                    decision.prefix,
                    decision.prefix.addr()
                ));
            }
        }
        data(Change {
            decisions: gone,
            notes,
        })
    }

    fn nothing_to_unblock(&self, targets: &[IpNet]) -> Failure {
        let Some(target) = targets.first() else {
            return Failure::new(FailureKind::Usage, "no prefix was given");
        };
        let mut message = format!("there is no decision of an operator for exactly {target}");
        let cover =
            covers(target).find(|net| self.at(*net).any(|found| found.origin == Origin::Operator));
        if let Some(cover) = cover {
            message = format!("{message}; {cover} has one");
        } else if let Some(reason) = self.explain(target.addr(), None).reason {
            message = format!(
                "{message}; it is refused by {reason} (`edgeward explain {}`): `edgeward exempt {target}` lets it pass",
                target.addr()
            );
        }
        Failure::new(FailureKind::NotFound, message)
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
            })
        });
        let mut total = 0;
        let mut decisions = Vec::new();
        for decision in self
            .decisions
            .values()
            .cloned()
            .chain(from_lists)
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
        }
    }

    fn explain(&self, address: IpAddr, port: Option<u16>) -> Explanation {
        let host = host_network(address);
        let decisions: Vec<&Decision> = covers(&host).flat_map(|net| self.at(net)).collect();
        let facts = Facts::new(&self.config, self.mode.mode, &decisions, self.clock.now());
        explain(&facts, address, port)
    }

    fn set_mode(
        &mut self,
        mode: Mode,
        for_ms: Option<u64>,
        confirm_within_ms: Option<u64>,
        actor: &str,
    ) -> Answer {
        let now = self.clock.now().wall_ms;
        let previous = self.mode.mode;
        let back = |after: u64| Revert {
            previous,
            at: now.saturating_add(after),
        };
        let next = ModeState {
            mode,
            origin: ModeOrigin::Operator,
            actor: actor.to_owned(),
            since: now,
            until: for_ms.map(back),
            unconfirmed: confirm_within_ms.map(back),
        };
        let old = std::mem::replace(&mut self.mode, next);
        self.publish_policy();
        if let Err(error) = self.store.set_mode(&self.mode) {
            self.mode = old;
            self.publish_policy();
            return Err(unavailable(
                &anyhow::Error::new(error).context("cannot write the mode down"),
            ));
        }
        info!("mode {previous} -> {mode} by {actor}");
        let detail = json!({ "from": previous, "to": mode, "for_ms": for_ms, "confirm_within_ms": confirm_within_ms });
        self.announce("security.threat.configuration.update", actor, detail);
        data(self.mode_report())
    }

    fn confirm_mode(&mut self, actor: &str) -> Answer {
        if self.mode.unconfirmed.is_none() {
            return Err(Failure::new(
                FailureKind::Conflict,
                "no mode waits for a confirmation",
            ));
        }
        let mut next = self.mode.clone();
        next.unconfirmed = None;
        self.store
            .set_mode(&next)
            .map_err(|error| unavailable(&error.into()))?;
        self.mode = next;
        self.announce(
            "security.threat.configuration.update",
            actor,
            json!({ "confirmed": self.mode.mode }),
        );
        data(self.mode_report())
    }

    /// Reads the configuration again; a mistake anywhere leaves everything as it was.
    pub(crate) fn reload(&mut self, actor: &str) -> Answer {
        let Some(path) = self.config.path.clone() else {
            return Err(Failure::new(
                FailureKind::Conflict,
                "the agent was started without a file",
            ));
        };
        let new = Config::load(&path).map_err(|mistakes| Failure {
            kind: FailureKind::Configuration,
            message: format!(
                "{} has mistakes; the running configuration stays",
                path.display()
            ),
            details: mistakes.kept.iter().map(ToString::to_string).collect(),
        })?;
        let roles = Roles::from_config(&new.control).map_err(|errors| Failure {
            kind: FailureKind::Configuration,
            message: format!("{} names unknown users or groups", path.display()),
            details: errors.iter().map(ToString::to_string).collect(),
        })?;
        let changes = diff::changes(&self.config, &new);
        let restart = diff::needs_restart(&self.config, &new);
        let old = std::mem::replace(&mut self.config, new);
        self.keep_fixed(&old);
        // Also puts right what somebody else did to the maps.
        let done = self
            .datapath
            .reread()
            .and_then(|()| self.reconcile())
            .and_then(|change| self.attach().map(|()| change));
        let change = match done {
            Ok(change) => change,
            Err(error) => {
                self.config = old;
                let again = self.reconcile().and_then(|_| self.attach());
                if let Err(again) = again {
                    error!("the former configuration could not be restored: {again:#}");
                }
                return Err(unavailable(
                    &error.context("the running configuration stays"),
                ));
            }
        };
        self.roles.send_replace(roles);
        self.notices.clear();
        let mut notes = Vec::new();
        if !restart.is_empty() {
            notes.push(format!(
                "{} take effect when the agent is started again",
                restart.join(", ")
            ));
        }
        self.notices.extend(notes.clone());
        notes.extend(self.config.warnings.iter().map(ToString::to_string));
        info!(?change, "reloaded {}", path.display());
        self.announce("system.agent.reload", actor, json!({ "changes": changes }));
        data(json!({
            "changes": changes,
            "notes": notes,
            "entries": { "added": change.added, "changed": change.changed, "removed": change.removed },
        }))
    }

    /// What a reload cannot change keeps its running value, so that reports stay true.
    fn keep_fixed(&mut self, old: &Config) {
        self.config.socket.clone_from(&old.socket);
        self.config.state_dir.clone_from(&old.state_dir);
        self.config.bpffs_dir.clone_from(&old.bpffs_dir);
        self.config.capacity = old.capacity;
        self.config.events.ring_bytes = old.events.ring_bytes;
        self.config.events.kept_max = old.events.kept_max;
    }

    fn detach(&mut self, actor: &str) -> Answer {
        self.announce("system.agent.detach", actor, json!({}));
        self.datapath.detach().map_err(internal)?;
        warn!("detached by {actor}: nothing is judged on this host any more");
        self.done = true;
        data(json!({ "detached": true }))
    }
}

/// Decisions that one answer shows.
const DECISIONS_SHOWN_MAX: usize = 100_000;

fn data(value: impl Serialize) -> Answer {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
}

fn usage(error: impl ToString) -> Failure {
    Failure::new(FailureKind::Usage, error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn internal(error: anyhow::Error) -> Failure {
    Failure::new(FailureKind::Internal, format!("{error:#}"))
}

fn unavailable(error: &anyhow::Error) -> Failure {
    Failure::new(FailureKind::Unavailable, format!("{error:#}"))
}
