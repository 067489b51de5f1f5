//! Zones as they are made and shown at run time. What the configuration defines stays as it is until it is changed there.

use serde::{Deserialize, Serialize};

use super::Target;
use crate::policy::mode::Mode;

/// What a zone is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneDraft {
    /// Unique among zones.
    pub name: String,
    /// Refused whatever its reputation; has no proxies then.
    pub blocked: bool,
    /// Whether it counts; as it was, or yes, if absent.
    #[serde(default)]
    pub active: Option<bool>,
    /// Networks that are judged as themselves.
    #[serde(default)]
    pub gateways: Vec<Target>,
    /// Networks of trusted proxies.
    #[serde(default)]
    pub proxies: Vec<Target>,
}

/// Every zone: those of the configuration, then those that were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneFacts {
    /// In that order.
    pub zones: Vec<ZoneFact>,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneFact {
    /// The same as long as the zone has its name, or was made.
    pub id: String,
    /// Unique.
    pub name: String,
    /// The words of the configuration for what it is for.
    pub uses: Vec<String>,
    /// The configuration defines it.
    pub configured: bool,
    /// It counts.
    pub active: bool,
    /// Networks that are judged as themselves, the first of many.
    pub gateways: Vec<String>,
    /// Networks of trusted proxies, the first of many.
    pub proxies: Vec<String>,
    /// How many networks there are.
    pub networks: u64,
    /// When it was made, or the agent started, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it was changed last.
    pub updated_ms: u64,
}

/// The mode and the exempt zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threats {
    /// The mode in force.
    pub mode: Mode,
    /// The ids of the zones that are exempt and active.
    pub exempt: Vec<String>,
    /// Since when the mode is in force, milliseconds since the Unix epoch.
    pub since_ms: u64,
}
