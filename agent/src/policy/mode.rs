//! The few words an operator chooses between: mode, manner of refusal, what to do with unreadable packets.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What the agent makes of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is evaluated; packets are still counted.
    Off,
    /// The verdict is computed, counted and reported; the packet passes.
    #[default]
    Log,
    /// The verdict is enforced.
    Block,
}

/// How the kernel refuses a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// Silently.
    #[default]
    Drop,
    /// TCP gets a reset sent back from XDP; everything else is dropped.
    Reset,
}

/// What happens to a packet whose headers cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unreadable {
    /// It passes and is counted by cause.
    #[default]
    Pass,
    /// It is dropped in block mode and counted by cause.
    Drop,
}

impl Mode {
    /// The word used in configuration, CLI and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Log => "log",
            Self::Block => "block",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "log" => Ok(Self::Log),
            "block" => Ok(Self::Block),
            other => Err(format!("`{other}` is not a mode; use off, log or block")),
        }
    }
}
