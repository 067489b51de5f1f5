//! `[[endpoint]]`: where an existing proxy asks for a decision.

use std::{net::SocketAddr, path::PathBuf};

use serde::Serialize;

/// A decision endpoint: one listener for one sort of caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique among endpoints.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// Who asks, and so where each fact of the request is found.
    pub profile: Profile,
    /// The service whose rules hold (one service is the default). Empty only with the profile `signals`: each
    /// signal then names its own.
    pub service: String,
    /// Where the address of the proxy's own peer is found; the profile's default if absent.
    pub peer: PeerSource,
    /// The address that `peer` names is the client already: the proxy has walked the chain by itself.
    pub resolved: bool,
    /// The header in which the proxy names who signs in, in lower case.
    pub user_header: Option<String>,
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket, absolute path of at most 107 bytes, with its file mode.
    Unix(PathBuf, u32),
    /// An address; a loopback one unless the operator said otherwise.
    Tcp(SocketAddr),
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// nginx `auth_request`.
    AuthRequest,
    /// Caddy `forward_auth`, Traefik `forwardAuth`.
    ForwardAuth,
    /// Envoy `ext_authz` over HTTP.
    ExtAuthz,
    /// Envoy `ext_authz` over gRPC.
    ExtAuthzGrpc,
    /// HAProxy SPOE.
    Spoe,
    /// An application that reports outcomes and asks nothing.
    Signals,
}

/// Where the address of the proxy's own peer is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerSource {
    /// A header that the proxy sets (its name in lower case) and no client can set past it.
    Header(String),
    /// The last hop of `X-Forwarded-For`, to which the proxy appends its peer; whatever header the service reads.
    LastHop,
    /// What the protocol itself carries: gRPC `attributes.source.address`, the SPOE argument `src`.
    Protocol,
}

impl Profile {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("auth-request", Self::AuthRequest),
        ("forward-auth", Self::ForwardAuth),
        ("ext-authz", Self::ExtAuthz),
        ("ext-authz-grpc", Self::ExtAuthzGrpc),
        ("spoe", Self::Spoe),
        ("signals", Self::Signals),
    ];

    /// The word of the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED
            .iter()
            .find(|(_, profile)| *profile == self)
            .map_or("", |(name, _)| name)
    }

    /// Where this caller's peer is found unless the operator says otherwise.
    #[must_use]
    pub fn peer(self) -> PeerSource {
        match self {
            Self::AuthRequest | Self::ExtAuthz | Self::Signals => {
                PeerSource::Header("x-edgeward-peer".to_owned())
            }
            Self::ForwardAuth => PeerSource::LastHop,
            Self::ExtAuthzGrpc | Self::Spoe => PeerSource::Protocol,
        }
    }
}
