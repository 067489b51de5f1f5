//! The mode as the state directory keeps it: the operator's last word, and how it may end by itself.

use serde::{Deserialize, Serialize};

use crate::policy::mode::Mode;

/// The mode in force, who set it, and what may end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeState {
    /// The mode in force.
    pub mode: Mode,
    /// Where it comes from.
    pub origin: ModeOrigin,
    /// The account that set it.
    pub actor: String,
    /// When it was set, milliseconds since the Unix epoch.
    pub since: u64,
    /// `--for`: the mode goes back at this moment.
    #[serde(default)]
    pub until: Option<Revert>,
    /// `--confirm-within`: the mode goes back at this moment unless confirmed before.
    #[serde(default)]
    pub unconfirmed: Option<Revert>,
}

/// Where a mode comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeOrigin {
    /// The configuration, on a first start.
    Configuration,
    /// An operator's command.
    Operator,
    /// The end of a mode that was set for a while, or was not confirmed.
    Revert,
}

/// A return to an earlier mode that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// The mode to go back to.
    pub previous: Mode,
    /// When, milliseconds since the Unix epoch.
    pub at: u64,
}

impl ModeState {
    /// The pending return that comes first, if any.
    #[must_use]
    pub fn next_revert(&self) -> Option<Revert> {
        match (self.until, self.unconfirmed) {
            (Some(until), Some(unconfirmed)) if unconfirmed.at <= until.at => Some(unconfirmed),
            (Some(until), _) => Some(until),
            (None, unconfirmed) => unconfirmed,
        }
    }

    /// The mode that follows if a pending return is due at `now` (milliseconds since the Unix epoch).
    #[must_use]
    pub fn reverted(&self, now: u64) -> Option<Self> {
        let revert = self.next_revert().filter(|revert| revert.at <= now)?;
        Some(Self {
            mode: revert.previous,
            origin: ModeOrigin::Revert,
            actor: self.actor.clone(),
            since: now,
            until: None,
            unconfirmed: None,
        })
    }
}

/// One key holds it all: the mode and its pending end cannot be written apart.
pub(super) const SETTING: &str = "mode";
