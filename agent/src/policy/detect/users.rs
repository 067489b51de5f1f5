//! The users that one source tried: each by itself while there are few, a sketch when there are many.
//!
//! A source at home has one to three of them and costs six slots; only sources with more (offices,
//! mobile networks, attackers) pay for the sketch.

use serde::{Deserialize, Serialize};

/// Users kept one by one.
pub(super) const SLOTS: usize = 6;

/// What a signal says about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// A sign-in failed.
    Failed,
    /// A sign-in succeeded.
    Succeeded,
    /// Recovery or enrolment asked for the user.
    Probed,
}

/// What was new about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// The first time here that this happened to this user.
    pub(super) fresh: bool,
    /// The user has succeeded here.
    pub(super) trusted: bool,
    /// Failures of the user since it last succeeded here; where there are very many users, at least the
    /// excess over the others.
    pub(super) failures: u16,
}

/// Distinct users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Distinct {
    /// Failed, and never succeeded.
    pub(super) failed: u16,
    /// Succeeded.
    pub(super) succeeded: u16,
    /// Asked for in recovery or enrolment.
    pub(super) probed: u16,
}

/// The users of one source, over one stretch of the long window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Users {
    slots: [Slot; SLOTS],
    used: u8,
    sketch: Option<Box<Sketch>>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Slot {
    /// Two halves: six bytes a slot and no gap between slots.
    user: [u16; 2],
    /// Flags in the lowest bits, above them the failures.
    state: u16,
}

const FAILED: u16 = 1;
const SUCCEEDED: u16 = 2;
const PROBED: u16 = 4;
const FLAGS: u16 = 7;
const FLAG_BITS: u32 = 3;
/// More failures of one user than any threshold asks for.
const FAILURES_MAX: u16 = u16::MAX >> FLAG_BITS;

/// Linear counting (Whang, Vander-Zanden, Taylor 1990): the share of bits still zero tells how many
/// distinct users set them. With 512 bits it is exact within one at 20 users and within 5 % at 500.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sketch {
    failed: Bits,
    succeeded: Bits,
    probed: Bits,
}

type Bits = [u64; 8];
const BITS: u32 = 512;

impl Users {
    /// Notes what happened to a user (32 bits of its pseudonym).
    pub(super) fn note(&mut self, user: u32, tried: Tried) -> Noted {
        let used = usize::from(self.used);
        if let Some(slot) = self
            .slots
            .iter_mut()
            .take(used)
            .find(|slot| slot.user() == user)
        {
            let mut noted = slot.note(tried);
            if let Some(sketch) = &mut self.sketch {
                noted.fresh = sketch.set(user, tried);
                noted.trusted |= holds(&sketch.succeeded, user);
            }
            return noted;
        }
        if let Some(slot) = self.slots.get_mut(used) {
            *slot = Slot::new(user, 0, 0);
            self.used = self.used.saturating_add(1);
            return slot.note(tried);
        }
        let slots = self.slots;
        let sketch = self
            .sketch
            .get_or_insert_with(|| Box::new(Sketch::of(&slots)));
        let fresh = sketch.set(user, tried);
        let trusted = holds(&sketch.succeeded, user);
        Noted {
            fresh,
            trusted,
            failures: self.displace(user, tried),
        }
    }

    /// How many there are.
    #[must_use]
    pub(super) fn distinct(&self) -> Distinct {
        if let Some(sketch) = &self.sketch {
            return sketch.distinct();
        }
        let mut distinct = Distinct::default();
        for slot in self.slots.iter().take(usize::from(self.used)) {
            let succeeded = slot.has(SUCCEEDED);
            distinct.succeeded += u16::from(succeeded);
            distinct.failed += u16::from(slot.has(FAILED) && !succeeded);
            distinct.probed += u16::from(slot.has(PROBED));
        }
        distinct
    }

    /// Bytes on the heap.
    #[cfg(test)]
    #[must_use]
    pub(super) fn heap_bytes(&self) -> usize {
        self.sketch.as_ref().map_or(0, |_| size_of::<Sketch>())
    }

    /// Misra and Gries: a user without a slot takes one from every other, so whoever has more than its
    /// share of failures cannot be pushed out by many others.
    fn displace(&mut self, user: u32, tried: Tried) -> u16 {
        if tried != Tried::Failed {
            return 0;
        }
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.failures() == 0) {
            *slot = Slot::new(user, FAILED, 1);
            return 1;
        }
        for slot in &mut self.slots {
            slot.fail(slot.failures().saturating_sub(1));
        }
        0
    }
}

impl Slot {
    fn new(user: u32, flags: u16, failures: u16) -> Self {
        let [a, b, c, d] = user.to_ne_bytes();
        let mut slot = Self {
            user: [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])],
            state: flags,
        };
        slot.fail(failures);
        slot
    }

    fn user(self) -> u32 {
        let [low, high] = self.user.map(u16::to_ne_bytes);
        u32::from_ne_bytes([low[0], low[1], high[0], high[1]])
    }

    const fn has(self, flag: u16) -> bool {
        self.state & flag != 0
    }

    const fn failures(self) -> u16 {
        self.state >> FLAG_BITS
    }

    fn fail(&mut self, failures: u16) {
        self.state = self.state & FLAGS | failures.min(FAILURES_MAX) << FLAG_BITS;
    }

    fn note(&mut self, tried: Tried) -> Noted {
        let flag = flag(tried);
        let fresh = !self.has(flag);
        self.state |= flag;
        match tried {
            Tried::Failed => self.fail(self.failures().saturating_add(1)),
            Tried::Succeeded => self.fail(0),
            Tried::Probed => {}
        }
        Noted {
            fresh,
            trusted: self.has(SUCCEEDED),
            failures: self.failures(),
        }
    }
}

impl Sketch {
    fn of(slots: &[Slot]) -> Self {
        let mut sketch = Self {
            failed: Bits::default(),
            succeeded: Bits::default(),
            probed: Bits::default(),
        };
        for slot in slots {
            for tried in [Tried::Failed, Tried::Succeeded, Tried::Probed] {
                if slot.has(flag(tried)) {
                    sketch.set(slot.user(), tried);
                }
            }
        }
        sketch
    }

    /// Whether it was not set before.
    fn set(&mut self, user: u32, tried: Tried) -> bool {
        let bits = match tried {
            Tried::Failed => &mut self.failed,
            Tried::Succeeded => &mut self.succeeded,
            Tried::Probed => &mut self.probed,
        };
        let (word, bit) = place(user);
        let Some(word) = bits.get_mut(word) else {
            return false;
        };
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    fn distinct(&self) -> Distinct {
        let succeeded = estimate(self.succeeded.iter().copied());
        let either = self.failed.iter().zip(&self.succeeded).map(|(a, b)| a | b);
        Distinct {
            failed: estimate(either).saturating_sub(succeeded),
            succeeded,
            probed: estimate(self.probed.iter().copied()),
        }
    }
}

const fn flag(tried: Tried) -> u16 {
    match tried {
        Tried::Failed => FAILED,
        Tried::Succeeded => SUCCEEDED,
        Tried::Probed => PROBED,
    }
}

const fn place(user: u32) -> (usize, u64) {
    ((user % BITS / 64) as usize, 1 << (user % 64))
}

fn holds(bits: &Bits, user: u32) -> bool {
    let (word, bit) = place(user);
    bits.get(word).is_some_and(|word| word & bit != 0)
}

/// How many distinct users set these bits: `-m ln(zeros / m)`.
fn estimate(words: impl Iterator<Item = u64>) -> u16 {
    let ones: u32 = words.map(u64::count_ones).sum();
    // All set: as if half a bit were left, which is past every threshold.
    let zeros = f64::from(BITS.saturating_sub(ones)).max(0.5);
    let users = -f64::from(BITS) * (zeros / f64::from(BITS)).ln();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 512 ln 1024, which is 3,549, and never negative"
    )]
    {
        users.round() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::random::Random;

    fn user(random: &mut Random) -> u32 {
        u32::try_from(random.next() >> 32).unwrap()
    }

    #[test]
    fn few_users_are_exact_and_many_are_estimated() {
        let mut random = Random::new(7);
        let mut users = Users::default();
        let mut noted = 0;
        for (count, tolerance) in [(1, 0), (6, 0), (7, 0), (20, 1), (100, 8), (500, 40)] {
            while noted < count {
                users.note(user(&mut random), Tried::Failed);
                noted += 1;
            }
            let estimate = u32::from(users.distinct().failed);
            assert!(
                estimate.abs_diff(count) <= tolerance,
                "{estimate} for {count}"
            );
        }
    }

    #[test]
    fn a_user_that_succeeds_is_no_failed_user() {
        for others in [0_u32, 3, 50] {
            let mut users = Users::default();
            for other in 0..others {
                users.note(other * 7 + 1_000, Tried::Succeeded);
            }
            for _ in 0..3 {
                users.note(5, Tried::Failed);
            }
            let before = users.distinct();
            assert_eq!(before.failed, 1, "{others}");
            assert!(users.note(5, Tried::Succeeded).trusted);
            let noted = users.note(5, Tried::Failed);
            assert!(noted.trusted && !noted.fresh, "{others}");
            assert_eq!(users.distinct().failed, 0, "{others}");
            assert_eq!(users.distinct().succeeded, before.succeeded + 1);
        }
    }

    #[test]
    fn order_does_not_matter() {
        let mut random = Random::new(11);
        for _ in 0..50 {
            let mut events: Vec<(u32, Tried)> = (0..40)
                .map(|_| {
                    let tried = random.pick(&[Tried::Failed, Tried::Failed, Tried::Succeeded]);
                    (u32::try_from(random.below(20)).unwrap() * 37, tried)
                })
                .collect();
            let run = |events: &[(u32, Tried)]| {
                let mut users = Users::default();
                for (user, tried) in events {
                    users.note(*user, *tried);
                }
                users.distinct()
            };
            let expected = run(&events);
            events.reverse();
            assert_eq!(run(&events), expected);
            events.sort_by_key(|(user, _)| *user);
            assert_eq!(run(&events), expected);
        }
    }

    #[test]
    fn a_heavy_user_cannot_hide_among_many() {
        let mut random = Random::new(3);
        let mut users = Users::default();
        let mut highest = 0;
        for round in 0..400 {
            users.note(user(&mut random), Tried::Failed);
            if round % 2 == 0 {
                highest = highest.max(users.note(42, Tried::Failed).failures);
            }
        }
        assert!(highest > 50, "{highest}");
    }
}
