//! `[[feed]]` and `[lapi]`: reputation from outside, and ours for others.

use std::{fmt, path::PathBuf, time::Duration};

use http::Uri;

use super::Listen;
use crate::policy::{decision::Origin, feed::Limits};

/// One source of reputation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Unique among feeds.
    pub name: String,
    /// What it sends.
    pub format: FeedFormat,
    /// Where it is.
    pub source: FeedSource,
    /// From one look to the next.
    pub interval: Duration,
    /// What an entry counts that brings no score of its own, and the most that any counts; 1 to 100.
    pub score: u8,
    /// Entries whose own score is below are passed over; 0 to 100.
    pub score_min: u8,
    /// Shown for entries that bring no reason of their own.
    pub reason: String,
    /// How long an entry without an end of its own counts after the feed was last heard of; `None` is for ever.
    pub lifetime: Option<Duration>,
    /// Longest answer or file, in bytes, before and after decompression.
    pub size_bytes_max: u64,
    /// Most entries.
    pub entries_max: usize,
    /// A refresh that changes the number of entries by more is refused, in percent of what it was.
    pub change_percent_max: u32,
    /// A feed without entries is taken over and not refused.
    pub empty_allowed: bool,
    /// What entries may be.
    pub limits: Limits,
    /// The longest that one fetch takes.
    pub timeout: Duration,
    /// What proves who asks.
    pub key: Option<FeedKey>,
    /// Certificates that the server's must descend from, instead of the host's.
    pub ca_file: Option<PathBuf>,
}

/// What a feed sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedFormat {
    /// One network a line: CIDR, address or a-b; `#` and `;` comments.
    Netset,
    /// Spamhaus DROP, text or JSON lines.
    Spamhaus,
    /// AbuseIPDB's blacklist, plain text or JSON.
    AbuseIpDb,
    /// CSV with named columns.
    Csv(Columns),
    /// STIX 2.1 indicators: a TAXII 2.1 API root with these collections (all that may be read, if none is named),
    /// or a bundle in a file.
    Taxii(Vec<String>),
    /// A CrowdSec local API.
    CrowdSec(Filters),
    /// An Okta System Log.
    Okta,
}

/// Which column of a CSV file says what. Names are compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Address, CIDR or range.
    pub prefix: String,
    /// 0 to 100.
    pub score: Option<String>,
    /// RFC 3339, a date, or seconds since the epoch.
    pub expires: Option<String>,
    /// Any text.
    pub reason: Option<String>,
    /// Between fields.
    pub delimiter: char,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            prefix: "prefix".to_owned(),
            score: None,
            expires: None,
            reason: None,
            delimiter: ',',
        }
    }
}

/// Which decisions a CrowdSec local API is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// `crowdsec`, `cscli`, `CAPI`, `lists`; all if empty.
    pub origins: Vec<String>,
    /// Parts of scenarios' names, one of which must occur; any if empty.
    pub scenarios_containing: Vec<String>,
    /// Parts of scenarios' names that must not occur.
    pub scenarios_not_containing: Vec<String>,
}

/// Where a feed is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedSource {
    /// A file, absolute or relative to the configuration's.
    File(PathBuf),
    /// `http` or `https`, without user and password.
    Url(Uri),
}

/// A secret in a file and how it is shown to the server. Only the file's name is in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedKey {
    /// Readable by its owner alone.
    pub file: PathBuf,
    /// How it is sent.
    pub auth: Auth,
}

/// How a secret is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Basic`; the file holds `user:password`.
    Basic,
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: SSWS`, as Okta has it.
    Ssws,
    /// A header of this name, in lower case.
    Header(String),
}

/// The CrowdSec local API that Edgeward serves to bouncers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapi {
    /// Where it listens.
    pub listen: Listen,
    /// Whose decisions are served.
    pub origins: Vec<LapiOrigin>,
    /// Who may ask; at least one.
    pub bouncers: Vec<Bouncer>,
}

/// Whose decisions are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LapiOrigin {
    /// Decisions and lists by their origin.
    Of(Origin),
    /// Zones with the use `blocked`.
    BlockedZone,
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bouncer {
    /// Unique among bouncers.
    pub name: String,
    /// Holds the key; readable by its owner alone.
    pub key_file: PathBuf,
}

impl FeedFormat {
    /// The words of the configuration.
    pub const NAMES: [&'static str; 7] = [
        "netset",
        "spamhaus",
        "abuseipdb",
        "csv",
        "taxii",
        "crowdsec",
        "okta",
    ];

    /// The word of the configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Netset => "netset",
            Self::Spamhaus => "spamhaus",
            Self::AbuseIpDb => "abuseipdb",
            Self::Csv(_) => "csv",
            Self::Taxii(_) => "taxii",
            Self::CrowdSec(_) => "crowdsec",
            Self::Okta => "okta",
        }
    }
}

impl fmt::Display for FeedSource {
    /// Without the query, which may hold a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(uri) => {
                let scheme = uri.scheme_str().unwrap_or_default();
                let authority = uri.authority().map_or("", |authority| authority.as_str());
                write!(f, "{scheme}://{authority}{}", uri.path())
            }
        }
    }
}
