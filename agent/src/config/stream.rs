//! Streams out of the System Log, as an operator decided about them.

use std::{fmt, path::PathBuf, time::Duration};

use http::Uri;

use super::{
    Certificate,
    receivers::{Datadog, EventBridge, Otlp, Sentinel, SplunkHec},
};
use crate::journal::filter::Filter;

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name; the place it has got to is kept under it.
    pub name: String,
    /// Where events go.
    pub kind: StreamKind,
    /// The shape they have there.
    pub format: StreamFormat,
    /// Which events; all of them, if absent.
    pub filter: Option<StreamFilter>,
    /// Whether they go there at present; a stream that is off keeps its place.
    pub enabled: bool,
    /// Where a new stream begins.
    pub from: StreamStart,
    /// Events that go in one batch.
    pub batch_events_max: usize,
    /// Bytes that go in one batch; a single event may be more.
    pub batch_bytes_max: usize,
    /// How long an event may wait for others.
    pub flush: Duration,
    /// The longest that one batch may take.
    pub timeout: Duration,
}

/// Which events a stream is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFilter {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub filter: Filter,
}

/// What a stream speaks, with what only that needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// RFC 5424.
    Syslog(Syslog),
    /// JSON lines.
    File(StreamFile),
    /// Standard Webhooks.
    Webhook(Webhook),
    /// Splunk's HTTP Event Collector.
    SplunkHec(SplunkHec),
    /// OpenTelemetry.
    Otlp(Otlp),
    /// Amazon EventBridge.
    EventBridge(EventBridge),
    /// Datadog.
    Datadog(Datadog),
    /// Microsoft Sentinel.
    Sentinel(Sentinel),
}

/// The shape of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamFormat {
    /// Okta's System Log.
    #[default]
    Okta,
    /// Elastic Common Schema.
    Ecs,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
}

/// Where a new stream begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamStart {
    /// With what happens from now on.
    #[default]
    Now,
    /// With the oldest event that is kept.
    Oldest,
}

/// A server that is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// http or https; without a user.
    pub uri: Uri,
    /// How it is checked, and what is shown to it.
    pub tls: ClientTls,
}

/// TLS towards a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// What its certificate must chain to; the host's roots, if absent.
    pub ca_file: Option<PathBuf>,
    /// What is shown to it, where it asks.
    pub identity: Option<Certificate>,
    /// The name in its certificate, if it is not the one that is connected to.
    pub server_name: Option<String>,
}

/// A syslog receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where it is.
    pub transport: Transport,
    /// How messages are told apart on a connection.
    pub framing: Framing,
    /// 0 to 23 (RFC 5424, table 1).
    pub facility: u8,
    /// `APP-NAME`.
    pub app_name: String,
    /// `HOSTNAME`; the host's own, if absent.
    pub hostname: Option<String>,
    /// The name of an element of structured data with the event's id and type, `name@enterprise`.
    pub structured_data: Option<String>,
    /// Longest message; a longer one cannot be sent.
    pub message_bytes_max: usize,
    /// For how long what the receiver's host has acknowledged is sent again after a break.
    pub settle: Duration,
}

/// How a syslog receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 6587.
    Tcp(Place),
    /// RFC 5425.
    Tls(Place, ClientTls),
    /// RFC 5426.
    Udp(Place),
    /// A socket in the file system that takes connections.
    Unix(PathBuf),
    /// One that takes datagrams, such as `/dev/log`.
    UnixDatagram(PathBuf),
}

/// A host (name or address) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Without brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

/// How messages are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// The length ahead of each.
    #[default]
    OctetCounting,
    /// A line each.
    Newline,
}

/// A file that grows and is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFile {
    /// Absolute, or relative to the configuration.
    pub path: PathBuf,
    /// The size at which it is put aside.
    pub size_bytes_max: u64,
    /// How many put aside are kept.
    pub kept_max: u32,
    /// Whether it is put aside here; otherwise somebody else does (logrotate).
    pub rotate: bool,
}

/// A web server that checks signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is.
    pub remote: Remote,
    /// Files with a secret each; every request is signed with all of them.
    pub secret_files: Vec<PathBuf>,
}

impl Stream {
    /// Where it goes, without a query: fit for `status` and logs.
    #[must_use]
    pub fn target(&self) -> String {
        match &self.kind {
            StreamKind::Syslog(syslog) => syslog.transport.to_string(),
            StreamKind::File(file) => file.path.display().to_string(),
            StreamKind::Webhook(webhook) => webhook.remote.to_string(),
            StreamKind::SplunkHec(collector) => collector.remote.to_string(),
            StreamKind::Otlp(collector) => collector.remote.to_string(),
            StreamKind::EventBridge(bus) => format!("{} {}", bus.remote, bus.bus),
            StreamKind::Datadog(intake) => intake.remote.to_string(),
            StreamKind::Sentinel(sentinel) => {
                format!("{} {}", sentinel.remote, sentinel.stream_name)
            }
        }
    }
}

impl StreamKind {
    /// The word in the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Syslog(_) => "syslog",
            Self::File(_) => "file",
            Self::Webhook(_) => "webhook",
            Self::SplunkHec(_) => "splunk-hec",
            Self::Otlp(_) => "otlp",
            Self::EventBridge(_) => "eventbridge",
            Self::Datadog(_) => "datadog",
            Self::Sentinel(_) => "sentinel",
        }
    }
}

impl StreamFormat {
    /// The words in the configuration.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("okta", Self::Okta),
        ("ecs", Self::Ecs),
        ("ocsf", Self::Ocsf),
    ];

    /// The word in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Okta => "okta",
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or("https");
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.uri.path())
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(f, "tcp {place}"),
            Self::Tls(place, _) => write!(f, "tls {place}"),
            Self::Udp(place) => write!(f, "udp {place}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
            Self::UnixDatagram(path) => write!(f, "unix-datagram {}", path.display()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
