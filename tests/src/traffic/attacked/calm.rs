//! Days without an attack, the awkward ones among them.

use super::{DAY_MS, HOUR_MS, MINUTE_MS, live};
use crate::traffic::{Attempt, Chance, Flow, Outcome, START_MS, Truth};

/// Days without an attack that should stay so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Calm {
    /// Four weeks; the office changes its passwords on the first Tuesday.
    Ordinary,
    /// Four weeks of 200 people.
    Small,
    /// A mailing brings as many people who were not seen before, for six hours; a third of them forgot the password.
    Mailing,
    /// The identity store fails for an hour and a half: everybody fails, and tries again.
    Outage,
    /// The same on the first day.
    EarlyOutage,
    /// Clocks go forward by an hour after a week and back after three.
    DaylightSaving,
    /// The agent does not run for a day and a half, and again for three hours.
    Gaps,
    /// After a week, four times as many people as before.
    Growth,
}

impl Calm {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ordinary,
        Self::Small,
        Self::Mailing,
        Self::Outage,
        Self::EarlyOutage,
        Self::DaylightSaving,
        Self::Gaps,
        Self::Growth,
    ];

    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::Ordinary => "four weeks, with a password-change day at the office",
            Self::Small => "four weeks of 200 people",
            Self::Mailing => {
                "a mailing doubles the traffic for six hours; a third forgot the password"
            }
            Self::Outage => "the identity store fails for 90 minutes",
            Self::EarlyOutage => "the same on the first day",
            Self::DaylightSaving => "clocks go forward, and back",
            Self::Gaps => "the agent is away for 36 hours, and for three",
            Self::Growth => "four times as many people from one day to the next",
        }
    }

    pub(super) fn days(self) -> u32 {
        match self {
            Self::Ordinary | Self::Small | Self::DaylightSaving => 28,
            _ => 14,
        }
    }

    /// What so many people do, and nobody else.
    pub(super) fn attempts(self, seed: u64, people: u32) -> Vec<Attempt> {
        let people = if self == Self::Small { 200 } else { people };
        let mut attempts = live(seed, people, self.days());
        let mut chance = Chance::new(seed ^ 0xca1f);
        match self {
            Self::Ordinary | Self::Small => {}
            Self::Mailing => {
                let from = START_MS + 9 * DAY_MS + 10 * HOUR_MS;
                let others = live(seed + ADDED, 5 * people, 10);
                let invited = others.into_iter().filter(|one| {
                    (from..from + 6 * HOUR_MS).contains(&one.time_ms) && one.truth == Truth::Person
                });
                for one in invited.collect::<Vec<_>>() {
                    // Five times as many people lived; one of five was invited.
                    if chance.permille(200) {
                        forget(one, &mut chance, &mut attempts);
                    }
                }
            }
            Self::Outage | Self::EarlyOutage => {
                let day = if self == Self::Outage { 9 } else { 0 };
                fail_all(
                    &mut attempts,
                    START_MS + day * DAY_MS + 10 * HOUR_MS,
                    &mut chance,
                );
            }
            Self::DaylightSaving => {
                for attempt in &mut attempts {
                    let day = (attempt.time_ms - START_MS) / DAY_MS;
                    if (7..21).contains(&day) {
                        attempt.time_ms -= HOUR_MS;
                    }
                }
            }
            Self::Gaps => attempts.retain(|attempt| {
                let hour = (attempt.time_ms - START_MS) / HOUR_MS;
                !(80..116).contains(&hour) && !(200..203).contains(&hour)
            }),
            Self::Growth => {
                let others = live(seed + ADDED, 3 * people, self.days());
                let from = START_MS + 7 * DAY_MS;
                attempts.extend(others.into_iter().filter(|one| one.time_ms >= from));
            }
        }
        attempts.sort_by_key(|attempt| attempt.time_ms);
        attempts
    }
}

/// Somebody who was invited: a third have forgotten the password, and of these half recover it at once.
fn forget(one: Attempt, chance: &mut Chance, attempts: &mut Vec<Attempt>) {
    let mut one = Attempt {
        user: format!("returning-{}", one.user),
        ..one
    };
    if one.outcome == Outcome::Success && one.flow == Flow::SignIn && chance.permille(333) {
        for _ in 0..chance.between(2, 4) {
            attempts.push(Attempt {
                outcome: Outcome::Failure,
                ..one.clone()
            });
            one.time_ms += chance.between(10_000, 60_000);
        }
        if chance.permille(500) {
            return;
        }
        one.time_ms += chance.between(MINUTE_MS, 10 * MINUTE_MS);
    }
    attempts.push(one);
}

/// For an hour and a half whoever would sign in fails, tries again two to five times, and comes back later.
fn fail_all(attempts: &mut Vec<Attempt>, from: u64, chance: &mut Chance) {
    let to = from + 90 * MINUTE_MS;
    let mut more = Vec::new();
    for attempt in attempts.iter_mut() {
        if !(from..to).contains(&attempt.time_ms) {
            continue;
        }
        attempt.outcome = Outcome::Failure;
        let mut again = attempt.clone();
        for _ in 0..chance.between(2, 5) {
            again.time_ms += chance.between(5_000, 3 * MINUTE_MS);
            if again.time_ms < to {
                more.push(again.clone());
            }
        }
        more.push(Attempt {
            time_ms: to + chance.below(2 * HOUR_MS),
            outcome: Outcome::Success,
            ..again
        });
    }
    attempts.append(&mut more);
}

const ADDED: u64 = 77;
