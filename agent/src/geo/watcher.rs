//! The thread that opens databases, and opens them again when their files have changed: at a reload, and by looking
//! every so often, so that an updater that renames a new file into place needs nobody to tell the agent.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::anyhow;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Databases, Files, Held};
use crate::threads::{self, Duty};

/// Databases while the agent runs.
pub(crate) struct Watcher {
    orders: Orders,
    databases: Databases,
    thread: JoinHandle<()>,
}

const DUTY: Duty = Duty {
    name: "geo",
    called: "the thread of databases of places",
    without: "databases of places are not opened",
};

/// How the watcher is told of another configuration.
#[derive(Clone)]
pub(crate) struct Orders {
    plan: SyncSender<Option<Files>>,
    databases: Databases,
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// Configurations that wait: reloads are rare.
const PLANS_QUEUED_MAX: usize = 8;

impl Watcher {
    /// Opens these files, on a thread of its own, and goes on looking at them.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn start(files: Files) -> anyhow::Result<Self> {
        let (plan, plans) = sync_channel(PLANS_QUEUED_MAX);
        let (told, held) = watch::channel(Arc::default());
        let databases = Databases { held };
        let thread = threads::spawn(DUTY, move || watch_files(files, &plans, &told))?;
        let orders = Orders {
            plan,
            databases: databases.clone(),
        };
        Ok(Self {
            orders,
            databases,
            thread,
        })
    }

    /// What is loaded, now and later.
    pub(crate) fn databases(&self) -> Databases {
        self.databases.clone()
    }

    /// How the keeper reaches it.
    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Ends.
    ///
    /// # Errors
    /// The thread panicked.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        // It may have ended already.
        let _ = self.orders.plan.send(None);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread of databases of places panicked"))
    }
}

impl Orders {
    /// These files from now on; looks at all of them. Whether there was room.
    pub(crate) fn plan(&self, files: Files) -> bool {
        self.plan.try_send(Some(files)).is_ok()
    }

    /// What is loaded.
    pub(crate) const fn databases(&self) -> &Databases {
        &self.databases
    }
}

fn watch_files(files: Files, plans: &Receiver<Option<Files>>, told: &watch::Sender<Arc<Held>>) {
    let mut files = files;
    loop {
        look(&files, told);
        match plans.recv_timeout(LOOK) {
            Ok(Some(planned)) => files = planned,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(files: &Files, told: &watch::Sender<Arc<Held>>) {
    let mut held = Held(told.borrow().0.clone());
    let before = held.0.clone();
    held.follow(files);
    let news = held.look();
    let mut pairs = before.iter().zip(&held.0);
    if !news && before.len() == held.0.len() && pairs.all(|(before, now)| before.is_as(now)) {
        return;
    }
    for entry in &held.0 {
        let path = entry.path.display();
        if before.iter().any(|known| known.is_as(entry)) {
            continue;
        }
        match &entry.problem {
            Some(what) => {
                let stays = entry
                    .database
                    .as_ref()
                    .map_or("", |_| "; the last good one stays in use");
                warn!("geo.{}: {path} {what}{stays}", entry.kind.name());
            }
            None => info!(
                database = entry.database.as_ref().map(|database| database.name()),
                "geo.{}: {path} is in use",
                entry.kind.name()
            ),
        }
    }
    told.send_replace(Arc::new(held));
}
