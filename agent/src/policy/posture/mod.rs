//! Posture: what is wrong with the set-up. Facts in, tasks out; nothing here reads a clock or a file.
//!
//! Each task has a severity, is complete, incomplete, or dismissed by an operator with a reason, and says what was seen,
//! where to read about it in the System Log, and what mends it.

mod facts;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::facts::{
    Certificate, Facts, Feed, Forwarder, Interface, Journal, Overlap, Service, Stream, Table,
    Token, Verified, Zone,
};
use self::tasks::CHECKS;

/// How much an open task matters, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to have.
    #[default]
    Low,
    /// Something is less than it could be.
    Moderate,
    /// Something that was meant to protect does not.
    High,
    /// Nothing protects.
    Critical,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is to be done.
    #[default]
    Complete,
    /// Somebody should do something.
    Incomplete,
    /// Somebody has decided that nothing is to be done.
    Dismissed,
}

/// One task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Its name, for `edgeward health dismiss`.
    pub id: String,
    /// How much it matters, or would.
    pub severity: Severity,
    /// How it stands.
    pub state: State,
    /// What should be the case.
    pub title: String,
    /// What was seen, in sentences; empty where all is well.
    pub evidence: String,
    /// What to ask the System Log: a filter for `edgeward log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A command, or lines of the configuration; empty where all is well.
    pub fix: String,
    /// Who dismissed it, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismissed: Option<Dismissal>,
}

/// Why an open task is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dismissal {
    /// In the operator's words.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When, milliseconds since the Unix epoch.
    pub at: u64,
}

/// The tasks that were dismissed, by name.
pub type Dismissals = BTreeMap<String, Dismissal>;

/// How the set-up is, on the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Posture {
    /// 0 to 100; 100 with nothing open.
    pub score: u8,
    /// The gravest severity of what is open.
    pub worst: Option<Severity>,
    /// Every task: what is open first, the gravest first.
    pub tasks: Vec<Task>,
}

impl Severity {
    /// All of them, the gravest first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Moderate, Self::Low];

    /// The word of commands, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// What an open task takes off the score.
    const fn weight(self) -> u8 {
        match self {
            Self::Low => 3,
            Self::Moderate => 8,
            Self::High => 20,
            Self::Critical => 40,
        }
    }
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Incomplete, Self::Dismissed, Self::Complete];

    /// The word of commands, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Dismissed => "dismissed",
        }
    }
}

impl Posture {
    /// Looks at the facts.
    #[must_use]
    pub fn of(facts: &Facts, dismissals: &Dismissals) -> Self {
        let mut tasks: Vec<Task> = CHECKS
            .iter()
            .map(|check| {
                let found = (check.look)(facts);
                let is_open = found.is_some();
                let found = found.unwrap_or_default();
                let dismissed = dismissals.get(check.id).filter(|_| is_open).cloned();
                Task {
                    id: check.id.to_owned(),
                    severity: found.severity.unwrap_or(check.severity),
                    state: match (is_open, &dismissed) {
                        (false, _) => State::Complete,
                        (true, None) => State::Incomplete,
                        (true, Some(_)) => State::Dismissed,
                    },
                    title: check.title.to_owned(),
                    evidence: found.evidence,
                    filter: found.filter,
                    fix: found.fix,
                    dismissed,
                }
            })
            .collect();
        // Stable: within a severity the order is that of the checks.
        tasks.sort_by_key(|task| {
            let place = State::ALL.iter().position(|state| *state == task.state);
            (place, std::cmp::Reverse(task.severity))
        });
        let open = || tasks.iter().filter(|task| task.state == State::Incomplete);
        let lost: u32 = open().map(|task| u32::from(task.severity.weight())).sum();
        Self {
            score: u8::try_from(100_u32.saturating_sub(lost)).unwrap_or(0),
            worst: open().map(|task| task.severity).max(),
            tasks,
        }
    }

    /// What differs from an earlier look: each task that stands otherwise, with how it stood.
    #[must_use]
    pub fn changes<'a>(&'a self, before: &Self) -> Vec<(&'a Task, Option<State>)> {
        let stood = |task: &Task| {
            let known = before.tasks.iter().find(|known| known.id == task.id)?;
            Some(known.state)
        };
        let changed = |task: &&Task| match stood(task) {
            Some(state) => state != task.state,
            // Of a first look only what is open is news.
            None => task.state == State::Incomplete,
        };
        let tasks = self.tasks.iter().filter(changed);
        tasks.map(|task| (task, stood(task))).collect()
    }

    /// Whether there is such a task.
    #[must_use]
    pub fn knows(id: &str) -> bool {
        CHECKS.iter().any(|check| check.id == id)
    }
}
