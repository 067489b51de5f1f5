//! Receivers of particular makers, as an operator decided about them.

use std::{path::PathBuf, time::Duration};

use super::stream::Remote;

/// Splunk's HTTP Event Collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplunkHec {
    /// Its URL; the path is that of the collector, without `/event`.
    pub remote: Remote,
    /// A file with the token.
    pub token_file: PathBuf,
    /// Whether an event counts as delivered only when the indexers say that they have it.
    pub acknowledge: bool,
    /// What the indexers have not acknowledged by then is sent again.
    pub acknowledge_within: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// The index; the token's own, if absent.
    pub index: Option<String>,
    /// `source` of every event.
    pub source: String,
    /// `sourcetype` of every event.
    pub sourcetype: String,
    /// `host` of every event; the host's own, if absent.
    pub hostname: Option<String>,
}

/// A collector of OpenTelemetry logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// Its URL, with the path (`/v1/logs`).
    pub remote: Remote,
    /// How a batch is written.
    pub encoding: OtlpEncoding,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// A header with a secret in it, where the collector asks for one.
    pub secret: Option<SecretHeader>,
}

/// How OTLP is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// `application/x-protobuf`.
    #[default]
    Protobuf,
    /// `application/json`.
    Json,
}

/// A header whose value is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHeader {
    /// Its name.
    pub name: http::HeaderName,
    /// A file with its whole value.
    pub file: PathBuf,
}

/// A bus of Amazon EventBridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBridge {
    /// The endpoint of the region, or another one.
    pub remote: Remote,
    /// Such as `eu-central-1`.
    pub region: String,
    /// The bus by name or ARN.
    pub bus: String,
    /// `Source` of every event.
    pub source: String,
    /// Who signs.
    pub credentials: AwsCredentials,
}

/// Where credentials of AWS are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsCredentials {
    /// A profile of a file in the form of `~/.aws/credentials`.
    File {
        /// The file.
        file: PathBuf,
        /// The profile.
        profile: String,
    },
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    Environment,
}

/// Datadog's intake of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datadog {
    /// The intake of the site, or another one, with the path.
    pub remote: Remote,
    /// A file with the key.
    pub api_key_file: PathBuf,
    /// `service` of every event.
    pub service: String,
    /// `ddtags` of every event, joined by commas.
    pub tags: String,
    /// `hostname` of every event; the host's own, if absent.
    pub hostname: Option<String>,
    /// Whether bodies are compressed.
    pub gzip: bool,
}

/// Logs ingestion of Azure Monitor, which Microsoft Sentinel reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    /// The data collection endpoint, or that of the rule.
    pub remote: Remote,
    /// The immutable id of the data collection rule.
    pub rule: String,
    /// The stream of the rule, such as `Custom-Edgeward_CL`.
    pub stream_name: String,
    /// Where tokens come from, with the path.
    pub authority: Remote,
    /// The application.
    pub client_id: String,
    /// A file with the application's secret.
    pub client_secret_file: PathBuf,
    /// Whether bodies are compressed.
    pub gzip: bool,
}
