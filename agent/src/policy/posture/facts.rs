//! What the tasks are decided by. Moments are milliseconds since the Unix epoch, durations milliseconds.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::mode::Mode;

/// Everything that is looked at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Now.
    pub now_ms: u64,
    /// For how long the agent has run.
    pub uptime_ms: u64,
    /// The mode in force; none while it is not known.
    pub mode: Option<Mode>,
    /// When it was set.
    pub mode_since_ms: u64,
    /// What `report impact` says of block mode: `safe`, `not_safe`, `too_early`.
    pub block_mode: Option<String>,
    /// The zones.
    pub zones: Vec<Zone>,
    /// Packets and requests of exempt sources.
    pub exempt_seen: u64,
    /// Attackers that an exempt zone holds; the first few.
    pub overlaps: Vec<Overlap>,
    /// The services.
    pub services: Vec<Service>,
    /// Who forwards requests.
    pub forwarders: Vec<Forwarder>,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// The feeds.
    pub feeds: Vec<Feed>,
    /// The streams.
    pub streams: Vec<Stream>,
    /// The System Log.
    pub journal: Journal,
    /// The kernel's tables.
    pub tables: Vec<Table>,
    /// What the latest comparison with the kernel found.
    pub verified: Option<Verified>,
    /// Tokens of the API.
    pub tokens: Vec<Token>,
    /// Files and sockets that more may use than should: what is wrong with which, and what mends it.
    pub open_files: Vec<(String, String)>,
    /// What is wrong with certificates and their keys.
    pub certificates: Vec<Certificate>,
    /// Proxied requests that were judged.
    pub requests: u64,
    /// Those of them whose client could not be read.
    pub unknown_clients: u64,
    /// Whether the kernel's clock follows another; none where that cannot be asked.
    pub clock_synchronised: Option<bool>,
}

/// A zone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// It is exempt.
    pub exempt: bool,
    /// It is a trusted proxy.
    pub trusted_proxy: bool,
    /// Its widest network.
    pub widest: Option<IpNet>,
}

/// An attacker in an exempt zone.
#[derive(Clone, Debug)]
pub struct Overlap {
    /// The zone.
    pub zone: String,
    /// What has a reputation.
    pub prefix: IpNet,
    /// Why.
    pub reason: String,
}

/// A service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Only proxies and allowed origins may reach it.
    pub restricted: bool,
    /// Its requests come through proxies: it has a gateway, an endpoint, or is observed.
    pub proxied: bool,
    /// Sources that tried to reach it around its proxies.
    pub around: u64,
}

/// An address that forwards requests.
#[derive(Clone, Debug)]
pub struct Forwarder {
    /// The address.
    pub address: IpAddr,
    /// Its header is believed.
    pub trusted: bool,
    /// Requests that came from it.
    pub requests: u64,
    /// Sign-ins among them.
    pub sign_ins: u64,
    /// Requests without a client: the header was missing.
    pub no_header: u64,
}

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native`, `generic` or `detached`.
    pub attached: String,
}

/// A feed.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// Its name.
    pub name: String,
    /// It cannot be had, or was not believed.
    pub failing: bool,
    /// When it was last heard of.
    pub heard_ms: Option<u64>,
    /// Between two rounds.
    pub every_ms: u64,
}

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// How long the oldest event has waited.
    pub lag_ms: u64,
    /// It does not deliver.
    pub failing: bool,
    /// The configuration has it off.
    pub off: bool,
    /// What is wrong.
    pub error: Option<String>,
}

/// The System Log.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that it may take.
    pub bytes_max: u64,
    /// When its oldest part begins; 0 if there is none.
    pub oldest_ms: u64,
    /// For how long events should be kept.
    pub retention_ms: u64,
    /// Why it cannot be written, while it cannot.
    pub failing: Option<String>,
}

/// A kernel table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Entries in it.
    pub used: u64,
    /// Entries that it can hold.
    pub max: u64,
    /// Entries that had no room.
    pub displaced: u64,
}

/// A comparison of what should be enforced with what the kernel holds.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// How many differences there were.
    pub differences: u64,
    /// The first of them.
    pub first: String,
}

/// A token of the API.
#[derive(Clone, Debug, Default)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// How old its file is.
    pub age_ms: u64,
    /// It may change things and read the log: everything.
    pub everything: bool,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, Default)]
pub struct Certificate {
    /// The file.
    pub file: String,
    /// A sentence behind its name.
    pub what: String,
    /// It has expired.
    pub expired: bool,
}
