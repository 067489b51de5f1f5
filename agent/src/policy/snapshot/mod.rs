//! Everything a proxied request is judged by, as one immutable value: the entries and zones that the
//! kernel holds, the services and the mode. A request sees one snapshot from its head to its answer.

mod enforced;
mod entries;
mod judge;
#[cfg(test)]
mod lookups;
mod table;
#[cfg(test)]
mod tests;
mod zones;

use std::{sync::Arc, time::Duration};

use edgeward_ebpf::{
    abi::{PolicyWord, mode as word_mode},
    lookup::Meta,
};
use ipnet::IpNet;

pub use self::enforced::{Enforced, enforced_about};
use self::{entries::Entries, zones::Zones};
use super::{
    attack::Tightening,
    classes::{ClassOrigin, Classes},
    clock::Now,
    limits::LimitId,
    listing::Desired,
    mode::{Mode, Refusal, Unreadable},
    zone::ZoneTable,
};
use crate::config::{Config, Service, Uses};

/// See the module. Cheap to clone: everything large is shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The mode in force.
    pub mode: Mode,
    /// The services of the configuration.
    pub services: Arc<[Service]>,
    /// What classes stand for.
    pub classes: Arc<[Option<(ClassOrigin, String)>]>,
    policy: PolicyWord,
    entries: Entries,
    zones: Arc<Zones>,
    /// There is a blocked zone: every hop is looked up, not only the client.
    blocks_zones: bool,
    /// Ports with the index of their service, by port.
    ports: Arc<[(u16, u16)]>,
    /// For each service, what its limits are counted under.
    limit_ids: Arc<[Box<[LimitId]>]>,
    /// Requests of a client with limited reputation, and the window they are counted in.
    limited: Option<(u32, Duration)>,
    /// The same while any service is under attack.
    limited_attacked: Option<(u32, Duration)>,
    /// For each service, whether it is under attack.
    attacked: Arc<[bool]>,
    tightening: Tightening,
}

/// What a snapshot is made of besides the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The mode in force, which may not be the configuration's.
    pub mode: Mode,
    /// Thresholds and mode as the kernel has them.
    pub policy: PolicyWord,
    /// The entries.
    pub entries: &'a Desired,
    /// The zones and exempt decisions.
    pub zones: &'a ZoneTable,
    /// What the entries' classes stand for.
    pub classes: &'a Classes,
}

impl Snapshot {
    /// A snapshot of what the kernel holds for a configuration.
    #[must_use]
    pub fn build(config: &Config, held: &Held<'_>) -> Self {
        let mut ports: Vec<(u16, u16)> = (0_u16..)
            .zip(&config.services)
            .flat_map(|(index, service)| service.ports.iter().map(move |port| (*port, index)))
            .collect();
        ports.sort_unstable();
        let limit_ids = config.services.iter().map(LimitId::of_service).collect();
        let rate = &config.rate_limit;
        Self {
            mode: held.mode,
            services: config.services.clone().into(),
            classes: names(held.classes),
            policy: held.policy,
            entries: Entries::new(held.entries),
            zones: Arc::new(Zones::new(held.zones)),
            blocks_zones: config
                .zones
                .iter()
                .any(|zone| zone.uses.contains(Uses::BLOCKED)),
            ports: ports.into(),
            limit_ids,
            limited: rate.limited_connections.map(|most| (most, rate.window)),
            limited_attacked: rate
                .attack
                .limited_connections
                .map(|most| (most, rate.window)),
            attacked: Arc::default(),
            tightening: config.attack.tightening,
        }
    }

    /// A snapshot of a configuration alone: its own mode, and no decisions.
    #[must_use]
    pub fn of_config(config: &Config, now: Now) -> Self {
        let mut classes = Classes::default();
        let entries = Desired::build(&config.zones, &config.lists, [], &mut classes, now);
        Self::build(
            config,
            &Held {
                mode: config.mode,
                policy: policy_word(config, config.mode, false),
                entries: &entries,
                zones: &ZoneTable::build(&config.zones, [], now),
                classes: &classes,
            },
        )
    }

    /// With another content under exactly this canonical prefix, `None` for nothing.
    #[must_use]
    pub fn with_entry(&self, prefix: IpNet, meta: Option<Meta>) -> Self {
        Self {
            entries: self.entries.clone().with(prefix, meta),
            ..self.clone()
        }
    }

    /// With other zones and exempt decisions.
    #[must_use]
    pub fn with_zones(&self, zones: &ZoneTable) -> Self {
        Self {
            zones: Arc::new(Zones::new(zones)),
            ..self.clone()
        }
    }

    /// With another mode, or other thresholds.
    #[must_use]
    pub fn with_policy(&self, mode: Mode, policy: PolicyWord) -> Self {
        Self {
            mode,
            policy,
            ..self.clone()
        }
    }

    /// With these services under attack, by their place in the configuration. The policy word is another matter:
    /// [`Self::with_policy`].
    #[must_use]
    pub fn with_attacked(&self, attacked: &[bool]) -> Self {
        Self {
            attacked: attacked.into(),
            ..self.clone()
        }
    }

    /// With other meanings of classes.
    #[must_use]
    pub fn with_classes(&self, classes: &Classes) -> Self {
        Self {
            classes: names(classes),
            ..self.clone()
        }
    }

    /// The service that a port belongs to, as an index into `services`.
    #[must_use]
    pub fn service_at(&self, port: u16) -> Option<usize> {
        let at = self
            .ports
            .binary_search_by_key(&port, |entry| entry.0)
            .ok()?;
        self.ports.get(at).map(|(_, index)| usize::from(*index))
    }

    /// The service of that name.
    #[must_use]
    pub fn service_named(&self, name: &str) -> Option<usize> {
        self.services
            .iter()
            .position(|service| service.name == name)
    }

    /// Origin and name of a class.
    #[must_use]
    pub fn class(&self, id: u8) -> Option<(ClassOrigin, &str)> {
        let (origin, name) = self.classes.get(usize::from(id))?.as_ref()?;
        Some((*origin, name))
    }

    /// The policy word in force.
    #[must_use]
    pub const fn policy(&self) -> PolicyWord {
        self.policy
    }

    /// What the limits of a service are counted under, in its order.
    pub(super) fn limit_ids(&self, service: usize) -> &[LimitId] {
        self.limit_ids.get(service).map_or(&[], |ids| ids)
    }

    /// Requests of a client with limited reputation in a window of that length.
    pub(super) const fn limited(&self) -> Option<(u32, Duration)> {
        if self.policy.attack() {
            self.limited_attacked
        } else {
            self.limited
        }
    }

    /// What a limit of a service comes to: less while the service is under attack.
    pub(super) fn rate(&self, service: usize, ordinary: u32) -> u32 {
        match self.attacked.get(service) {
            Some(true) => self.tightening.rate(ordinary),
            _ => ordinary,
        }
    }
}

/// The policy word without its presence flags, which the data path adds. One store of it switches thresholds and
/// rate limits when an attack (of any service: the kernel counts sources, not services) starts or ends.
#[must_use]
pub fn policy_word(config: &Config, mode: Mode, attacked: bool) -> PolicyWord {
    let mode = match mode {
        Mode::Off => word_mode::OFF,
        Mode::Log => word_mode::LOG,
        Mode::Block => word_mode::BLOCK,
    };
    let (mut block, mut limit) = (config.reputation.block, config.reputation.limit);
    if attacked {
        (block, limit) = config.attack.tightening.scores(block, limit);
    }
    PolicyWord::new(
        mode,
        block,
        limit,
        matches!(config.refusal, Refusal::Reset),
        matches!(config.unreadable, Unreadable::Drop),
        attacked,
        0,
    )
}

impl Default for Snapshot {
    /// Judges nothing: before the first one is published.
    fn default() -> Self {
        let config = Config::default();
        Self::build(
            &config,
            &Held {
                mode: Mode::Off,
                policy: PolicyWord(0),
                entries: &Desired::default(),
                zones: &ZoneTable::default(),
                classes: &Classes::default(),
            },
        )
    }
}

fn names(classes: &Classes) -> Arc<[Option<(ClassOrigin, String)>]> {
    (0..=u8::MAX)
        .map(|id| {
            classes
                .get(id)
                .map(|(origin, name)| (origin, name.to_owned()))
        })
        .collect()
}
