//! What whoever judges requests is told of people: users and user agents under attack, and who is at home.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use crate::{
    policy::{
        defence::{Decided, Defence},
        reputation::Scope,
        signal::{Flow, Outcome, Signal},
        suspects::{Known, Suspect, Suspects},
    },
    random,
};

/// The sending end.
pub(super) struct People {
    told: watch::Sender<Arc<Suspects>>,
    known: Arc<Known>,
    /// When the filters were filled, milliseconds since the epoch; never, if absent.
    filled_ms: Option<u64>,
}

impl People {
    pub(super) fn new(told: watch::Sender<Arc<Suspects>>) -> Self {
        Self {
            told,
            known: Arc::default(),
            filled_ms: None,
        }
    }

    /// A signal was counted.
    pub(super) fn seen(&self, signal: &Signal) {
        if self.filled_ms.is_some()
            && signal.flow == Flow::SignIn
            && signal.outcome == Outcome::Success
        {
            let user = signal.user.map(|user| user.bits());
            self.known.add(user, signal.client);
        }
    }

    /// A reputation began.
    pub(super) fn decided(&self, decided: &Decided, now_ms: u64) {
        let standing = decided.standing;
        let suspect = Suspect {
            score: standing.score(now_ms),
            until_ms: standing.until_ms,
            findings: standing.findings,
        };
        match decided.scope {
            Scope::User(user) => self.change(|all| all.note_user(user, suspect, now_ms)),
            Scope::Agent(agent) => self.change(|all| all.note_agent(agent, suspect, now_ms)),
            Scope::Source(_) | Scope::Network(_) => {}
        }
    }

    /// Fills the filters from what detection remembers: at the start, and once a day, so that whoever has not been
    /// seen for long is forgotten. Nothing is done where no request is seen.
    pub(super) fn refresh(&mut self, defence: &Defence, now_ms: u64) {
        let fresh = |at: u64| now_ms.saturating_sub(at) < REFRESH_MS;
        if defence.settings().sees_requests.is_empty() || self.filled_ms.is_some_and(fresh) {
            return;
        }
        let seed = match random::secret() {
            Ok(seed) => seed,
            Err(error) => {
                warn!("people at home cannot be told from others: {error:#}");
                return;
            }
        };
        let known = Known::new(seed);
        for (user, mark) in defence.detectors().homes() {
            known.add_home(user, mark);
        }
        for source in defence.detectors().good_sources(now_ms) {
            known.add_source(source);
        }
        self.known = Arc::new(known);
        self.filled_ms = Some(now_ms);
        let known = Arc::clone(&self.known);
        self.told
            .send_modify(|told| *told = Arc::new(told.knowing(known)));
    }

    fn change(&self, change: impl FnOnce(&mut Suspects)) {
        self.told.send_modify(|told| change(Arc::make_mut(told)));
    }
}

/// A day: as long as a source counts as one where somebody signed in.
const REFRESH_MS: u64 = 24 * 3_600_000;
