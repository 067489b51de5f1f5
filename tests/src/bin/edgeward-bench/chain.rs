//! Nanoseconds to read a chain and judge its client, as the gate does for each proxied request: against 100,000 listed
//! prefixes of a family, beside two ways that one might write first.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Instant;

use anyhow::ensure;
use edgeward::config::{Config, Header, List, Networks, Service, Uses, Zone};
use edgeward::policy::{
    chain::Forwarding, clock::Now, explain::Judged, mode::Mode, request::RequestFacts,
    snapshot::Snapshot,
};
use ipnet::IpNet;
use lab::Result;

use crate::settings::Settings;
use crate::stats::{entries, median, quantile};
use crate::sys;
use crate::targets::Target;
use crate::traffic::Family;

/// One line of the table; times of one request in ns, one for each round.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    family: Family,
    header: Header,
    /// The client is listed.
    listed: bool,
    ours: Vec<f64>,
    hashed: f64,
    looped: f64,
}

/// Measures both families, both lists as headers, listed and unlisted clients.
pub(crate) fn measure(settings: &Settings) -> Result<Vec<Chain>> {
    thread::scope(|scope| {
        let all = || {
            sys::settle_on(settings.cpu)?;
            let mut chains = Vec::new();
            for family in Family::ALL {
                let world = World::new(family);
                for header in [Header::XForwardedFor, Header::Forwarded] {
                    for listed in [false, true] {
                        eprintln!("chain: {} {header} {listed}", family.name());
                        chains.push(world.measure(settings, header, listed)?);
                    }
                }
            }
            Ok(chains)
        };
        scope
            .spawn(all)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The table.
pub(crate) fn markdown(text: &mut String, chains: &[Chain]) {
    if chains.is_empty() {
        return;
    }
    let _ = writeln!(text, "{CHAINS}");
    for chain in chains {
        let ours = median(&chain.ours);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {ours:.0} ns | {:.0}–{:.0} ns | {:.0} ns ({:.1} ×) | {:.0} µs ({:.0} ×) |",
            chain.family.name(),
            chain.header,
            if chain.listed { "listed" } else { "unlisted" },
            quantile(&chain.ours, 0.0),
            quantile(&chain.ours, 1.0),
            chain.hashed,
            chain.hashed / ours,
            chain.looped / 1e3,
            chain.looped / ours,
        );
    }
}

/// At most a microsecond.
pub(crate) fn targets(chains: &[Chain]) -> Vec<Target> {
    let target = |chain: &Chain| {
        let client = if chain.listed { "listed" } else { "unlisted" };
        let what = format!(
            "{}, {} of {HOPS} hops read and judged, {client} client, {} prefixes",
            chain.family.name(),
            chain.header,
            entries(PREFIXES)
        );
        Target::at_most(what, 1_000.0, median(&chain.ours), |ns| {
            format!("{ns:.0} ns")
        })
    };
    chains.iter().map(target).collect()
}

/// Prefixes listed, proxies trusted, and requests from many clients.
struct World {
    family: Family,
    listed: Vec<IpNet>,
    trusted: Vec<IpNet>,
    snapshot: Snapshot,
    listed_set: Hashed,
    trusted_set: Hashed,
}

/// Networks by hash, one look-up for each length that occurs.
struct Hashed {
    networks: HashSet<IpNet>,
    lengths: Vec<u8>,
}

impl World {
    fn new(family: Family) -> Self {
        let mut random = Random(match family {
            Family::V4 => 0x5eed_0004,
            Family::V6 => 0x5eed_0006,
        });
        let mut listed = BTreeSet::new();
        while listed.len() < PREFIXES {
            listed.insert(random.network(family));
        }
        let listed: Vec<IpNet> = listed.into_iter().collect();
        let trusted: Vec<IpNet> = (0..PROXIES).map(|index| proxies(family, index)).collect();
        let config = Config {
            mode: Mode::Block,
            zones: vec![Zone {
                name: "cdn".to_owned(),
                uses: Uses::TRUSTED_PROXY,
                networks: Networks::from_networks(trusted.iter().copied()),
            }],
            lists: vec![List {
                name: "bench".to_owned(),
                score: 100,
                reason: "bench".to_owned(),
                networks: Networks::from_networks(listed.iter().copied()),
            }],
            ..Config::default()
        };
        let service = |header| Service {
            name: header_name(header),
            header,
            ..Service::default()
        };
        let config = Config {
            services: vec![service(Header::XForwardedFor), service(Header::Forwarded)],
            ..config
        };
        Self {
            family,
            snapshot: Snapshot::of_config(&config, Now::default()),
            listed_set: Hashed::new(&listed),
            trusted_set: Hashed::new(&trusted),
            listed,
            trusted,
        }
    }

    fn measure(&self, settings: &Settings, header: Header, listed: bool) -> Result<Chain> {
        let mut random = Random(0x5eed_0001);
        let requests: Vec<(IpAddr, String)> = (0..REQUESTS)
            .map(|_| self.request(&mut random, header, listed))
            .collect();
        let rounds = settings.rounds * 10;
        let mut ours = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let begin = Instant::now();
            let mut refused = 0;
            for (peer, line) in &requests {
                refused += usize::from(self.judged(header, *peer, line));
            }
            ours.push(nanoseconds(begin, requests.len()));
            ensure!(
                refused == if listed { requests.len() } else { 0 },
                "{refused} refused"
            );
        }
        let one_by_one = |judge: &dyn Fn(IpAddr, &str) -> bool, count: usize| -> Result<f64> {
            let mut times = Vec::new();
            for _ in 0..settings.rounds {
                let begin = Instant::now();
                for (peer, line) in requests.iter().take(count) {
                    ensure!(black_box(judge(*peer, line)) == listed, "{peer} {line}");
                }
                times.push(nanoseconds(begin, count));
            }
            Ok(median(&times))
        };
        let in_list =
            |networks: &[IpNet], address| networks.iter().any(|net| net.contains(&address));
        let hashed = |peer, line: &str| {
            let trusted = |address| self.trusted_set.contains(address);
            client(peer, line, header, trusted).is_some_and(|it| self.listed_set.contains(it))
        };
        let looped = |peer, line: &str| {
            let trusted = |address| in_list(&self.trusted, address);
            client(peer, line, header, trusted).is_some_and(|it| in_list(&self.listed, it))
        };
        Ok(Chain {
            family: self.family,
            header,
            listed,
            ours,
            hashed: one_by_one(&hashed, REQUESTS)?,
            looped: one_by_one(&looped, LOOPED)?,
        })
    }

    /// Whether the gate would refuse the request.
    fn judged(&self, header: Header, peer: IpAddr, line: &str) -> bool {
        let facts = RequestFacts {
            service: usize::from(header == Header::Forwarded),
            peer,
            path: "/login",
            user_agent: None,
            sign_in: None,
        };
        let lines = [line.as_bytes()].into_iter();
        let forwarding = Forwarding::Lines(header, lines);
        let ruling = self.snapshot.judge(&facts, forwarding, Now::default());
        black_box(&ruling).verdict == Judged::Deny
    }

    /// A peer and a header of five hops: the client and four proxies.
    fn request(&self, random: &mut Random, header: Header, listed: bool) -> (IpAddr, String) {
        let client = loop {
            let client = match listed {
                true => {
                    let network = random.pick(&self.listed);
                    within(random, network)
                }
                false => random.address(self.family),
            };
            if listed || !self.listed_set.contains(client) {
                break client;
            }
        };
        let mut hops = vec![client];
        for _ in 1..=HOPS {
            let zone = random.pick(&self.trusted);
            hops.push(within(random, zone));
        }
        let peer = hops.pop().unwrap_or(client);
        let hops: Vec<String> = hops.into_iter().map(|hop| spelled(header, hop)).collect();
        (peer, hops.join(", "))
    }
}

impl Hashed {
    fn new(networks: &[IpNet]) -> Self {
        let lengths: BTreeSet<u8> = networks.iter().map(IpNet::prefix_len).collect();
        Self {
            networks: networks.iter().copied().collect(),
            lengths: lengths.into_iter().rev().collect(),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.lengths.iter().any(|length| {
            let network = IpNet::new(address, *length);
            network.is_ok_and(|network| self.networks.contains(&network.trunc()))
        })
    }
}

/// The walk as one would write it first: split, parse by the standard library, from the right.
fn client(
    peer: IpAddr,
    line: &str,
    header: Header,
    trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut client = peer;
    if !trusted(client) {
        return Some(client);
    }
    for hop in line.rsplit(',') {
        let text = match header {
            Header::Forwarded => hop.trim().strip_prefix("for=")?.trim_matches('"'),
            _ => hop.trim(),
        };
        client = text.trim_matches(['[', ']']).parse().ok()?;
        if !trusted(client) {
            break;
        }
    }
    Some(client)
}

fn spelled(header: Header, hop: IpAddr) -> String {
    match (header, hop) {
        (Header::Forwarded, IpAddr::V6(hop)) => format!("for=\"[{hop}]\""),
        (Header::Forwarded, hop) => format!("for={hop}"),
        _ => hop.to_string(),
    }
}

fn header_name(header: Header) -> String {
    header.name().to_owned()
}

/// One of the networks of the proxies.
fn proxies(family: Family, index: u32) -> IpNet {
    let address = match family {
        Family::V4 => IpAddr::from(Ipv4Addr::from(10 << 24 | index << 12)),
        Family::V6 => IpAddr::from(Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(index) << 80)),
    };
    let length = if family == Family::V4 { 20 } else { 48 };
    IpNet::new(address, length).unwrap_or_default()
}

/// Some address of a network.
fn within(random: &mut Random, network: IpNet) -> IpAddr {
    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
    match network {
        IpNet::V4(net) => {
            let host = u32::from(net.hostmask()) & u32::try_from(bits >> 96).unwrap_or(0);
            Ipv4Addr::from(u32::from(net.network()) | host).into()
        }
        IpNet::V6(net) => {
            Ipv6Addr::from(u128::from(net.network()) | u128::from(net.hostmask()) & bits).into()
        }
    }
}

/// Xorshift64: the same figures on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let index = usize::try_from(self.next() >> 16).unwrap_or(0) % from.len().max(1);
        from.get(index).copied().unwrap_or_default()
    }

    /// Anywhere but among the proxies: 11.0.0.0 to 223.255.255.255, 2000::/4.
    fn address(&mut self, family: Family) -> IpAddr {
        match family {
            Family::V4 => loop {
                let address = Ipv4Addr::from(u32::try_from(self.next() >> 32).unwrap_or(0));
                if (11..224).contains(&(u32::from(address) >> 24)) {
                    return address.into();
                }
            },
            Family::V6 => {
                let bits = u128::from(self.next()) << 64 | u128::from(self.next());
                Ipv6Addr::from(bits >> 4 | 2 << 124).into()
            }
        }
    }

    /// Hosts and networks as lists have them.
    fn network(&mut self, family: Family) -> IpNet {
        let lengths: &[u8] = match family {
            Family::V4 => &[32, 32, 32, 32, 24, 24, 22, 20, 27, 29],
            Family::V6 => &[128, 128, 64, 64, 64, 56, 48, 48, 40, 44],
        };
        let length = self.pick(lengths);
        let network = IpNet::new(self.address(family), length);
        network.unwrap_or_default().trunc()
    }
}

fn nanoseconds(begin: Instant, count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = count as f64;
    begin.elapsed().as_secs_f64() * 1e9 / count
}

const PREFIXES: usize = 100_000;
const PROXIES: u32 = 200;
const HOPS: usize = 5;
/// Requests of a round, each with addresses of its own.
const REQUESTS: usize = 4_096;
/// Requests that a loop over all prefixes is given.
const LOOPED: usize = 64;

const CHAINS: &str = "
## A chain read and judged

One forwarding header with the client and four proxies (200 trusted networks), read from the right, and the client
judged against 100 k listed prefixes of its family, hosts and networks: what the gate asks for each proxied request.
4,096 requests, each with other addresses. *By hash*: split and parsed by the standard library, a hash set asked once for
each prefix length. *By loop*: the same over all prefixes.

| Family | Header | Client | Edgeward | lowest–highest | by hash | by loop |
|---|---|---|---|---|---|---|";
