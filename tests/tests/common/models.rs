//! What holds for any text of a learned model. Shared by the fuzz target and an ordinary test.

use edgeward::policy::model::{Feature, Features, Model};

/// Read or refused with its line, never a panic; what is read says the same when it is written and read again, and
/// gives probabilities.
pub(crate) fn model(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match Model::parse(text) {
        Err(error) => assert!(error.to_string().starts_with("line "), "{error}"),
        Ok(model) => {
            assert_eq!(Model::parse(&model.to_string()), Ok(model));
            for named in [false, true] {
                let mut features = Features::new(named);
                for feature in Feature::ALL {
                    features.count(feature, 70_000);
                }
                let opinion = model.consider(&features);
                assert!((0.0..=1.0).contains(&opinion.probability), "{opinion}");
            }
        }
    }
}
