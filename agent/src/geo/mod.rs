//! Where an address is, and whose: look-ups in MaxMind DB files that the operator provides.
//!
//! Nothing is shipped. A file is read into memory whole, which costs its size (GeoLite2-City about 60 MB, an ASN
//! database about 10 MB; both the old and the new one while a file is replaced). It is not mapped: an updater that
//! writes into a mapped file would end the agent by a signal, and with it what it enforces for proxied clients.
//!
//! | file | what |
//! |---|---|
//! | `file` | one database file: opened, tried out, known again |
//! | `record` | what the two schemas call the same thing |
//! | `watcher` | the thread that opens them, and again when they change |

mod file;
mod record;
mod watcher;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::file::{Database, Identity};
pub(crate) use self::{
    file::looked_at,
    watcher::{Orders, Watcher},
};

/// Where an address is, and whose, as far as the databases know.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Place {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// In English.
    pub country_name: Option<String>,
    /// State, province or region, in English.
    pub state: Option<String>,
    /// In English.
    pub city: Option<String>,
    /// Postal code.
    pub postal: Option<String>,
    /// Degrees. City databases disagree by tens of kilometres.
    pub latitude: Option<f64>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Who runs it.
    pub as_org: Option<String>,
    /// Internet service provider, where the database tells it apart.
    pub isp: Option<String>,
    /// Second-level domain of the address's name.
    pub domain: Option<String>,
    /// What the address hides behind.
    pub anonymous: Anonymous,
}

/// Ways to hide where one is, as MaxMind tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Anonymous {
    /// Any of them.
    pub any: bool,
    /// A virtual private network.
    pub vpn: bool,
    /// A hosting provider.
    pub hosting: bool,
    /// An open proxy.
    pub public_proxy: bool,
    /// A proxy in somebody's home.
    pub residential_proxy: bool,
    /// An exit of Tor.
    pub tor: bool,
}

/// The database files, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Places.
    pub city: Vec<PathBuf>,
    /// Autonomous systems.
    pub asn: Vec<PathBuf>,
    /// Proxies and the like.
    pub anonymous: Vec<PathBuf>,
}

/// What a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Places.
    City,
    /// Autonomous systems.
    Asn,
    /// Proxies and the like.
    Anonymous,
}

/// All databases, as they are at the moment. Cheap to clone; a look-up never waits for a file.
#[derive(Clone, Debug)]
pub struct Databases {
    held: watch::Receiver<Arc<Held>>,
}

/// One database, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseRow {
    /// `city`, `asn`, `anonymous`.
    pub kind: String,
    /// Its file.
    pub file: String,
    /// What it calls itself, where it is loaded.
    pub database: Option<String>,
    /// When its content was put together, milliseconds since the epoch.
    pub built: Option<u64>,
    /// IP versions that it knows.
    pub addresses: Option<String>,
    /// Bytes in memory.
    pub bytes: u64,
    /// Look-ups that failed since it was loaded: it is damaged.
    pub failed: u64,
    /// Why the file on disk is not in use.
    pub problem: Option<String>,
}

impl DatabaseRow {
    /// What the operator should know of it.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { kind, file, .. } = self;
        match (&self.problem, self.database.is_some(), self.failed) {
            (Some(what), true, _) => Some(format!(
                "geo.{kind}: {file} {what}; the last good one stays in use"
            )),
            (Some(what), false, _) => Some(format!("geo.{kind}: {file} {what}")),
            (None, _, 1..) => Some(format!(
                "geo.{kind}: {file} is damaged: {} look-ups failed",
                self.failed
            )),
            _ => None,
        }
    }
}

/// What is loaded.
#[derive(Debug, Default)]
struct Held(Vec<Entry>);

/// One file of the configuration.
#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    path: PathBuf,
    /// The last good one.
    database: Option<Arc<Database>>,
    /// What was last tried to open, and what came of it.
    tried: Option<Identity>,
    problem: Option<String>,
    failed: Arc<AtomicU64>,
}

impl Files {
    /// Every file with what it is asked for.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &PathBuf)> {
        let of = |kind| self.of(kind).iter().map(move |path| (kind, path));
        Kind::ALL.into_iter().flat_map(of)
    }

    /// The files of one kind.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> &Vec<PathBuf> {
        match kind {
            Kind::City => &self.city,
            Kind::Asn => &self.asn,
            Kind::Anonymous => &self.anonymous,
        }
    }

    /// The same, to be set.
    pub const fn of_mut(&mut self, kind: Kind) -> &mut Vec<PathBuf> {
        match kind {
            Kind::City => &mut self.city,
            Kind::Asn => &mut self.asn,
            Kind::Anonymous => &mut self.anonymous,
        }
    }
}

impl Kind {
    /// All.
    pub const ALL: [Self; 3] = [Self::City, Self::Asn, Self::Anonymous];

    /// The key of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::City => "city",
            Self::Asn => "asn",
            Self::Anonymous => "anonymous",
        }
    }
}

impl Databases {
    /// No database: nothing is known of any address.
    #[must_use]
    pub fn none() -> Self {
        Self::fixed(Held::default())
    }

    /// These files as they are now; for programs that end soon.
    #[must_use]
    pub fn open(files: &Files) -> Self {
        let mut held = Held::default();
        held.follow(files);
        held.look();
        Self::fixed(held)
    }

    fn fixed(held: Held) -> Self {
        // A receiver keeps the last value after its sender has gone.
        let (_, held) = watch::channel(Arc::new(held));
        Self { held }
    }

    /// Everything that is known of an address. Of two files of a kind the first that knows something wins.
    #[must_use]
    pub fn place(&self, address: IpAddr) -> Place {
        let held = Arc::clone(&self.held.borrow());
        let mut place = Place::default();
        for entry in &held.0 {
            entry.look_up(address, |record| record.fill(&mut place));
        }
        place
    }

    /// The number of the autonomous system of an address.
    #[must_use]
    pub fn asn(&self, address: IpAddr) -> Option<u32> {
        let held = Arc::clone(&self.held.borrow());
        let mut found = None;
        for entry in held.0.iter().filter(|entry| entry.kind == Kind::Asn) {
            entry.look_up(address, |record| found = record.asn());
            if found.is_some() {
                break;
            }
        }
        found
    }

    /// Whether any file tells autonomous systems.
    #[must_use]
    pub fn knows_asns(&self) -> bool {
        let held = self.held.borrow();
        let mut asns = held.0.iter().filter(|entry| entry.kind == Kind::Asn);
        asns.any(|entry| entry.database.is_some())
    }

    /// How each file is, in the order of the configuration.
    #[must_use]
    pub fn rows(&self) -> Vec<DatabaseRow> {
        self.held.borrow().0.iter().map(Entry::row).collect()
    }
}

impl Default for Databases {
    fn default() -> Self {
        Self::none()
    }
}

impl Held {
    /// Goes on with these files; what is loaded of them stays.
    fn follow(&mut self, files: &Files) {
        let before = std::mem::take(&mut self.0);
        self.0 = files
            .iter()
            .map(|(kind, path)| {
                let same = |entry: &&Entry| entry.kind == kind && entry.path == *path;
                before
                    .iter()
                    .find(same)
                    .cloned()
                    .unwrap_or_else(|| Entry::new(kind, path.clone()))
            })
            .collect();
    }

    /// Opens what is new or has changed; whether anything is otherwise than before.
    fn look(&mut self) -> bool {
        let mut news = false;
        for entry in &mut self.0 {
            news |= entry.look();
        }
        news
    }
}

impl Entry {
    fn new(kind: Kind, path: PathBuf) -> Self {
        Self {
            kind,
            path,
            database: None,
            tried: None,
            problem: None,
            failed: Arc::default(),
        }
    }

    /// Whether nothing has become of it since.
    fn is_as(&self, later: &Self) -> bool {
        let files =
            (self.kind, &self.path, &self.problem) == (later.kind, &later.path, &later.problem);
        let same = match (&self.database, &later.database) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        files && same
    }

    fn look_up(&self, address: IpAddr, mut known: impl FnMut(&record::Record<'_>)) {
        let Some(database) = &self.database else {
            return;
        };
        match database.record(address) {
            Ok(Some(record)) => known(&record),
            Ok(None) => {}
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Opens the file if it is not what was tried last. The last good one stays if it cannot be used.
    fn look(&mut self) -> bool {
        let identity = match Identity::of(&self.path) {
            Ok(identity) => identity,
            Err(why) => {
                self.tried = None;
                let news = self.problem.as_ref() != Some(&why);
                self.problem = Some(why);
                return news;
            }
        };
        if self.tried == Some(identity) {
            return false;
        }
        self.tried = Some(identity);
        match Database::open(&self.path, self.kind) {
            Ok(database) => {
                self.database = Some(Arc::new(database));
                self.failed = Arc::default();
                self.problem = None;
            }
            Err(why) => self.problem = Some(why),
        }
        true
    }

    fn row(&self) -> DatabaseRow {
        let database = self.database.as_ref();
        DatabaseRow {
            kind: self.kind.name().to_owned(),
            file: self.path.display().to_string(),
            database: database.map(|database| database.name().to_owned()),
            built: database.map(|database| database.built_ms()),
            addresses: database.map(|database| database.addresses().to_owned()),
            bytes: database.map_or(0, |database| database.bytes()),
            failed: self.failed.load(Ordering::Relaxed),
            problem: self.problem.clone(),
        }
    }
}

#[cfg(test)]
mod maker;
#[cfg(test)]
mod tests;
