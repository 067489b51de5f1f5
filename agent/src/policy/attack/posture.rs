//! Whether a service is under attack: what the model says, what an operator says, and which of them holds.
//!
//! An operator's word holds for the time that goes with it; then the model's counts again. What was declared by the
//! model lasts for a minimum. Times never run backwards in what this reports.

use serde::{Deserialize, Serialize};

/// Who declared something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The model.
    Model,
    /// An operator.
    Operator,
    /// The time of an operator's word ran out.
    Lapsed,
}

/// A change of what is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Under attack from now on, or not any more.
    pub attacked: bool,
    /// When, milliseconds since the epoch.
    pub at_ms: u64,
    /// When the attack was declared; for a start the same as `at_ms`.
    pub since_ms: u64,
    /// Who said so.
    pub cause: Cause,
}

/// The state of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// What the model says: since when.
    model: Option<u64>,
    /// What an operator said.
    word: Option<Word>,
    /// What is in force.
    in_force: Option<InForce>,
}

/// An operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Under attack, or not.
    pub attacked: bool,
    /// From, milliseconds since the epoch.
    pub from_ms: u64,
    /// Until, milliseconds since the epoch.
    pub until_ms: u64,
}

/// An attack that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Since, milliseconds since the epoch.
    pub since_ms: u64,
    /// Who declared it.
    pub cause: Cause,
}

/// Longest time for which an operator's word holds, ms: a week. Longer is what configuration is for.
pub const WORD_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// How far an operator's word may lie ahead before it is taken for that of a wrong clock, ms.
const AHEAD_MS_MAX: u64 = 3_600_000;

impl Posture {
    /// The attack in force.
    #[must_use]
    pub const fn attack(&self) -> Option<InForce> {
        self.in_force
    }

    /// Since when the model sees an attack, milliseconds since the epoch, whether or not that is in force.
    #[must_use]
    pub const fn model(&self) -> Option<u64> {
        self.model
    }

    /// The operator's word while it holds.
    #[must_use]
    pub fn word(&self, now_ms: u64) -> Option<Word> {
        self.word.filter(|word| word.holds(now_ms))
    }

    /// The model sees an attack, or none any more.
    pub fn modelled(&mut self, attacked: bool, now_ms: u64) -> Option<Shift> {
        self.model = match (attacked, self.model) {
            (true, None) => Some(now_ms),
            (true, since) => since,
            (false, _) => None,
        };
        self.settle(now_ms, Cause::Model)
    }

    /// An operator says so for a time, [`WORD_MS_MAX`] at most. An end is one for the model, too.
    pub fn said(&mut self, attacked: bool, now_ms: u64, for_ms: u64) -> Option<Shift> {
        self.model = self.model.filter(|_| attacked);
        self.word = Some(Word {
            attacked,
            from_ms: now_ms,
            until_ms: now_ms.saturating_add(for_ms.min(WORD_MS_MAX)),
        });
        self.settle(now_ms, Cause::Operator)
    }

    /// Time went by.
    pub fn advance(&mut self, now_ms: u64) -> Option<Shift> {
        if self.model.is_some_and(|since| since > now_ms) {
            // The clock went back: the hold begins anew rather than lasting until the old time comes.
            self.model = Some(now_ms);
        }
        if self.word.is_some_and(|word| !word.holds(now_ms)) {
            self.word = None;
            return self.settle(now_ms, Cause::Lapsed);
        }
        self.settle(now_ms, Cause::Model)
    }

    fn settle(&mut self, now_ms: u64, cause: Cause) -> Option<Shift> {
        let word = self.word(now_ms);
        let attacked = word.map_or(self.model.is_some(), |word| word.attacked);
        match (self.in_force, attacked) {
            (None, true) => {
                self.in_force = Some(InForce {
                    since_ms: now_ms,
                    cause,
                });
                Some(Shift {
                    attacked,
                    at_ms: now_ms,
                    since_ms: now_ms,
                    cause,
                })
            }
            (Some(began), false) => {
                self.in_force = None;
                Some(Shift {
                    attacked,
                    at_ms: now_ms.max(began.since_ms),
                    since_ms: began.since_ms,
                    cause,
                })
            }
            _ => None,
        }
    }
}

impl Word {
    const fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms && self.from_ms <= now_ms.saturating_add(AHEAD_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::random::Random;

    const HOUR: u64 = 3_600_000;

    /// What is done to a posture, and what comes of it: (under attack, who said so).
    #[derive(Clone, Copy)]
    enum Step {
        Model(bool),
        Says(bool, u64),
        Waits(u64),
    }

    type Row<'a> = &'a [(Step, Option<(bool, Cause)>)];

    #[test]
    fn an_operator_overrides_the_model_for_a_time() {
        use Cause::{Lapsed, Model, Operator};
        use Step::{Model as M, Says, Waits};
        let table: [Row<'_>; 6] = [
            &[
                (M(true), Some((true, Model))),
                (M(true), None),
                (M(false), Some((false, Model))),
            ],
            &[
                (Says(true, HOUR), Some((true, Operator))),
                (M(true), None),
                (M(false), None),
                (Waits(HOUR - 1), None),
                (Waits(1), Some((false, Lapsed))),
            ],
            &[
                (M(true), Some((true, Model))),
                (Says(false, HOUR), Some((false, Operator))),
                (M(true), None),
                (Waits(HOUR), Some((true, Lapsed))),
                (M(false), Some((false, Model))),
            ],
            &[
                (Says(true, HOUR), Some((true, Operator))),
                (M(true), None),
                (Waits(2 * HOUR), None),
                (M(false), Some((false, Model))),
            ],
            &[
                (Says(true, HOUR), Some((true, Operator))),
                (Says(false, HOUR), Some((false, Operator))),
                (Says(false, HOUR), None),
                (Waits(2 * HOUR), None),
            ],
            &[
                (Says(true, u64::MAX), Some((true, Operator))),
                (Waits(WORD_MS_MAX), Some((false, Lapsed))),
            ],
        ];
        for (number, steps) in table.iter().enumerate() {
            let (mut posture, mut now) = (Posture::default(), 10 * HOUR);
            for (at, (step, expected)) in steps.iter().enumerate() {
                let shift = match *step {
                    M(attacked) => posture.modelled(attacked, now),
                    Says(attacked, for_ms) => posture.said(attacked, now, for_ms),
                    Waits(ms) => {
                        now += ms;
                        posture.advance(now)
                    }
                };
                let found = shift.map(|shift| (shift.attacked, shift.cause));
                assert_eq!(found, *expected, "row {number}, step {at}");
            }
        }
    }

    #[test]
    fn a_word_from_the_future_does_not_hold() {
        let mut posture = Posture::default();
        assert!(posture.said(true, 1_000 * HOUR, HOUR).is_some());
        let shift = posture.advance(HOUR).unwrap();
        assert!(!shift.attacked);
        assert_eq!(
            (shift.at_ms, shift.since_ms),
            (1_000 * HOUR, 1_000 * HOUR),
            "it does not end before it began"
        );
    }

    #[test]
    fn starts_and_ends_alternate_whatever_happens() {
        let mut random = Random::new(3);
        let (mut posture, mut attacked, mut since) = (Posture::default(), false, 0);
        for _ in 0..20_000 {
            let somewhen = random.below(100 * HOUR);
            let now = random.pick(&[somewhen, u64::MAX, 0, 50 * HOUR]);
            let shift = match random.below(4) {
                0 => posture.said(random.below(2) == 0, now, random.pick(&[0, HOUR, u64::MAX])),
                1 => posture.modelled(random.below(2) == 0, now),
                _ => posture.advance(now),
            };
            if let Some(shift) = shift {
                assert_ne!(shift.attacked, attacked);
                attacked = shift.attacked;
                if attacked {
                    since = shift.at_ms;
                }
                assert!(shift.at_ms >= since && shift.since_ms == since);
            }
            assert_eq!(posture.attack().is_some(), attacked);
        }
    }
}
