//! What the model of attacks says, for the keeper and for operators.

use super::core::Core;
use crate::{
    control::report::{AttackEvidence, AttackReport, AttackRow},
    keeper::Attacked,
    policy::attack::{Cause, Change, Evidence, Standing},
};

/// Starts and ends for the keeper. `actor` is the operator, if it was one.
pub(super) fn told(core: &Core, changes: Vec<Change>, actor: Option<&str>) -> Vec<Attacked> {
    let attacked = |change: Change| Attacked {
        service: core.service(change.service).to_owned(),
        attacked: change.attacked,
        at_ms: change.at_ms,
        since_ms: change.since_ms,
        rising_since_ms: change.rising_since_ms,
        cause: cause(change.cause),
        actor: actor.map(str::to_owned),
        evidence: evidence(&change.evidence),
        silent: false,
    };
    changes.into_iter().map(attacked).collect()
}

/// What an earlier agent had declared and goes on.
pub(super) fn going_on(core: &mut Core, now_ms: u64) -> Vec<Attacked> {
    let standings = core.standings(now_ms).into_iter();
    let attacked = standings.filter_map(|standing| {
        let attack = standing.attack?;
        Some(Attacked {
            service: core.service(standing.service).to_owned(),
            attacked: true,
            at_ms: now_ms,
            since_ms: attack.since_ms,
            rising_since_ms: None,
            cause: cause(attack.cause),
            actor: None,
            evidence: evidence(&standing.evidence),
            silent: true,
        })
    });
    attacked.collect()
}

/// How every service stands, those included that nothing was heard of.
pub(super) fn report(core: &mut Core, now_ms: u64) -> AttackReport {
    let standings = core.standings(now_ms);
    let rows = core.meant(None).into_iter().map(|number| {
        let standing = standings.iter().find(|standing| standing.service == number);
        AttackRow {
            service: core.service(number).to_owned(),
            ..standing.map(row).unwrap_or_default()
        }
    });
    AttackReport {
        detects: core.detects_attacks(),
        services: rows.collect(),
    }
}

fn row(standing: &Standing) -> AttackRow {
    let word = standing.word;
    AttackRow {
        service: String::new(),
        attacked: standing.attack.is_some(),
        since: standing.attack.map(|attack| attack.since_ms),
        cause: standing.attack.map(|attack| cause(attack.cause).to_owned()),
        operator: word.map(|word| if word.attacked { "attack" } else { "no attack" }.to_owned()),
        operator_until: word.map(|word| word.until_ms),
        model_since: standing.model_since_ms,
        hours_known: standing.hours_known.into(),
        evidence: evidence(&standing.evidence),
    }
}

fn evidence(evidence: &[Evidence]) -> Vec<AttackEvidence> {
    let one = |evidence: &Evidence| AttackEvidence {
        statistic: evidence.statistic.name().to_owned(),
        observed: tenths(evidence.observed),
        expected: tenths(evidence.expected),
        score: tenths(evidence.score),
    };
    evidence.iter().map(one).collect()
}

/// More digits would say more than is known.
fn tenths(number: f32) -> f64 {
    (f64::from(number) * 10.0).round() / 10.0
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Model => "model",
        Cause::Operator => "operator",
        Cause::Lapsed => "lapsed",
    }
}
