//! What happens by itself: ends of decisions, returns of modes, interfaces that come and go.

use serde_json::json;
use tracing::{info, warn};

use super::Keeper;
use crate::{
    config::Interfaces,
    datapath::netlink,
    policy::decision::{Decision, Kind},
};

/// The kernel counts in ticks and rounds down: it may honour an end this much early, and what it no
/// longer honours is no longer listed either.
const TICK_MS_MAX: u64 = 136;
/// Ended decisions taken in one turn; commands come between the turns.
const ENDED_AT_ONCE_MAX: usize = 4096;

impl Keeper {
    /// Called several times a second.
    pub(crate) fn tick(&mut self) {
        self.datapath.tick();
        if let Err(error) = self.end_decisions() {
            warn!("{error:#}");
        }
        self.end_feed_entries();
        self.revert_mode();
    }

    /// The kernel has stopped honouring them already; this makes room and restores what they hid.
    pub(super) fn end_decisions(&mut self) -> anyhow::Result<()> {
        let now = self.clock.now().wall_ms;
        let due: Vec<_> = self
            .expiries
            .iter()
            .take_while(|(at, _)| at.saturating_sub(TICK_MS_MAX) <= now)
            .map(|(_, key)| *key)
            .take(ENDED_AT_ONCE_MAX)
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let ended: Vec<Decision> = due.iter().filter_map(|key| self.forget(key)).collect();
        if ended.iter().any(|decision| decision.kind == Kind::Exempt) {
            self.refresh_zones()?;
        }
        for decision in ended.iter().filter(|decision| decision.kind == Kind::Block) {
            self.refresh(decision.prefix)?;
        }
        for decision in &ended {
            self.announce_decision("decision.end", "edgeward", decision);
        }
        // A row that stays behind has ended all the same: it is purged at the next start.
        self.store.delete_all(&due)?;
        Ok(())
    }

    fn revert_mode(&mut self) {
        let Some(next) = self.mode.reverted(self.clock.now().wall_ms) else {
            return;
        };
        let before = self.mode.mode;
        self.mode = next;
        self.publish_policy();
        if let Err(error) = self.store.set_mode(&self.mode) {
            warn!(%error, "the mode went back but could not be written down");
        }
        info!("mode went back from {before} to {}", self.mode.mode);
        let detail = json!({ "from": before, "to": self.mode.mode, "why": "time ran out" });
        self.announce(
            "security.threat.configuration.update",
            &self.mode.actor.clone(),
            detail,
        );
    }

    /// Attaches to what has appeared and notices what is gone. Called every few seconds.
    pub(crate) fn watch_interfaces(&mut self) {
        let Ok(present) = netlink::interfaces() else {
            return;
        };
        let wanted = self.interfaces.as_ref().unwrap_or(&self.config.interfaces);
        let names: Vec<&str> = match wanted {
            Interfaces::Named(names) => names.iter().map(String::as_str).collect(),
            Interfaces::AllPhysical => present
                .iter()
                .filter(|interface| interface.is_physical())
                .map(|interface| interface.name.as_str())
                .collect(),
        };
        let is_right = |name: &&str| {
            let held = self
                .datapath
                .attached()
                .iter()
                .find(|held| held.name == **name);
            let there = present.iter().find(|interface| interface.name == **name);
            matches!((held, there), (Some(held), Some(there)) if held.index == there.index && there.xdp.is_some())
        };
        if names.iter().all(is_right) {
            return;
        }
        let wrong: Vec<String> = names
            .iter()
            .filter(|name| !is_right(name))
            .map(|name| (*name).to_owned())
            .collect();
        match self.attach() {
            Ok(()) => info!("attached again after {} changed", wrong.join(", ")),
            Err(error) => {
                let why = format!("{error:#}");
                let known = self.missing_interfaces.iter().any(|(_, old)| *old == why);
                if !known {
                    warn!("{why}");
                    self.missing_interfaces =
                        wrong.into_iter().map(|name| (name, why.clone())).collect();
                }
            }
        }
    }
}
