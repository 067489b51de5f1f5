//! Logistic regression by smartcore, on features that are made alike in scale first.

use smartcore::{
    linalg::basic::{arrays::Array, matrix::DenseMatrix},
    linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters},
};

use super::{Example, Untrainable};
use crate::policy::model::{FEATURES, Weight, Weights};

/// Weights that fit the examples.
pub(super) fn weights(examples: &[Example]) -> Result<Weights, Untrainable> {
    let scales = scales(examples);
    let rows: Vec<Vec<f64>> = examples
        .iter()
        .map(|example| {
            let values = example.features.iter().zip(&scales);
            let scaled = values.map(|((_, value), scale)| scale.of(value.into()));
            scaled.collect()
        })
        .collect();
    let labels: Vec<u32> = examples
        .iter()
        .map(|example| u32::from(example.attack))
        .collect();
    let unfit = |error: smartcore::error::Failed| Untrainable::Unfit(error.to_string());
    let matrix = DenseMatrix::from_2d_vec(&rows).map_err(unfit)?;
    let parameters = LogisticRegressionParameters::default().with_alpha(RIDGE);
    let fitted = LogisticRegression::fit(&matrix, &labels, parameters).map_err(unfit)?;
    let (coefficients, intercept) = (fitted.coefficients(), fitted.intercept());
    let mut weights = Weights::NONE;
    weights.bias = thousandths(*intercept.get((0, 0)))?;
    for (at, (slot, scale)) in weights.each.iter_mut().zip(&scales).enumerate() {
        *slot = Weight {
            centre: thousandths(scale.mean)?,
            weight: thousandths(coefficients.get((0, at)) / scale.deviation)?,
        };
    }
    Ok(weights)
}

#[derive(Clone, Copy)]
struct Scale {
    mean: f64,
    deviation: f64,
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        (value - self.mean) / self.deviation
    }
}

#[expect(clippy::cast_precision_loss, reason = "a million examples at most")]
fn scales(examples: &[Example]) -> [Scale; FEATURES] {
    let count = examples.len().max(1) as f64;
    let mut sums = [(0.0_f64, 0.0_f64); FEATURES];
    for example in examples {
        for ((_, value), (sum, squares)) in example.features.iter().zip(&mut sums) {
            let value = f64::from(value);
            *sum += value;
            *squares += value * value;
        }
    }
    sums.map(|(sum, squares)| {
        let mean = sum / count;
        let deviation = (squares / count - mean * mean).max(0.0).sqrt();
        Scale {
            mean,
            // A feature that never varies weighs nothing, whatever comes of the fit.
            deviation: if deviation > 1e-6 { deviation } else { 1e9 },
        }
    })
}

/// Rounded: what depends on the last bit of a machine's logarithm does not reach the file.
fn thousandths(value: f64) -> Result<i32, Untrainable> {
    let rounded = (value * 1_000.0).round();
    if rounded.is_nan() || rounded.abs() > WEIGHT_MAX {
        return Err(Untrainable::Unfit(format!("a weight of {value}")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most a million")]
    Ok(rounded as i32)
}

/// Weight of the penalty for large weights, beside some hundred thousand examples. Own: with a tenth of it features that
/// say the same get large weights of opposite sign, which nobody can read.
const RIDGE: f64 = 100.0;
const WEIGHT_MAX: f64 = 1e6;
