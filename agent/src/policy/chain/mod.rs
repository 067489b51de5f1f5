//! The IP chain: who the client behind trusted proxies is.
//!
//! The header is read from the right, where our own proxies write, and only as far as the limits allow.
//! Whatever a client has written stands to the left of its own address, where it changes nothing.

mod element;
mod forwarded;
mod hops;
mod lines;
pub mod proxy_protocol;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::{element::Unreadable, hops::Hops};
use self::{
    element::{address, judged, trim, viewer_address},
    lines::FromRight,
};
use super::prefix::canonical_address;
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
    /// Every readable hop within the limits, left to right, canonical; last the peer. What a gateway that is
    /// not a proxy has forwarded is not among them.
    pub addresses: Hops,
    /// The limits cut something off on the left.
    pub cut: bool,
}

/// What the walk must know of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its forwarding header is believed.
    TrustedProxy,
    /// Judged itself, and what it forwards is ignored.
    Gateway,
    /// Anybody.
    Other,
}

/// Who is trusted.
pub trait Trust {
    /// The role of a canonical address. A gateway that is also a trusted proxy is a trusted proxy.
    fn role(&self, address: IpAddr) -> Role;
}

/// A hop as the walk saw it, for [`walk_seen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// What the header says, without spaces around; empty for the peer and for an address without a header.
    pub text: &'a [u8],
    /// The address in it.
    pub read: Result<IpAddr, Unreadable>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The peer, not a trusted proxy: it is the client.
    PeerJudged,
    /// The peer, a trusted proxy: the header is read.
    PeerTrusted,
    /// A trusted proxy: the one to its left is looked at.
    Skipped,
    /// Not a trusted proxy: it is the client.
    Client,
    /// A gateway that is not a trusted proxy: it is the client, and the rest is ignored.
    Gateway,
    /// It cannot be read: the client is unknown.
    Stopped,
    /// To the left of where the walk ended: it says nothing about the client.
    Beyond,
}

/// Finds the client.
pub fn walk<'a, L>(
    peer: IpAddr,
    forwarding: Forwarding<L>,
    limits: ChainLimits,
    trust: &impl Trust,
) -> Chain
where
    L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
{
    walk_seen(peer, forwarding, limits, trust, |_| {})
}

/// Finds the client and tells of each hop on the way, from the right.
pub fn walk_seen<'a, L>(
    peer: IpAddr,
    forwarding: Forwarding<L>,
    limits: ChainLimits,
    trust: &impl Trust,
    mut seen: impl FnMut(Seen<'a>),
) -> Chain
where
    L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
{
    let mut walk = Walk::new(peer, trust);
    let fate = if walk.ended {
        Fate::PeerJudged
    } else {
        Fate::PeerTrusted
    };
    seen(Seen {
        text: b"",
        read: Ok(walk.chain.client),
        fate,
    });
    if walk.ended {
        return walk.chain;
    }
    let mut hop = |text: &'a [u8], read: Result<IpAddr, Unreadable>| {
        let fate = walk.hop(read);
        seen(Seen { text, read, fate });
        fate != Fate::Gateway
    };
    let mut cut = false;
    match forwarding {
        Forwarding::Nothing => {}
        Forwarding::Address(address) => {
            hop(b"", judged(address));
        }
        Forwarding::Lines(header, lines) => match Grammar::of(header) {
            Grammar::List { quotes, read } => {
                let mut elements = FromRight::new(lines, limits.bytes_max, quotes);
                let hops = elements.by_ref().filter(|element| !element.is_empty());
                for (index, element) in hops.enumerate() {
                    if index == limits.hops_max {
                        cut = true;
                        break;
                    }
                    if !hop(element, read(element)) {
                        break;
                    }
                }
                cut |= elements.is_cut();
            }
            Grammar::Single { read } => {
                let mut lines = lines.map(trim);
                let repeated = lines.clone().filter(|line| !line.is_empty()).count() > 1;
                if let Some(line) = lines.rfind(|line| !line.is_empty()) {
                    let address = if repeated || line.contains(&b',') {
                        Err(Unreadable::Repeated)
                    } else {
                        read(line)
                    };
                    hop(line, address);
                }
            }
        },
    }
    walk.chain.cut = cut;
    if cut && walk.chain.reason == ClientReason::NoHeader {
        // There is a header, but its right end alone is too long to be read.
        walk.chain.reason = ClientReason::Unknown;
    }
    walk.chain
}

/// Where in a header the addresses are.
enum Grammar {
    /// A list with commas.
    List {
        /// A comma within quotes separates nothing.
        quotes: bool,
        read: fn(&[u8]) -> Result<IpAddr, Unreadable>,
    },
    /// One address, in one line.
    Single {
        read: fn(&[u8]) -> Result<IpAddr, Unreadable>,
    },
}

impl Grammar {
    const fn of(header: Header) -> Self {
        match header {
            Header::XForwardedFor => Self::List {
                quotes: false,
                read: address,
            },
            Header::Forwarded => Self::List {
                quotes: true,
                read: forwarded::address,
            },
            Header::CloudfrontViewerAddress => Self::Single {
                read: viewer_address,
            },
            // PROXY protocol comes as `Forwarding::Address`; as a line it is what `explain` was given.
            Header::XRealIp
            | Header::TrueClientIp
            | Header::CfConnectingIp
            | Header::ProxyProtocol => Self::Single { read: address },
        }
    }
}

struct Walk<'t, T> {
    trust: &'t T,
    chain: Chain,
    /// The client is found, or cannot be.
    ended: bool,
}

impl<'t, T: Trust> Walk<'t, T> {
    fn new(peer: IpAddr, trust: &'t T) -> Self {
        let client = canonical_address(peer);
        let trusted = trust.role(client) == Role::TrustedProxy;
        let reason = if trusted {
            ClientReason::NoHeader
        } else {
            ClientReason::Peer
        };
        Self {
            trust,
            chain: Chain {
                client,
                reason,
                addresses: Hops::new(client),
                cut: false,
            },
            ended: !trusted,
        }
    }

    /// The next hop to the left.
    fn hop(&mut self, read: Result<IpAddr, Unreadable>) -> Fate {
        let ended = self.ended;
        let Ok(address) = read else {
            if ended {
                return Fate::Beyond;
            }
            self.chain.reason = ClientReason::Unknown;
            self.ended = true;
            return Fate::Stopped;
        };
        self.chain.addresses.prepend(address);
        if ended {
            return Fate::Beyond;
        }
        self.chain.client = address;
        let (reason, fate) = match self.trust.role(address) {
            Role::TrustedProxy => (ClientReason::AllTrusted, Fate::Skipped),
            Role::Gateway => (ClientReason::Gateway, Fate::Gateway),
            Role::Other => (ClientReason::Chain, Fate::Client),
        };
        self.chain.reason = reason;
        self.ended = fate != Fate::Skipped;
        fate
    }
}
