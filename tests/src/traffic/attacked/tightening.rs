//! What it adds that thresholds drop and refusals last longer while a service is under attack.

use std::{collections::BTreeMap, fmt::Write as _};

use edgeward::policy::{
    attack::{AttackModel, Settings as AttackSettings},
    defence::{Decides, Defence, Judged, Services},
};

use super::{
    super::{
        Attack, Attempt, Outcome, Truth,
        measure::{View, percent, seen, settings},
    },
    LEARNED_DAYS, TICK_MS, WHOLE, with,
};

/// By what is seen and kind of attack.
#[derive(Clone, Debug, Default)]
pub struct Measured(BTreeMap<(View, Attack), Effect>);

/// Sums over seeds; of each pair the first is without tightening, the second with it.
#[derive(Clone, Debug, Default)]
struct Effect {
    attempts: u64,
    refused: [u64; 2],
    /// Successful sign-ins of people since the attack began.
    sign_ins: u64,
    hit: [u64; 2],
    /// All attempts of people since then.
    tries: u64,
    tries_hit: [u64; 2],
}

/// Measures the distributed attacks on some seeds, after nine days of learning.
#[must_use]
pub fn measure(seeds: &[u64]) -> Measured {
    let mut measured = Measured::default();
    for seed in seeds {
        for attack in Attack::ALL.into_iter().filter(|one| one.is_distributed()) {
            let (attempts, (from_ms, _)) =
                with(attack, *seed, WHOLE.people, LEARNED_DAYS, |time| time);
            for view in View::ALL {
                let effect = measured.0.entry((view, attack)).or_default();
                effect.add(&attempts, from_ms, view);
            }
        }
    }
    measured
}

impl Measured {
    /// Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "Each distributed attack alone after nine days; of people, what they did from its beginning on.\n\n\
             | seen | attack | attempts | refused without | with | sign-ins of people | hit without | with | all attempts of people | hit without | with |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for ((view, attack), effect) in &self.0 {
            let [without, with] = effect.refused.map(|it| percent(it, effect.attempts));
            let ([hit, hit_with], [tries, tries_with]) = (effect.hit, effect.tries_hit);
            // Writing into a String cannot fail.
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {without:.1} % | {with:.1} % | {} | {hit} | {hit_with} | {} | {tries} | {tries_with} |",
                match view {
                    View::Requests => "requests",
                    View::Direct => "sources",
                    View::AccessLog => "access log",
                },
                attack.label(),
                effect.attempts,
                effect.sign_ins,
                effect.tries,
            );
        }
        text
    }
}

impl Effect {
    fn add(&mut self, attempts: &[Attempt], from_ms: u64, view: View) {
        let [without, with] = [false, true].map(|tightens| judged(attempts, view, tightens));
        for ((attempt, without), with) in attempts.iter().zip(without).zip(with) {
            let hit = [without, with].map(u64::from);
            let add = |sums: &mut [u64; 2]| {
                for (sum, hit) in sums.iter_mut().zip(hit) {
                    *sum += hit;
                }
            };
            match attempt.truth {
                Truth::Attack(_) => {
                    self.attempts += 1;
                    add(&mut self.refused);
                }
                Truth::Person if attempt.time_ms >= from_ms => {
                    self.tries += 1;
                    add(&mut self.tries_hit);
                    if attempt.outcome == Outcome::Success {
                        self.sign_ins += 1;
                        add(&mut self.hit);
                    }
                }
                Truth::Person | Truth::StaleDevice => {}
            }
        }
    }
}

/// Whether each attempt is refused, as the agent decides it.
fn judged(attempts: &[Attempt], view: View, tightens: bool) -> Vec<bool> {
    let mut defence = Defence::new(settings(view, Decides::Rules, None));
    let own = AttackSettings::default();
    let mut model = AttackModel::new(own, 7);
    let mut ticked_ms = 0;
    let judge = |attempt: &Attempt| {
        if tightens && attempt.time_ms >= ticked_ms + TICK_MS {
            ticked_ms = attempt.time_ms;
            if !model.tick(ticked_ms).is_empty() {
                let attacked = model.is_attacked(0);
                let services = if attacked {
                    Services::NONE.with(0)
                } else {
                    Services::NONE
                };
                defence.under_attack(services, &own.tightening);
            }
        }
        let signal = seen(attempt, view);
        let refused = matches!(defence.judge(&signal), Judged::Refused(_));
        if refused {
            model.refused(0, signal.client, signal.time_ms);
        } else {
            defence.learn(&signal);
            model.observe(&signal);
        }
        refused
    };
    attempts.iter().map(judge).collect()
}
