//! Services under attack: what the kernel and the snapshot are told, and the events.

use edgeward_ebpf::abi::PolicyWord;
use serde_json::json;
use tracing::{info, warn};

use super::{
    Keeper,
    commands::{data, detection_busy},
    wanted,
};
use crate::{
    control::report::{AttackEvidence, AttackReport},
    detection::{Answer, Order, Said},
    policy::attack::WORD_MS_MAX,
};

/// An attack that started or ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attacked {
    /// The service; empty where none is configured.
    pub(crate) service: String,
    /// It started; otherwise it ended.
    pub(crate) attacked: bool,
    /// When, milliseconds since the epoch.
    pub(crate) at_ms: u64,
    /// When it was declared, milliseconds since the epoch.
    pub(crate) since_ms: u64,
    /// When the rise began, milliseconds since the epoch.
    pub(crate) rising_since_ms: Option<u64>,
    /// Who declared it: `model`, `operator`, `lapsed`.
    pub(crate) cause: &'static str,
    /// The operator.
    pub(crate) actor: Option<String>,
    /// What was counted against what is usual.
    pub(crate) evidence: Vec<AttackEvidence>,
    /// An earlier agent had told of it.
    pub(crate) silent: bool,
}

/// For how long an operator's word holds if it does not say, ms: an hour.
const WORD_MS: u64 = 3_600_000;
/// Who declares attacks where no operator does.
const ACTOR: &str = "detection";

impl Keeper {
    /// The policy word that should hold. The kernel knows no services: an attack on one tightens for all.
    pub(super) fn policy(&self) -> PolicyWord {
        // A host without services in its configuration has one without a name.
        let attacked = self.attacked.contains("") || self.attacked_by_service().contains(&true);
        wanted::policy(&self.config, self.mode.mode, attacked)
    }

    /// For each service of the configuration, whether it is under attack.
    pub(super) fn attacked_by_service(&self) -> Vec<bool> {
        let services = self.config.services.iter();
        services
            .map(|service| self.attacked.contains(&service.name))
            .collect()
    }

    /// Puts starts and ends in force, by one store; then tells of them.
    pub(super) fn attack_changed(
        &mut self,
        told: Vec<Attacked>,
        asked: Option<(Answer, AttackReport)>,
    ) {
        for one in &told {
            if one.attacked {
                self.attacked.insert(one.service.clone());
            } else {
                self.attacked.remove(&one.service);
            }
        }
        if !told.is_empty() {
            self.publish_policy();
        }
        for one in told.iter().filter(|one| !one.silent) {
            self.announce_attack(one);
        }
        if let Some((reply, report)) = asked {
            // Whoever asked may be gone.
            drop(reply.send(data(report)));
        }
    }

    /// What operators say goes to detection, which answers when it is in force.
    pub(super) fn say_attack(
        &self,
        service: Option<String>,
        attacked: bool,
        for_ms: Option<u64>,
        actor: String,
        reply: Answer,
    ) {
        let said = Said {
            service,
            attacked,
            for_ms: for_ms.unwrap_or(WORD_MS).min(WORD_MS_MAX),
            actor,
            reply,
        };
        self.hand_attack(Order::Attack(Box::new(said)));
    }

    /// Asks how services stand.
    pub(super) fn ask_attacks(&self, reply: Answer) {
        self.hand_attack(Order::Attacks { reply });
    }

    fn hand_attack(&self, order: Order) {
        let left = match &self.detection {
            Some(orders) => orders.hand(order),
            None => Some(order),
        };
        let reply = match left {
            Some(Order::Attack(said)) => said.reply,
            Some(Order::Attacks { reply }) => reply,
            _ => return,
        };
        // Whoever asked may be gone.
        drop(reply.send(Err(detection_busy())));
    }

    fn announce_attack(&self, one: &Attacked) {
        let (event, what) = if one.attacked {
            ("security.attack.start", "is under attack")
        } else {
            ("security.attack.end", "is not under attack any more")
        };
        let name = if one.service.is_empty() {
            "the host".to_owned()
        } else {
            format!("service \"{}\"", one.service)
        };
        if one.attacked {
            warn!(cause = one.cause, "{name} {what}");
        } else {
            info!(cause = one.cause, "{name} {what}");
        }
        let policy = self.policy();
        let detail = json!({
            "service": one.service,
            "cause": one.cause,
            "at": one.at_ms,
            "since": one.since_ms,
            "rising_since": one.rising_since_ms,
            "evidence": one.evidence,
            "block_threshold": policy.block(),
            "limit_threshold": policy.limit(),
        });
        self.announce(event, one.actor.as_deref().unwrap_or(ACTOR), detail);
    }
}
