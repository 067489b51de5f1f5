//! A proxied request and how it is judged: the kernel's verdict for the client behind the proxies.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    chain::Chain,
    explain::{Action, Judged},
    suspects::SignInFacts,
};

/// What is known of a request besides its forwarding header.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Index into [`Snapshot::services`](super::snapshot::Snapshot::services).
    pub service: usize,
    /// The other end of the (proxy's) connection.
    pub peer: IpAddr,
    /// Path without query, as received.
    pub path: &'a str,
    /// `User-Agent`, as received.
    pub user_agent: Option<&'a [u8]>,
    /// Who signs in, if it is a sign-in.
    pub sign_in: Option<SignInFacts>,
}

/// A request that is asked about, as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Header lines in order; others than forwarding headers change nothing.
    pub headers: &'a [HeaderLine],
    /// Index of the service; `None` judges as a service would that has only defaults.
    pub service: Option<usize>,
    /// Destination port, where one was given.
    pub port: Option<u16>,
    /// Path, `/` unless given.
    pub path: &'a str,
}

/// One header line, `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderLine {
    name: String,
    value: String,
}

/// Why a request is refused or slowed; the counter label, the event field and what `explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A blocked zone holds an address of the chain.
    BlockedZone,
    /// It reaches around the proxies of a restricted service.
    RestrictedOrigin,
    /// Reputation.
    Reputation,
    /// Over a rate limit.
    RateLimit,
    /// The client cannot be read and the service refuses such requests.
    ClientUnknown,
}

/// How a request is judged, before rate limits of requests.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// The chain with the client.
    pub chain: Chain,
    /// The judgement before the mode.
    pub verdict: Judged,
    /// What the mode makes of it: pass, refuse or limit.
    pub action: Action,
    /// Why, unless it passes.
    pub reason: Option<Reason>,
    /// The client is exempt: no rate limits, no events.
    pub exempt: bool,
    /// 1..=100, or 0 where no reputation was found.
    pub score: u8,
    /// Class of the entry found, see [`Snapshot::class`](super::snapshot::Snapshot::class).
    pub class: u8,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::BlockedZone,
        Self::RestrictedOrigin,
        Self::Reputation,
        Self::RateLimit,
        Self::ClientUnknown,
    ];

    /// Its place in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word of events, counters and `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockedZone => "blocked_zone",
            Self::RestrictedOrigin => "restricted_origin",
            Self::Reputation => "reputation",
            Self::RateLimit => "rate_limit",
            Self::ClientUnknown => "client_unknown",
        }
    }
}

impl<'a> Described<'a> {
    /// A request to no service yet.
    #[must_use]
    pub const fn new(
        peer: IpAddr,
        headers: &'a [HeaderLine],
        path: &'a str,
        port: Option<u16>,
    ) -> Self {
        Self {
            peer,
            headers,
            service: None,
            port,
            path,
        }
    }
}

impl HeaderLine {
    /// Whether it is the header of that name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The name as typed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value without spaces around.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for HeaderLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, value)) = text.split_once(':') else {
            return Err("a header is written as `Name: value`".to_owned());
        };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!(
                "`{}` is no name of a header",
                name.escape_debug().take(60).collect::<String>()
            ));
        }
        if value
            .chars()
            .any(|letter| letter.is_control() && letter != '\t')
        {
            return Err(format!("the value of {name} holds control characters"));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.trim_matches([' ', '\t']).to_owned(),
        })
    }
}

impl TryFrom<String> for HeaderLine {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HeaderLine> for String {
    fn from(line: HeaderLine) -> Self {
        line.to_string()
    }
}

impl fmt::Display for HeaderLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}
