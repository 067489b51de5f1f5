//! Detection: signals a second and memory of what is remembered of a million sources; replayed lines a second
//! beside CrowdSec and fail2ban.

mod lines;
mod signals;

use lab::Result;

use self::{lines::Lines, signals::Signals};
use crate::{settings::Settings, targets::Target};

/// What was measured of detection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detection {
    measured: Option<(Signals, Lines)>,
}

impl Detection {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        let signals = Signals::measure(settings)?;
        Ok(Self {
            measured: Some((signals, Lines::measure(settings)?)),
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let Some((signals, lines)) = &self.measured else {
            return Vec::new();
        };
        signals
            .targets()
            .into_iter()
            .chain(lines.targets())
            .collect()
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        if let Some((signals, lines)) = &self.measured {
            signals.markdown(text);
            lines.markdown(text);
        }
    }
}
