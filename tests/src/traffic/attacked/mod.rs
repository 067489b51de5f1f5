//! How well "under attack" does: false alarms on weeks without attacks, among them awkward ones, and how soon each
//! kind of attack is seen.

mod calm;
pub mod tightening;

use std::{collections::BTreeMap, fmt::Write as _};

use edgeward::{
    policy::{
        attack::{AttackModel, Change, Settings as AttackSettings},
        defence::{Defence, Judged, Settings},
    },
    replay::report::Spread,
};

pub use calm::Calm;

use super::{
    Attack, Attempt, Chance, Parameters, START_MS, Truth,
    measure::{View, seen, span},
    people::World,
};

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By what happened: days, attacks declared, minutes of them.
    calm: BTreeMap<Calm, Declared>,
    /// By kind of attack, after nine days of learning.
    learned: BTreeMap<(View, Attack), Seen>,
    /// By kind of attack, in the third hour of the first day.
    early: BTreeMap<(View, Attack), Seen>,
    /// Five days of one attack, and one that takes a day to reach its height.
    shapes: BTreeMap<Shape, Seen>,
}

/// How an attack goes, other than its kind says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// For five days.
    Long,
    /// Rising over a day.
    Rising,
}

#[derive(Clone, Debug, Default)]
struct Declared {
    days: u64,
    attacks: u64,
    minutes: u64,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    attacks: u64,
    /// From its first attempt to the declaration, ms.
    delay: Vec<u64>,
    /// From its last attempt to the end, ms.
    over: Vec<u64>,
    /// Declared before the attack began, or again after it ended.
    beside: u64,
    /// Ended while it went on, and declared again.
    interrupted: u64,
}

/// How much of it is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// People with an account, where what happens does not say how many.
    people: u32,
    /// Attacks that goals are not about, those of the first day, and those of another shape.
    whole: bool,
}

const WHOLE: Extent = Extent {
    people: 5_000,
    whole: true,
};
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const LEARNED_DAYS: u32 = 9;
const TICK_MS: u64 = 10_000;

/// Measures on some seeds.
#[must_use]
pub fn measure(seeds: &[u64]) -> Measured {
    measure_some(seeds, WHOLE)
}

fn measure_some(seeds: &[u64], extent: Extent) -> Measured {
    let mut measured = Measured::default();
    let people = extent.people;
    for seed in seeds {
        for calm in Calm::ALL {
            let changes = run(&calm.attempts(*seed, people), View::Requests);
            measured.calm.entry(calm).or_default().add(calm, &changes);
        }
        for attack in Attack::ALL {
            if !extent.whole && !is_large(attack) {
                continue;
            }
            let (attempts, during) = with(attack, *seed, people, LEARNED_DAYS, |time| time);
            for view in View::ALL {
                let seen = measured.learned.entry((view, attack)).or_default();
                seen.add(during, &run(&attempts, view));
            }
        }
        if extent.whole {
            measured.add_others(*seed, people);
        }
    }
    measured
}

impl Measured {
    /// What goals are not about.
    fn add_others(&mut self, seed: u64, people: u32) {
        for attack in Attack::ALL {
            let (attempts, during) = with(attack, seed, people, 0, |time| time);
            for view in View::ALL {
                let seen = self.early.entry((view, attack)).or_default();
                seen.add(during, &run(&attempts, view));
            }
        }
        for shape in [Shape::Long, Shape::Rising] {
            let (attempts, during) = shape.attempts(seed);
            let seen = self.shapes.entry(shape).or_default();
            seen.add(during, &run(&attempts, View::Requests));
        }
    }

    /// Markdown.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut text = String::from(
            "| without an attack | days | attacks declared | minutes under attack |\n|---|---:|---:|---:|\n",
        );
        for (calm, declared) in &self.calm {
            // Writing into a String cannot fail.
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {} |",
                calm.says(),
                declared.days,
                declared.attacks,
                declared.minutes
            );
        }
        let head = "| attack | names, unknown users, requests | only sources can be refused | an access log |\n\
                    |---|---|---|---|\n";
        for (title, kinds) in [
            ("After nine days", &self.learned),
            ("In the third hour of the first day", &self.early),
        ] {
            let _infallible = write!(
                text,
                "\n{title}: seen, delay at the median and at most, and how long after its last attempt it ended at the median.\n\n{head}"
            );
            for attack in Attack::ALL {
                let cell = |view| {
                    let seen = kinds.get(&(view, attack));
                    seen.map_or_else(String::new, Seen::cell)
                };
                let _infallible = writeln!(
                    text,
                    "| {} | {} | {} | {} |",
                    attack.label(),
                    cell(View::Requests),
                    cell(View::Direct),
                    cell(View::AccessLog)
                );
            }
        }
        for (shape, seen) in &self.shapes {
            let _infallible = writeln!(
                text,
                "\n{}: {}; ended while it went on: {} times.",
                match shape {
                    Shape::Long => "distributed-browser for five days without a pause",
                    Shape::Rising => "distributed-browser that rises from nothing over a day",
                },
                seen.cell(),
                seen.interrupted
            );
        }
        text
    }

    /// The goals that are missed: no false alarm, and the large distributed attacks are seen within a quarter of an
    /// hour where history is known.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for (calm, declared) in &self.calm {
            if declared.attacks > 0 {
                missed.push(format!(
                    "{} false alarms: {}",
                    declared.attacks,
                    calm.says()
                ));
            }
        }
        for ((view, attack), seen) in &self.learned {
            let late = seen.delay.iter().any(|delay| *delay > 15 * MINUTE_MS);
            if is_large(*attack) && (seen.missed() || late) {
                missed.push(format!("{} in {view:?}: {}", attack.label(), seen.cell()));
            }
        }
        missed
    }
}

impl Declared {
    fn add(&mut self, calm: Calm, changes: &[Change]) {
        self.days += u64::from(calm.days());
        self.attacks += changes.iter().filter(|change| change.attacked).count() as u64;
        let ends = changes.iter().filter(|change| !change.attacked);
        self.minutes += ends
            .map(|change| (change.at_ms - change.since_ms) / MINUTE_MS)
            .sum::<u64>();
    }
}

impl Seen {
    fn add(&mut self, (from, to): (u64, u64), changes: &[Change]) {
        self.attacks += 1;
        let within = |change: &&Change| (from..=to + HOUR_MS).contains(&change.at_ms);
        let starts = || changes.iter().filter(|change| change.attacked);
        let delay = starts().find(within).map(|change| change.at_ms - from);
        self.delay.extend(delay);
        self.beside += starts().filter(|change| !within(change)).count() as u64;
        self.interrupted += starts().filter(within).count().saturating_sub(1) as u64;
        let end = changes.iter().rfind(|change| !change.attacked);
        if let (Some(end), Some(_)) = (end, delay) {
            self.over.push(end.at_ms.saturating_sub(to));
        }
    }

    fn missed(&self) -> bool {
        (self.delay.len() as u64) < self.attacks
    }

    fn cell(&self) -> String {
        let mut text = format!("{} of {}", self.delay.len(), self.attacks);
        if let Some(delay) = Spread::of(self.delay.clone()) {
            text += &format!(", after {} to {}", span(delay.median), span(delay.max));
        }
        if let Some(over) = Spread::of(self.over.clone()) {
            text += &format!(", over {} later", span(over.median));
        }
        if self.beside > 0 {
            text += &format!(", {} beside it", self.beside);
        }
        text
    }
}

impl Shape {
    fn attempts(self, seed: u64) -> (Vec<Attempt>, (u64, u64)) {
        let attack = Attack::DistributedBrowser;
        match self {
            // Forty times the attack of three hours, one after the other.
            Self::Long => {
                let (mut attempts, _) = with(attack, seed, WHOLE.people, LEARNED_DAYS, |time| time);
                attempts
                    .retain(|one| one.truth == Truth::Person || one.truth == Truth::StaleDevice);
                let people = attempts.len();
                for round in 0..40 {
                    let again = only(
                        attack,
                        seed.wrapping_add(1_000 + round),
                        9 * DAY_MS + round * 3 * HOUR_MS,
                    );
                    attempts.extend(again);
                }
                let added = attempts.get(people..).unwrap_or_default();
                let during = ends(added);
                attempts.extend(live_from(seed, 12, 16));
                attempts.sort_by_key(|attempt| attempt.time_ms);
                (attempts, during)
            }
            Self::Rising => {
                // Three hours stretched to 24, the more the earlier.
                let stretch = |time: u64| {
                    let part = (time.min(4 * HOUR_MS) as f64 / (4 * HOUR_MS) as f64).sqrt();
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "between 0 and a day"
                    )]
                    let stretched = (part * DAY_MS as f64) as u64;
                    stretched
                };
                with(attack, seed, WHOLE.people, LEARNED_DAYS, stretch)
            }
        }
    }
}

/// People, and one attack: after so many days, or in the third hour. Gives when it began and ended.
fn with(
    attack: Attack,
    seed: u64,
    people: u32,
    days: u32,
    shape: fn(u64) -> u64,
) -> (Vec<Attempt>, (u64, u64)) {
    let mut chance = Chance::new(seed ^ 0xa77a);
    let from_ms = if days == 0 {
        2 * HOUR_MS + chance.below(HOUR_MS)
    } else {
        u64::from(days) * DAY_MS + chance.below(DAY_MS)
    };
    let mut attempts = live(seed, people, days + 3);
    let mut attacks = only(attack, seed, from_ms);
    for one in &mut attacks {
        one.time_ms = START_MS + from_ms + shape(one.time_ms - START_MS - from_ms);
    }
    let during = ends(&attacks);
    attempts.append(&mut attacks);
    attempts.sort_by_key(|attempt| attempt.time_ms);
    (attempts, during)
}

/// The attacks that must be seen soon.
const fn is_large(attack: Attack) -> bool {
    matches!(attack, Attack::DistributedTool | Attack::DistributedBrowser)
}

fn ends(attempts: &[Attempt]) -> (u64, u64) {
    let times = || attempts.iter().map(|attempt| attempt.time_ms);
    (times().min().unwrap_or(0), times().max().unwrap_or(0))
}

/// One attack that begins so long after the start.
fn only(attack: Attack, seed: u64, from_ms: u64) -> Vec<Attempt> {
    let parameters = Parameters {
        seed,
        days: 2,
        ..Parameters::default()
    };
    let world = World::new(&parameters);
    let mut chance = Chance::new(seed.wrapping_mul(1_000).wrapping_add(attack as u64));
    let mut attempts = Vec::new();
    attack.run(&parameters, &world, &mut chance, &mut attempts);
    let (first, _) = ends(&attempts);
    for attempt in &mut attempts {
        attempt.time_ms = attempt.time_ms - first + START_MS + from_ms;
    }
    attempts
}

fn live(seed: u64, people: u32, days: u32) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let parameters = Parameters {
        seed,
        people,
        days,
        attacks: false,
    };
    World::new(&parameters).live(&mut attempts);
    attempts
}

/// The days from one to another.
fn live_from(seed: u64, from_day: u64, days: u32) -> Vec<Attempt> {
    let mut attempts = live(seed, WHOLE.people, days);
    attempts.retain(|attempt| attempt.time_ms >= START_MS + from_day * DAY_MS);
    attempts
}

/// Runs the model beside detection, as the agent does.
fn run(attempts: &[Attempt], view: View) -> Vec<Change> {
    let mut defence = Defence::new(Settings {
        sees_requests: view.services(),
        ..Settings::default()
    });
    let mut model = AttackModel::new(AttackSettings::default(), 7);
    let mut changes = Vec::new();
    let mut ticked_ms = 0;
    for attempt in attempts {
        if attempt.time_ms >= ticked_ms + TICK_MS {
            ticked_ms = attempt.time_ms;
            changes.extend(model.tick(ticked_ms));
        }
        let signal = seen(attempt, view);
        if matches!(defence.judge(&signal), Judged::Refused(_)) {
            model.refused(0, signal.client, signal.time_ms);
        } else {
            defence.learn(&signal);
            model.observe(&signal);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::{super::measure::SEEDS, *};

    /// One seed and fewer people, which is quick without optimisation too; `cargo xtask traffic measure` has them all.
    #[test]
    fn the_goals_are_met_on_a_seed_that_nothing_was_tuned_on() {
        let extent = Extent {
            people: 1_000,
            whole: false,
        };
        let measured = measure_some(&SEEDS[..1], extent);
        assert_eq!((measured.calm.len(), measured.learned.len()), (8, 6));
        assert!(
            measured.missed().is_empty(),
            "{:#?}\n{}",
            measured.missed(),
            measured.tables()
        );
    }
}
