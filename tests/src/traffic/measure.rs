//! How well detection does on labelled traffic: what it finds, how soon, and whom it hits by mistake.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use edgeward::{
    policy::{
        defence::{Decides, Services, Settings},
        model::{Learned, Model},
        signal::{self, PseudonymKey, Signal},
    },
    replay::{Replay, report::Spread},
};

use super::{Attack, Attempt, Flow, Outcome, Parameters, Truth, generate};

/// What of the traffic detection gets to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Names, unknown users, user agents; requests can be refused. The gateway, decision endpoints, applications.
    Requests,
    /// Names and unknown users, no user agents; only sources can be refused. sshd, and whatever is reached directly.
    Direct,
    /// No names; user agents, and requests can be refused. An access log.
    AccessLog,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Direct, Self::AccessLog];

    /// The services whose requests can be refused.
    #[must_use]
    pub const fn services(self) -> Services {
        match self {
            Self::Direct => Services::NONE,
            Self::Requests | Self::AccessLog => Services::ALL,
        }
    }
}

/// What was measured over some seeds.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By kind of attack.
    pub kinds: BTreeMap<Attack, Kind>,
    /// Successful sign-ins of people.
    pub sign_ins: u64,
    /// Of these, the ones that would have been refused.
    pub sign_ins_hit: u64,
    /// All attempts of people.
    pub attempts: u64,
    /// Of these, the ones that would have been refused.
    pub attempts_hit: u64,
    /// Attempts of devices with an old password.
    pub stale: u64,
    /// Of these, the ones that would have been refused.
    pub stale_refused: u64,
}

/// One kind of attack.
#[derive(Clone, Debug, Default)]
pub struct Kind {
    /// Sources that attacked.
    pub sources: u64,
    /// Of these, the ones that were refused at least once.
    pub detected: u64,
    /// Attempts.
    pub attempts: u64,
    /// Of these, the ones that would have been refused.
    pub refused: u64,
    /// Attempts of each detected source before its first refusal.
    before: Vec<u64>,
    /// Time from the first attempt to the first refusal, ms.
    delay: Vec<u64>,
}

#[derive(Default)]
struct Attacker {
    first_ms: u64,
    attempts: u64,
    refused: u64,
    before: u64,
    delay: Option<u64>,
}

/// Seeds that no threshold was tuned on.
pub const SEEDS: [u64; 4] = [101, 102, 103, 104];

/// Generates the traffic of each seed and runs detection over it.
#[must_use]
pub fn measure(
    seeds: &[u64],
    parameters: &Parameters,
    view: View,
    decides: Decides,
    model: Option<Model>,
) -> Measured {
    let mut measured = Measured::default();
    for seed in seeds {
        let attempts = generate(&Parameters {
            seed: *seed,
            ..*parameters
        });
        let mut replay = Replay::new(settings(view, decides, model), |_| false);
        measured.add(&attempts, |attempt| replay.take(&seen(attempt, view)));
    }
    measured
}

/// What detection is set to.
#[must_use]
pub fn settings(view: View, decides: Decides, model: Option<Model>) -> Settings {
    let settings = Settings {
        sees_requests: view.services(),
        learned: model.map(|model| Learned {
            model,
            decides: true,
        }),
        ..Settings::default()
    };
    settings.decided_by(decides)
}

impl Measured {
    /// Adds what somebody who is shown all attempts refuses of them.
    pub fn add(&mut self, attempts: &[Attempt], mut refuses: impl FnMut(&Attempt) -> bool) {
        let mut attackers: BTreeMap<(Attack, IpAddr), Attacker> = BTreeMap::new();
        for attempt in attempts {
            let refused = refuses(attempt);
            let hit = u64::from(refused);
            match attempt.truth {
                Truth::Person => {
                    self.attempts += 1;
                    self.attempts_hit += hit;
                    if attempt.outcome == Outcome::Success {
                        self.sign_ins += 1;
                        self.sign_ins_hit += hit;
                    }
                }
                Truth::StaleDevice => {
                    self.stale += 1;
                    self.stale_refused += hit;
                }
                Truth::Attack(kind) => attackers
                    .entry((kind, attempt.client))
                    .or_default()
                    .note(attempt.time_ms, refused),
            }
        }
        for ((kind, _), attacker) in attackers {
            self.kinds.entry(kind).or_default().add(&attacker);
        }
    }

    /// Share of the refused attempts that were attacks, per cent.
    #[must_use]
    pub fn precision(&self) -> f64 {
        let attacks: u64 = self.kinds.values().map(|kind| kind.refused).sum();
        percent(attacks, attacks + self.attempts_hit)
    }

    /// The measurement as a Markdown table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| attack | sources | refused sources | attempts | refused attempts | attempts before refusal: median, p90, max | time to refusal: median, p90 |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
        );
        for (attack, kind) in &self.kinds {
            let before = Spread::of(kind.before.clone());
            let delay = Spread::of(kind.delay.clone());
            let before = before.map_or_else(
                || "-".to_owned(),
                |spread| format!("{}, {}, {}", spread.median, spread.p90, spread.max),
            );
            let delay = delay.map_or_else(
                || "-".to_owned(),
                |spread| format!("{}, {}", span(spread.median), span(spread.p90)),
            );
            // Writing into a String cannot fail.
            let _infallible = writeln!(
                text,
                "| {} | {} | {:.1} % | {} | {:.1} % | {before} | {delay} |",
                attack.label(),
                kind.sources,
                percent(kind.detected, kind.sources),
                kind.attempts,
                percent(kind.refused, kind.attempts),
            );
        }
        let _infallible = writeln!(
            text,
            "\nOf {} successful sign-ins of people {} were hit ({:.2} of 10,000); of all {} attempts of people {}. \
             Of the refused attempts {:.2} % were attacks. Devices that kept an old password had {} of {} attempts refused.",
            self.sign_ins,
            self.sign_ins_hit,
            percent(self.sign_ins_hit, self.sign_ins) * 100.0,
            self.attempts,
            self.attempts_hit,
            self.precision(),
            self.stale_refused,
            self.stale,
        );
        text
    }

    /// The goals that this measurement misses, each in a sentence.
    #[must_use]
    pub fn missed(&self) -> BTreeSet<String> {
        let mut missed = BTreeSet::new();
        for (attack, kind) in &self.kinds {
            let name = attack.label();
            let sources = percent(kind.detected, kind.sources);
            let attempts = percent(kind.refused, kind.attempts);
            if !attack.is_distributed() && sources < 95.0 {
                missed.insert(format!("{name}: {sources:.1} % of sources refused, not 95"));
            }
            if attack.is_distributed() && attempts < 80.0 {
                missed.insert(format!(
                    "{name}: {attempts:.1} % of attempts refused, not 80"
                ));
            }
            let latest = kind.before.iter().max().copied().unwrap_or(0);
            if matches!(attack, Attack::Spray | Attack::SlowSpray) && latest >= 20 {
                missed.insert(format!(
                    "{name}: a source made {latest} attempts before it was refused"
                ));
            }
        }
        if self.sign_ins_hit * 10_000 > self.sign_ins {
            missed.insert(format!(
                "{} of {} innocent sign-ins hit, more than 1 of 10,000",
                self.sign_ins_hit, self.sign_ins
            ));
        }
        missed
    }
}

impl Kind {
    /// Sources refused at least once, per cent.
    #[must_use]
    pub fn sources_percent(&self) -> f64 {
        percent(self.detected, self.sources)
    }

    /// Attempts refused, per cent.
    #[must_use]
    pub fn attempts_percent(&self) -> f64 {
        percent(self.refused, self.attempts)
    }

    /// Attempts before the refusal and time to it, medians, as two cells.
    #[must_use]
    pub fn soonest(&self) -> String {
        match (
            Spread::of(self.before.clone()),
            Spread::of(self.delay.clone()),
        ) {
            (Some(before), Some(delay)) => format!("{} | {}", before.median, span(delay.median)),
            _ => "- | -".to_owned(),
        }
    }

    /// Attempts before the refusal, median, as a cell.
    #[must_use]
    pub fn before_median(&self) -> String {
        let before = Spread::of(self.before.clone());
        before.map_or_else(|| "-".to_owned(), |before| before.median.to_string())
    }

    fn add(&mut self, attacker: &Attacker) {
        self.sources += 1;
        self.attempts += attacker.attempts;
        self.refused += attacker.refused;
        if let Some(delay) = attacker.delay {
            self.detected += 1;
            self.before.push(attacker.before);
            self.delay.push(delay);
        }
    }
}

impl Attacker {
    fn note(&mut self, time_ms: u64, refused: bool) {
        if self.attempts == 0 {
            self.first_ms = time_ms;
        }
        self.attempts += 1;
        self.refused += u64::from(refused);
        if refused && self.delay.is_none() {
            self.delay = Some(time_ms.saturating_sub(self.first_ms));
        }
        if self.delay.is_none() {
            self.before += 1;
        }
    }
}

/// What detection sees of an attempt.
#[must_use]
pub fn seen(attempt: &Attempt, view: View) -> Signal {
    let key = PseudonymKey::new(1, 2);
    let names = view != View::AccessLog;
    Signal {
        time_ms: attempt.time_ms,
        client: attempt.client,
        service: 0,
        flow: match attempt.flow {
            Flow::SignIn => signal::Flow::SignIn,
            Flow::Recovery => signal::Flow::Recovery,
        },
        outcome: match attempt.outcome {
            Outcome::Success => signal::Outcome::Success,
            Outcome::UnknownUser if names => signal::Outcome::UnknownUser,
            Outcome::UnknownUser | Outcome::Failure => signal::Outcome::Failure,
        },
        user: names.then(|| key.user(attempt.user.as_bytes())),
        agent: (view != View::Direct).then(|| key.agent(attempt.agent.as_bytes(), b"/login")),
        asn: None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement, far below 2^52"
)]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

pub(super) fn span(ms: u64) -> String {
    match ms {
        0..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goals_are_met_on_seeds_that_nothing_was_tuned_on() {
        for view in [View::Requests, View::Direct] {
            let measured = measure(&SEEDS, &Parameters::default(), view, Decides::Rules, None);
            let mut missed = measured.missed();
            // Where only sources can be refused, one that comes once or twice cannot be: see docs/detection.md.
            if view == View::Direct {
                missed.retain(|text| !text.starts_with("distributed-"));
            }
            assert!(
                missed.is_empty(),
                "{view:?}: {missed:#?}\n{}",
                measured.table()
            );
        }
    }

    #[test]
    fn without_attacks_hardly_anybody_is_refused() {
        let quiet = Parameters {
            attacks: false,
            ..Parameters::default()
        };
        let measured = measure(&SEEDS, &quiet, View::Requests, Decides::Rules, None);
        assert!(measured.kinds.is_empty() && measured.sign_ins > 50_000);
        assert!(measured.missed().is_empty(), "{:?}", measured.missed());
    }

    #[test]
    fn the_same_seed_makes_the_same_traffic() {
        let small = Parameters {
            people: 50,
            days: 2,
            ..Parameters::default()
        };
        let first = generate(&small);
        assert_eq!(first, generate(&small));
        assert_ne!(first, generate(&Parameters { seed: 2, ..small }));
        assert!(first.is_sorted_by_key(|attempt| attempt.time_ms));
        for attack in Attack::ALL {
            assert!(
                first.iter().any(|one| one.truth == Truth::Attack(attack)),
                "{attack:?}"
            );
        }
    }
}
