//! What one core judges and learns from, and what it remembers, with a million sources in play.

use std::{
    fmt::Write as _,
    fs,
    hint::black_box,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use edgeward::policy::{
    defence::{Defence, Judged, Settings as DefenceSettings},
    signal::{Flow, Outcome, PseudonymKey, Signal},
};
use lab::{Result, traffic};

use crate::{
    settings::Settings,
    stats::{entries, median, quantile},
    sys,
    targets::Target,
};

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    sources: usize,
    /// Signals a second while every source comes for the first time, of each chunk.
    first: Vec<f64>,
    /// The same once all of them are known, any of them next.
    known: Vec<f64>,
    /// The same for traffic of 5,000 people and attacks on them.
    lived: Vec<f64>,
    /// Growth of the resident memory of the process.
    bytes: u64,
}

impl Signals {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        let sources = if settings.quick { 50_000 } else { 1_000_000 };
        std::thread::scope(|scope| {
            let run = || {
                sys::settle_on(settings.cpu)?;
                Self::run(sources, settings.rounds)
            };
            scope
                .spawn(run)
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run(sources: usize, rounds: usize) -> Result<Self> {
        eprintln!("detection: signals of {} sources", entries(sources));
        let lived = (0..rounds).map(|_| lived()).collect::<Vec<_>>();
        let mut world = World::new(sources);
        let mut chunk = Vec::with_capacity(CHUNK);
        // Touched before memory is looked at.
        world.random(&mut chunk);
        let before = resident()?;
        let mut defence = Defence::new(DefenceSettings::default());
        let mut first = Vec::new();
        for from in (0..sources).step_by(CHUNK) {
            world.each_once(from, &mut chunk);
            first.push(rate(&mut defence, &chunk));
        }
        let mut known = Vec::new();
        for _ in 0..rounds.saturating_mul(5) {
            world.random(&mut chunk);
            known.push(rate(&mut defence, &chunk));
        }
        let bytes = resident()?.saturating_sub(before);
        black_box(&defence);
        Ok(Self {
            sources,
            first,
            known,
            lived,
            bytes,
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let sources = entries(self.sources);
        vec![
            Target::at_least(
                format!("signals a second on one core, {sources} sources in play"),
                500_000.0,
                median(&self.known),
                thousands,
            ),
            Target::at_most(
                format!("memory of a tracked source, all tables, {sources} of them"),
                200.0,
                self.each(),
                |bytes| format!("{bytes:.0} bytes"),
            ),
        ]
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        let _infallible = writeln!(text, "{HEAD}");
        let sources = entries(self.sources);
        for (what, rates) in [
            (
                format!("{sources} sources, each for the first time"),
                &self.first,
            ),
            (
                format!("{sources} sources known, any of them next"),
                &self.known,
            ),
            (
                "a week of 5,000 people, and attacks on them".to_owned(),
                &self.lived,
            ),
        ] {
            let _infallible = writeln!(
                text,
                "| {what} | {} | {}–{} | {:.2} µs |",
                thousands(median(rates)),
                thousands(quantile(rates, 0.0)),
                thousands(quantile(rates, 1.0)),
                1e6 / median(rates),
            );
        }
        let _infallible = writeln!(
            text,
            "\nMemory of all tables with {sources} sources: {:.0} bytes for each, by the growth of the process's resident memory \
             (VmRSS) from before the first signal.",
            self.each()
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "shown as a whole number")]
    fn each(&self) -> f64 {
        self.bytes as f64 / self.sources as f64
    }
}

/// Everybody who signs in, as many as there are sources.
struct World {
    sources: usize,
    random: u64,
    key: PseudonymKey,
    time_ms: u64,
    agents: Vec<edgeward::policy::signal::Pseudonym>,
}

impl World {
    fn new(sources: usize) -> Self {
        let key = PseudonymKey::new(7, 8);
        let agent = |number: usize| key.agent(format!("browser {number}").as_bytes(), b"/login");
        Self {
            sources,
            random: 1,
            key: key.clone(),
            time_ms: traffic::START_MS,
            agents: (0..200).map(agent).collect(),
        }
    }

    /// Sources from here on, in the order of their numbers; their addresses have none.
    fn each_once(&mut self, from: usize, chunk: &mut Vec<Signal>) {
        chunk.clear();
        for number in from..self.sources.min(from.saturating_add(CHUNK)) {
            let signal = self.signal(number);
            chunk.push(signal);
        }
    }

    /// Any sources.
    fn random(&mut self, chunk: &mut Vec<Signal>) {
        chunk.clear();
        for _ in 0..CHUNK {
            let number = self.below(self.sources);
            let signal = self.signal(number);
            chunk.push(signal);
        }
    }

    /// One sign-in of a source: nine of ten succeed; one source of a hundred attacks.
    fn signal(&mut self, number: usize) -> Signal {
        // A day for ten million.
        self.time_ms += 8;
        let attacks = number.is_multiple_of(100);
        let user = if attacks { self.below(1 << 30) } else { number };
        let luck = self.below(100);
        let outcome = match (attacks, luck) {
            (true, 0..50) => Outcome::UnknownUser,
            (true, _) | (false, 0..10) => Outcome::Failure,
            (false, _) => Outcome::Success,
        };
        // Half of the people have one of five browsers.
        let kinds = if luck.is_multiple_of(2) {
            5
        } else {
            self.agents.len()
        };
        let agent = self.below(kinds);
        Signal {
            time_ms: self.time_ms,
            client: address(number),
            service: 0,
            flow: Flow::SignIn,
            outcome,
            user: Some(self.key.user(&user.to_le_bytes())),
            agent: self.agents.get(agent).copied(),
            asn: None,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random = mix(self.random);
        usize::try_from(self.random >> 20).unwrap_or(0) % bound.max(1)
    }
}

/// The address of a source: of two, one is IPv6.
fn address(number: usize) -> IpAddr {
    let bits = mix(number as u64 ^ 0x5eed);
    if bits & 1 == 0 {
        let [_, a, b, c, d, ..] = bits.to_be_bytes();
        IpAddr::from([a % 200 + 1, b, c, d])
    } else {
        let network = 0x2a00_u128 << 112 | u128::from(bits >> 20) << 64;
        IpAddr::V6(Ipv6Addr::from(network | 1))
    }
}

const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Signals a second of a chunk, judged and learned from.
fn rate(defence: &mut Defence, signals: &[Signal]) -> f64 {
    let begin = Instant::now();
    for signal in signals {
        if !matches!(defence.judge(signal), Judged::Refused(_)) {
            black_box(defence.learn(signal));
        }
    }
    per_second(signals.len(), begin.elapsed())
}

/// The same for generated traffic.
fn lived() -> f64 {
    let attempts = traffic::generate(&traffic::Parameters::default());
    let signals: Vec<Signal> = attempts
        .iter()
        .map(|attempt| traffic::measure::seen(attempt, traffic::measure::View::Requests))
        .collect();
    rate(&mut Defence::new(DefenceSettings::default()), &signals)
}

#[expect(clippy::cast_precision_loss, reason = "some millions")]
fn per_second(count: usize, taken: Duration) -> f64 {
    count as f64 / taken.as_secs_f64()
}

/// VmRSS of this process, bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.context("no VmRSS")?.parse()?;
    Ok(kilobytes * 1_024)
}

fn thousands(rate: f64) -> String {
    format!("{:.0} k", rate / 1e3)
}

/// Signals made ahead and timed together.
const CHUNK: usize = 100_000;

const HEAD: &str = "
## Signals

`Defence::judge` and, where it lets the attempt on, `Defence::learn`, as the agent runs them for every signal, on one
core. Signals are made before the clock starts. One source of a hundred attacks; half of the sources are IPv6.

| Signals of | a second | lowest–highest | each |
|---|---|---|---|";
