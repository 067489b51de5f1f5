//! From a reputation to what the keeper, operators and events are told of it.

use crate::{
    keeper::Detected,
    policy::defence::{Decided, Defence},
};

/// What the keeper is told of a reputation; `None` for a scope that has no prefix.
pub(super) fn detected(
    defence: &Defence,
    decided: &Decided,
    now_ms: u64,
    service: &str,
) -> Option<Detected> {
    let prefix = decided.scope.prefix()?;
    let findings = decided.standing.findings;
    Some(Detected {
        prefix,
        score: decided.standing.score(now_ms),
        reason: findings.names(),
        evidence: defence.evidence(decided.scope, now_ms),
        levels: findings
            .iter()
            .map(|(detection, level)| (detection.name(), level.name()))
            .collect(),
        service: service.to_owned(),
        until_ms: decided.standing.until_ms,
        silent: false,
    })
}
