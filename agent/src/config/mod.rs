//! The configuration: one TOML file and its list files become a [`Config`], or every mistake is named.
//!
//! A `Config` is valid by construction; nothing downstream checks it again. The way there is
//! `raw` (what was typed, with places) → `sections`, `zones`, `services`, `gateway`, `endpoints`, `signals` (values) →
//! `checks` and `proxied` (what only shows when everything is read).

mod api;
mod attack;
mod checks;
mod detection;
pub mod diff;
pub mod duration;
mod endpoint;
mod endpoints;
pub mod error;
pub mod feed;
mod feeds;
mod gateway;
mod geo;
mod getters;
mod journal;
pub mod list_file;
mod metrics;
pub mod networks;
mod places;
mod proxied;
mod raw;
pub mod receivers;
mod sections;
mod service;
mod services;
mod sign_ins;
mod signal_source;
mod signals;
pub mod stream;
mod streams;
pub mod tls;
mod types;
mod validity;
mod zones;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

pub use self::journal::JournalSettings;
pub use api::{Api, ApiToken, Scopes};
pub use detection::DetectionSettings;
pub use endpoint::{Endpoint, Listen, PeerSource, Profile};
pub(crate) use feeds::read_key;
pub(crate) use getters::read_small;

pub use error::{Mistake, Mistakes, Severity};
pub use feed::{Feed, Lapi};
pub use metrics::Metrics;
pub use networks::Networks;
pub use service::{
    Certificate, FailurePolicy, Gateway, GatewayLimits, Header, LimitKey, LimitMode, RefusalPages,
    RequestLimit, Service, UnknownClient, UpstreamProtocol,
};
pub use signal_source::{SignalFormat, SignalPlace, SignalSource, SignalStart};
pub use stream::{Stream, StreamFormat};
pub(crate) use streams::STREAMS_MAX;
pub use types::{
    AttackRates, Capacity, Control, EventLimits, Interfaces, List, Principals, RateLimit,
    Thresholds, Uses, Zone,
};

use crate::{
    geo::Files,
    policy::{
        attack::Settings,
        mode::{Mode, Refusal, Unreadable},
    },
};

/// Everything an operator decides. See `config/edgeward.toml` for what each setting means to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it came from; `None` for text and for the built-in defaults.
    pub path: Option<PathBuf>,
    /// The mode of a first start; later the operator's last word wins.
    pub mode: Mode,
    /// Where the program is attached.
    pub interfaces: Interfaces,
    /// The control socket, absolute, at most 107 bytes.
    pub socket: PathBuf,
    /// Where decisions and the mode are kept, absolute.
    pub state_dir: PathBuf,
    /// Where links and maps are pinned, absolute, on a bpffs.
    pub bpffs_dir: PathBuf,
    /// How the kernel refuses.
    pub refusal: Refusal,
    /// What happens to packets that cannot be read.
    pub unreadable: Unreadable,
    /// Scores at which a source is refused or slowed.
    pub reputation: Thresholds,
    /// New connections and packets to protected ports, per source.
    pub rate_limit: RateLimit,
    /// What detectors compare with, remember and lead to.
    pub detection: DetectionSettings,
    /// When a service is under attack, and what changes then.
    pub attack: Settings,
    /// Databases that say where an address is, and whose.
    pub geo: Files,
    /// Sizes of the kernel's maps.
    pub capacity: Capacity,
    /// Bounds of the event stream.
    pub events: EventLimits,
    /// How much of the System Log is kept.
    pub journal: JournalSettings,
    /// Where metrics are served; absent if they are not.
    pub metrics: Option<Metrics>,
    /// Who may use the control socket.
    pub control: Control,
    /// Zones in the order of the file; names are unique.
    pub zones: Vec<Zone>,
    /// Lists in the order of the file; names are unique.
    pub lists: Vec<List>,
    /// Services in the order of the file; names and ports are unique.
    pub services: Vec<Service>,
    /// Decision endpoints in the order of the file; names and listeners are unique.
    pub endpoints: Vec<Endpoint>,
    /// Feeds in the order of the file; names are unique.
    pub feeds: Vec<Feed>,
    /// The CrowdSec local API that is served; absent if none is.
    pub lapi: Option<Lapi>,
    /// The HTTP API; absent if it is off.
    pub api: Option<Api>,
    /// Logs that are followed, in the order of the file; names are unique.
    pub signals: Vec<SignalSource>,
    /// Streams in the order of the file; names are unique.
    pub streams: Vec<Stream>,
    /// What is accepted, but deserves a look.
    pub warnings: Vec<Mistake>,
}

/// Longest configuration file, in bytes. Long lists of networks belong into list files.
pub const CONFIG_BYTES_MAX: usize = 4 << 20;

impl Config {
    /// Reads a configuration file and every list file it names.
    ///
    /// # Errors
    /// Every mistake at once, warnings among them, each with its place.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        let text = read_text(path).map_err(|what| single(Mistake::error(&name, "", what)))?;
        let text = String::from_utf8(text)
            .map_err(|error| single(not_utf8(&name, error.as_bytes(), &error)))?;
        // A bare file name has the parent "", which joins to paths relative to the working directory.
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let mut config = Self::parse(&text, base, &name)?;
        config.path = Some(path.to_owned());
        Ok(config)
    }

    /// Reads configuration text; files of zones and lists are relative to `base`, mistakes are placed in `name`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, base: &Path, name: &str) -> Result<Self, Mistakes> {
        if text.len() > CONFIG_BYTES_MAX {
            return Err(single(Mistake::error(name, "", too_long())));
        }
        // Without the byte order mark, columns of the first line count what a person sees.
        let source = raw::Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text));
        let config = source
            .tree()
            .map(|tree| sections::read(&source, &tree, base));
        let mistakes = source.into_mistakes();
        match config {
            Some(mut config) if !mistakes.any_error() => {
                config.warnings = mistakes.kept;
                if mistakes.left_off > 0 {
                    let what = format!("{} more warnings", mistakes.left_off);
                    let severity = Severity::Warning;
                    config.warnings.push(Mistake {
                        severity,
                        ..Mistake::error(name, "", what)
                    });
                }
                Ok(config)
            }
            _ => Err(mistakes),
        }
    }
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        Self {
            path: None,
            mode: Mode::Log,
            interfaces: Interfaces::AllPhysical,
            socket: PathBuf::from("/run/edgeward/control.sock"),
            state_dir: PathBuf::from("/var/lib/edgeward"),
            bpffs_dir: PathBuf::from("/sys/fs/bpf/edgeward"),
            refusal: Refusal::default(),
            unreadable: Unreadable::default(),
            reputation: Thresholds::default(),
            rate_limit: RateLimit::default(),
            detection: DetectionSettings::default(),
            attack: Settings::default(),
            geo: Files::default(),
            capacity: Capacity::default(),
            events: EventLimits::default(),
            journal: JournalSettings::default(),
            metrics: None,
            control: Control::default(),
            zones: Vec::new(),
            lists: Vec::new(),
            services: Vec::new(),
            endpoints: Vec::new(),
            feeds: Vec::new(),
            lapi: None,
            api: None,
            signals: Vec::new(),
            streams: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// The bytes of the file, one more than permitted at most.
fn read_text(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.is_dir() {
        return Err("is a directory; name the configuration file in it".to_owned());
    }
    let limit = u64::try_from(CONFIG_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(limit)
        .read_to_end(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() > CONFIG_BYTES_MAX {
        return Err(too_long());
    }
    Ok(text)
}

fn too_long() -> String {
    format!("is longer than {CONFIG_BYTES_MAX} bytes; put long lists of networks into list files")
}

fn not_utf8(name: &str, bytes: &[u8], error: &std::string::FromUtf8Error) -> Mistake {
    let valid = bytes
        .get(..error.utf8_error().valid_up_to())
        .unwrap_or_default();
    let line = valid
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        .saturating_add(1);
    let line = Some(u32::try_from(line).unwrap_or(u32::MAX));
    let suggestion = Some("save the file as UTF-8".to_owned());
    Mistake {
        line,
        suggestion,
        ..Mistake::error(name, "", "not valid UTF-8")
    }
}

fn single(mistake: Mistake) -> Mistakes {
    Mistakes {
        kept: vec![mistake],
        left_off: 0,
    }
}

#[cfg(test)]
mod mistakes_tests;
#[cfg(test)]
mod proxied_mistakes_tests;
#[cfg(test)]
mod proxied_tests;
#[cfg(test)]
mod receivers_tests;
#[cfg(test)]
mod sign_ins_tests;
#[cfg(test)]
mod signal_tests;
#[cfg(test)]
mod streams_tests;
#[cfg(test)]
mod test_pems;
#[cfg(test)]
mod tests;
