//! A model as text: what `edgeward train` writes and a person can read.

use std::fmt::{self, Display, Formatter};

use super::{FEATURES, Feature, Levels, Model, Weight, Weights};

/// Why a text is no model: the line, from 1, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    line: usize,
    what: String,
}

/// The first word of a model, with the version of its features.
const FORMAT: &str = "edgeward-model 1";
/// Weights beyond this are no outcome of training, thousandths.
const WEIGHT_MAX: i32 = 1_000_000;

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let lines = text.lines().enumerate();
        let lines = lines.map(|(at, line)| (at + 1, line.split('#').next().unwrap_or(line).trim()));
        let mut lines = lines.filter(|(_, line)| !line.is_empty());
        let mut next = |what: &str| {
            let end = text.lines().count() + 1;
            lines
                .next()
                .ok_or_else(|| unreadable(end, format!("ends before {what}")))
        };
        let (line, first) = next("its first word")?;
        if first != FORMAT {
            return Err(unreadable(line, format!("does not begin with `{FORMAT}`")));
        }
        let (line, levels) = next("`levels`")?;
        let levels = levels_of(levels).ok_or_else(|| {
            unreadable(
                line,
                "should be `levels LOW MEDIUM HIGH`, rising thousandths".to_owned(),
            )
        })?;
        let mut sets = [Weights::NONE; 2];
        for (name, set) in ["named", "nameless"].into_iter().zip(&mut sets) {
            let (line, text) = next(name)?;
            let bias = text.strip_prefix(name).and_then(|rest| number(rest.trim()));
            set.bias = bias.ok_or_else(|| unreadable(line, format!("should be `{name} BIAS`")))?;
            for (feature, weight) in Feature::ALL.into_iter().zip(&mut set.each) {
                let (line, text) = next(feature.name())?;
                *weight = weight_of(text, feature).ok_or_else(|| {
                    unreadable(
                        line,
                        format!("should be `{} CENTRE WEIGHT`", feature.name()),
                    )
                })?;
            }
        }
        if let Some((line, _)) = lines.next() {
            return Err(unreadable(line, "stands behind the last weight".to_owned()));
        }
        let [named, nameless] = sets;
        Ok(Self::new(levels, named, nameless))
    }
}

impl Weights {
    /// Nothing weighs anything.
    pub const NONE: Self = Self {
        bias: 0,
        each: [Weight {
            centre: 0,
            weight: 0,
        }; FEATURES],
    };
}

/// The text that [`Model::parse`] reads.
impl Display for Model {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let levels = self.levels;
        writeln!(f, "{FORMAT}")?;
        writeln!(f, "levels {} {} {}", levels.low, levels.medium, levels.high)?;
        for (name, set) in [("named", &self.named), ("nameless", &self.nameless)] {
            writeln!(f, "\n{name} {}", set.bias)?;
            for (feature, Weight { centre, weight }) in Feature::ALL.into_iter().zip(set.each) {
                writeln!(f, "{} {centre} {weight}", feature.name())?;
            }
        }
        Ok(())
    }
}

impl Display for Unreadable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "line {} {}", self.line, self.what)
    }
}

impl std::error::Error for Unreadable {}

fn levels_of(text: &str) -> Option<Levels> {
    let mut words = text.strip_prefix("levels ")?.split_ascii_whitespace();
    let mut level = || {
        words
            .next()?
            .parse::<u16>()
            .ok()
            .filter(|level| *level <= 1_000)
    };
    let levels = Levels {
        low: level()?,
        medium: level()?,
        high: level()?,
    };
    let rises = levels.low <= levels.medium && levels.medium <= levels.high && levels.low > 0;
    (rises && words.next().is_none()).then_some(levels)
}

fn weight_of(text: &str, feature: Feature) -> Option<Weight> {
    let mut words = text.split_ascii_whitespace();
    if words.next()? != feature.name() {
        return None;
    }
    let weight = Weight {
        centre: number(words.next()?)?,
        weight: number(words.next()?)?,
    };
    words.next().is_none().then_some(weight)
}

fn number(text: &str) -> Option<i32> {
    let number: i32 = text.parse().ok()?;
    (number.unsigned_abs() <= WEIGHT_MAX.unsigned_abs()).then_some(number)
}

const fn unreadable(line: usize, what: String) -> Unreadable {
    Unreadable { line, what }
}
