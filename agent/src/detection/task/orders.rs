//! What the thread is told to do, and attacks, which operators have a say in.

use tracing::warn;

use super::{
    super::{Answer, Order, Said, attacks, core::Entry, reading_up::ReadingUp},
    Task,
};
use crate::{
    control::{Failure, FailureKind, report::AttackReport},
    keeper::Work,
};

impl Task {
    pub(super) async fn obey(&mut self, order: Order) {
        match order {
            Order::Forget(prefixes) => {
                let now = self.now_ms();
                for prefix in prefixes {
                    self.count(&Entry::Forget(prefix), now);
                }
            }
            Order::Set(settings) => {
                self.core.set(*settings, self.now_ms());
                self.refresh();
            }
            Order::Follow(settings, services) => {
                self.reading_up = ReadingUp::begin(self.now_ms());
                if self.core.follow(*settings, services) {
                    self.save(0);
                }
                // Services that are gone are not under attack any more; the keeper forgot them by name.
            }
            Order::Attack(said) => self.say(*said).await,
            Order::Attacks { reply } => {
                let answer = serde_json::to_value(self.attack_report())
                    .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()));
                // Whoever asked may be gone.
                drop(reply.send(answer));
            }
            Order::Impact {
                since_ms,
                rows,
                reply,
            } => {
                let now = self.now_ms();
                let since = now.saturating_sub(since_ms);
                let report = self.core.impact().report(since, now, rows);
                let answer = serde_json::to_value(report)
                    .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()));
                // Whoever asked may be gone.
                drop(reply.send(answer));
            }
        }
    }

    /// Attacks that an earlier agent had declared and that go on.
    pub(super) async fn restore_attacks(&mut self) {
        let now = self.now_ms();
        let told = attacks::going_on(&mut self.core, now);
        if !told.is_empty()
            && self
                .wiring
                .work
                .send(Work::Attack(told, None))
                .await
                .is_err()
        {
            warn!("an attack has nowhere to go: the keeper has ended");
        }
    }

    /// Tells the keeper of attacks that started or ended; `asked` is told when they are in force.
    pub(super) async fn attacks(&mut self, actor: Option<&str>, asked: Option<Answer>) {
        let changes = self.core.take_changes();
        let told = attacks::told(&self.core, changes, actor);
        let asked = asked.map(|reply| (reply, self.attack_report()));
        if told.is_empty() && asked.is_none() {
            return;
        }
        if self
            .wiring
            .work
            .send(Work::Attack(told, asked))
            .await
            .is_err()
        {
            warn!("an attack has nowhere to go: the keeper has ended");
        }
    }

    fn attack_report(&mut self) -> AttackReport {
        let now = self.now_ms();
        attacks::report(&mut self.core, now)
    }

    /// An operator says that services are under attack, or are not.
    async fn say(&mut self, attack: Said) {
        let Said {
            service,
            attacked,
            for_ms,
            actor,
            reply,
        } = attack;
        let now = self.now_ms();
        let meant = self.core.meant(service.as_deref());
        if meant.is_empty() {
            let name = service.unwrap_or_default();
            let what = format!("there is no service \"{name}\"; `edgeward attack` shows them");
            // Whoever asked may be gone.
            drop(reply.send(Err(Failure::new(FailureKind::NotFound, what))));
            return;
        }
        for service in meant {
            let entry = Entry::Attack {
                service,
                attacked,
                at_ms: now,
                for_ms,
            };
            self.count(&entry, now);
        }
        self.attacks(Some(&actor), Some(reply)).await;
    }
}
