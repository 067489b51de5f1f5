//! The lab: real hosts made of network namespaces, so that a test of the agent against the kernel is a few lines.
//!
//! ```text
//!  attacker 203.0.113.66  2001:db8:bad::66  ─┐
//!  innocent 198.51.100.10 2001:db8:600d::10 ─┤            192.0.2.1       192.0.2.10
//!  proxy    198.51.100.70 2001:db8:9::70    ─┼─ net ──────── tohost ════ edge0 ─ login (nginx, the agent)
//!  exempt   198.51.100.130 2001:db8:e::130  ─┘  (router)   2001:db8::1     2001:db8::10
//! ```
//!
//! Every client may use any address of its network (see [`Plan`]) as source. Nothing here touches an interface
//! or address of the machine. A lab cleans up when it is dropped; what a killed run leaves, the next run sweeps.

pub mod frames;
pub mod traffic;
pub mod xdp;

mod agent;
mod agent_config;
mod disk;
#[cfg(test)]
mod fuzzed;
mod host;
mod http;
mod identity;
mod lookup;
mod network;
mod origin;
mod pinned;
mod prober;
mod process;
mod real_proxy;
mod runner;
mod shell;
mod site;
mod sys;
mod tally;
mod topology;
mod until;
mod watch;
mod wire;

pub use agent::{Agent, ask, binary};
pub use agent_config::AgentConfig;
pub use disk::SmallDisk;
pub use host::Host;
pub use http::{KeptAlive, Request, Response};
pub use lookup::ForeignLookup;
pub use network::Lab;
pub use origin::{Origin, PYTHON, Received};
pub use pinned::PinnedMap;
pub use prober::{ATTEMPT_MAX, Probe, Prober};
pub use process::{Cmd, Output, Process};
pub use real_proxy::{RealProxy, shipped, unpacked};
pub use runner::{Need, TestFn, needs_nothing, preconditions, run_tests, run_tests_needing};
pub use site::Site;
pub use tally::{Mark, Tally, Window};
pub use topology::{EDGE, EDGE_MAC, PLANS, Plan, ROUTER_MAC, ROUTER_V4, ROUTER_V6, WIRE};
pub use until::{WAIT_MAX, until};
pub use watch::Watch;
pub use wire::{EdgeTap, Outcome, Wire};

/// Results of the lab: an error says what was tried where, and ends the test.
pub type Result<T> = anyhow::Result<T>;
