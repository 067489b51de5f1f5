//! The tasks: when each is open, and what it says then.

use ipnet::IpNet;

use super::{Facts, Severity};
use crate::policy::mode::Mode;

/// One task.
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    /// What should be the case.
    pub(super) title: &'static str,
    /// What is to be done; nothing if all is well.
    pub(super) look: fn(&Facts) -> Option<Open>,
}

/// What an open task says.
#[derive(Default)]
pub(super) struct Open {
    /// If it is not the task's own.
    pub(super) severity: Option<Severity>,
    pub(super) evidence: String,
    pub(super) filter: Option<String>,
    pub(super) fix: String,
}

impl Open {
    fn new(evidence: impl Into<String>, fix: impl Into<String>) -> Option<Self> {
        Some(Self {
            evidence: evidence.into(),
            fix: fix.into(),
            ..Self::default()
        })
    }

    /// One sentence for each of several things, if there are any.
    fn each(sentences: Vec<String>, fix: impl Into<String>) -> Option<Self> {
        if sentences.is_empty() {
            return None;
        }
        let more = sentences.len().saturating_sub(SHOWN_MAX);
        let mut shown: Vec<String> = sentences.into_iter().take(SHOWN_MAX).collect();
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        Self::new(shown.join("; "), fix)
    }

    fn at(self, severity: Severity) -> Self {
        Self {
            severity: Some(severity),
            ..self
        }
    }

    fn seen_by(self, filter: impl Into<String>) -> Self {
        Self {
            filter: Some(filter.into()),
            ..self
        }
    }
}

macro_rules! checks {
    ($($severity:ident $id:literal $title:literal $look:ident;)*) => {
        pub(super) const CHECKS: &[Check] = &[
            $(Check { id: $id, severity: Severity::$severity, title: $title, look: $look }),*
        ];
    };
}

checks! {
    Critical "mode" "Attackers are refused: the mode is block" mode;
    High "log-mode-long" "Log mode ends when block mode would hit nobody" log_mode_long;
    High "kernel-differs" "The kernel holds what it should" kernel_differs;
    High "interface-detached" "Every interface is guarded" interface_detached;
    Low "interface-generic" "Packets are judged in the driver" interface_generic;
    High "exempt-wide" "Exempt zones are narrow" exempt_wide;
    High "exempt-attackers" "No attacker is exempt" exempt_attackers;
    Low "exempt-unused" "Exempt zones are used" exempt_unused;
    High "proxy-no-client" "Trusted proxies name the client" proxy_no_client;
    Moderate "proxy-untrusted" "Whoever forwards sign-ins is known" proxy_untrusted;
    Moderate "around-proxies" "Services behind proxies cannot be reached around them" around_proxies;
    Moderate "unknown-clients" "Clients can be read" unknown_clients;
    Moderate "feed-stale" "Feeds are fresh" feed_stale;
    Moderate "stream-lag" "Streams deliver" stream_lag;
    Low "stream-none" "Events leave the host" stream_none;
    High "journal-failing" "The System Log can be written" journal_failing;
    Moderate "journal-short" "The System Log keeps events as long as it should" journal_short;
    Moderate "table-full" "The kernel's tables have room" table_full;
    Moderate "token-old" "Tokens are renewed" token_old;
    Low "token-broad" "Tokens allow what their user needs" token_broad;
    High "files-open" "Files and sockets are for those who need them" files_open;
    Moderate "certificates" "Certificates hold" certificates;
    Moderate "clock" "The clock is synchronised" clock;
}

fn mode(facts: &Facts) -> Option<Open> {
    let fix = "edgeward mode block --confirm-within 5m";
    let open = match facts.mode? {
        Mode::Block => return None,
        Mode::Off => Open::new("the mode is off: nothing is judged", fix)?,
        Mode::Log => Open::new(
            "the mode is log: what would be refused is only told",
            format!("edgeward report impact; {fix}"),
        )?
        .at(Severity::Moderate),
    };
    Some(open.seen_by("eventType eq \"security.threat.configuration.update\""))
}

fn log_mode_long(facts: &Facts) -> Option<Open> {
    let days = facts.now_ms.saturating_sub(facts.mode_since_ms) / DAY_MS;
    let safe = facts.block_mode.as_deref() == Some("safe");
    if facts.mode? != Mode::Log || days < LOG_DAYS_MAX || !safe {
        return None;
    }
    let open = Open::new(
        format!("log mode for {days} days, and `edgeward report impact` finds block mode safe"),
        "edgeward mode block --confirm-within 5m",
    )?;
    Some(open.seen_by("outcome.result eq \"ALLOW\" and eventType eq \"security.threat.detected\""))
}

fn kernel_differs(facts: &Facts) -> Option<Open> {
    let verified = facts.verified.as_ref()?;
    if verified.differences == 0 {
        return None;
    }
    let first = &verified.first;
    Open::new(
        format!("{} differences, the first: {first}", verified.differences),
        "edgeward verify; edgeward reload",
    )
}

fn interface_detached(facts: &Facts) -> Option<Open> {
    let names = interfaces(facts, "detached");
    let sentences = names.map(|name| format!("{name} is not guarded")).collect();
    Open::each(sentences, "edgeward status; edgeward reload")
}

fn interface_generic(facts: &Facts) -> Option<Open> {
    let names = interfaces(facts, "generic");
    let sentences = names
        .map(|name| format!("{name} is attached in generic mode, where packets cost more"))
        .collect();
    Open::each(
        sentences,
        "a driver with XDP (docs/kernels.md); on virtual machines, more queues: ethtool -L IF combined N",
    )
}

fn interfaces<'a>(facts: &'a Facts, attached: &'a str) -> impl Iterator<Item = &'a str> {
    let found = facts.interfaces.iter();
    found
        .filter(move |interface| interface.attached == attached)
        .map(|interface| interface.name.as_str())
}

fn exempt_wide(facts: &Facts) -> Option<Open> {
    let wide = |network: &IpNet| match network {
        IpNet::V4(network) => network.prefix_len() < WIDE_V4,
        IpNet::V6(network) => network.prefix_len() < WIDE_V6,
    };
    let zones = facts.zones.iter().filter(|zone| zone.exempt);
    let sentences = zones.filter_map(|zone| {
        let widest = zone.widest.filter(wide)?;
        Some(format!("the zone {} exempts {widest}", zone.name))
    });
    Open::each(
        sentences.collect(),
        "name the offices and monitors themselves in [[zone]] networks",
    )
}

fn exempt_attackers(facts: &Facts) -> Option<Open> {
    let overlaps = facts.overlaps.iter();
    let sentences = overlaps.map(|overlap| {
        format!(
            "{} ({}) is in the exempt zone {}",
            overlap.prefix, overlap.reason, overlap.zone
        )
    });
    let open = Open::each(
        sentences.collect(),
        "edgeward list; take these addresses out of the zone, or the entry out of where it comes from",
    )?;
    let first = facts.overlaps.first()?;
    let filter = format!("client.ipAddress eq \"{}\"", first.prefix.addr());
    Some(open.seen_by(filter))
}

fn exempt_unused(facts: &Facts) -> Option<Open> {
    let mut zones = facts.zones.iter().filter(|zone| zone.exempt).peekable();
    zones.peek()?;
    if facts.exempt_seen > 0 || facts.uptime_ms < UNUSED_DAYS_MIN * DAY_MS {
        return None;
    }
    let names: Vec<&str> = zones.map(|zone| zone.name.as_str()).collect();
    Open::new(
        format!("nobody came from an exempt zone ({})", names.join(", ")),
        "remove what is not needed from [[zone]]",
    )
}

fn proxy_no_client(facts: &Facts) -> Option<Open> {
    let silent = facts.forwarders.iter().filter(|one| {
        let mostly = one.no_header.saturating_mul(2) > one.requests;
        one.trusted && one.requests >= FORWARDED_MIN && mostly
    });
    let sentences: Vec<String> = silent
        .clone()
        .map(|one| {
            format!(
                "{} named no client in {} of {} requests",
                one.address, one.no_header, one.requests
            )
        })
        .collect();
    let first = silent.map(|one| one.address).next();
    let open = Open::each(
        sentences,
        "let the proxy set the header that [[service]] header names (docs/proxies.md); `edgeward report proxies`",
    )?;
    Some(open.seen_by(format!("client.ipAddress eq \"{}\"", first?)))
}

fn proxy_untrusted(facts: &Facts) -> Option<Open> {
    let unknown = facts
        .forwarders
        .iter()
        .filter(|one| !one.trusted && one.sign_ins >= FORWARDED_MIN);
    let sentences: Vec<String> = unknown
        .clone()
        .map(|one| {
            format!(
                "{} forwarded {} sign-ins and is no trusted proxy",
                one.address, one.sign_ins
            )
        })
        .collect();
    let first = unknown.map(|one| one.address).next();
    let open = Open::each(
        sentences,
        "if it is yours, name it in a [[zone]] with uses = [\"trusted-proxy\"]; `edgeward report proxies`",
    )?;
    Some(open.seen_by(format!("client.ipAddress eq \"{}\"", first?)))
}

fn around_proxies(facts: &Facts) -> Option<Open> {
    let has_proxies = facts.zones.iter().any(|zone| zone.trusted_proxy);
    let open = facts
        .services
        .iter()
        .filter(|service| has_proxies && service.proxied && !service.restricted);
    let sentences = open.map(|service| {
        format!(
            "{} is behind proxies, and anybody may connect to it directly",
            service.name
        )
    });
    Open::each(
        sentences.collect(),
        "restricted = true in the [[service]]; who has to reach it directly goes into a [[zone]] with uses = \
         [\"allowed-origin\"]. First look at `edgeward report origins` in log mode",
    )
}

fn unknown_clients(facts: &Facts) -> Option<Open> {
    let too_many = facts.unknown_clients.saturating_mul(100) > facts.requests;
    if facts.requests < UNKNOWN_MIN || !too_many {
        return None;
    }
    let open = Open::new(
        format!(
            "of {} proxied requests the client of {} could not be read",
            facts.requests, facts.unknown_clients
        ),
        "edgeward report proxies names the proxy; correct its header, or [[service]] header",
    )?;
    Some(open.seen_by("eventType eq \"security.request.client_unknown\""))
}

fn feed_stale(facts: &Facts) -> Option<Open> {
    let sentences = facts.feeds.iter().filter_map(|feed| {
        let silent_ms = facts.now_ms.saturating_sub(feed.heard_ms?);
        let late = silent_ms > feed.every_ms.saturating_mul(3).max(DAY_MS);
        if late {
            let hours = silent_ms / HOUR_MS;
            return Some(format!("{} was last heard of {hours} hours ago", feed.name));
        }
        feed.failing
            .then(|| format!("{} cannot be had or is not believed", feed.name))
    });
    let never = facts.feeds.iter().filter(|feed| feed.heard_ms.is_none());
    let never = never
        .filter(|feed| feed.failing)
        .map(|feed| format!("{} was never heard of", feed.name));
    let open = Open::each(sentences.chain(never).collect(), "edgeward feed list")?;
    Some(open.seen_by("eventType eq \"feed.failed\" or eventType eq \"feed.refused\""))
}

fn stream_lag(facts: &Facts) -> Option<Open> {
    let streams = facts.streams.iter().filter(|stream| !stream.off);
    let sentences: Vec<String> = streams
        .filter(|stream| stream.failing || stream.lag_ms > LAG_MS_MAX)
        .map(|stream| {
            let why = stream.error.as_deref().unwrap_or("it is slow");
            let seconds = stream.lag_ms / 1_000;
            format!("{} is {seconds} s behind: {why}", stream.name)
        })
        .collect();
    let open = Open::each(sentences, "edgeward stream list; edgeward stream test NAME")?;
    Some(open.seen_by("eventType eq \"system.log_stream.fail\""))
}

fn stream_none(facts: &Facts) -> Option<Open> {
    if facts.streams.iter().any(|stream| !stream.off) {
        return None;
    }
    Open::new(
        "no stream takes events to a SIEM: whoever takes the host over can remove its log",
        "[[stream]] (docs/streams.md)",
    )
}

fn journal_failing(facts: &Facts) -> Option<Open> {
    let why = facts.journal.failing.as_ref()?;
    let open = Open::new(
        format!("the System Log cannot be written: {why}"),
        "make room on the disk of state_dir",
    )?;
    Some(open.seen_by("eventType eq \"system.log.gap\""))
}

fn journal_short(facts: &Facts) -> Option<Open> {
    let journal = &facts.journal;
    let full = journal.bytes.saturating_mul(10) > journal.bytes_max.saturating_mul(9);
    let kept_ms = facts.now_ms.saturating_sub(journal.oldest_ms);
    if !full || journal.oldest_ms == 0 || kept_ms.saturating_mul(10) > journal.retention_ms * 9 {
        return None;
    }
    Open::new(
        format!(
            "the System Log has {} of {} bytes and reaches back {} days of {}",
            journal.bytes,
            journal.bytes_max,
            kept_ms / DAY_MS,
            journal.retention_ms / DAY_MS
        ),
        "raise [journal] bytes_max, lower retention, or add a [[stream]]",
    )
}

fn table_full(facts: &Facts) -> Option<Open> {
    let full = facts.tables.iter().filter(|table| {
        table.displaced > 0 || table.used.saturating_mul(10) > table.max.saturating_mul(9)
    });
    let sentences = full.map(|table| {
        format!(
            "{} has {} of {} entries, {} had no room",
            table.name, table.used, table.max, table.displaced
        )
    });
    Open::each(
        sentences.collect(),
        "raise [capacity] and start the agent again; shorten feeds and lists",
    )
}

fn token_old(facts: &Facts) -> Option<Open> {
    let old = facts.tokens.iter();
    let sentences = old
        .filter(|token| token.age_ms > TOKEN_DAYS_MAX * DAY_MS)
        .map(|token| format!("{} is {} days old", token.name, token.age_ms / DAY_MS));
    Open::each(
        sentences.collect(),
        "edgeward token new NAME --scope …, hand it over, and remove the old one from [[api.token]]",
    )
}

fn token_broad(facts: &Facts) -> Option<Open> {
    let broad = facts.tokens.iter().filter(|token| token.everything);
    let sentences = broad.map(|token| format!("{} may do everything", token.name));
    Open::each(
        sentences.collect(),
        "name fewer scopes in [[api.token]]: a SIEM needs okta.logs.read alone",
    )
}

fn files_open(facts: &Facts) -> Option<Open> {
    let fixes = facts.open_files.iter().map(|(_, fix)| fix.as_str());
    let mut fixes: Vec<&str> = fixes.take(SHOWN_MAX).collect();
    fixes.dedup();
    let sentences = facts.open_files.iter().map(|(what, _)| what.clone());
    Open::each(sentences.collect(), fixes.join("; "))
}

fn certificates(facts: &Facts) -> Option<Open> {
    let found = facts.certificates.iter();
    let sentences = found.map(|one| format!("{} {}", one.file, one.what));
    let open = Open::each(sentences.collect(), "renew it, then `edgeward reload`")?;
    let expired = facts.certificates.iter().any(|one| one.expired);
    Some(if expired {
        open.at(Severity::High)
    } else {
        open
    })
}

fn clock(facts: &Facts) -> Option<Open> {
    if facts.clock_synchronised? {
        return None;
    }
    Open::new(
        "the kernel says that its clock follows no other: times of events, ends of decisions from other hosts and \
         certificates are judged by it",
        "timedatectl set-ntp true, or chrony",
    )
}

/// Things that one task names.
const SHOWN_MAX: usize = 5;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Log mode for longer is for no reason if block mode is safe.
const LOG_DAYS_MAX: u64 = 7;
/// Shorter prefixes are more than an organisation's own.
const WIDE_V4: u8 = 16;
const WIDE_V6: u8 = 32;
/// Before that nobody can be missed.
const UNUSED_DAYS_MIN: u64 = 7;
/// Requests from which on an address is told.
const FORWARDED_MIN: u64 = 20;
/// Requests from which on a share says something.
const UNKNOWN_MIN: u64 = 100;
/// A stream that is further behind lags.
const LAG_MS_MAX: u64 = 300_000;
/// A token is renewed at least so often.
const TOKEN_DAYS_MAX: u64 = 365;
