//! Requests behind proxies: the gateway beside nginx and HAProxy as plain reverse proxies, and an `auth_request`
//! to Edgeward beside one to an nginx that always answers 204. Real servers, real connections, one machine.

mod endpoint;
mod gateway;
mod idle;
mod usage;
mod wrk;

use std::{
    fmt::Write,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use lab::{Host, Request, Result};

pub(crate) use self::{endpoint::Endpoints, gateway::Gateways};
use crate::{settings::Settings, sys, targets::Target};

/// What was measured of proxied requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxied {
    pub(crate) gateways: Option<Gateways>,
    pub(crate) endpoints: Option<Endpoints>,
}

/// Rounds and seconds of one visit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    pub(crate) idle_connections: usize,
}

impl Pace {
    pub(crate) fn of(settings: &Settings) -> Result<Self> {
        // HAProxy reserves two descriptors for each connection, and some for itself.
        let most = sys::raise_descriptors()?.saturating_sub(200) / 2;
        let pace = if settings.quick {
            Self {
                rounds: 1,
                seconds: 1,
                idle_connections: 500,
            }
        } else {
            Self {
                rounds: settings.rounds,
                seconds: 2,
                idle_connections: 10_000,
            }
        };
        Ok(Self {
            idle_connections: pace.idle_connections.min(most),
            ..pace
        })
    }
}

impl Proxied {
    pub(crate) fn measure(settings: &Settings, gateway: bool, endpoint: bool) -> Result<Self> {
        let pace = Pace::of(settings)?;
        Ok(Self {
            gateways: gateway.then(|| Gateways::measure(pace)).transpose()?,
            endpoints: endpoint.then(|| Endpoints::measure(pace)).transpose()?,
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        if let Some(gateways) = &self.gateways {
            gateways.targets(&mut targets);
        }
        if let Some(endpoints) = &self.endpoints {
            endpoints.targets(&mut targets);
        }
        targets
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        if let Some(gateways) = &self.gateways {
            gateways.markdown(text);
        }
        if let Some(endpoints) = &self.endpoints {
            endpoints.markdown(text);
        }
    }
}

/// Waits until a server answers a request of `host`.
fn ready(host: &Host, address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + READY_MAX;
    let source = host.address_like(address.ip());
    loop {
        let answer = host.http(source, address, &Request::get("/"), Duration::from_secs(2));
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                bail!("nothing answers at {address}: {error}");
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Longest a server may take to answer: only a fault does.
const READY_MAX: Duration = Duration::from_secs(10);

/// A line; writing into a string cannot fail.
fn line(text: &mut String, added: &str) {
    let _ = writeln!(text, "{added}");
}
