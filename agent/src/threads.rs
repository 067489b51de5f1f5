//! Threads beside the keeper's: each gives up every privilege before it does anything, and ends when it is told.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use tokio::{
    runtime::{self, Runtime},
    sync::oneshot,
};
use tracing::error;

use crate::privileges;

/// What a thread is there for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Duty {
    /// Its name in `/proc`, where 15 bytes are shown.
    pub(crate) name: &'static str,
    /// What messages call it.
    pub(crate) called: &'static str,
    /// What it means if it cannot begin.
    pub(crate) without: &'static str,
}

/// What blocks beside a thread's runtime, on threads that inherit its lack of privileges.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blocking {
    /// Nothing.
    Never,
    /// So many at a time, and the end waits for them.
    Awaited { threads_max: usize },
    /// So many at a time, and the end leaves them behind.
    Left { threads_max: usize },
}

/// A thread with a runtime of its own.
pub(crate) struct Thread {
    called: &'static str,
    /// Dropped, it is the signal to end.
    stop: oneshot::Sender<()>,
    handle: JoinHandle<()>,
}

/// Comes when the thread is to end.
#[derive(Debug)]
pub(crate) struct Stopped(oneshot::Receiver<()>);

impl Thread {
    /// Begins `work`, which has to end when it is told.
    ///
    /// # Errors
    /// There can be no thread. One that cannot give its privileges up, or has no runtime, says so in the log.
    pub(crate) fn start(
        duty: Duty,
        blocking: Blocking,
        work: impl AsyncFnOnce(Stopped) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let handle = spawn(duty, move || match blocking.runtime() {
            Ok(runtime) => {
                runtime.block_on(async { work(Stopped(stopped)).await });
                if let Blocking::Left { .. } = blocking {
                    runtime.shutdown_background();
                }
            }
            Err(error) => error!("{}: {error:#}", duty.without),
        })?;
        Ok(Self {
            called: duty.called,
            stop,
            handle,
        })
    }

    /// Tells it to end and waits until it has.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.handle.join().is_err() {
            error!("{} panicked", self.called);
        }
    }
}

impl Stopped {
    /// Goes on with `work` until it is over or the thread is to end.
    pub(crate) async fn ends(self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            () = self => {}
        }
    }
}

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // An error says that the sender is gone, which is the signal.
        Pin::new(&mut self.0).poll(context).map(drop)
    }
}

/// Begins a thread that gives its privileges up first, and does nothing if it cannot.
///
/// # Errors
/// There can be no thread.
pub(crate) fn spawn(
    duty: Duty,
    work: impl FnOnce() + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(duty.name.to_owned())
        .spawn(move || match privileges::drop_all() {
            Ok(()) => work(),
            Err(error) => error!("{}: {error:#}", duty.without),
        })
        .context(duty.called)
}

/// A runtime for one thread.
///
/// # Errors
/// What the system refused.
pub(crate) fn single_threaded() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

impl Blocking {
    fn runtime(self) -> io::Result<Runtime> {
        match self {
            Self::Never => single_threaded(),
            Self::Awaited { threads_max } | Self::Left { threads_max } => {
                runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(threads_max)
                    .build()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use tokio::task::spawn_blocking;

    use super::*;

    const DUTY: Duty = Duty {
        name: "some work",
        called: "the thread of some work",
        without: "some work is not done",
    };

    #[test]
    fn a_thread_has_no_capability_and_ends_when_it_is_told() {
        let (told, said) = mpsc::sync_channel(2);
        let work = async move |stopped: Stopped| {
            told.send(caps::read(None, caps::CapSet::Permitted).unwrap())
                .unwrap();
            stopped.await;
            told.send(caps::CapsHashSet::new()).unwrap();
        };
        let thread = Thread::start(DUTY, Blocking::Never, work).unwrap();
        assert_eq!(said.recv().unwrap(), caps::CapsHashSet::new());
        assert!(said.try_recv().is_err(), "it goes on until then");
        thread.stop();
        assert!(said.try_recv().is_ok(), "it was waited for");
    }

    #[test]
    fn work_that_does_not_end_is_ended() {
        let work = async |stopped: Stopped| stopped.ends(std::future::pending()).await;
        Thread::start(DUTY, Blocking::Never, work).unwrap().stop();
    }

    /// Has begun to block when this comes back, and goes on until the channel is closed.
    fn blocks(blocking: Blocking) -> (Thread, SyncSender<()>, Receiver<()>) {
        let (release, released) = mpsc::sync_channel::<()>(0);
        let (told, said) = mpsc::sync_channel(2);
        let work = async move |stopped: Stopped| {
            let blocked = spawn_blocking(move || {
                told.send(()).unwrap();
                released.recv().unwrap_err();
                told.send(()).unwrap();
            });
            stopped.await;
            drop(blocked);
        };
        let thread = Thread::start(DUTY, blocking, work).unwrap();
        said.recv().unwrap();
        (thread, release, said)
    }

    #[test]
    fn what_blocks_is_left_behind_or_awaited() {
        let (thread, release, ended) = blocks(Blocking::Left { threads_max: 1 });
        thread.stop();
        assert!(ended.try_recv().is_err(), "it blocks still");
        drop(release);
        ended.recv().unwrap();

        let (thread, release, ended) = blocks(Blocking::Awaited { threads_max: 1 });
        drop(release);
        thread.stop();
        ended.try_recv().unwrap();
    }
}
