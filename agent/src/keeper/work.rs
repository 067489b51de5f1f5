//! What other parts of the agent hand to the keeper, besides what operators ask for.

use ipnet::IpNet;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Keeper, attack::Attacked, feeds::FeedUpdate, guard};
use crate::{
    control::report::AttackReport,
    detection::{Answer, Order},
    health::Told,
    metrics::Measured,
    policy::{
        decision::{Author, Decision, Key, Kind, Origin},
        mode::Mode,
    },
};

/// One piece of work.
#[derive(Debug)]
pub(crate) enum Work {
    /// What detection found.
    Detected(Vec<Detected>),
    /// Attacks that started or ended; and who is to be told when that is in force, with what to tell.
    Attack(Vec<Attacked>, Option<(Answer, AttackReport)>),
    /// What a feed says now.
    Feed(FeedUpdate),
    /// Somebody asks for metrics.
    Measure(oneshot::Sender<Measured>),
    /// Somebody looks at the set-up, because an operator asked or because it is time.
    Facts(oneshot::Sender<Told>, bool),
}

/// A reputation that detection gives to a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    /// Whose it is.
    pub(crate) prefix: IpNet,
    /// 1 to 100.
    pub(crate) score: u8,
    /// The detections' names, joined by a comma.
    pub(crate) reason: String,
    /// What was counted, in a sentence.
    pub(crate) evidence: String,
    /// Each detection with its level.
    pub(crate) levels: Vec<(&'static str, &'static str)>,
    /// The service where it was seen; empty where there is none.
    pub(crate) service: String,
    /// When it ends, milliseconds since the epoch.
    pub(crate) until_ms: u64,
    /// It was found before this agent started, or goes on with less: no event is made of it.
    pub(crate) silent: bool,
}

/// Pieces of work that wait for the keeper.
pub(crate) const WORK_QUEUED_MAX: usize = 64;
/// Who makes detection's decisions.
const ACTOR: &str = "detection";

impl Keeper {
    /// Does one piece of work.
    pub(crate) fn work(&mut self, work: Work) {
        match work {
            Work::Detected(found) => self.detected(found),
            Work::Attack(told, asked) => self.attack_changed(told, asked),
            Work::Feed(update) => self.feed_updated(update),
            Work::Measure(reply) => self.measure(reply),
            Work::Facts(reply, asked) => self.tell_facts(reply, asked),
        }
    }

    /// Puts reputations in force, then writes them down. A disk that refuses costs their survival of a restart,
    /// not their effect.
    fn detected(&mut self, found: Vec<Detected>) {
        let now = self.clock.now().wall_ms;
        let mut made = Vec::new();
        for detected in found {
            let Some(decision) = self.decision_of(&detected, now) else {
                continue;
            };
            let known = self.decisions.get(&decision.key());
            let same = known.is_some_and(|known| {
                known.score == decision.score && known.expires == decision.expires
            });
            if same {
                continue;
            }
            let prefix = decision.prefix;
            self.remember(decision.clone());
            if let Err(error) = self.refresh(prefix) {
                warn!("{prefix} could not be put in force: {error:#}");
            }
            if !detected.silent {
                self.onlookers
                    .detections
                    .add(detected.levels.iter().map(|(name, _)| *name));
                self.announce_threat(&detected, &decision);
            }
            made.push(decision);
        }
        if made.is_empty() {
            return;
        }
        if let Err(error) = self.store.put_all(&made) {
            warn!(
                count = made.len(),
                %error,
                "detections are in force and could not be written down"
            );
        }
    }

    fn decision_of(&self, detected: &Detected, now: u64) -> Option<Decision> {
        if detected.until_ms <= now {
            return None;
        }
        if let Some(why) = guard::objection(&detected.prefix, &[], &self.config)
            && !is_network(&detected.prefix)
        {
            warn!("detection named {}: {why}", detected.prefix);
            return None;
        }
        let author = Author {
            origin: Origin::Detection,
            actor: ACTOR,
            now,
            lifetime_ms: Some(detected.until_ms.saturating_sub(now)),
        };
        match Decision::block(detected.prefix, detected.score, &detected.reason, author) {
            Ok(decision) => Some(decision.with_evidence(&detected.evidence)),
            Err(error) => {
                warn!("detection named {}: {error}", detected.prefix);
                None
            }
        }
    }

    /// Tells detection something; whether it was taken.
    pub(super) fn order(&self, order: Order) -> bool {
        let orders = self.detection.as_ref();
        orders.is_none_or(|orders| orders.give(order))
    }

    /// What detection decided about exactly this prefix.
    pub(super) fn detection_key(&self, prefix: IpNet) -> Option<Key> {
        let key = Key {
            prefix,
            kind: Kind::Block,
            origin: Origin::Detection,
        };
        self.decisions.contains_key(&key).then_some(key)
    }

    fn announce_threat(&self, detected: &Detected, decision: &Decision) {
        let thresholds = self.policy();
        let outcome = if self.mode.mode != Mode::Block || decision.score < thresholds.limit() {
            "ALLOW"
        } else if decision.score >= thresholds.block() {
            "DENY"
        } else {
            "RATE_LIMIT"
        };
        let levels: serde_json::Map<_, _> = detected
            .levels
            .iter()
            .map(|(name, level)| ((*name).to_owned(), (*level).into()))
            .collect();
        let detail = json!({
            "client": decision.prefix.addr(),
            "prefix": decision.prefix,
            "outcome": outcome,
            "reason": decision.reason,
            "threatDetections": levels,
            "score": decision.score,
            "service": detected.service,
            "evidence": detected.evidence,
            "expires": decision.expires,
        });
        self.announce("security.threat.detected", ACTOR, detail);
    }
}

/// Whether it holds more than one source. An exempt or trusted address within it is not dropped: zones win.
fn is_network(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(v4) => v4.prefix_len() < 32,
        IpNet::V6(v6) => v6.prefix_len() < 64,
    }
}
