//! The `data` of replies: what the keeper fills in and the CLI prints. Every field has a default, so that
//! a CLI and an agent of neighbouring versions still understand each other.
//!
//! Times are milliseconds since the Unix epoch, durations milliseconds.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::decision::Decision;

pub use crate::{
    feed::{BadPart, FeedState, Health},
    geo::DatabaseRow,
    stream::{StreamHealth, StreamState},
};

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The agent's process id.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The configuration file, if there is one.
    pub config: Option<String>,
    /// The mode and what may end it.
    pub mode: ModeReport,
    /// Where packets are judged.
    pub interfaces: Vec<Interface>,
    /// The kernel's tables and how full they are.
    pub tables: Vec<Table>,
    /// How many decisions are in force, by kind (`block`, `exempt`).
    pub decisions: BTreeMap<String, u64>,
    /// How many zones are configured.
    pub zones: u64,
    /// The list files.
    pub lists: Vec<ListRow>,
    /// Packets since the maps were made, by outcome: `pass`, `drop` …
    pub packets: BTreeMap<String, u64>,
    /// Refused packets (or, in log mode, what would have been) by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Packets that could not be read, by cause.
    pub unreadable: BTreeMap<String, u64>,
    /// Events: `sent`, `suppressed`, `lost` …
    pub events: BTreeMap<String, u64>,
    /// The System Log: `written`, `kept`, `bytes`, `lost` …
    pub journal: BTreeMap<String, u64>,
    /// Requests that were judged behind proxies.
    pub proxied: ProxiedReport,
    /// Where signals come from, and how each of these is.
    pub signals: Vec<SignalRow>,
    /// Signals of sign-ins and what detection made of them.
    pub detection: BTreeMap<String, u64>,
    /// The feeds.
    pub feeds: Vec<FeedState>,
    /// Databases of places and of who runs networks.
    pub geo: Vec<DatabaseRow>,
    /// The streams.
    pub streams: Vec<StreamState>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// `feed list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedRows {
    /// In the order of the configuration.
    pub feeds: Vec<FeedState>,
}

/// `stream list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamRows {
    /// In the order of the configuration.
    pub streams: Vec<StreamState>,
}

/// `attack`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttackReport {
    /// Attacks are declared without an operator.
    pub detects: bool,
    /// Every service; one without a name where none is configured.
    pub services: Vec<AttackRow>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttackRow {
    /// Its name.
    pub service: String,
    /// Under attack, by whoever's word.
    pub attacked: bool,
    /// Since when.
    pub since: Option<u64>,
    /// Who declared it: `model`, `operator`, or `lapsed` (the time of an operator's word ran out while the model saw
    /// an attack).
    pub cause: Option<String>,
    /// What an operator says, `attack` or `no attack`, while that holds.
    pub operator: Option<String>,
    /// Until when it holds.
    pub operator_until: Option<u64>,
    /// Since when the model sees an attack, in force or not.
    pub model_since: Option<u64>,
    /// Hours that the model knows.
    pub hours_known: u64,
    /// What is counted against what is usual, since a rise began.
    pub evidence: Vec<AttackEvidence>,
}

/// One statistic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttackEvidence {
    /// `sources`, `failures`, `users`, `unknown_users`: of strangers.
    pub statistic: String,
    /// How many there were.
    pub observed: f64,
    /// How many would have been usual.
    pub expected: f64,
    /// How sure a rise is, in nats.
    pub score: f64,
}

/// Requests that were judged behind proxies, since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxiedReport {
    /// By service.
    pub services: Vec<ProxiedService>,
    /// Requests and connections that never came to a judgement, by way (`gateway`, `endpoint`, `observe`) and cause.
    pub rejected: BTreeMap<String, BTreeMap<String, u64>>,
    /// How long Edgeward's own part took, by way.
    pub latency: BTreeMap<String, LatencyReport>,
    /// Events: `sent`, `suppressed`.
    pub events: BTreeMap<String, u64>,
    /// The gateway's gauges: connections, requests in progress, …
    pub gateway: BTreeMap<String, u64>,
    /// Sign-ins that were recognised: `signals`, `signals_dropped`, `outcome_unclear`, …
    pub sign_ins: BTreeMap<String, u64>,
    /// Steering of connections to the gateway: `steered`, `bypassed_stalled`, …
    pub steering: BTreeMap<String, u64>,
}

/// Requests of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxiedService {
    /// Its name.
    pub name: String,
    /// Let on, by way.
    pub passed: BTreeMap<String, u64>,
    /// Let on because the client is exempt.
    pub exempt: u64,
    /// Judged by the nearest readable hop, since the client could not be read.
    pub unknown_clients: u64,
    /// Refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Let on though block mode or an enforced limit would have refused, by reason.
    pub would_refuse: BTreeMap<String, u64>,
    /// Both of the above by path; rare ones together.
    pub refused_paths: BTreeMap<String, u64>,
}

/// A histogram in six numbers; durations in microseconds, rounded up to the bucket's end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LatencyReport {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_us: u64,
    /// Half took at most this long.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// 99 in a hundred.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// `mode`, and part of `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModeReport {
    /// `off`, `log` or `block`.
    pub mode: String,
    /// `configuration`, `operator` or `revert`.
    pub origin: String,
    /// Who set it.
    pub actor: String,
    /// When it was set.
    pub since: u64,
    /// Which mode comes next by itself, if any.
    pub next: Option<String>,
    /// In how long.
    pub next_in_ms: Option<u64>,
    /// Whether `mode confirm` would prevent that.
    pub unconfirmed: bool,
}

/// An interface in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native`, `generic` or `detached`.
    pub attached: String,
    /// Why it is not native or not attached.
    pub note: Option<String>,
}

/// A kernel table in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    /// What it holds.
    pub name: String,
    /// Entries in it.
    pub used: u64,
    /// Entries it can hold.
    pub max: u64,
    /// Entries that gave way because it was full.
    pub displaced: u64,
}

/// A source of signals in `status`: a log that is followed, or applications that report outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignalRow {
    /// Its name.
    pub name: String,
    /// The file, the units, or the endpoint.
    pub place: String,
    /// How it is, in words: `following`, `failing` …
    pub state: String,
    /// Lines read since the start of the agent; of an endpoint, calls.
    pub lines: u64,
    /// Signals found in them.
    pub signals: u64,
    /// Lines or signals that could not be read, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The latest of them: where, and why.
    pub last_rejected: Option<String>,
    /// Signals that were there before, by their id.
    pub duplicates: u64,
    /// Calls that were turned away because detection was too far behind.
    pub turned_away: u64,
    /// What went wrong last, also if it works again.
    pub last_error: Option<String>,
    /// Bytes that are written and not read yet.
    pub lag_bytes: u64,
    /// When something was last read.
    pub last_ms: Option<u64>,
}

/// A list file in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListRow {
    /// Its name.
    pub name: String,
    /// The score its networks get.
    pub score: u8,
    /// Networks taken.
    pub networks: u64,
    /// Lines that could not be read.
    pub rejected: u64,
}

/// `block`, `unblock` and `exempt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// The decisions that were made or taken back.
    pub decisions: Vec<Decision>,
    /// What the operator should know: that the mode only logs, that another origin still blocks it …
    pub notes: Vec<String>,
}

/// `list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// The decisions.
    pub decisions: Vec<Listed>,
    /// How many there are in all; more than `decisions` when the answer was cut.
    pub total: u64,
    /// Entries of the configuration's lists that were left out, since nobody asked for `origin` list.
    pub of_lists: u64,
    /// Entries of feeds that were left out, since nobody asked for `origin` feed.
    #[serde(default)]
    pub of_feeds: u64,
}

/// A decision with what the kernel counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// Frames that matched its prefix since the entry was made; absent for exemptions, which are not
    /// counted one by one.
    pub hits: Option<u64>,
}

/// `zone list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Zones {
    /// Each zone.
    pub zones: Vec<ZoneRow>,
}

/// A zone in `zone list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneRow {
    /// Its name.
    pub name: String,
    /// What it is for, as in the configuration.
    pub uses: Vec<String>,
    /// How many networks it has.
    pub networks: u64,
    /// Lines of its files that could not be read.
    pub rejected: u64,
}

/// `zone show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneDetail {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub uses: Vec<String>,
    /// Its networks, canonical and sorted.
    pub networks: Vec<IpNet>,
    /// How many there are in all; more than `networks` when the answer was cut.
    pub total: u64,
}

/// `verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verification {
    /// Whether the kernel holds exactly what it should.
    pub matches: bool,
    /// How many entries were compared.
    pub checked: u64,
    /// Each difference, as a sentence; bounded.
    pub differences: Vec<String>,
    /// How many differences there are in all.
    pub differences_total: u64,
}

/// `report origins`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origins {
    /// Those seen most first.
    pub origins: Vec<OriginRow>,
    /// How many there are.
    pub total: u64,
    /// How many gave way to others.
    pub displaced: u64,
    /// Events that were held back before one of those in the table, of any source, by service.
    pub suppressed: BTreeMap<String, u64>,
}

/// A source that is neither a proxy nor an allowed origin of a restricted service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginRow {
    /// The service.
    pub service: String,
    /// The address.
    pub source: String,
    /// Events about it; a source that goes on is reported again every few seconds.
    pub events: u64,
    /// How many of them were refusals; the others were only logged.
    pub enforced: u64,
    /// The first one.
    pub first: u64,
    /// The latest one.
    pub last: u64,
}
