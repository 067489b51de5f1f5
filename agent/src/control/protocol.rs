//! One JSON request a line, one JSON reply a line; `events` with `follow` streams lines after its reply.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use super::zones::ZoneDraft;
use crate::policy::{decision::Origin, mode::Mode, prefix::parse_network, request::HeaderLine};

/// What can be asked of the agent. Durations are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the agent is, in numbers: [`super::report::Status`].
    Status,
    /// Shows the mode, or sets it: [`super::report::ModeReport`].
    Mode {
        /// The mode to set; shown only, if absent.
        #[serde(default)]
        set: Option<Mode>,
        /// Goes back after this long.
        #[serde(default)]
        for_ms: Option<u64>,
        /// Goes back after this long unless `mode_confirm` came.
        #[serde(default)]
        confirm_within_ms: Option<u64>,
    },
    /// Keeps a mode that was set with `confirm_within_ms`.
    ModeConfirm,
    /// Gives a prefix a reputation: [`super::report::Change`].
    Block {
        /// What to block.
        prefix: Target,
        /// How long; for ever, if absent.
        #[serde(default)]
        for_ms: Option<u64>,
        /// Why; `explain` and events repeat it.
        #[serde(default)]
        reason: Option<String>,
        /// 1..=100; 100 if absent.
        #[serde(default)]
        score: Option<u8>,
        /// Blocks the operator's own SSH peer, a local address or a trusted proxy too.
        #[serde(default)]
        force: bool,
    },
    /// Takes the operator's own decisions about a prefix back: [`super::report::Change`].
    Unblock {
        /// Exactly the prefix that was blocked or exempted.
        prefix: Target,
    },
    /// Carves a prefix out of every reputation and list: [`super::report::Change`].
    Exempt {
        /// What to exempt.
        prefix: Target,
        /// How long; for ever, if absent.
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// The decisions in force: [`super::report::Listing`].
    List {
        /// Of this origin only.
        #[serde(default)]
        origin: Option<Origin>,
        /// Of this reason only.
        #[serde(default)]
        reason: Option<String>,
    },
    /// The zones: [`super::report::Zones`].
    ZoneList,
    /// One zone with its networks: [`super::report::ZoneDetail`].
    ZoneShow {
        /// Its name.
        name: String,
    },
    /// The zones with their ids, those of the configuration and those that were made: [`super::zones::ZoneFacts`].
    ZoneFacts,
    /// Makes a zone, or gives one that was made another content: [`super::zones::ZoneFact`].
    ZonePut {
        /// Which one; a new one, if absent.
        #[serde(default)]
        id: Option<String>,
        /// What it becomes.
        zone: ZoneDraft,
    },
    /// Switches a zone that was made on or off: [`super::zones::ZoneFact`].
    ZoneActive {
        /// Which one.
        id: String,
        /// Whether it counts.
        active: bool,
    },
    /// Removes a zone that was made.
    ZoneDelete {
        /// Which one.
        id: String,
    },
    /// The mode and the exempt zones; sets what is named: [`super::zones::Threats`].
    Threats {
        /// The mode to set.
        #[serde(default)]
        set: Option<Mode>,
        /// The ids of all zones that are exempt.
        #[serde(default)]
        exempt: Option<Vec<String>>,
    },
    /// The feeds: [`super::report::FeedRows`].
    FeedList,
    /// One feed: [`crate::feed::FeedState`].
    FeedShow {
        /// Its name.
        name: String,
    },
    /// Looks at a feed now and answers what came of it.
    FeedRefresh {
        /// Its name.
        name: String,
        /// Takes it over whatever it is: empty, or changed by more than is believed.
        #[serde(default)]
        force: bool,
    },
    /// The streams: [`super::report::StreamRows`].
    StreamList,
    /// Sends a test event and answers what came of it.
    StreamTest {
        /// The stream's name.
        name: String,
    },
    /// Sends everything since a moment once more.
    StreamReplay {
        /// The stream's name.
        name: String,
        /// Milliseconds since the Unix epoch.
        since_ms: u64,
    },
    /// How an address is judged in the kernel, or a request that comes through proxies, step by step:
    /// [`crate::policy::explain::Explanation`].
    Explain {
        /// The address that connects; asks for the kernel's view.
        #[serde(default)]
        address: Option<IpAddr>,
        /// The local port it connects to.
        #[serde(default)]
        port: Option<u16>,
        /// The other end of the connection; asks for the view of whoever judges requests.
        #[serde(default)]
        peer: Option<IpAddr>,
        /// Header lines of the request, in order.
        #[serde(default)]
        headers: Vec<HeaderLine>,
        /// The service that is asked for.
        #[serde(default)]
        service: Option<String>,
        /// The path that is asked for; `/` if absent.
        #[serde(default)]
        path: Option<String>,
    },
    /// What should be enforced against what the kernel holds: [`super::report::Verification`].
    Verify,
    /// What has gathered since the agent started: [`super::report::Origins`].
    Report {
        /// Which report.
        what: ReportKind,
        /// At most this many rows; 100 if absent.
        #[serde(default)]
        limit: Option<usize>,
        /// How far back, for reports that know; seven days if absent.
        #[serde(default)]
        since_ms: Option<u64>,
    },
    /// What is wrong with the set-up: [`crate::policy::posture::Posture`].
    Health,
    /// A task of it is nothing to do, or is again.
    HealthDismiss {
        /// Its name.
        task: String,
        /// Why it is nothing to do; absent, it is something to do again.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Which services are under attack: [`super::report::AttackReport`].
    AttackStatus,
    /// Declares an attack: [`super::report::AttackReport`].
    AttackStart {
        /// On which service; on all, if absent.
        #[serde(default)]
        service: Option<String>,
        /// For how long; an hour if absent, a week at most.
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// Says that there is no attack: [`super::report::AttackReport`].
    AttackEnd {
        /// On which service; on none, if absent.
        #[serde(default)]
        service: Option<String>,
        /// For how long the model declares none; an hour if absent, a week at most.
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// The latest events, oldest first, and then each new one if `follow`.
    Events {
        /// Stays and streams.
        #[serde(default)]
        follow: bool,
        /// At most this many past events.
        #[serde(default)]
        limit: Option<usize>,
    },
    /// A page of the System Log.
    Log(LogQuery),
    /// Reads the configuration and its files again.
    Reload,
    /// Takes the programs off the interfaces and removes the pins: the one way out.
    Detach,
}

/// What is looked for in the System Log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    /// Not before, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Before, milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// Behind this place: `next` of an earlier page.
    pub after: Option<String>,
    /// What must hold of them, as in Okta's System Log API.
    pub filter: Option<String>,
    /// Words that must occur, whatever their case.
    pub q: Option<String>,
    /// At most so many, 1,000 at most.
    pub limit: usize,
    /// The latest first.
    pub descending: bool,
    /// In the order in which they were written down, not that of their times.
    pub persistence: bool,
    /// Waits so long for something to come if there is nothing, 30 s at most.
    pub wait_ms: u64,
}

/// The reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// Who tried to reach restricted services around their proxies.
    Origins,
    /// What block mode would have refused: [`crate::policy::impact::ImpactReport`].
    Impact,
    /// Who forwards sign-ins, and whether it passes the client on.
    Proxies,
    /// Who was refused, or would have been.
    Threats,
    /// Which blocked zones refused somebody, or would have.
    Zones,
}

/// What a peer may do. An operator may do what a reader may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May ask for facts.
    Reader,
    /// May change what is enforced.
    Operator,
}

/// A network as an operator writes it (CIDR, one address, or a range) with what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    text: String,
    networks: Vec<IpNet>,
}

/// A request with what the client knows and the agent may not be able to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The request.
    pub request: Request,
    /// Where the client's SSH sessions come from; at most [`SSH_PEERS_MAX`].
    pub ssh_peers: Vec<IpAddr>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which sort of failure; decides the exit code.
    pub kind: FailureKind,
    /// A sentence for the operator.
    pub message: String,
    /// Each mistake by itself, where there can be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// The sorts of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request makes no sense as it stands.
    Usage,
    /// The peer has no role that allows it.
    Denied,
    /// What was named does not exist.
    NotFound,
    /// It does not go with the present state.
    Conflict,
    /// It would cut off somebody who must not be, and was not forced.
    Protected,
    /// The agent cannot take it now; the same request may work later.
    Unavailable,
    /// The agent is at fault.
    Internal,
    /// The configuration has mistakes; `details` has each.
    Configuration,
}

/// The other end of a connection, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id, if it is in a namespace that the agent can see.
    pub pid: Option<i32>,
}

/// A request that passed the roles, on its way to the keeper.
#[derive(Debug)]
pub struct Command {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub peer: Peer,
    /// The API token that asks, by its name, where it is not an account of this host.
    pub token: Option<String>,
    /// Where the asking operator's SSH sessions come from (canonical addresses).
    pub ssh_peers: Vec<IpAddr>,
    /// Where the answer goes. Dropping it unanswered is reported as an internal failure.
    pub reply: oneshot::Sender<Result<Value, Failure>>,
}

/// A reply line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// How many SSH peers are taken from one request.
pub const SSH_PEERS_MAX: usize = 16;

impl Request {
    /// What the peer must at least be.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Status
            | Self::Mode { set: None, .. }
            | Self::List { .. }
            | Self::ZoneList
            | Self::ZoneShow { .. }
            | Self::ZoneFacts
            | Self::Threats {
                set: None,
                exempt: None,
            }
            | Self::Explain { .. }
            | Self::Verify
            | Self::Report { .. }
            | Self::FeedList
            | Self::FeedShow { .. }
            | Self::StreamList
            | Self::AttackStatus
            | Self::Health
            | Self::Log(_)
            | Self::Events { .. } => Role::Reader,
            Self::Mode { set: Some(_), .. }
            | Self::ModeConfirm
            | Self::ZonePut { .. }
            | Self::ZoneActive { .. }
            | Self::ZoneDelete { .. }
            | Self::Threats { .. }
            | Self::Block { .. }
            | Self::Unblock { .. }
            | Self::Exempt { .. }
            | Self::FeedRefresh { .. }
            | Self::StreamTest { .. }
            | Self::StreamReplay { .. }
            | Self::AttackStart { .. }
            | Self::AttackEnd { .. }
            | Self::HealthDismiss { .. }
            | Self::Reload
            | Self::Detach => Role::Operator,
        }
    }
}

impl Target {
    /// The canonical prefixes it stands for, at least one.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let networks = parse_network(text).map_err(|error| error.to_string())?;
        Ok(Self {
            text: text.trim().to_owned(),
            networks,
        })
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.text
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Envelope {
    /// Reads a request line.
    ///
    /// # Errors
    /// A usage failure that names what was not understood.
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        let usage = |error: serde_json::Error| {
            Failure::new(
                FailureKind::Usage,
                format!("the request was not understood: {error}"),
            )
        };
        let mut value: Value = serde_json::from_slice(line).map_err(usage)?;
        // Not a flattened struct: with `flatten` serde no longer refuses unknown fields.
        let peers = value
            .as_object_mut()
            .and_then(|object| object.remove(SSH_PEERS));
        let mut ssh_peers: Vec<IpAddr> = match peers {
            Some(peers) => serde_json::from_value(peers).map_err(usage)?,
            None => Vec::new(),
        };
        ssh_peers.truncate(SSH_PEERS_MAX);
        Ok(Self {
            request: serde_json::from_value(value).map_err(usage)?,
            ssh_peers,
        })
    }

    /// The request as one line, without the line's end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut value = serde_json::to_value(&self.request).unwrap_or_default();
        if let Some(object) = value.as_object_mut()
            && !self.ssh_peers.is_empty()
        {
            let peers = self.ssh_peers.iter().map(|peer| peer.to_string().into());
            object.insert(SSH_PEERS.to_owned(), Value::Array(peers.collect()));
        }
        value.to_string()
    }
}

impl From<Request> for Envelope {
    fn from(request: Request) -> Self {
        Self {
            request,
            ssh_peers: Vec::new(),
        }
    }
}

impl Failure {
    /// A failure without details.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            details: Vec::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl Reply {
    /// The line, with its end.
    pub(super) fn line(answer: Result<Value, Failure>) -> String {
        let reply = match answer {
            Ok(data) => Self {
                ok: true,
                data: Some(data),
                error: None,
            },
            Err(failure) => Self {
                ok: false,
                data: None,
                error: Some(failure),
            },
        };
        // Maps with text keys, numbers and texts only: this cannot fail, and a client that gets an empty
        // line says that the reply was not understood.
        let mut line = serde_json::to_string(&reply).unwrap_or_default();
        line.push('\n');
        line
    }

    /// The reply line of `events`, made without parsing what was already made once.
    pub(super) fn events_line(events: &[std::sync::Arc<str>]) -> String {
        format!(
            "{{\"ok\":true,\"data\":{{\"events\":[{}]}}}}\n",
            events.join(",")
        )
    }

    pub(super) fn parse(line: &[u8]) -> Result<Result<Value, Failure>, serde_json::Error> {
        let reply: Self = serde_json::from_slice(line)?;
        Ok(match (reply.ok, reply.error) {
            (true, _) => Ok(reply.data.unwrap_or_default()),
            (false, Some(failure)) => Err(failure),
            (false, None) => Err(Failure::new(
                FailureKind::Internal,
                "the agent refused without a reason",
            )),
        })
    }
}

const SSH_PEERS: &str = "ssh_peers";
