//! Zones that were made while the agent ran, as the state directory keeps them.

use serde::{Deserialize, Serialize};

/// A zone that no configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeZone {
    /// Unique and never given again.
    pub id: String,
    /// Unique among zones.
    pub name: String,
    /// Refused whatever its reputation; has no proxies then.
    pub blocked: bool,
    /// Carved out of every reputation and list; has no proxies then.
    pub exempt: bool,
    /// Whether it counts.
    pub active: bool,
    /// Networks, each as it was written.
    pub gateways: Vec<String>,
    /// Networks of trusted proxies, each as it was written.
    pub proxies: Vec<String>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it was changed last.
    pub updated_ms: u64,
    /// Who changed it last.
    pub actor: String,
}

/// One key holds them all: a change of several cannot be written by halves.
pub(super) const SETTING: &str = "zones";
