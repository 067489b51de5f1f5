//! Rate limits of requests: fixed windows and requests in progress, per client, in bounded memory.
//!
//! What is counted has a place by a keyed hash in one of many small sets, so a flood of clients cannot
//! choose whom it pushes out. In a full set the one that is least busy gives way to a newcomer: an ended
//! window first, then the fewest requests; never one that is over its limit or has requests in progress.
//! Where nobody can give way, the newcomer goes uncounted, and that is counted.

mod table;
#[cfg(test)]
mod tests;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use self::table::Table;
use super::{
    chain::ClientReason,
    clock::Now,
    explain::Judged,
    mode::Mode,
    path::normalise,
    prefix::canonical_address,
    request::{RequestFacts, Ruling},
    snapshot::Snapshot,
};
use crate::config::{LimitKey, LimitMode, RequestLimit, Service};

/// What the limits say of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Name of the limit that is exceeded.
    pub limit: String,
    /// Whether it refuses (`enforce`) or only says so (`preview`).
    pub enforced: bool,
    /// When the next request may pass.
    pub retry_after: Duration,
}

/// What becomes of a request by the limits.
#[derive(Debug, Default)]
pub struct Admission {
    /// The first limit to be enforced that is exceeded. In mode log the request passes all the same.
    pub exceeded: Option<Limited>,
    /// Limits in preview that are exceeded.
    pub previews: Vec<Limited>,
    /// The request's share of limits on requests in progress: to be kept until its answer has ended.
    pub permit: Permit,
}

/// A request in progress; dropping it ends that.
#[derive(Debug, Default)]
pub struct Permit {
    shares: Vec<u64>,
    table: Option<Arc<Table>>,
}

/// Counts requests. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Limiter {
    table: Arc<Table>,
}

/// What the limiter itself has to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterReport {
    /// Clients whose live window gave way to another's.
    pub displaced: u64,
    /// Requests that found no place to be counted in.
    pub uncounted: u64,
    /// Most clients and limits that can be followed at a time.
    pub capacity: u64,
}

/// What a limit's requests are counted under: the same after a reload if its definition is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitId(u64);

/// The limit of clients with limited reputation, as events name it.
pub const LIMITED_REPUTATION: &str = "limited reputation";

impl LimitId {
    /// The identifiers of a service's limits, in its order.
    #[must_use]
    pub fn of_service(service: &Service) -> Box<[Self]> {
        service
            .limits
            .iter()
            .map(|limit| Self::of(&service.name, limit))
            .collect()
    }

    fn of(service: &str, limit: &RequestLimit) -> Self {
        let mut hasher = DefaultHasher::new();
        (service, &limit.name, &limit.paths, limit.window).hash(&mut hasher);
        (limit.requests, limit.concurrent).hash(&mut hasher);
        (limit.key == LimitKey::Client).hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Limiter {
    /// Follows at least that many clients and limits at a time, 32 bytes each. `seed` is a secret.
    #[must_use]
    pub fn new(seed: u64, capacity: usize) -> Self {
        Self {
            table: Arc::new(Table::new(seed, capacity)),
        }
    }

    /// Counts a request that nothing else refuses, and says which limits it exceeds.
    ///
    /// Refused requests count too: whoever goes on asking does not get in sooner. Exempt clients and
    /// trusted proxies have no limits.
    #[must_use]
    pub fn admit(
        &self,
        snapshot: &Snapshot,
        ruling: &Ruling,
        facts: &RequestFacts<'_>,
        now: Now,
    ) -> Admission {
        let mut admission = Admission::default();
        if snapshot.mode == Mode::Off || ruling.verdict == Judged::Deny || is_spared(ruling) {
            return admission;
        }
        let blocks = snapshot.mode == Mode::Block;
        let mut request = Request {
            table: &self.table,
            client: client_bits(ruling.chain.client),
            user_agent: None,
            now_ms: now.boot_ns / NS_A_MS,
            blocks,
            shares: Vec::new(),
        };
        if ruling.verdict == Judged::Limit
            && let Some((most, window)) = snapshot.limited()
        {
            let key = request.key(LIMITED, None);
            let rule = Rule {
                requests: Some(most),
                concurrent: None,
                window,
                refuses: true,
            };
            let end = request.count(key, rule);
            admission.exceeded = end.map(|retry_after| Limited {
                limit: LIMITED_REPUTATION.to_owned(),
                enforced: true,
                retry_after,
            });
        }
        request.service(snapshot, facts, &mut admission);
        if !request.shares.is_empty() {
            let permit = Permit {
                shares: std::mem::take(&mut request.shares),
                table: Some(Arc::clone(&self.table)),
            };
            // What is refused is over at once.
            if !(blocks && admission.exceeded.is_some()) {
                admission.permit = permit;
            }
        }
        admission
    }

    /// What it could not do.
    #[must_use]
    pub fn report(&self) -> LimiterReport {
        self.table.report()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(table) = self.table.take() {
            self.shares.iter().for_each(|key| table.give_back(*key));
        }
    }
}

/// One request on its way through the limits.
struct Request<'a> {
    table: &'a Table,
    client: u128,
    /// Hashed, once it is asked for.
    user_agent: Option<u64>,
    now_ms: u64,
    /// The agent's mode is block.
    blocks: bool,
    /// Keys whose requests in progress it will be one of.
    shares: Vec<u64>,
}

/// What one limit allows.
#[derive(Clone, Copy)]
struct Rule {
    requests: Option<u32>,
    concurrent: Option<u32>,
    window: Duration,
    refuses: bool,
}

impl Request<'_> {
    /// Counts against each limit of the service that holds for the path.
    fn service(
        &mut self,
        snapshot: &Snapshot,
        facts: &RequestFacts<'_>,
        admission: &mut Admission,
    ) {
        let Some(service) = snapshot.services.get(facts.service) else {
            return;
        };
        if service.limits.is_empty() {
            return;
        }
        let path = normalise(facts.path);
        let tight = |count| snapshot.rate(facts.service, count);
        for (limit, id) in service.limits.iter().zip(snapshot.limit_ids(facts.service)) {
            let holds = limit.paths.is_empty() || limit.paths.iter().any(|it| it.limits(&path));
            if limit.mode == LimitMode::Off || !holds {
                continue;
            }
            let agent = match limit.key {
                LimitKey::Client => None,
                LimitKey::ClientUserAgent => Some(self.user_agent(facts.user_agent)),
            };
            let key = self.key(*id, agent);
            let enforced = limit.mode == LimitMode::Enforce;
            let rule = Rule {
                requests: limit.requests.map(tight),
                concurrent: limit.concurrent.map(tight),
                window: limit.window,
                refuses: enforced,
            };
            let Some(retry_after) = self.count(key, rule) else {
                continue;
            };
            if enforced && admission.exceeded.is_some() {
                continue;
            }
            let limited = Limited {
                limit: limit.name.clone(),
                enforced,
                retry_after,
            };
            if enforced {
                admission.exceeded = Some(limited);
            } else {
                admission.previews.push(limited);
            }
        }
    }

    fn user_agent(&mut self, text: Option<&[u8]>) -> u64 {
        *self
            .user_agent
            .get_or_insert_with(|| self.table.hash((text.is_some(), text.unwrap_or_default())))
    }

    fn key(&self, id: LimitId, user_agent: Option<u64>) -> u64 {
        // 0 is an empty place.
        self.table.hash((id.0, self.client, user_agent)).max(1)
    }

    /// Counts against one limit; the time until it may be tried again, if the limit is exceeded.
    fn count(&mut self, key: u64, rule: Rule) -> Option<Duration> {
        let window_ms = u64::try_from(rule.window.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let window = self.now_ms / window_ms;
        let most = rule.requests.unwrap_or(u32::MAX);
        let mut set = self.table.set(key);
        let Some(slot) = set.slot(key, self.now_ms, self.table) else {
            self.table.went_uncounted();
            return None;
        };
        if slot.ends_ms <= self.now_ms {
            slot.ends_ms = window.saturating_add(1).saturating_mul(window_ms);
            slot.count = 0;
        }
        slot.most = most;
        slot.count = slot.count.saturating_add(1);
        let over_requests = slot.count > most;
        let mut over_concurrent = false;
        if let Some(concurrent) = rule.concurrent {
            over_concurrent = slot.in_progress >= concurrent;
            if !(over_concurrent && rule.refuses && self.blocks) {
                slot.in_progress = slot.in_progress.saturating_add(1);
                self.shares.push(key);
            }
        }
        if over_requests {
            let left = slot.ends_ms.saturating_sub(self.now_ms);
            Some(Duration::from_millis(left))
        } else {
            over_concurrent.then_some(CONCURRENT_RETRY)
        }
    }
}

/// Exempt clients, and trusted proxies that nobody stands behind.
fn is_spared(ruling: &Ruling) -> bool {
    let trusted = matches!(
        ruling.chain.reason,
        ClientReason::AllTrusted | ClientReason::NoHeader | ClientReason::Unknown
    );
    ruling.exempt || trusted
}

/// Who counts as one client: an IPv4 address, or an IPv6 /64.
fn client_bits(address: IpAddr) -> u128 {
    match canonical_address(address) {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64,
    }
}

/// The limit of clients with limited reputation, for all services together.
const LIMITED: LimitId = LimitId(0x6c69_6d69_7465_6400);
/// When a request in progress may have ended, nobody knows.
const CONCURRENT_RETRY: Duration = Duration::from_secs(1);
const NS_A_MS: u64 = 1_000_000;
