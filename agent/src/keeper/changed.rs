//! What a reload has changed, as events: of zones and feeds one each, of everything together one.

use serde_json::json;

use super::Keeper;
use crate::config::{Config, Uses};

impl Keeper {
    /// Tells of what is in force now and was not before; `changes` are the sentences about all of it.
    pub(super) fn announce_changes(&self, old: &Config, changes: &[String], actor: &str) {
        let new = &self.config;
        let names = |config: &Config| -> Vec<String> {
            config.zones.iter().map(|zone| zone.name.clone()).collect()
        };
        self.announce_named("zone", &names(old), &names(new), changes, actor);
        let names = |config: &Config| -> Vec<String> {
            config.feeds.iter().map(|feed| feed.name.clone()).collect()
        };
        self.announce_named("feed", &names(old), &names(new), changes, actor);
        for zone in &new.zones {
            let before = old.zones.iter().find(|known| known.name == zone.name);
            let was = before.is_some_and(|before| before.uses.contains(Uses::BLOCKED));
            let event = match (was, zone.uses.contains(Uses::BLOCKED)) {
                (false, true) => "zone.make_blacklist",
                (true, false) => "zone.remove_blacklist",
                _ => continue,
            };
            self.announce(event, actor, json!({ "zone": zone.name }));
        }
        self.announce("system.agent.reload", actor, json!({ "changes": changes }));
    }

    fn announce_named(
        &self,
        kind: &str,
        old: &[String],
        new: &[String],
        changes: &[String],
        actor: &str,
    ) {
        for name in old
            .iter()
            .chain(new.iter().filter(|name| !old.contains(name)))
        {
            let what = match (old.contains(name), new.contains(name)) {
                (true, false) => "delete",
                (false, true) => "create",
                _ => "update",
            };
            let about = format!("{kind} \"{name}\"");
            let change = changes
                .iter()
                .find_map(|change| change.strip_prefix(&about))
                .map(|change| change.trim_start_matches([':', ' ']));
            if let Some(change) = change {
                self.announce(
                    &format!("{kind}.{what}"),
                    actor,
                    json!({ kind: name, "change": change }),
                );
            }
        }
    }
}
