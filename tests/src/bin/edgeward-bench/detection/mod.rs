//! Detection: signals a second and memory of what is remembered of a million sources; replayed lines a second
//! beside CrowdSec and fail2ban; from a signal to a drop.

mod drops;
mod lines;
mod signals;

use lab::Result;

use self::{drops::Drops, lines::Lines, signals::Signals};
use crate::{settings::Settings, targets::Target};

/// What was measured of detection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detection {
    measured: Option<(Signals, Lines, Drops)>,
}

impl Detection {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        let signals = Signals::measure(settings)?;
        let lines = Lines::measure(settings)?;
        Ok(Self {
            measured: Some((signals, lines, Drops::measure(settings)?)),
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let Some((signals, lines, drops)) = &self.measured else {
            return Vec::new();
        };
        signals
            .targets()
            .into_iter()
            .chain(lines.targets())
            .chain(drops.targets())
            .collect()
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        if let Some((signals, lines, drops)) = &self.measured {
            signals.markdown(text);
            lines.markdown(text);
            drops.markdown(text);
        }
    }
}
