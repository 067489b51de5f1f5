//! Generated traffic as lessons for the learned model.

use edgeward::{
    policy::signal::Signal,
    training::{self, Label, Lesson, Trained},
};

use super::{
    Parameters, Truth, generate,
    measure::{View, seen},
};

/// Seeds that the shipped model is trained on.
pub const TRAINING_SEEDS: [u64; 4] = [11, 12, 13, 14];
/// Seeds that features and levels are chosen by.
pub const TUNING_SEEDS: [u64; 4] = [21, 22, 23, 24];

/// Trains a model on what detection sees of these seeds: through requests, directly, and in access logs.
///
/// # Errors
/// See [`training::train`].
pub fn train(seeds: &[u64]) -> anyhow::Result<Trained> {
    let ordinary = Parameters::default();
    let small = Parameters {
        people: 2_000,
        days: 3,
        ..ordinary
    };
    let mut lessons = Vec::new();
    for seed in seeds {
        for parameters in [ordinary, small] {
            let attempts = generate(&Parameters {
                seed: *seed,
                ..parameters
            });
            for view in [View::Requests, View::Direct, View::AccessLog] {
                let signals: Vec<(Signal, Label)> = attempts
                    .iter()
                    .map(|attempt| (seen(attempt, view), label(attempt.truth)))
                    .collect();
                lessons.push((signals, view != View::Direct));
            }
        }
    }
    let lessons: Vec<Lesson<'_>> = lessons
        .iter()
        .map(|(signals, sees_requests)| Lesson {
            signals,
            sees_requests: *sees_requests,
        })
        .collect();
    Ok(training::train(&lessons)?)
}

const fn label(truth: Truth) -> Label {
    match truth {
        Truth::Person | Truth::StaleDevice => Label::Innocent,
        Truth::Attack(_) => Label::Attack,
    }
}
