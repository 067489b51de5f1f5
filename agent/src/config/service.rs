//! `[[service]]` and what belongs to it: how its proxied requests are read, passed on, limited and refused.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use crate::policy::{path::PathPattern, sign_in::SignIn};

/// Ports where people sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique among services.
    pub name: String,
    /// TCP and UDP, at least one, none of them in another service.
    pub ports: Vec<u16>,
    /// Where a trusted proxy names the client.
    pub header: Header,
    /// Only trusted proxies and allowed origins may connect.
    pub restricted: bool,
    /// Paths that anybody may reach although the service is restricted. Not empty only with a gateway or
    /// a decision endpoint: the kernel cannot see paths, so it then leaves the restriction to them.
    pub restricted_except: Vec<PathPattern>,
    /// What becomes of a request whose client cannot be read.
    pub unknown_client: UnknownClient,
    /// Hops of the chain that are read, from the right; 1 to 64.
    pub hops_max: usize,
    /// Bytes of the forwarding header that are read, from the right; 256 to 65,536.
    pub header_bytes_max: usize,
    /// Heads of plain HTTP from trusted proxies are copied by the kernel and judged; nothing is refused.
    pub observe: bool,
    /// The agent stands in the path of connections from trusted proxies.
    pub gateway: Option<Gateway>,
    /// Requests of one client, in fixed windows.
    pub limits: Vec<RequestLimit>,
    /// What a refused request is answered.
    pub refusals: RefusalPages,
    /// Requests that sign somebody in; the first that matches counts.
    pub sign_ins: Vec<SignIn>,
}

/// Where a trusted proxy names the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
    /// `X-Real-IP`.
    XRealIp,
    /// `True-Client-IP`.
    TrueClientIp,
    /// `CF-Connecting-IP`.
    CfConnectingIp,
    /// `CloudFront-Viewer-Address`.
    CloudfrontViewerAddress,
    /// PROXY protocol v1 or v2 ahead of the request.
    ProxyProtocol,
}

/// What becomes of a request whose client cannot be read from the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownClient {
    /// It is judged by the nearest readable hop.
    #[default]
    Judge,
    /// It is refused.
    Deny,
}

/// The agent as a reverse proxy for connections that come from trusted proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// What happens to new connections while the gateway does not serve.
    pub fail: FailurePolicy,
    /// Where requests go; `None` is the connection's own destination.
    pub upstream: Option<SocketAddr>,
    /// How the upstream is spoken to.
    pub upstream_protocol: UpstreamProtocol,
    /// The upstream ends TLS by itself.
    pub upstream_tls: bool,
    /// Certificates (PEM) that the upstream's must chain to; `None`: it must present one of `certificates`.
    pub upstream_ca: Option<PathBuf>,
    /// PROXY protocol v2 ahead of every upstream connection, which then carries one client only.
    pub upstream_proxy_protocol: bool,
    /// TLS ends here if there is one; the first answers names that none of them has.
    pub certificates: Vec<Certificate>,
    /// What one connection and all of them may take.
    pub limits: GatewayLimits,
}

/// While the gateway does not serve: hung, stopped, or never started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// Connections reach the application directly, unjudged.
    #[default]
    Open,
    /// Connections are refused.
    Closed,
}

/// HTTP version towards the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 with keep-alive.
    #[default]
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2: by prior knowledge, or by ALPN over TLS.
    #[serde(rename = "h2")]
    Http2,
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Limits of the gateway; each has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Header lines of a request.
    pub headers_max: usize,
    /// From a connection's (or the next request's) first byte to the end of its head.
    pub head_timeout: Duration,
    /// Between two pieces of a body, in either direction.
    pub body_timeout: Duration,
    /// A connection without a request.
    pub idle_timeout: Duration,
    /// Connecting to the upstream and, apart from that, waiting for the head of its answer.
    pub upstream_timeout: Duration,
    /// How long requests may take to end once the gateway is told to stop.
    pub drain_timeout: Duration,
    /// Connections open at a time, per service.
    pub connections_max: usize,
    /// Requests in progress at a time, per service.
    pub requests_max: usize,
    /// HTTP/2 streams of one connection at a time.
    pub streams_max: u32,
}

/// Requests of one client to some paths in a fixed window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimit {
    /// Unique within the service; events name it.
    pub name: String,
    /// Which paths share this limit; empty is all.
    pub paths: Vec<PathPattern>,
    /// What counts together.
    pub key: LimitKey,
    /// Requests in one window.
    pub requests: Option<u32>,
    /// Requests in progress at a time.
    pub concurrent: Option<u32>,
    /// Length of the window, 1 s to 1 h.
    pub window: Duration,
    /// Whether it refuses.
    pub mode: LimitMode,
}

/// What counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKey {
    /// The client: an IPv4 address or an IPv6 /64.
    #[default]
    Client,
    /// The client with one user agent.
    ClientUserAgent,
}

/// Whether a limit refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitMode {
    /// Refuses with 429, where the agent's mode is block.
    #[default]
    Enforce,
    /// Counts and says what it would have refused.
    Preview,
    /// Counts nothing.
    Off,
}

/// What a refused request is answered. Never says which rule matched, only the event's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalPages {
    /// Status of a refusal, 400 to 599.
    pub status: u16,
    /// Status of a rate limit, 400 to 599.
    pub limit_status: u16,
    /// HTML with `{event_id}`, read when the configuration is; `None` is the built-in page.
    pub html: Option<String>,
    /// JSON with `{event_id}`; `None` is the built-in object.
    pub json: Option<String>,
}

/// The word of a closed set that stands for `value`.
pub(super) fn word<T: Copy + PartialEq>(named: &[(&'static str, T)], value: T) -> &'static str {
    named
        .iter()
        .find(|(_, one)| *one == value)
        .map_or("", |(word, _)| word)
}

impl UnknownClient {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 2] = [("judge", Self::Judge), ("deny", Self::Deny)];
}

impl FailurePolicy {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 2] = [("open", Self::Open), ("closed", Self::Closed)];
}

impl UpstreamProtocol {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 2] = [("http/1.1", Self::Http1), ("h2", Self::Http2)];
}

impl LimitKey {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 2] = [
        ("client", Self::Client),
        ("client-user-agent", Self::ClientUserAgent),
    ];
}

impl LimitMode {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("enforce", Self::Enforce),
        ("preview", Self::Preview),
        ("off", Self::Off),
    ];
}

impl Header {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("x-forwarded-for", Self::XForwardedFor),
        ("forwarded", Self::Forwarded),
        ("x-real-ip", Self::XRealIp),
        ("true-client-ip", Self::TrueClientIp),
        ("cf-connecting-ip", Self::CfConnectingIp),
        ("cloudfront-viewer-address", Self::CloudfrontViewerAddress),
        ("proxy-protocol", Self::ProxyProtocol),
    ];

    /// The word of the configuration; for all but PROXY protocol also the header's name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(&Self::NAMED, self)
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Default for Service {
    /// What a service is besides its name and ports.
    fn default() -> Self {
        Self {
            name: String::new(),
            ports: Vec::new(),
            header: Header::default(),
            restricted: false,
            restricted_except: Vec::new(),
            unknown_client: UnknownClient::default(),
            hops_max: 16,
            header_bytes_max: 8_192,
            observe: false,
            gateway: None,
            limits: Vec::new(),
            refusals: RefusalPages::default(),
            sign_ins: Vec::new(),
        }
    }
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: 65_536,
            headers_max: 100,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            upstream_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            connections_max: 20_000,
            requests_max: 10_000,
            streams_max: 128,
        }
    }
}

impl Default for RefusalPages {
    fn default() -> Self {
        Self {
            status: 403,
            limit_status: 429,
            html: None,
            json: None,
        }
    }
}
