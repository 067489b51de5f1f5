//! What servers beside the agent's work have in common: a configuration that changes while they run, and connections
//! that are limited in number.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};
use tracing::warn;

use crate::authz::listen::{Acceptor, Stream};

/// How the keeper reaches a server.
#[derive(Clone, Debug)]
pub(crate) struct Orders<Settings> {
    settings: watch::Sender<Option<Settings>>,
    problem: watch::Receiver<Option<String>>,
}

/// The server's end of its orders.
#[derive(Debug)]
pub(crate) struct Wanted<Settings> {
    settings: watch::Receiver<Option<Settings>>,
    problem: Problem,
}

/// Where a server says what does not work.
#[derive(Debug)]
pub(crate) struct Problem(watch::Sender<Option<String>>);

/// Orders that begin with these settings, and the end that is given to the server.
pub(crate) fn orders<Settings>(settings: Option<Settings>) -> (Orders<Settings>, Wanted<Settings>) {
    let (settings, wanted) = watch::channel(settings);
    let (told, problem) = watch::channel(None);
    let orders = Orders { settings, problem };
    let wanted = Wanted {
        settings: wanted,
        problem: Problem(told),
    };
    (orders, wanted)
}

impl<Settings: PartialEq> Orders<Settings> {
    /// What a configuration says.
    pub(crate) fn set(&self, settings: Option<Settings>) {
        self.settings.send_if_modified(|known| {
            let differs = *known != settings;
            *known = settings;
            differs
        });
    }

    /// What does not work.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

impl<Settings: Clone> Wanted<Settings> {
    /// Serves one configuration after the other. `listen` comes back only when that fails, and is tried again a little
    /// later; `fails` is what the log says then.
    pub(crate) async fn serve(
        mut self,
        table: &str,
        fails: &str,
        listen: impl AsyncFn(&Settings, &Problem) -> Result<Infallible, String>,
    ) {
        loop {
            let settings = self.settings.borrow_and_update().clone();
            let mut changed = pin!(self.settings.changed());
            let serving = async {
                match settings {
                    None => {
                        self.problem.none();
                        std::future::pending().await
                    }
                    Some(settings) => loop {
                        let Err(what) = listen(&settings, &self.problem).await;
                        warn!("{fails}: {what}");
                        self.problem.say(format!("{table}: {what}"));
                        sleep(AGAIN).await;
                    },
                }
            };
            tokio::select! {
                changed = &mut changed => if changed.is_err() { return },
                never = serving => match never {},
            }
        }
    }
}

impl Problem {
    /// Everything works.
    pub(crate) fn none(&self) {
        self.0.send_replace(None);
    }

    fn say(&self, what: String) {
        self.0.send_replace(Some(what));
    }
}

/// Accepts connections, so many at a time; further ones wait in the backlog. They end with this future.
///
/// # Errors
/// Connections can no longer be counted.
pub(crate) async fn accept<Connection>(
    acceptor: &Acceptor,
    connections_max: usize,
    refused: &str,
    connection: impl Fn(Stream) -> Connection,
) -> Result<Infallible, String>
where
    Connection: Future<Output = ()> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(connections_max));
    let mut open = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return Err("no connections can be counted".to_owned());
        };
        while open.try_join_next().is_some() {}
        match acceptor.accept().await {
            Ok(stream) => {
                let serving = connection(stream);
                open.spawn(async move {
                    let _place = place;
                    serving.await;
                });
            }
            Err(error) => {
                warn!(%error, "{refused}");
                sleep(REFUSED).await;
            }
        }
    }
}

/// Between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(5);
/// After a connection that could not be accepted.
const REFUSED: Duration = Duration::from_millis(100);
