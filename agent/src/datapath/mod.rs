//! The data path: the only user of aya and the only writer of the kernel's maps.
//!
//! The kernel is the state. Opening adopts what is pinned; [`Datapath::apply`] reconciles it with what
//! is wanted; only then does [`Datapath::attach`] hand the newest program to the interfaces. When the
//! agent goes, everything stays; [`Datapath::detach`] is the one way out.

mod attach;
mod compare;
mod counters;
mod debug_log;
mod events;
mod exact;
mod generation;
mod heads;
mod load;
mod marks;
pub mod netlink;
mod pins;
mod ring;
mod steer;
mod sys;
mod tables;
mod trie;

use std::{os::fd::BorrowedFd, path::Path};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, RingBuf},
};
use edgeward_ebpf::{
    abi::{ABI_VERSION, Class, Count, PolicyWord, ZoneValue},
    lookup::Meta,
};
use ipnet::IpNet;

pub(crate) use self::sys::{inherited_sockets, unacknowledged_bytes, watch_descriptor};
pub use self::{
    attach::Attachment,
    compare::Comparison,
    counters::{Counter, CounterKind},
    events::Event,
    generation::Change,
    heads::ObservedHead,
    ring::read_ring,
    steer::{Heartbeat, SteeringCounts, SteeringReport},
    sys::{boot_ns, clock_synchronised, watch_ring},
    tables::{Fill, Installed, Wanted},
};
use self::{
    debug_log::DebugLog,
    pins::Pins,
    steer::Steering,
    tables::{EPOCH, EVENTS_AN_EPOCH, RATE_WINDOW, Tables, VERSION},
};
use crate::config::{Config, Interfaces};

/// Elements of the stash, both families together. Fixed: the program that runs while the next one starts
/// must find in it what a new generation has no room for. About one entry in a hundred lands here.
const STASH: u32 = 1 << 17;

/// The events of the program on their way up; there is one reader.
pub type EventRing = RingBuf<MapData>;

/// Sizes of the maps that cannot grow while they are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Prefixes of each trie; twice the capacity, so that a list can replace another.
    pub prefixes: u32,
    /// Zone prefixes of each family, likewise.
    pub zones: u32,
    /// Sources whose rates are tracked.
    pub rate_sources: u32,
    /// Bytes of the event ring, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

impl Sizes {
    /// What the configuration asks for.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let capacity = &config.capacity;
        Self {
            prefixes: capacity.prefixes.saturating_mul(2),
            zones: capacity.zones.saturating_mul(2),
            rate_sources: capacity.rate_sources,
            ring_bytes: config.events.ring_bytes,
        }
    }
}

/// The loaded program with its maps.
pub struct Datapath {
    ebpf: Ebpf,
    tables: Tables,
    counters: PerCpuArray<MapData, Count>,
    attached: Vec<Attachment>,
    steering: Steering,
    pins: Pins,
    debug_log: DebugLog,
}

impl Datapath {
    /// Loads the program over new or adopted maps; attaches nothing.
    ///
    /// # Errors
    /// One sentence for what the host lacks: privileges, a bpf file system, a recent kernel; or that
    /// another agent runs.
    pub fn open(bpffs_dir: &Path, sizes: &Sizes, seed: u64) -> anyhow::Result<Self> {
        load::check_host()?;
        let pins = Pins::open(bpffs_dir)?;
        let (mut ebpf, mut opened) = load::load(&pins, sizes)?;
        let steering = Steering::open(&mut ebpf, &mut opened)?;
        let tables = Tables::open(opened, seed, sizes)?;
        tables.set_constant(VERSION, u64::from(ABI_VERSION));
        let counters = ebpf
            .take_map("COUNTERS")
            .context("the program has no map COUNTERS")?;
        let counters = PerCpuArray::try_from(counters)?;
        let debug_log = DebugLog::take(&mut ebpf);
        Ok(Self {
            ebpf,
            tables,
            counters,
            attached: Vec::new(),
            steering,
            pins,
            debug_log,
        })
    }

    /// Attaches to the interfaces that are wanted and lets go of the others. Steers connections if a port that
    /// was applied has a gateway, and else stops that.
    ///
    /// # Errors
    /// The first interface that cannot be attached, or why connections cannot be steered.
    pub fn attach(&mut self, wanted: &Interfaces) -> anyhow::Result<&[Attachment]> {
        self.attached = attach::attach(&mut self.ebpf, &self.pins, wanted)?;
        self.steering.attach(&mut self.ebpf, &self.pins)?;
        self.pins.remove_other_versions()?;
        Ok(&self.attached)
    }

    /// The interfaces as of the last attach.
    #[must_use]
    pub fn attached(&self) -> &[Attachment] {
        &self.attached
    }

    /// Hands connections to these listening sockets from now on, in place of any before; a family without one
    /// is treated as a gateway that does not listen. The kernel forgets a socket when it is closed. Counts as
    /// the first sign of life.
    ///
    /// # Errors
    /// If the kernel does not take one: it must be a TCP socket that listens.
    pub fn set_listeners(
        &self,
        v4: Option<BorrowedFd<'_>>,
        v6: Option<BorrowedFd<'_>>,
    ) -> anyhow::Result<()> {
        self.steering.set_listeners(v4, v6)
    }

    /// Hands no further connection over.
    pub fn clear_listeners(&self) {
        self.steering.clear_listeners();
    }

    /// The gateway's sign of life, for its own runtime to give.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.steering.heartbeat()
    }

    /// What became of connections to ports with a gateway.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn steering(&self) -> anyhow::Result<SteeringReport> {
        self.steering.report()
    }

    /// Takes the event ring; there is one reader.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_events(&mut self) -> anyhow::Result<EventRing> {
        self.take_ring("EVENTS")
    }

    /// Takes the ring of request heads ([`ObservedHead`]); there is one reader.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_heads(&mut self) -> anyhow::Result<EventRing> {
        self.take_ring("HEADS")
    }

    fn take_ring(&mut self, name: &str) -> anyhow::Result<EventRing> {
        let map = self
            .ebpf
            .take_map(name)
            .with_context(|| format!("the ring {name} was taken before"))?;
        Ok(RingBuf::try_from(map)?)
    }

    /// The policy word in force.
    #[must_use]
    pub fn policy(&self) -> PolicyWord {
        self.tables.policy()
    }

    /// Switches mode, thresholds and refusal in one store.
    pub fn set_policy(&self, policy: PolicyWord) {
        self.tables.set_policy(policy);
    }

    /// Sets the event budget of each CPU (events a second) and the length of a rate-limit window.
    pub fn set_budgets(&self, events_per_second: u32, rate_window: std::time::Duration) {
        self.tables
            .set_constant(EVENTS_AN_EPOCH, u64::from(events_per_second));
        let window = u64::try_from(rate_window.as_nanos()).unwrap_or(u64::MAX);
        self.tables.set_constant(RATE_WINDOW, window);
    }

    /// Refills the event budgets about once a second and writes out the program's debug lines; to be
    /// called at least as often.
    pub fn tick(&mut self) {
        self.debug_log.flush();
        self.tables.set_constant(EPOCH, boot_ns() >> 30);
    }

    /// Makes `wanted` what is in force.
    ///
    /// # Errors
    /// What the kernel refused; what was in force before it stays in force.
    pub fn apply(&mut self, wanted: &Wanted) -> anyhow::Result<Change> {
        self.steering.set_ports(&wanted.ports);
        self.tables.apply(wanted)
    }

    /// Sets (`Some`) or removes one entry.
    ///
    /// # Errors
    /// If its table is full of stronger ones, or what the kernel refused.
    pub fn put(&mut self, prefix: IpNet, meta: Option<Meta>) -> anyhow::Result<Change> {
        self.tables.put(prefix, meta)
    }

    /// Replaces the zones alone, in the order that never drops what is exempt before or after.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_zones(&mut self, zones: &crate::policy::zone::ZoneTable) -> anyhow::Result<Change> {
        self.tables.set_zones(zones)
    }

    /// What the kernel holds under exactly this prefix.
    #[must_use]
    pub fn get(&self, prefix: IpNet) -> Option<Meta> {
        self.tables.get(prefix)
    }

    /// Frames that matched exactly this prefix; `None` if the kernel does not hold it.
    #[must_use]
    pub fn hits(&self, prefix: IpNet) -> Option<u64> {
        self.tables.hits(prefix)
    }

    /// Every entry in force, with hits.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn installed(&self) -> anyhow::Result<Vec<Installed>> {
        self.tables.installed()
    }

    /// Zone values in force.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn installed_zones(&self) -> anyhow::Result<Vec<(IpNet, ZoneValue)>> {
        self.tables.installed_zones()
    }

    /// Port rules in force.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn installed_ports(&self) -> anyhow::Result<Vec<(u16, u64)>> {
        self.tables.installed_ports()
    }

    /// Takes what the maps hold for true, whoever wrote it; to be called before [`Datapath::apply`] or
    /// [`Datapath::verify`] when somebody else may have.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn reread(&mut self) -> anyhow::Result<()> {
        self.tables.reread()
    }

    /// Compares what the kernel holds with `wanted`.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn verify(&self, wanted: &Wanted) -> anyhow::Result<Comparison> {
        let mut found = self.tables.compare(wanted)?;
        self.steering
            .compare(&mut found, &self.ebpf, &self.pins, &wanted.ports)?;
        Ok(found)
    }

    /// The kernel's id of the loaded program.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn program_id(&mut self) -> anyhow::Result<u32> {
        Ok(load::xdp(&mut self.ebpf)?.info()?.id())
    }

    /// How full the tables are.
    #[must_use]
    pub fn fill(&self) -> Fill {
        self.tables.fill()
    }

    /// All counters.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn counters(&self) -> anyhow::Result<Vec<Counter>> {
        counters::read(&self.counters)
    }

    /// Names what classes stand for, in the kernel, so that the next agent knows.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_classes(&self, records: impl Iterator<Item = (u8, Class)>) -> anyhow::Result<()> {
        self.tables.set_classes(records)
    }

    /// The class names that the kernel holds.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn classes(&self) -> anyhow::Result<Vec<(u8, Class)>> {
        self.tables.classes()
    }

    /// Detaches from every interface and removes every pin: nothing is judged any more.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn detach(&mut self) -> anyhow::Result<()> {
        self.attached.clear();
        self.pins.remove_everything()
    }
}

/// Detaches what an agent that is not running has left.
///
/// # Errors
/// If an agent is running after all, or what could not be removed.
pub fn detach_pinned(bpffs_dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        bpffs_dir.exists(),
        "{} does not exist: nothing is attached",
        bpffs_dir.display()
    );
    Pins::open(bpffs_dir)?.remove_everything()
}
