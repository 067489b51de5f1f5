//! What is set as a whole: the mode, the configuration, and the way out.

use std::{path::Path, sync::Arc};

use serde_json::json;
use tracing::{error, info, warn};

use super::{
    Keeper,
    commands::{Answer, data, internal, unavailable},
};
use crate::{
    api,
    config::{ApiToken, Config, diff},
    control::{Failure, FailureKind, roles::Roles},
    deferred,
    detection::{self, Order},
    gateway::Material,
    policy::mode::Mode,
    store::{ModeOrigin, ModeState, Revert},
};

impl Keeper {
    pub(super) fn set_mode(
        &mut self,
        mode: Mode,
        for_ms: Option<u64>,
        confirm_within_ms: Option<u64>,
        actor: &str,
    ) -> Answer {
        let now = self.clock.now().wall_ms;
        let previous = self.mode.mode;
        let back = |after: u64| Revert {
            previous,
            at: now.saturating_add(after),
        };
        let next = ModeState {
            mode,
            origin: ModeOrigin::Operator,
            actor: actor.to_owned(),
            since: now,
            until: for_ms.map(back),
            unconfirmed: confirm_within_ms.map(back),
        };
        let old = std::mem::replace(&mut self.mode, next);
        self.publish_policy();
        if let Err(error) = self.store.set_mode(&self.mode) {
            self.mode = old;
            self.publish_policy();
            return Err(unavailable(
                &anyhow::Error::new(error).context("cannot write the mode down"),
            ));
        }
        info!("mode {previous} -> {mode} by {actor}");
        let detail = json!({ "from": previous, "to": mode, "for_ms": for_ms, "confirm_within_ms": confirm_within_ms });
        self.announce("security.threat.configuration.update", actor, detail);
        data(self.mode_report())
    }

    pub(super) fn confirm_mode(&mut self, actor: &str) -> Answer {
        if self.mode.unconfirmed.is_none() {
            return Err(Failure::new(
                FailureKind::Conflict,
                "no mode waits for a confirmation",
            ));
        }
        let mut next = self.mode.clone();
        next.unconfirmed = None;
        self.store
            .set_mode(&next)
            .map_err(|error| unavailable(&error.into()))?;
        self.mode = next;
        self.announce(
            "security.threat.configuration.update",
            actor,
            json!({ "confirmed": self.mode.mode }),
        );
        data(self.mode_report())
    }

    /// Reads the configuration again; a mistake anywhere leaves everything as it was.
    pub(crate) fn reload(&mut self, actor: &str) -> Answer {
        let Some(path) = self.config.path.clone() else {
            return Err(Failure::new(
                FailureKind::Conflict,
                "the agent was started without a file",
            ));
        };
        let Read {
            config: mut new,
            roles,
            material,
            api,
        } = read(&path)?;
        let configured = self.made.configured_count();
        let mut notes = self.made.join(&mut new);
        let changes = diff::changes(&self.config, &new);
        let restart = diff::needs_restart(&self.config, &new);
        let old = std::mem::replace(&mut self.config, new);
        self.keep_fixed(&old);
        // Also puts right what somebody else did to the maps.
        let done = self
            .datapath
            .reread()
            .and_then(|()| self.reconcile())
            .and_then(|change| self.attach().map(|()| change));
        let change = match done {
            Ok(change) => change,
            Err(error) => {
                self.config = old;
                self.made.set_configured_count(configured);
                let again = self.reconcile().and_then(|_| self.attach());
                if let Err(again) = again {
                    error!("the former configuration could not be restored: {again:#}");
                }
                return Err(unavailable(
                    &error.context("the running configuration stays"),
                ));
            }
        };
        self.roles.send_replace(roles);
        self.plan_streams(actor);
        self.notices.clear();
        notes.extend(self.tell_others(material, api));
        if !restart.is_empty() {
            notes.push(format!(
                "{} take effect when the agent is started again",
                restart.join(", ")
            ));
        }
        self.notices.extend(notes.clone());
        notes.extend(self.config.warnings.iter().map(ToString::to_string));
        info!(?change, "reloaded {}", path.display());
        self.announce_tokens(&old, actor);
        self.announce_changes(&old, &changes, actor);
        data(json!({
            "changes": changes,
            "notes": notes,
            "entries": { "added": change.added, "changed": change.changed, "removed": change.removed },
        }))
    }

    /// Hands a new configuration on; what does not work of it.
    fn tell_others(&mut self, material: Material, api: Option<Arc<api::Material>>) -> Vec<String> {
        let mut notes = Vec::new();
        self.plan_feeds();
        if let Some(orders) = &self.api {
            orders.set(api);
        }
        if !self.order(Order::Set(Box::new(detection::settings(&self.config)))) {
            notes.push("detection is busy and keeps its former settings; reload again".to_owned());
        }
        let follow = Order::Follow(
            Box::new(self.config.attack),
            detection::services(&self.config),
        );
        if !self.order(follow) {
            notes.push("detection is busy and keeps its former [attack]; reload again".to_owned());
        }
        notes.extend(self.plan_geo());
        let applied = self.deferred.apply(&self.config, material, &self.datapath);
        if let Err(error) = applied {
            error!("{error:#}");
            notes.push(format!("the gateway does not serve: {error:#}"));
        }
        if let Some(sources) = &mut self.sources {
            sources.apply(&self.config);
        }
        self.feed.names().want(self.config.journal.names_users);
        if let Some(log) = self.feed.log() {
            log.set(self.config.journal);
        }
        notes
    }

    /// Tokens that came or went with a reload.
    fn announce_tokens(&self, old: &Config, actor: &str) {
        let tokens = |config: &Config| -> Vec<ApiToken> {
            let api = config.api.as_ref();
            api.map(|api| api.tokens.clone()).unwrap_or_default()
        };
        let (old, new) = (tokens(old), tokens(&self.config));
        for (event, those, others) in [
            ("system.api_token.create", &new, &old),
            ("system.api_token.revoke", &old, &new),
        ] {
            for token in those {
                if !others.iter().any(|other| other.name == token.name) {
                    let scopes = token.scopes.names();
                    self.announce(
                        event,
                        actor,
                        json!({ "token": token.name, "scopes": scopes }),
                    );
                }
            }
        }
    }

    /// After a reload: databases of places are those of the configuration, and all of them are looked at.
    fn plan_geo(&self) -> Option<String> {
        let geo = self.geo.as_ref()?;
        let planned = geo.plan(self.config.geo.clone());
        (!planned).then(|| "databases of places are being read; reload again".to_owned())
    }

    /// What a reload cannot change keeps its running value, so that reports stay true.
    fn keep_fixed(&mut self, old: &Config) {
        self.config.socket.clone_from(&old.socket);
        self.config.state_dir.clone_from(&old.state_dir);
        self.config.bpffs_dir.clone_from(&old.bpffs_dir);
        self.config.capacity = old.capacity;
        self.config.events.ring_bytes = old.events.ring_bytes;
        self.config.events.kept_max = old.events.kept_max;
    }

    pub(super) fn detach(&mut self, actor: &str) -> Answer {
        self.announce("system.agent.detach", actor, json!({}));
        self.datapath.detach().map_err(internal)?;
        warn!("detached by {actor}: nothing is judged on this host any more");
        self.done = true;
        data(json!({ "detached": true }))
    }
}

/// Everything that a configuration names, before any of it is in force.
struct Read {
    config: Config,
    roles: Roles,
    material: Material,
    api: Option<Arc<api::Material>>,
}

/// Reads it.
fn read(path: &Path) -> Result<Read, Failure> {
    let new = Config::load(path).map_err(|mistakes| Failure {
        kind: FailureKind::Configuration,
        message: format!(
            "{} has mistakes; the running configuration stays",
            path.display()
        ),
        details: mistakes.kept.iter().map(ToString::to_string).collect(),
    })?;
    let roles = Roles::from_config(&new.control).map_err(|errors| Failure {
        kind: FailureKind::Configuration,
        message: format!("{} names unknown users or groups", path.display()),
        details: errors.iter().map(ToString::to_string).collect(),
    })?;
    let unusable = |error: anyhow::Error| Failure {
        kind: FailureKind::Configuration,
        message: format!(
            "{} names certificates or tokens that cannot be used; the running configuration stays",
            path.display()
        ),
        details: vec![format!("{error:#}")],
    };
    Ok(Read {
        material: deferred::material(&new).map_err(unusable)?,
        api: api::Material::read(new.api.as_ref()).map_err(unusable)?,
        config: new,
        roles,
    })
}
