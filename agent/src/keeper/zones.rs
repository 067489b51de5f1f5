//! Zones that are made at run time, beside those of the configuration: in force first, then on disk, then answered.

use anyhow::Context as _;
use ipnet::IpNet;
use serde_json::{Value, json};
use tracing::{error, warn};

use super::{
    Keeper,
    commands::{Answer, data, unavailable},
    made::{check, configured_id, few_enough, made_fact, names, new_id, usage},
};
use crate::{
    config::Uses,
    control::{
        Failure, FailureKind, Request, Target,
        zones::{Threats, ZoneDraft, ZoneFact, ZoneFacts},
    },
    detection::{self, Order},
    policy::mode::Mode,
    store::MadeZone,
};

/// Networks of one zone that one answer shows.
const NETWORKS_SHOWN_MAX: usize = 5_000;

impl Keeper {
    pub(super) fn zones_asked(&mut self, request: Request, actor: &str) -> Answer {
        match request {
            Request::ZoneFacts => data(ZoneFacts {
                zones: self.zone_facts(),
            }),
            Request::ZonePut { id, zone } => self.put_zone(id.as_deref(), &zone, actor),
            Request::ZoneActive { id, active } => self.switch_zone(&id, active, actor),
            Request::ZoneDelete { id } => self.delete_zone(&id, actor),
            Request::Threats { set, exempt } => self.set_threats(set, exempt, actor),
            _ => Err(Failure::new(
                FailureKind::Internal,
                "it is answered elsewhere",
            )),
        }
    }

    fn zone_facts(&self) -> Vec<ZoneFact> {
        let configured = self.made.configured(&self.config).iter().map(|zone| {
            let others = zone.uses != Uses::TRUSTED_PROXY;
            let proxies = zone.uses.contains(Uses::TRUSTED_PROXY);
            let shown = |wanted: bool| -> Vec<String> {
                let networks = zone.networks.iter().take(NETWORKS_SHOWN_MAX);
                if wanted {
                    networks.map(|net| net.to_string()).collect()
                } else {
                    Vec::new()
                }
            };
            ZoneFact {
                id: configured_id(&zone.name),
                name: zone.name.clone(),
                uses: names(zone.uses),
                configured: true,
                active: true,
                gateways: shown(others),
                proxies: shown(proxies),
                networks: zone.networks.len() as u64,
                created_ms: self.started_ms,
                updated_ms: self.started_ms,
            }
        });
        configured
            .chain(self.made.zones.iter().map(made_fact))
            .collect()
    }

    fn put_zone(&mut self, id: Option<&str>, draft: &ZoneDraft, actor: &str) -> Answer {
        let now = self.clock.now().wall_ms;
        let old = match id {
            None => None,
            Some(id) => Some(self.made_zone(id)?.clone()),
        };
        check(draft, old.as_ref(), &self.config, &self.made)?;
        let texts = |targets: &[Target]| -> Vec<String> {
            targets.iter().map(ToString::to_string).collect()
        };
        if draft.blocked {
            self.protect_blocked(&texts(&draft.gateways))?;
        }
        let zone = MadeZone {
            id: match &old {
                Some(old) => old.id.clone(),
                None => new_id()?,
            },
            name: draft.name.clone(),
            blocked: draft.blocked,
            exempt: old.as_ref().is_some_and(|old| old.exempt),
            active: draft
                .active
                .unwrap_or_else(|| old.as_ref().is_none_or(|old| old.active)),
            gateways: texts(&draft.gateways),
            proxies: texts(&draft.proxies),
            created_ms: old.as_ref().map_or(now, |old| old.created_ms),
            updated_ms: now,
            actor: actor.to_owned(),
        };
        let mut zones = self.made.zones.clone();
        match zones.iter_mut().find(|known| known.id == zone.id) {
            Some(known) => known.clone_from(&zone),
            None => zones.push(zone.clone()),
        }
        few_enough(&zones)?;
        self.change_zones(zones)?;
        let event = if old.is_some() {
            "zone.update"
        } else {
            "zone.create"
        };
        self.announce_zone(event, actor, &zone);
        let was_blocked = old.is_some_and(|old| old.blocked);
        if zone.blocked != was_blocked {
            let event = if zone.blocked {
                "zone.make_blacklist"
            } else {
                "zone.remove_blacklist"
            };
            self.announce_zone(event, actor, &zone);
        }
        data(made_fact(&zone))
    }

    fn switch_zone(&mut self, id: &str, active: bool, actor: &str) -> Answer {
        let mut zone = self.made_zone(id)?.clone();
        if zone.active == active {
            return data(made_fact(&zone));
        }
        if active && zone.blocked {
            self.protect_blocked(&zone.gateways)?;
        }
        zone.active = active;
        zone.updated_ms = self.clock.now().wall_ms;
        actor.clone_into(&mut zone.actor);
        let mut zones = self.made.zones.clone();
        if let Some(known) = zones.iter_mut().find(|known| known.id == id) {
            known.clone_from(&zone);
        }
        self.change_zones(zones)?;
        let event = if active {
            "zone.activate"
        } else {
            "zone.deactivate"
        };
        self.announce_zone(event, actor, &zone);
        data(made_fact(&zone))
    }

    fn delete_zone(&mut self, id: &str, actor: &str) -> Answer {
        let zone = self.made_zone(id)?.clone();
        let mut zones = self.made.zones.clone();
        zones.retain(|known| known.id != id);
        self.change_zones(zones)?;
        self.announce_zone("zone.delete", actor, &zone);
        data(made_fact(&zone))
    }

    /// Exempt zones first: a mode that blocks must not come before what is exempt from it. Both, or neither.
    fn set_threats(
        &mut self,
        mode: Option<Mode>,
        exempt: Option<Vec<String>>,
        actor: &str,
    ) -> Answer {
        let former = self.made.zones.clone();
        let exempted = match exempt {
            Some(exempt) => self.set_exempt(&exempt)?,
            None => Vec::new(),
        };
        if let Some(mode) =
            mode.filter(|mode| self.mode.mode != *mode || self.mode.next_revert().is_some())
            && let Err(failure) = self.set_mode(mode, None, None, actor)
        {
            if !exempted.is_empty()
                && let Err(again) = self.change_zones(former)
            {
                error!("what was exempt could not be restored: {}", again.message);
            }
            return Err(failure);
        }
        if !exempted.is_empty() {
            self.announce(
                "security.threat.configuration.update",
                actor,
                json!({ "exempt_zones": exempted }),
            );
        }
        let facts = self.zone_facts().into_iter();
        let exempt =
            facts.filter(|zone| zone.active && zone.uses.iter().any(|one| one == "exempt"));
        data(Threats {
            mode: self.mode.mode,
            exempt: exempt.map(|zone| zone.id).collect(),
            since_ms: self.mode.since,
        })
    }

    /// What it changed.
    fn set_exempt(&mut self, wanted: &[String]) -> Result<Vec<Value>, Failure> {
        for zone in self.made.configured(&self.config) {
            let is_wanted = wanted.contains(&configured_id(&zone.name));
            if is_wanted != zone.uses.contains(Uses::EXEMPT) {
                return Err(fixed(&zone.name));
            }
        }
        let facts = self.zone_facts();
        let unknown = wanted
            .iter()
            .find(|id| !facts.iter().any(|zone| zone.id == **id));
        if let Some(id) = unknown {
            return Err(no_zone(id));
        }
        let mut zones = self.made.zones.clone();
        let mut changed = Vec::new();
        for zone in &mut zones {
            let exempt = wanted.contains(&zone.id);
            if exempt == zone.exempt {
                continue;
            }
            if exempt && (zone.blocked || !zone.proxies.is_empty()) {
                let what = if zone.blocked {
                    "is a block list"
                } else {
                    "has proxies, and clients behind them would pass unjudged"
                };
                return Err(usage(format!(
                    "the zone \"{}\" cannot be exempt: it {what}",
                    zone.name
                )));
            }
            zone.exempt = exempt;
            zone.updated_ms = self.clock.now().wall_ms;
            changed.push(json!({ "zone": zone.name, "exempt": exempt }));
        }
        if !changed.is_empty() {
            self.change_zones(zones)?;
        }
        Ok(changed)
    }

    /// Puts zones in force and writes them down, or leaves everything as it was.
    fn change_zones(&mut self, zones: Vec<MadeZone>) -> Result<(), Failure> {
        let old = std::mem::replace(&mut self.made.zones, zones);
        let done = self.enforce_zones().and_then(|()| {
            self.store
                .set_zones(&self.made.zones)
                .context("cannot write the zones down")
        });
        let Err(error) = done else {
            return Ok(());
        };
        self.made.zones = old;
        if let Err(again) = self.enforce_zones() {
            error!("the former zones could not be restored: {again:#}");
        }
        Err(unavailable(&error))
    }

    fn enforce_zones(&mut self) -> anyhow::Result<()> {
        self.config.zones.truncate(self.made.configured_count());
        for note in self.made.join(&mut self.config) {
            warn!("{note}");
        }
        self.reconcile()?;
        self.plan_feeds();
        // Detection that is busy learns of it with the next reload; what is exempt is not refused all the same.
        if !self.order(Order::Set(Box::new(detection::settings(&self.config)))) {
            warn!("detection is busy and has not been told of the zones");
        }
        Ok(())
    }

    fn protect_blocked(&self, gateways: &[String]) -> Result<(), Failure> {
        let targets: Vec<IpNet> = gateways
            .iter()
            .filter_map(|text| text.parse::<Target>().ok())
            .flat_map(|target| target.networks().to_vec())
            .collect();
        self.protect(&targets, &[])
    }

    fn made_zone(&self, id: &str) -> Result<&MadeZone, Failure> {
        if let Some(zone) = self.made.zones.iter().find(|zone| zone.id == id) {
            return Ok(zone);
        }
        let mut configured = self.made.configured(&self.config).iter();
        match configured.find(|zone| configured_id(&zone.name) == id) {
            Some(zone) => Err(fixed(&zone.name)),
            None => Err(no_zone(id)),
        }
    }

    fn announce_zone(&self, event: &str, actor: &str, zone: &MadeZone) {
        let detail = json!({
            "zone": zone.name,
            "zone_id": zone.id,
            "blocked": zone.blocked,
            "exempt": zone.exempt,
            "active": zone.active,
            "gateways": zone.gateways.len(),
            "proxies": zone.proxies.len(),
        });
        self.announce(event, actor, detail);
    }
}

fn fixed(name: &str) -> Failure {
    Failure::new(
        FailureKind::Denied,
        format!("the configuration defines the zone \"{name}\"; change it there and reload"),
    )
}

fn no_zone(id: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("there is no zone {id}"))
}
