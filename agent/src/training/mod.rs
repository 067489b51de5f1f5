//! Training of the learned model: labelled signals in, a model out. The fit is smartcore's; what the model is told
//! comes from the detectors themselves, so that training and use cannot differ.
//!
//! Signals are gone through twice. The first time nothing is refused. The second time the rules and the model of the
//! first time refuse, and what is refused is not seen, as it will be in use: an attack that is refused looks smaller.

mod fit;

use std::collections::HashMap;

use crate::policy::{
    defence::{Defence, Judged, Services, Settings},
    detect::SourceKey,
    model::{Features, Learned, Levels, Model, Weights},
    signal::Signal,
};

/// What is known about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// A person or a device of one.
    Innocent,
    /// An attack.
    Attack,
    /// Nothing. It is counted, and nothing is learned from it.
    Unknown,
}

/// Signals of one service, in the order of time, each with its label.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// The signals.
    pub signals: &'a [(Signal, Label)],
    /// Whether requests are seen before they are answered; see [`Settings::sees_requests`].
    pub sees_requests: bool,
}

/// What a model was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trained {
    /// The model.
    pub model: Model,
    /// Where users are named.
    pub named: Examples,
    /// Where they are not.
    pub nameless: Examples,
}

/// How many examples there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    /// Of people.
    pub innocent: usize,
    /// Of attacks.
    pub attack: usize,
}

/// Why no model came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untrainable {
    /// There are fewer than [`EXAMPLES_MIN`] examples of attacks, or of people.
    TooFew(Examples),
    /// There are more than [`EXAMPLES_MAX`].
    TooMany,
    /// The fit failed.
    Unfit(String),
}

/// Fewest examples of each kind: fewer say more about chance than about attacks.
pub const EXAMPLES_MIN: usize = 50;
/// Most examples, of one kind of log: some 400 MB while they are fitted.
pub const EXAMPLES_MAX: usize = 1 << 20;
/// Attempts of one source that are all learned from; of later ones a few, so that a source that tries ten thousand
/// times is not learned by heart.
const EACH_MAX: u32 = 16;

/// A source's situation when it failed, and whether it was an attacker.
#[derive(Clone, Copy, Debug)]
struct Example {
    features: Features,
    attack: bool,
}

/// Makes a model of what is labelled.
///
/// # Errors
/// There is too little or too much to learn from, or the fit failed. Where only logs with names, or only logs without
/// them, were given, the other half stays that of the model that is shipped.
pub fn train(lessons: &[Lesson<'_>]) -> Result<Trained, Untrainable> {
    let mut examples = Vec::new();
    for lesson in lessons {
        watch(lesson, None, &mut examples)?;
    }
    let first = fitted(&examples)?;
    for lesson in lessons {
        watch(lesson, Some(first.model), &mut examples)?;
    }
    fitted(&examples)
}

/// Goes through a lesson and notes what there was to see.
fn watch(
    lesson: &Lesson<'_>,
    model: Option<Model>,
    examples: &mut Vec<Example>,
) -> Result<(), Untrainable> {
    let settings = Settings {
        sees_requests: if lesson.sees_requests {
            Services::ALL
        } else {
            Services::NONE
        },
        learned: model.map(|model| Learned {
            model,
            decides: true,
        }),
        ..Settings::default()
    };
    let mut defence = Defence::new(settings);
    defence.describe();
    let mut seen: HashMap<SourceKey, u32> = HashMap::new();
    for (signal, label) in lesson.signals {
        if model.is_some() && matches!(defence.judge(signal), Judged::Refused(_)) {
            continue;
        }
        defence.learn(signal);
        let attack = match label {
            Label::Unknown => continue,
            label => *label == Label::Attack,
        };
        let Some(considered) = defence.detectors().considered() else {
            continue;
        };
        let times = seen.entry(considered.source).or_default();
        *times = times.saturating_add(1);
        if *times > EACH_MAX && !times.is_power_of_two() {
            continue;
        }
        if examples.len() >= EXAMPLES_MAX {
            return Err(Untrainable::TooMany);
        }
        examples.push(Example {
            features: considered.features,
            attack,
        });
    }
    Ok(())
}

fn fitted(examples: &[Example]) -> Result<Trained, Untrainable> {
    let of = |named: bool| -> Vec<Example> {
        let kept = examples
            .iter()
            .filter(|example| example.features.named() == named);
        kept.copied().collect()
    };
    let shipped = Model::shipped().ok();
    let weights = |named: bool| -> Result<(Weights, Examples), Untrainable> {
        let examples = of(named);
        let counted = Examples::of(&examples);
        if examples.is_empty()
            && let Some(shipped) = shipped
        {
            return Ok((*shipped.weights(named), counted));
        }
        if counted.innocent.min(counted.attack) < EXAMPLES_MIN {
            return Err(Untrainable::TooFew(counted));
        }
        Ok((fit::weights(&examples)?, counted))
    };
    let (named_weights, named) = weights(true)?;
    let (nameless_weights, nameless) = weights(false)?;
    if named == nameless && named == Examples::default() {
        return Err(Untrainable::TooFew(named));
    }
    Ok(Trained {
        model: Model::new(Levels::default(), named_weights, nameless_weights),
        named,
        nameless,
    })
}

impl Examples {
    fn of(examples: &[Example]) -> Self {
        let attack = examples.iter().filter(|example| example.attack).count();
        Self {
            innocent: examples.len().saturating_sub(attack),
            attack,
        }
    }
}

impl Label {
    /// Reads the word of a label: `innocent`, `person` and `stale-device` are people, `-` is not known, `attack` or
    /// any other word is a kind of attack.
    #[must_use]
    pub fn read(word: &str) -> Self {
        match word {
            "innocent" | "person" | "stale-device" => Self::Innocent,
            "-" | "" => Self::Unknown,
            _ => Self::Attack,
        }
    }
}

impl std::fmt::Display for Untrainable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooFew(Examples { innocent, attack }) => write!(
                f,
                "{attack} examples of attacks and {innocent} of people are too few to learn from; at least {EXAMPLES_MIN} of each are needed"
            ),
            Self::TooMany => write!(
                f,
                "there are more than {EXAMPLES_MAX} examples; train on a part of the logs"
            ),
            Self::Unfit(why) => write!(f, "no model fits: {why}"),
        }
    }
}

impl std::error::Error for Untrainable {}

#[cfg(test)]
mod tests;
