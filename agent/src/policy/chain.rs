//! The IP chain: who the client behind trusted proxies is.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::Header;

/// How the judged address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientReason {
    /// It is the other end of the connection, which is not a trusted proxy.
    Peer,
    /// The first address of the chain, from the right, that is not a trusted proxy.
    Chain,
    /// A gateway that is not a proxy ended the walk.
    Gateway,
    /// Every hop is trusted; it is the leftmost.
    AllTrusted,
    /// The trusted proxy forwarded no header; it is the peer.
    NoHeader,
    /// The walk met a hop that cannot be read; it is the nearest readable one.
    Unknown,
}

/// How much of the chain is read, from the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLimits {
    /// Hops.
    pub hops_max: usize,
    /// Bytes of the header, all lines together.
    pub bytes_max: usize,
}

/// What the proxy said about whom it forwards.
#[derive(Clone, Debug)]
pub enum Forwarding<L> {
    /// The lines of one forwarding header, in order.
    Lines(Header, L),
    /// One address without a header: PROXY protocol, or a proxy that has walked the chain itself.
    Address(IpAddr),
    /// Nothing (also PROXY protocol `LOCAL` and `UNKNOWN`).
    Nothing,
}

/// The chain as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Who is judged, canonical.
    pub client: IpAddr,
    /// How it was found.
    pub reason: ClientReason,
    /// Every readable hop within the limits, left to right, canonical; last the peer.
    pub addresses: Vec<IpAddr>,
    /// The limits cut something off on the left.
    pub cut: bool,
}
