//! What is in force: kernel, snapshot and names, as configuration and decisions say.

use ipnet::IpNet;
use tracing::{info, warn};

use super::{Keeper, at, kernel_events::EventContext, wanted};
use crate::{
    datapath::Change,
    policy::{
        decision::Decision,
        listing::effective,
        snapshot::{Held, Snapshot},
    },
};

impl Keeper {
    /// Makes the kernel hold what configuration and decisions say.
    pub(super) fn reconcile(&mut self) -> anyhow::Result<Change> {
        let now = self.clock.now();
        let (wanted, evicted) = wanted::wanted(
            &self.config,
            self.decisions.values(),
            &self.feeds,
            &mut self.classes,
            now,
        );
        // Names first: an event may carry a class as soon as its entry is in force.
        self.name_classes()?;
        let (rate, events) = (&self.config.rate_limit, &self.config.events);
        self.datapath
            .set_budgets(events.per_second_max, rate.window);
        self.gate.set_events_per_second_max(events.per_second_max);
        let change = self.datapath.apply(&wanted)?;
        if evicted.total() > 0 {
            warn!(
                ?evicted,
                "the kernel's tables are full; the lowest scores gave way"
            );
        }
        self.evicted = evicted;
        let policy = self.policy();
        self.datapath.set_policy(policy);
        let snapshot = Snapshot::build(
            &self.config,
            &Held {
                mode: self.mode.mode,
                policy,
                entries: &wanted.entries,
                zones: &wanted.zones,
                classes: &self.classes,
            },
        );
        let attacked = self.attacked_by_service();
        self.published.whole(snapshot.with_attacked(&attacked));
        Ok(change)
    }

    pub(super) fn publish_policy(&self) {
        let (mode, policy) = (self.mode.mode, self.policy());
        self.datapath.set_policy(policy);
        let attacked = self.attacked_by_service();
        self.published
            .change(|snapshot| snapshot.with_policy(mode, policy).with_attacked(&attacked));
    }

    /// Tells the kernel and whoever words events what classes stand for.
    pub(super) fn name_classes(&self) -> anyhow::Result<()> {
        self.datapath.set_classes(self.classes.records())?;
        self.context
            .send_replace(EventContext::new(&self.classes, self.clock));
        Ok(())
    }

    fn publish_classes(&self) -> anyhow::Result<()> {
        self.name_classes()?;
        self.published
            .change(|snapshot| snapshot.with_classes(&self.classes));
        Ok(())
    }

    pub(super) fn attach(&mut self) -> anyhow::Result<()> {
        let wanted = self
            .interfaces
            .clone()
            .unwrap_or_else(|| self.config.interfaces.clone());
        self.datapath.attach(&wanted)?;
        self.missing_interfaces.clear();
        info!("judging packets on {}", self.attached());
        Ok(())
    }

    /// Puts into the kernel what `prefix` should hold now.
    pub(super) fn refresh(&mut self, prefix: IpNet) -> anyhow::Result<()> {
        let known = self.classes.records().count();
        let told = self.feeds.about(&self.config, [prefix], self.clock.now());
        let decisions: Vec<&Decision> = at(&self.decisions, prefix).chain(&told).collect();
        let meta = effective(
            prefix,
            &self.config.zones,
            &self.config.lists,
            &decisions,
            &mut self.classes,
            self.clock.now(),
        );
        if self.classes.records().count() != known {
            self.publish_classes()?;
        }
        let change = self.datapath.put(prefix, meta)?;
        self.published
            .change(|snapshot| snapshot.with_entry(prefix, meta));
        let evicted = change.evicted as u64;
        match prefix {
            IpNet::V4(_) => self.evicted.hosts4 += evicted,
            IpNet::V6(_) => self.evicted.exact6 += evicted,
        }
        Ok(())
    }

    /// Puts the zones into the kernel.
    pub(super) fn refresh_zones(&mut self) -> anyhow::Result<()> {
        let zones = wanted::zones(&self.config, self.decisions.values(), self.clock.now());
        self.datapath.set_zones(&zones)?;
        self.published
            .change(|snapshot| snapshot.with_zones(&zones));
        Ok(())
    }
}
