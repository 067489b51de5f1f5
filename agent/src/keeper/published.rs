//! The snapshot on its way to whoever judges proxied requests: it follows what the kernel holds.

use std::sync::Arc;

use tokio::sync::watch;

use crate::policy::snapshot::Snapshot;

/// The one sender of snapshots.
#[derive(Debug)]
pub(super) struct Published {
    sender: watch::Sender<Arc<Snapshot>>,
    begun: bool,
}

impl Published {
    pub(super) const fn new(sender: watch::Sender<Arc<Snapshot>>) -> Self {
        Self {
            sender,
            begun: false,
        }
    }

    /// The snapshot in force.
    pub(super) fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.sender.borrow())
    }

    /// Publishes a whole snapshot; the first is what [`crate::gate::Gate::ready`] waits for.
    pub(super) fn whole(&mut self, snapshot: Snapshot) {
        self.begun = true;
        self.sender.send_replace(Arc::new(snapshot));
    }

    /// Publishes the snapshot with a change. Before the first whole one nothing is published: what is not there yet has
    /// no services, and whoever saw it would answer every request as if none were protected.
    pub(super) fn change(&self, change: impl FnOnce(&Snapshot) -> Snapshot) {
        if self.begun {
            self.sender
                .send_modify(|snapshot| *snapshot = Arc::new(change(snapshot)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::{
        clock::Clock,
        config::Config,
        control::EventFeed,
        gate::{Gate, GateLimits},
        policy::{classes::Classes, clock::Now, snapshot::policy_word},
    };

    #[test]
    fn nobody_judges_by_a_snapshot_that_is_not_whole() {
        let config = "[[service]]\nname = \"login\"\nports = [443]";
        let config = Config::parse(config, Path::new("/"), "test.toml").unwrap();
        let whole = Snapshot::of_config(&config, Now::default());
        let (sender, receiver) = watch::channel(Arc::default());
        let feed = EventFeed::new(1, 0);
        let gate = Gate::new(
            receiver,
            Gate::nobody_suspected(),
            feed,
            Clock::new(),
            7,
            &GateLimits::AMPLE,
        );
        let mut published = Published::new(sender);
        let mut context = Context::from_waker(Waker::noop());
        let mut ready = pin!(gate.ready());
        assert!(ready.as_mut().poll(&mut context).is_pending());
        let policy = policy_word(&config, config.mode, false);
        published.change(|snapshot| snapshot.with_policy(config.mode, policy));
        published.change(|snapshot| snapshot.with_classes(&Classes::default()));
        assert!(ready.as_mut().poll(&mut context).is_pending());
        published.whole(whole);
        assert!(ready.as_mut().poll(&mut context).is_ready());
        assert_eq!(gate.snapshot().service_named("login"), Some(0));
        published.change(|snapshot| snapshot.with_classes(&Classes::default()));
        assert_eq!(gate.snapshot().service_named("login"), Some(0));
    }
}
