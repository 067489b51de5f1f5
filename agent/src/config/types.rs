//! The parts of a [`Config`](super::Config), with their units and defaults.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use super::networks::Networks;

/// Where the program is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interfaces {
    /// These, at least one, each once.
    Named(Vec<String>),
    /// Every interface that stands for a network card.
    AllPhysical,
}

/// Scores from which a source is refused or slowed; 1 to 100, `limit` at most `block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Thresholds {
    /// Refused from this score on.
    pub block: u8,
    /// Slowed to the tighter rate limits from this score on.
    pub limit: u8,
}

/// What one source (an IPv4 address or an IPv6 /64) may send to protected ports in one window. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Length of the fixed window, 100 ms to one hour.
    #[serde(serialize_with = "as_text")]
    pub window: Duration,
    /// New connections of any source.
    pub connections: Option<u32>,
    /// Packets of any source.
    pub packets: Option<u32>,
    /// New connections of a source at or above the limit threshold.
    pub limited_connections: Option<u32>,
    /// Packets of a source at or above the limit threshold.
    pub limited_packets: Option<u32>,
    /// The same four while a service is under attack.
    pub attack: AttackRates,
}

/// What one source may send in one window while a service is under attack. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AttackRates {
    /// New connections of any source.
    pub connections: Option<u32>,
    /// Packets of any source.
    pub packets: Option<u32>,
    /// New connections of a source at or above the limit threshold.
    pub limited_connections: Option<u32>,
    /// Packets of a source at or above the limit threshold.
    pub limited_packets: Option<u32>,
}

/// Most entries of the kernel's maps, at least one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// IPv4 /32 and /24 of lists, blocked zones and decisions.
    pub hosts_v4: u32,
    /// IPv6 /128, /64, /56 and /48 of lists, blocked zones and decisions.
    pub hosts_v6: u32,
    /// Every other length of lists, blocked zones and decisions, of each family.
    pub prefixes: u32,
    /// Networks of all zones that are not only blocked, of each family.
    pub zones: u32,
    /// Sources whose rate is followed at a time.
    pub rate_sources: u32,
}

/// Bounds of the event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EventLimits {
    /// Events a second that each CPU sends up; the others are counted only.
    pub per_second_max: u32,
    /// Events that the agent keeps for `edgeward events`.
    pub kept_max: usize,
    /// Size of the ring buffer in bytes, a power of two.
    pub ring_bytes: u32,
}

/// Who may use the control socket. Root and the agent's own user are always operators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Control {
    /// May change things.
    pub operators: Principals,
    /// May ask for facts.
    pub readers: Principals,
}

/// Users and groups, by name or number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Principals {
    /// User names or numbers.
    pub users: Vec<String>,
    /// Group names or numbers.
    pub groups: Vec<String>,
}

/// A named set of networks with a purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Unique among zones.
    pub name: String,
    /// At least one.
    pub uses: Uses,
    /// From the configuration and the zone's files.
    pub networks: Networks,
}

/// The uses of a zone, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uses(u8);

/// Reputation from files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Unique among lists.
    pub name: String,
    /// 1 to 100.
    pub score: u8,
    /// Shown wherever an entry of the list is the reason.
    pub reason: String,
    /// From the configuration and the list's files.
    pub networks: Networks,
}

impl Uses {
    /// Neither logged nor refused; wins over everything else.
    pub const EXEMPT: Self = Self(1);
    /// Its forwarding header is believed.
    pub const TRUSTED_PROXY: Self = Self(2);
    /// The gateway itself is judged.
    pub const GATEWAY: Self = Self(4);
    /// Refused whatever its reputation.
    pub const BLOCKED: Self = Self(8);
    /// May reach a restricted service directly.
    pub const ALLOWED_ORIGIN: Self = Self(16);

    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("exempt", Self::EXEMPT),
        ("trusted-proxy", Self::TRUSTED_PROXY),
        ("gateway", Self::GATEWAY),
        ("blocked", Self::BLOCKED),
        ("allowed-origin", Self::ALLOWED_ORIGIN),
    ];

    /// The set as bits, in the values above.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True if every use of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if there is no use.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The words of the configuration for the uses in the set.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMED
            .iter()
            .filter(|(_, one)| self.contains(*one))
            .map(|(name, _)| *name)
            .collect()
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(names) => f.write_str(&names.join(", ")),
            Self::AllPhysical => f.write_str("all"),
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            block: 80,
            limit: 40,
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            connections: None,
            packets: None,
            limited_connections: Some(5),
            limited_packets: Some(200),
            attack: AttackRates::default(),
        }
    }
}

impl Default for AttackRates {
    /// Half of what otherwise holds.
    fn default() -> Self {
        Self {
            connections: None,
            packets: None,
            limited_connections: Some(3),
            limited_packets: Some(100),
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            hosts_v4: 1_048_576,
            hosts_v6: 131_072,
            prefixes: 131_072,
            zones: 65_536,
            rate_sources: 65_536,
        }
    }
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            per_second_max: 1_000,
            kept_max: 10_000,
            ring_bytes: 1 << 20,
        }
    }
}

fn as_text<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::duration::format(*duration))
}
