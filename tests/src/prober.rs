//! Continuous probing in the background, while a test changes what the kernel enforces.
//!
//! UDP probes are numbered packets that a receiver on the login host ticks off; TCP probes are connection attempts.
//! Senders never catch up on lost time: a burst would overflow a veth ring and look like a drop.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::Result;
use crate::host::Host;
use crate::network::Lab;
use crate::tally::{Fate, Ledger, Mark, Tally};

/// One stream of probes from a source to a port of the login host.
#[derive(Debug, Clone)]
pub struct Probe {
    name: String,
    host: Host,
    source: IpAddr,
    port: u16,
    kind: Kind,
    interval: Duration,
}

/// Running probes. Dropping it stops them.
#[derive(Debug)]
pub struct Prober {
    names: Vec<String>,
    ledgers: Vec<Arc<Ledger>>,
    stop_senders: Arc<AtomicBool>,
    stop_receivers: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    receivers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Udp,
    Tcp,
}

impl Probe {
    /// Numbered UDP packets from `source` (any address routed to `host`) to a UDP port that nothing else has.
    #[must_use]
    pub fn udp(name: &str, host: &Host, source: IpAddr, port: u16) -> Self {
        Self::new(name, host, source, port, Kind::Udp)
    }

    /// Connection attempts, one after the other, to a TCP port where something listens (such as the site).
    ///
    /// An attempt that is dropped takes [`ATTEMPT_MAX`], so that a blocked source makes about one a second.
    #[must_use]
    pub fn tcp(name: &str, host: &Host, source: IpAddr, port: u16) -> Self {
        Self::new(name, host, source, port, Kind::Tcp)
    }

    /// Probes a second at most, 1 to 2,000; 500 for UDP and 50 for TCP unless set.
    #[must_use]
    pub fn per_second(mut self, rate: u32) -> Self {
        self.interval = Duration::from_secs(1) / rate.clamp(1, RATE_MAX);
        self
    }

    fn new(name: &str, host: &Host, source: IpAddr, port: u16, kind: Kind) -> Self {
        let interval = Duration::from_secs(1) / if kind == Kind::Udp { 500 } else { 50 };
        Self {
            name: name.to_owned(),
            host: host.clone(),
            source,
            port,
            kind,
            interval,
        }
    }
}

impl Prober {
    /// Starts all probes. They end by themselves after ten minutes or a million packets each.
    ///
    /// # Errors
    /// When a socket cannot be opened, such as a port that is taken.
    pub fn start(lab: &Lab, probes: &[Probe]) -> Result<Self> {
        let mut prober = Self {
            names: probes.iter().map(|probe| probe.name.clone()).collect(),
            ledgers: probes.iter().map(|_| Arc::default()).collect(),
            stop_senders: Arc::default(),
            stop_receivers: Arc::default(),
            senders: Vec::new(),
            receivers: Vec::new(),
        };
        let ports: BTreeSet<_> = probes
            .iter()
            .filter(|probe| probe.kind == Kind::Udp)
            .map(|probe| (probe.source.is_ipv4(), probe.port))
            .collect();
        for (is_v4, port) in ports {
            let any: IpAddr = if is_v4 {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            prober.receive_on(lab, SocketAddr::new(any, port))?;
        }
        for (index, probe) in probes.iter().enumerate() {
            let target = SocketAddr::new(lab.login.address_like(probe.source), probe.port);
            prober.send(index, probe, target)?;
        }
        Ok(prober)
    }

    /// The present moment, between what was surely sent before it and what surely will be after.
    ///
    /// Takes 20 ms: a packet that was in flight at the moment belongs to neither side.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let before = self
            .ledgers
            .iter()
            .map(|ledger| ledger.done_count())
            .collect();
        thread::sleep(MARK_MARGIN);
        let after = self
            .ledgers
            .iter()
            .map(|ledger| ledger.taken_count())
            .collect();
        Mark { before, after }
    }

    /// Waits until every probe has gone out at least `count` times more.
    ///
    /// # Errors
    /// When that does not happen in a minute.
    pub fn wait_for(&self, count: u64) -> Result<()> {
        let deadline = Instant::now() + WAIT_MAX;
        let goals: Vec<u64> = self
            .ledgers
            .iter()
            .map(|ledger| ledger.done_count() + count)
            .collect();
        let reached = || {
            self.ledgers
                .iter()
                .zip(&goals)
                .all(|(ledger, goal)| ledger.done_count() >= *goal)
        };
        while !reached() {
            if Instant::now() >= deadline {
                anyhow::bail!(
                    "the probes do not go out: {:?} wanted {goals:?}",
                    self.names
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Stops sending, lets arrive what is under way, and returns what became of every probe.
    #[must_use]
    pub fn stop(mut self) -> Tally {
        self.halt();
        let fates = self.ledgers.iter().map(|ledger| ledger.take_fates());
        Tally {
            probes: self.names.iter().cloned().zip(fates).collect(),
        }
    }

    fn receive_on(&mut self, lab: &Lab, address: SocketAddr) -> Result<()> {
        let socket = lab
            .login
            .udp(address)
            .with_context(|| format!("cannot receive probes on {address}"))?;
        socket.set_read_timeout(Some(RECEIVE_TURN))?;
        let (ledgers, stop) = (self.ledgers.clone(), Arc::clone(&self.stop_receivers));
        self.receivers
            .push(thread::spawn(move || receive(&socket, &ledgers, &stop)));
        Ok(())
    }

    fn send(&mut self, index: usize, probe: &Probe, target: SocketAddr) -> Result<()> {
        let ledger = self
            .ledgers
            .get(index)
            .context("a probe without ledger")?
            .clone();
        let (stop, interval) = (Arc::clone(&self.stop_senders), probe.interval);
        let attempt: Box<dyn FnMut(u64) -> Option<Fate> + Send> = match probe.kind {
            Kind::Udp => {
                let socket = probe
                    .host
                    .udp(SocketAddr::new(probe.source, 0))
                    .with_context(|| format!("cannot send probes from {}", probe.source))?;
                Box::new(move |number| send_one(&socket, target, index, number))
            }
            Kind::Tcp => {
                let (host, source) = (probe.host.clone(), probe.source);
                Box::new(move |_| connect_one(&host, source, target))
            }
        };
        self.senders.push(thread::spawn(move || {
            send_all(attempt, &ledger, &stop, interval)
        }));
        Ok(())
    }

    fn halt(&mut self) {
        self.stop_senders.store(true, Ordering::SeqCst);
        for sender in self.senders.drain(..) {
            // A sender that panicked has told so already.
            let _ = sender.join();
        }
        self.wait_quiet();
        self.stop_receivers.store(true, Ordering::SeqCst);
        for receiver in self.receivers.drain(..) {
            let _ = receiver.join();
        }
    }

    /// Waits until all is accounted for, or nothing has arrived for a while.
    fn wait_quiet(&self) {
        let counts = || {
            self.ledgers
                .iter()
                .map(|ledger| ledger.seen_count())
                .collect::<Vec<_>>()
        };
        let sent: Vec<u64> = self
            .ledgers
            .iter()
            .map(|ledger| ledger.taken_count())
            .collect();
        let mut last = (counts(), Instant::now());
        while last.0 != sent && last.1.elapsed() < QUIET {
            thread::sleep(POLL);
            let now = counts();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Sends until told to stop, at a pace, within the limits.
fn send_all(
    mut attempt: impl FnMut(u64) -> Option<Fate>,
    ledger: &Ledger,
    stop: &AtomicBool,
    interval: Duration,
) {
    let end = Instant::now() + RUN_MAX;
    while !stop.load(Ordering::SeqCst) && Instant::now() < end {
        let Some(number) = ledger.take() else { break };
        if let Some(fate) = attempt(number) {
            ledger.note(number, fate);
        }
        ledger.done();
        thread::sleep(interval);
    }
}

/// Sends a UDP probe; what became of it the receiver notes, unless it did not get out.
fn send_one(socket: &UdpSocket, target: SocketAddr, probe: usize, number: u64) -> Option<Fate> {
    let probe = u64::try_from(probe).unwrap_or(u64::MAX);
    let packet = [MAGIC, probe.to_be_bytes(), number.to_be_bytes()].concat();
    socket
        .send_to(&packet, target)
        .is_err()
        .then_some(Fate::Unsent)
}

/// Makes a connection attempt. A reset is as lost as a drop: the source did not get through.
fn connect_one(host: &Host, source: IpAddr, target: SocketAddr) -> Option<Fate> {
    match host.connect_from(source, target.ip(), target.port(), ATTEMPT_MAX) {
        Ok(_) => Some(Fate::Arrived),
        Err(_) => Some(Fate::Lost),
    }
}

/// Ticks off what arrives until told to stop.
fn receive(socket: &UdpSocket, ledgers: &[Arc<Ledger>], stop: &AtomicBool) {
    let mut buffer = [0_u8; 64];
    let end = Instant::now() + RUN_MAX + WAIT_MAX;
    while !stop.load(Ordering::SeqCst) && Instant::now() < end {
        // An error is a turn without packet, or the answer to nothing of ours.
        let Ok((length, _)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let packet = buffer.get(..length).unwrap_or_default();
        if let Some((probe, number)) = parse(packet)
            && let Some(ledger) = ledgers.get(probe)
        {
            ledger.note(number, Fate::Arrived);
        }
    }
}

/// Probe and number in a packet of ours.
fn parse(packet: &[u8]) -> Option<(usize, u64)> {
    let rest = packet.strip_prefix(&MAGIC)?;
    let (probe, number) = rest.split_at_checked(8)?;
    let probe = u64::from_be_bytes(probe.try_into().ok()?);
    Some((
        usize::try_from(probe).ok()?,
        u64::from_be_bytes(number.try_into().ok()?),
    ))
}

/// Start of every UDP probe.
const MAGIC: [u8; 8] = *b"EWPROBE1";
/// Most probes a second: the interval stays well above what a sleep takes.
const RATE_MAX: u32 = 2000;
/// Longest a connection attempt lasts: shorter than the first SYN's retransmission, so that a lost one shows.
pub const ATTEMPT_MAX: Duration = Duration::from_millis(900);
/// Time between the two sides of a mark.
const MARK_MARGIN: Duration = Duration::from_millis(20);
/// How long nothing may arrive before the rest counts as lost.
const QUIET: Duration = Duration::from_millis(500);
/// Longest a prober runs.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Longest a wait for progress.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a receiver looks whether to stop.
const RECEIVE_TURN: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(5);
