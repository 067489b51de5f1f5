//! Who forwards requests: counted by the gate for each address that is a proxy or claims to be one, by day, and kept in
//! a small file so that a report can look back a month.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::policy::chain::{Chain, ClientReason};

/// The addresses. Cheap to clone; counting holds a lock for a look-up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarders(Arc<Mutex<Table>>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Table {
    known: HashMap<IpAddr, Known>,
    /// Requests of addresses that found no room.
    displaced: u64,
    #[serde(skip)]
    is_changed: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    first_ms: u64,
    last_ms: u64,
    /// As of its last request.
    trusted: bool,
    /// The service of its last request.
    service: String,
    /// By days since the epoch.
    days: BTreeMap<u32, Counts>,
}

/// What one address forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Requests.
    pub(crate) requests: u64,
    /// Sign-ins among them.
    pub(crate) sign_ins: u64,
    /// Sign-ins that failed, as far as the gateway saw their answer.
    pub(crate) failed: u64,
    /// Requests in which the client is the last address of the chain: the proxy itself.
    pub(crate) client_last: u64,
    /// Requests in which it is the second to last.
    pub(crate) client_second: u64,
    /// Requests of a trusted proxy without the header.
    pub(crate) no_header: u64,
    /// Requests whose client could not be read.
    pub(crate) unknown: u64,
}

/// One address over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarder {
    pub(crate) address: IpAddr,
    pub(crate) trusted: bool,
    pub(crate) service: String,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) counts: Counts,
}

/// One request that was forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forwarded<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) chain: &'a Chain,
    pub(crate) service: &'a str,
    pub(crate) is_sign_in: bool,
    pub(crate) now_ms: u64,
}

impl Forwarders {
    /// Reads what an earlier agent has counted. A file that cannot be read is told, and counting begins anew.
    pub(crate) fn load(&self, dir: &Path) {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(table) => *self.table() = table,
                Err(error) => {
                    tracing::warn!(%error, "{} cannot be read; who forwards is counted anew", path.display());
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "{} cannot be read", path.display()),
        }
    }

    /// Writes down what has changed.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        let text = {
            let mut table = self.table();
            if !std::mem::take(&mut table.is_changed) {
                return Ok(());
            }
            serde_json::to_vec(&*table)?
        };
        let (path, beside) = (dir.join(FILE), dir.join(BESIDE));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(beside, path)
    }

    /// Counts a request of a trusted proxy, or of somebody else who sends a forwarding header.
    pub(crate) fn seen(&self, request: &Forwarded<'_>) {
        let reason = request.chain.reason;
        let mut table = self.table();
        let Some((known, counts)) = table.counts(request.peer, request.now_ms) else {
            return;
        };
        *known.0 = reason != ClientReason::Peer;
        if known.1 != request.service {
            request.service.clone_into(known.1);
        }
        counts.requests += 1;
        counts.sign_ins += u64::from(request.is_sign_in);
        counts.no_header += u64::from(reason == ClientReason::NoHeader);
        counts.unknown += u64::from(reason == ClientReason::Unknown);
        if reason == ClientReason::Unknown {
            return;
        }
        let mut from_right = request.chain.addresses.iter().rev();
        let is_client = |address: Option<IpAddr>| address == Some(request.chain.client);
        if is_client(from_right.next()) {
            counts.client_last += 1;
        } else if is_client(from_right.next()) {
            counts.client_second += 1;
        }
    }

    /// A sign-in that an address forwarded has failed.
    pub(crate) fn failed(&self, peer: IpAddr, now_ms: u64) {
        let mut table = self.table();
        if !table.known.contains_key(&peer) {
            return;
        }
        if let Some((_, counts)) = table.counts(peer, now_ms) {
            counts.failed += 1;
        }
    }

    /// Every address since a moment, those with most sign-ins first; and how many requests found no room.
    pub(crate) fn since(&self, since_ms: u64) -> (Vec<Forwarder>, u64) {
        let table = self.table();
        let mut found: Vec<Forwarder> = table
            .known
            .iter()
            .filter_map(|(address, known)| {
                let days = known.days.range(day(since_ms)..);
                let counts = days.fold(Counts::default(), |sum, (_, one)| sum.and(one));
                (counts.requests > 0).then(|| Forwarder {
                    address: *address,
                    trusted: known.trusted,
                    service: known.service.clone(),
                    first_ms: known.first_ms,
                    last_ms: known.last_ms,
                    counts,
                })
            })
            .collect();
        found.sort_by_key(|one| {
            let Counts {
                sign_ins, requests, ..
            } = one.counts;
            (std::cmp::Reverse((sign_ins, requests)), one.address)
        });
        (found, table.displaced)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Counters are whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// What is known of an address (whether it is trusted, its service), and its counts of today.
    fn counts(
        &mut self,
        peer: IpAddr,
        now_ms: u64,
    ) -> Option<((&mut bool, &mut String), &mut Counts)> {
        if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&peer) {
            self.forget(now_ms);
            if self.known.len() >= ADDRESSES_MAX {
                self.displaced += 1;
                return None;
            }
        }
        self.is_changed = true;
        let known = self.known.entry(peer).or_insert_with(|| Known {
            first_ms: now_ms,
            ..Known::default()
        });
        known.last_ms = known.last_ms.max(now_ms);
        let today = day(now_ms);
        if !known.days.contains_key(&today) {
            known.days = known.days.split_off(&today.saturating_sub(DAYS_MAX - 1));
        }
        let counts = known.days.entry(today).or_default();
        Some(((&mut known.trusted, &mut known.service), counts))
    }

    /// Makes room: whoever was not seen for a day and forwarded no sign-in goes, and whoever was not seen for a month.
    fn forget(&mut self, now_ms: u64) {
        self.known.retain(|_, known| {
            let silent_ms = now_ms.saturating_sub(known.last_ms);
            let signs_in = known.days.values().any(|counts| counts.sign_ins > 0);
            silent_ms < DAY_MS || signs_in && silent_ms < u64::from(DAYS_MAX) * DAY_MS
        });
    }
}

impl Counts {
    const fn and(self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            sign_ins: self.sign_ins + other.sign_ins,
            failed: self.failed + other.failed,
            client_last: self.client_last + other.client_last,
            client_second: self.client_second + other.client_second,
            no_header: self.no_header + other.no_header,
            unknown: self.unknown + other.unknown,
        }
    }
}

fn day(ms: u64) -> u32 {
    u32::try_from(ms / DAY_MS).unwrap_or(u32::MAX)
}

const FILE: &str = "forwarders.json";
const BESIDE: &str = "forwarders.json.new";
const DAY_MS: u64 = 86_400_000;
/// Days that are kept of each address.
const DAYS_MAX: u32 = 31;
/// Addresses that are counted at a time.
const ADDRESSES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Header;
    use crate::policy::chain::{ChainLimits, Forwarding, Role, Trust, walk};

    /// Trusts 10.0.0.0/8.
    struct Ten;

    impl Trust for Ten {
        fn role(&self, address: IpAddr) -> Role {
            match address {
                IpAddr::V4(v4) if v4.octets()[0] == 10 => Role::TrustedProxy,
                _ => Role::Other,
            }
        }
    }

    fn seen(forwarders: &Forwarders, peer: &str, header: Option<&str>, now_ms: u64) {
        let peer = peer.parse().unwrap();
        let limits = ChainLimits {
            hops_max: 16,
            bytes_max: 4_096,
        };
        let lines = header.map(str::as_bytes).into_iter();
        let forwarding = Forwarding::Lines(Header::XForwardedFor, lines);
        forwarders.seen(&Forwarded {
            peer,
            chain: &walk(peer, forwarding, limits, &Ten),
            service: "login",
            is_sign_in: true,
            now_ms,
        });
    }

    #[test]
    fn where_the_client_is_in_the_chain_is_counted() {
        let forwarders = Forwarders::default();
        for (peer, header) in [
            ("10.0.0.1", Some("192.0.2.1")),
            ("10.0.0.1", Some("198.51.100.9, 192.0.2.1")),
            ("10.0.0.2", None),
            ("10.0.0.3", Some("192.0.2.1, 10.0.0.9")),
            ("10.0.0.4", Some("garbage")),
            ("203.0.113.5", Some("192.0.2.1")),
        ] {
            seen(&forwarders, peer, header, 5);
        }
        forwarders.failed("10.0.0.1".parse().unwrap(), 6);
        forwarders.failed("10.0.0.77".parse().unwrap(), 6);
        let (rows, displaced) = forwarders.since(0);
        assert_eq!((rows.len(), displaced), (5, 0));
        let of = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            let row = rows.iter().find(|row| row.address == address).unwrap();
            let counts = row.counts;
            (
                row.trusted,
                counts.client_last,
                counts.client_second,
                counts.no_header,
                counts.unknown,
            )
        };
        assert_eq!(of("10.0.0.1"), (true, 0, 2, 0, 0));
        assert_eq!(of("10.0.0.2"), (true, 1, 0, 1, 0));
        assert_eq!(of("10.0.0.3"), (true, 0, 0, 0, 0), "third to last");
        assert_eq!(of("10.0.0.4"), (true, 0, 0, 0, 1));
        assert_eq!(of("203.0.113.5"), (false, 1, 0, 0, 0));
        assert_eq!(rows[0].counts.sign_ins, 2);
        assert_eq!(rows[0].counts.failed, 1);
    }

    #[test]
    fn it_is_bounded_in_addresses_and_days_and_survives_a_restart() {
        let forwarders = Forwarders::default();
        for one in 0..ADDRESSES_MAX + 10 {
            let address = std::net::Ipv4Addr::from_bits(u32::try_from(one).unwrap());
            seen(&forwarders, &address.to_string(), Some("192.0.2.1"), 5);
        }
        let (rows, displaced) = forwarders.since(0);
        assert_eq!((rows.len(), displaced), (ADDRESSES_MAX, 10));
        // After a month there is room again, and days that are long gone do not count.
        for number in 40..80 {
            seen(&forwarders, "10.0.0.1", Some("192.0.2.1"), number * DAY_MS);
        }
        let dir = tempfile::tempdir().unwrap();
        forwarders.save(dir.path()).unwrap();
        let again = Forwarders::default();
        again.load(dir.path());
        let (rows, _) = again.since(0);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].counts.requests, u64::from(DAYS_MAX));
        assert_eq!(again.since(79 * DAY_MS).0[0].counts.requests, 1);
        fs::write(dir.path().join(FILE), "{").unwrap();
        again.load(dir.path());
        assert_eq!(
            again.since(0).0.len(),
            1,
            "what cannot be read changes nothing"
        );
    }
}
