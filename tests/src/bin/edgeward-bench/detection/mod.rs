//! Detection: signals a second and memory of what is remembered of a million sources; replayed lines a second
//! beside CrowdSec and fail2ban.

mod signals;

use lab::Result;

use self::signals::Signals;
use crate::{settings::Settings, targets::Target};

/// What was measured of detection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detection {
    signals: Option<Signals>,
}

impl Detection {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        Ok(Self {
            signals: Some(Signals::measure(settings)?),
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let signals = self.signals.iter().flat_map(Signals::targets);
        signals.collect()
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        if let Some(signals) = &self.signals {
            signals.markdown(text);
        }
    }
}
