//! What the connections of one endpoint share: its settings as they are now, the gate, and complaints.

use std::{error::Error, sync::Arc};

use tokio::sync::{Semaphore, watch};

use super::{complaint::Complaints, fault::Fault, outcome::BODIES_MAX};
use crate::{
    config::{Endpoint, Profile},
    gate::{Gate, Via},
    signal::outcomes::Outcomes,
};

/// See the module.
pub(super) struct Desk {
    pub(super) gate: Gate,
    pub(super) outcomes: Outcomes,
    /// Places for bodies of calls.
    pub(super) bodies: Semaphore,
    settings: watch::Receiver<Arc<Endpoint>>,
    complaints: Complaints,
}

impl Desk {
    pub(super) fn new(
        gate: Gate,
        outcomes: Outcomes,
        settings: watch::Receiver<Arc<Endpoint>>,
    ) -> Self {
        Self {
            gate,
            outcomes,
            bodies: Semaphore::new(BODIES_MAX),
            settings,
            complaints: Complaints::default(),
        }
    }

    /// The settings in force.
    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.settings.borrow())
    }

    /// Counts a question that cannot be judged, and says so in the log now and then.
    pub(super) fn refuse(&self, fault: &Fault) {
        self.gate.rejected(Via::Endpoint, fault.cause(), None);
        self.complaints.about(&self.endpoint().name, fault);
    }

    /// Counts a connection that found no place.
    pub(super) fn overrun(&self) {
        self.refuse(&Fault::Connections);
    }

    /// Counts a connection that ended in the middle of a request: too long a head, too slow, or garbage.
    pub(super) fn broken(&self, error: &hyper::Error) {
        let cause = if error.is_timeout() || of_kind(error, std::io::ErrorKind::TimedOut) {
            "timeout"
        } else if error.is_parse() {
            "malformed"
        } else {
            // The caller went away.
            return;
        };
        self.gate.rejected(Via::Endpoint, cause, None);
    }

    /// Counts a connection that ended for bytes that make no sense.
    pub(super) fn garbled(&self) {
        self.gate.rejected(Via::Endpoint, "malformed", None);
    }

    /// Returns when connections that began under `profile` are to end: it has changed, or the endpoint is gone.
    pub(super) async fn moved_on(&self, profile: Profile) {
        let mut settings = self.settings.clone();
        // An error says that the endpoint is gone.
        let _ = settings
            .wait_for(|endpoint| endpoint.profile != profile)
            .await;
    }
}

fn of_kind(error: &hyper::Error, kind: std::io::ErrorKind) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|source| source.kind() == kind)
}
