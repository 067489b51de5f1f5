//! Waits until a log may have more: told by the kernel where it can tell, and by looking now and then in any
//! case, since nothing is told of network file systems.

use std::{mem::MaybeUninit, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::{io::unix::AsyncFd, time::sleep};

use crate::datapath::watch_descriptor;

/// See the module.
#[derive(Default)]
pub(super) struct Wake {
    told: Option<AsyncFd<OwnedFd>>,
}

impl Wake {
    /// Listens for changes of the file at `path`, as it is now, and of its name. Needs a runtime.
    pub(super) fn of(path: &Path) -> Self {
        // Without it the log is looked at now and then, which is enough.
        Self {
            told: listen(path).ok(),
        }
    }

    /// Returns when it is time to look.
    pub(super) async fn wait(&self) {
        match &self.told {
            None => sleep(LOOK).await,
            Some(told) => {
                tokio::select! {
                    () = sleep(LOOK) => return,
                    ready = told.readable() => {
                        if let Ok(mut ready) = ready {
                            drain(told.get_ref());
                            ready.clear_ready();
                        }
                    }
                }
                // A busy log tells of every line; they are read together.
                sleep(PAUSE).await;
            }
        }
    }
}

fn listen(path: &Path) -> std::io::Result<AsyncFd<OwnedFd>> {
    let told = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let named = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory
        .map(|parent| inotify::add_watch(&told, parent, named | WatchFlags::ONLYDIR).map(|_| ()));
    let file = inotify::add_watch(&told, path, WatchFlags::MODIFY);
    // One of the two is worth having.
    if let (Err(error), Some(Err(_)) | None) = (file, directory) {
        return Err(error.into());
    }
    watch_descriptor(told)
}

fn drain(told: &OwnedFd) {
    let mut buffer = [MaybeUninit::uninit(); 4_096];
    let mut reader = Reader::new(told, &mut buffer);
    for _ in 0..EVENTS_MAX {
        if reader.next().is_err() {
            return;
        }
    }
}

/// The longest between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// The shortest.
const PAUSE: Duration = Duration::from_millis(10);
/// Events that are passed over at a time; of more the next look takes care.
const EVENTS_MAX: usize = 4_096;
