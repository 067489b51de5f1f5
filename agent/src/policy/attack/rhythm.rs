//! What an hour usually looks like: medians over the same hour of the week, of the day, and over the last day.
//!
//! Medians, because one holiday, outage or unseen attack among five weeks does not move them. Each level leans on the
//! wider one below it while it knows little (shrinkage), and the widest on a prior. What is expected is the busiest of
//! the hour before, this one and the next: daylight saving and slopes then need no knowledge of time zones.

use serde::{Deserialize, Serialize};

/// What is counted of a slot; see [`Measure`].
pub(super) type Counts = [f32; MEASURES];
/// Number of [`Measure`]s.
pub(super) const MEASURES: usize = 7;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Sources that failed and that nobody ever signed in from.
    Strangers,
    /// Failures of these, a few of each at most.
    Failures,
    /// Users that failed from these and did not sign in.
    Users,
    /// Of these, the ones that do not exist.
    Unknown,
    /// Sources that somebody signed in from.
    Good,
    /// Of these, the ones that were strangers before.
    Newcomers,
    /// Sources that failed and that somebody signed in from before.
    Familiar,
}

/// The history of one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rhythm {
    hours: Vec<Hour>,
}

/// What is expected of a slot in some hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    /// For each measure.
    pub(super) counts: Counts,
    /// From 0, nothing but the prior, to 1, all levels are known.
    pub(super) trust: f32,
}

/// The mean of an hour's slots.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Hour {
    /// Hours since the epoch; 0 where nothing is known.
    number: u64,
    counts: Counts,
}

/// Five weeks of hours.
const HOURS_KEPT: u64 = 5 * WEEK;
const WEEK: u64 = 7 * DAY;
const DAY: u64 = 24;
/// How many values of a level count as much as the level below: of weeks, of days, of the last hours.
const LEANS_ON: [f32; 3] = [1.0, 2.0, 6.0];
/// A slot of a service that nothing is known of, with some ten sign-ins: everybody is a stranger, and one of five
/// mistypes or gives up. Own.
const PRIOR: Counts = [2.0, 4.0, 2.0, 1.0, 10.0, 10.0, 2.0];

/// A count.
pub(super) fn count(counts: &Counts, measure: Measure) -> f32 {
    counts.get(measure as usize).copied().unwrap_or(0.0)
}

impl Rhythm {
    /// Keeps the mean of an hour's slots.
    pub(super) fn note(&mut self, number: u64, counts: Counts) {
        if let Some(hour) = self.hours.get_mut(place(number)) {
            *hour = Hour { number, counts };
        }
    }

    /// Forgets the hours from one to another, both included: they were not ordinary.
    pub(super) fn forget(&mut self, from: u64, to: u64) {
        for hour in &mut self.hours {
            if (from..=to).contains(&hour.number) {
                *hour = Hour::default();
            }
        }
    }

    /// What is expected of a slot in an hour.
    pub(super) fn expect(&self, number: u64) -> Expected {
        let mut expected = self.of_hour(number, number);
        for other in [number.saturating_sub(1), number.saturating_add(1)] {
            let other = self.of_hour(other, number);
            for (most, count) in expected.counts.iter_mut().zip(other.counts) {
                *most = most.max(count);
            }
        }
        expected
    }

    /// How many hours are known.
    pub(super) fn hours(&self) -> u32 {
        let known = self.hours.iter().filter(|hour| hour.number > 0).count();
        u32::try_from(known).unwrap_or(u32::MAX)
    }

    /// What was read back, if it has the size that it must have and holds numbers.
    pub(super) fn checked(mut self) -> Self {
        if self.hours.len() != Self::default().hours.len() {
            return Self::default();
        }
        for (at, hour) in self.hours.iter_mut().enumerate() {
            let sound = hour.counts.iter().all(|it| it.is_finite() && *it >= 0.0);
            if !sound || place(hour.number) != at {
                *hour = Hour::default();
            }
        }
        self
    }

    /// From what is known before the hour `now`.
    fn of_hour(&self, number: u64, now: u64) -> Expected {
        let back = |step: u64, times: u64| {
            (1..=times)
                .filter_map(move |n| self.known(number.checked_sub(step.checked_mul(n)?)?, now))
        };
        let (weeks, days) = (median(back(WEEK, 5)), median(back(DAY, 7)));
        let last = median((1..=DAY).filter_map(|n| self.known(now.checked_sub(n)?, now)));
        let mut counts = PRIOR;
        let mut distrust = 1.0;
        // The widest first: each narrower one replaces a part of what is below.
        for (level, leans_on) in [last, days, weeks].iter().zip(LEANS_ON.iter().rev()) {
            let weight = level.values / (level.values + leans_on);
            distrust *= 1.0 - weight;
            for (count, median) in counts.iter_mut().zip(level.counts) {
                *count += weight * (median - *count);
            }
        }
        Expected {
            counts,
            trust: 1.0 - distrust,
        }
    }

    fn known(&self, number: u64, now: u64) -> Option<&Counts> {
        let hour = self.hours.get(place(number))?;
        (hour.number == number && number > 0 && number < now).then_some(&hour.counts)
    }
}

impl Default for Rhythm {
    fn default() -> Self {
        let kept = usize::try_from(HOURS_KEPT).unwrap_or(0);
        Self {
            hours: vec![Hour::default(); kept],
        }
    }
}

struct Level {
    counts: Counts,
    values: f32,
}

/// The median of each measure. Of an even number the lower: what is unusual is more often high.
fn median<'a>(values: impl Iterator<Item = &'a Counts>) -> Level {
    let values: Vec<&Counts> = values.collect();
    let mut counts = Counts::default();
    for (measure, median) in counts.iter_mut().enumerate() {
        let mut of_measure: Vec<f32> = values
            .iter()
            .filter_map(|counts| counts.get(measure).copied())
            .collect();
        of_measure.sort_by(f32::total_cmp);
        let middle = of_measure.len().saturating_sub(1) / 2;
        *median = of_measure.get(middle).copied().unwrap_or(0.0);
    }
    let length = u16::try_from(values.len()).unwrap_or(u16::MAX);
    Level {
        counts,
        values: f32::from(length),
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % HOURS_KEPT).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 500_000;

    /// Ten at night, a hundred by day, half of it at weekends.
    fn usual(number: u64) -> f32 {
        let by_day = if (8..20).contains(&(number % DAY)) {
            100.0
        } else {
            10.0
        };
        if number / DAY % 7 >= 5 {
            by_day / 2.0
        } else {
            by_day
        }
    }

    fn lived(days: u64) -> Rhythm {
        let mut rhythm = Rhythm::default();
        for number in START..START + days * DAY {
            rhythm.note(number, [usual(number); MEASURES]);
        }
        rhythm
    }

    fn strangers(rhythm: &Rhythm, number: u64) -> f32 {
        count(&rhythm.expect(number).counts, Measure::Strangers)
    }

    #[test]
    fn nothing_known_is_the_prior_and_trust_grows() {
        let expected = Rhythm::default().expect(START);
        assert_eq!((expected.counts, expected.trust), (PRIOR, 0.0));
        let mut before = 0.0;
        for days in [1, 3, 8, 40] {
            let trust = lived(days).expect(START + days * DAY).trust;
            assert!(trust > before, "{days} days: {trust}");
            before = trust;
        }
        assert!(before > 0.9);
    }

    #[test]
    fn each_hour_of_the_week_has_its_own_expectation() {
        let rhythm = lived(40);
        let now = START + 40 * DAY;
        for number in now..now + 3 {
            let busiest = [number - 1, number, number + 1]
                .map(usual)
                .into_iter()
                .fold(0.0, f32::max);
            let found = strangers(&rhythm, number);
            assert!(
                (found - busiest).abs() < busiest * 0.25,
                "{number}: {found} for {busiest}"
            );
        }
    }

    #[test]
    fn neither_a_holiday_nor_an_attack_moves_a_median() {
        let mut rhythm = lived(40);
        let now = START + 40 * DAY;
        let before = strangers(&rhythm, now);
        for number in now - WEEK..now - WEEK + DAY {
            rhythm.note(number, [5_000.0; MEASURES]);
        }
        let after = strangers(&rhythm, now);
        assert!((after - before).abs() <= before * 0.3, "{before} {after}");
    }

    #[test]
    fn what_is_forgotten_and_what_lies_ahead_does_not_count() {
        let mut rhythm = lived(2);
        let now = START + 2 * DAY;
        rhythm.forget(START, now);
        assert_eq!((rhythm.hours(), strangers(&rhythm, now)), (0, 2.0));
        rhythm.note(now + 30 * DAY, [9_000.0; MEASURES]);
        assert_eq!(strangers(&rhythm, now), 2.0, "a line from the future");
        assert!(rhythm.expect(0).trust <= 0.0 && rhythm.expect(u64::MAX).trust >= 0.0);
    }

    #[test]
    fn what_was_read_back_is_looked_at() {
        let mut rhythm = lived(3);
        assert_eq!(rhythm.clone().checked().hours(), 72);
        rhythm.hours[place(START)].counts[2] = f32::NAN;
        rhythm.hours.swap(place(START + 1), place(START + 2));
        assert_eq!(rhythm.clone().checked().hours(), 69);
        rhythm.hours.pop();
        assert_eq!(rhythm.checked().hours(), 0);
    }
}
