//! Complaints to the log about how a proxy asks: each endpoint at most one in a while, the rest counted.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::fault::Fault;

/// What one endpoint has complained about.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Complaints {
    /// Logs it, unless the last complaint is too recent.
    pub(super) fn about(&self, endpoint: &str, fault: &Fault) {
        let now = Instant::now();
        let Ok(mut state) = self.0.lock() else { return };
        if state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
        {
            state.held_back = state.held_back.saturating_add(1);
            return;
        }
        state.last = Some(now);
        let held_back = std::mem::take(&mut state.held_back);
        drop(state);
        tracing::warn!(endpoint, held_back, "a question was not judged: {fault}");
    }
}

const PAUSE: Duration = Duration::from_secs(10);
