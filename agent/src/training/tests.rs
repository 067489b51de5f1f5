//! What training makes of small lessons.

use std::net::IpAddr;

use super::*;
use crate::policy::{
    model::Feature,
    signal::{Flow, Outcome, PseudonymKey},
};

fn signal(time_s: u64, client: [u8; 4], outcome: Outcome, user: u64) -> Signal {
    Signal {
        time_ms: 1_790_000_000_000 + time_s * 1_000,
        client: IpAddr::from(client),
        service: 0,
        flow: Flow::SignIn,
        outcome,
        user: Some(PseudonymKey::new(1, user).user(b"x")),
        agent: None,
        asn: None,
    }
}

/// Homes where somebody mistypes and gets in, and machines that try one user after the other.
fn lesson() -> Vec<(Signal, Label)> {
    let mut signals = Vec::new();
    for n in 0..80_u64 {
        let [low, ..] = n.to_le_bytes();
        let home = [10, low, 1, 1];
        for (after, outcome) in [
            (0, Outcome::Failure),
            (9, Outcome::Success),
            (3_000, Outcome::Failure),
        ] {
            signals.push((signal(n * 40 + after, home, outcome, n), Label::Innocent));
        }
        let machine = [203, low, 113, 9];
        for try_ in 0..6 {
            let attack = signal(
                n * 40 + try_ * 60,
                machine,
                Outcome::UnknownUser,
                n * 100 + try_,
            );
            signals.push((attack, Label::Attack));
        }
    }
    signals.sort_by_key(|(signal, _)| signal.time_ms);
    signals
}

#[test]
fn a_model_learns_the_difference_and_the_same_lesson_gives_the_same_model() {
    let signals = lesson();
    let lesson = Lesson {
        signals: &signals,
        sees_requests: true,
    };
    let trained = train(&[lesson]).unwrap();
    assert_eq!(train(&[lesson]), Ok(trained));
    assert!(trained.named.attack > 100 && trained.named.innocent > 100);
    assert_eq!(trained.nameless, Examples::default());
    let shipped = Model::shipped().unwrap();
    assert_eq!(trained.model.weights(false), shipped.weights(false));
    let probability = |unknown: u32, failed: u32| {
        let mut features = Features::new(true);
        features.count(Feature::FailuresShort, failed);
        features.count(Feature::FailuresLong, failed);
        features.count(Feature::UsersFailed, failed);
        features.share(Feature::UnknownShare, unknown, failed);
        features.set(Feature::NoSuccess, f32::from(u8::from(unknown > 0)));
        features.share(Feature::SuccessShare, u32::from(unknown == 0), 2);
        features.complete();
        trained.model.consider(&features).probability
    };
    assert!(probability(5, 5) > 0.9 && probability(0, 1) < 0.2);
}

#[test]
fn too_little_to_learn_from_is_said() {
    let all = lesson();
    let people: Vec<(Signal, Label)> = all
        .iter()
        .filter(|(_, label)| *label == Label::Innocent)
        .copied()
        .collect();
    let error = train(&[Lesson {
        signals: &people,
        sees_requests: true,
    }]);
    assert!(matches!(
        error,
        Err(Untrainable::TooFew(Examples { attack: 0, .. }))
    ));
    assert!(error.unwrap_err().to_string().contains("too few"));
    let unknown: Vec<(Signal, Label)> = all
        .iter()
        .map(|(signal, _)| (*signal, Label::Unknown))
        .collect();
    let lesson = Lesson {
        signals: &unknown,
        sees_requests: false,
    };
    assert!(matches!(train(&[lesson]), Err(Untrainable::TooFew(_))));
    assert!(train(&[]).is_err());
}

#[test]
fn labels_are_words() {
    for (word, expected) in [
        ("person", Label::Innocent),
        ("stale-device", Label::Innocent),
        ("innocent", Label::Innocent),
        ("-", Label::Unknown),
        ("attack", Label::Attack),
        ("distributed-tool", Label::Attack),
    ] {
        assert_eq!(Label::read(word), expected, "{word}");
    }
}
