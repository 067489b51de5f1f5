//! Models as text, and what they say.

use super::*;

fn model(weights: &[(Feature, i32)]) -> Model {
    let mut named = Weights {
        bias: -4_000,
        ..Weights::NONE
    };
    for (feature, weight) in weights {
        named.each[*feature as usize].weight = *weight;
    }
    let nameless = Weights {
        bias: 5_000,
        ..Weights::NONE
    };
    Model::new(Levels::default(), named, nameless)
}

#[test]
fn a_model_is_read_as_it_is_written() {
    let shipped = Model::shipped().unwrap();
    assert_eq!(Model::parse(&shipped.to_string()), Ok(shipped));
    let commented = format!("# by hand\n\n{shipped}\n# end");
    assert_eq!(Model::parse(&commented), Ok(shipped));
    for (at, feature) in Feature::ALL.into_iter().enumerate() {
        assert_eq!(feature as usize, at, "{feature:?}");
    }
}

#[test]
fn a_text_that_is_no_model_is_named_by_line() {
    let good = model(&[]).to_string();
    for (from, to, expected) in [
        (
            "edgeward-model 1",
            "edgeward-model 9",
            "line 1 does not begin",
        ),
        (
            "levels 900 980 999",
            "levels 900 100 999",
            "line 2 should be `levels",
        ),
        (
            "levels 900 980 999",
            "levels 900 980 1001",
            "line 2 should be `levels",
        ),
        ("named -4000", "named many", "line 4 should be `named BIAS`"),
        (
            "failures_short 0 0",
            "failures_short 0",
            "line 5 should be `failures_short",
        ),
        (
            "failures_short 0 0",
            "failures_short 0 -2147483648",
            "line 5 should be",
        ),
        (
            "failures_short 0 0",
            "failure_short 0 0",
            "line 5 should be",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        let error = Model::parse(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let more = format!("{good}more 1 2\n");
    assert!(
        Model::parse(&more)
            .unwrap_err()
            .to_string()
            .contains("behind the last")
    );
    let cut = good.rsplit_once("user_sources").unwrap().0;
    assert!(
        Model::parse(cut)
            .unwrap_err()
            .to_string()
            .contains("ends before")
    );
    assert!(Model::parse("").is_err());
}

#[test]
fn an_opinion_is_a_probability_with_its_reasons() {
    let model = model(&[
        (Feature::UsersFailed, 4_000),
        (Feature::UnknownShare, 3_000),
        (Feature::AtHome, -6_000),
        (Feature::Surge, 500),
    ]);
    let mut features = Features::new(true);
    let nothing = model.consider(&features);
    assert!((nothing.probability - 0.018).abs() < 1e-3);
    assert_eq!(nothing.level, None);
    features.count(Feature::UsersFailed, 9);
    features.share(Feature::UnknownShare, 9, 9);
    features.set(Feature::Surge, 1.0);
    let attack = model.consider(&features);
    assert_eq!(attack.level, Some(Level::Medium).max(attack.level));
    let reasons = attack.reasons.map(|(feature, _)| feature);
    assert_eq!(
        reasons,
        [Feature::UsersFailed, Feature::UnknownShare, Feature::Surge]
    );
    assert_eq!(
        attack.to_string(),
        "100.0 %: users that failed (+9.2), share of unknown users (+3.0), many sources fail (+0.5)"
    );
    features.set(Feature::AtHome, 1.0);
    assert!(model.consider(&features).probability < attack.probability);
    assert!(
        model.consider(&Features::new(false)).probability > 0.99,
        "attempts without names have weights of their own"
    );
}
