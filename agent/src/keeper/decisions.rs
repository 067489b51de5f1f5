//! Decisions of operators: made, taken back, and what their makers should know.

use anyhow::Context as _;
use ipnet::IpNet;
use tracing::error;

use super::{
    Keeper,
    commands::{Answer, data, unavailable},
};
use crate::{
    control::{Failure, FailureKind, report::Change},
    detection::Order,
    policy::{
        decision::{Decision, Key, Kind, Origin},
        mode::Mode,
        zone::covers,
    },
};

impl Keeper {
    /// Puts decisions in force and writes them down, all or none.
    pub(super) fn decide(&mut self, made: Vec<Decision>, actor: &str) -> Answer {
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

    /// Takes the operator's own decisions back, and what detection decided: it was wrong, says the operator, and what
    /// is held against the prefix is forgotten.
    pub(super) fn undecide(&mut self, targets: &[IpNet], actor: &str) -> Answer {
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
            .chain(targets.iter().filter_map(|net| self.detection_key(*net)))
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
        let of_detection = gone
            .iter()
            .filter(|decision| decision.origin == Origin::Detection);
        let wrong: Vec<IpNet> = of_detection.map(|decision| decision.prefix).collect();
        if !wrong.is_empty() && !self.order(Order::Forget(wrong)) {
            notes.push("detection is busy and may find the same again; unblock again".to_owned());
        }
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
        let mut message =
            format!("there is no decision of an operator or of detection for exactly {target}");
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
}
