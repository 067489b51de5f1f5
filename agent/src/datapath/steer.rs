//! Handing connections to the gateway: the program on this network namespace, the gateway's listeners, its
//! sign of life, and the address that its own connections come from.
//!
//! The link is made once, pinned, and afterwards only given a newer program. It is there as long as some
//! service has a gateway. Several programs may look up sockets in one namespace, so nobody is in our way.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
    sync::{Arc, atomic::Ordering::Release},
};

use anyhow::{Context as _, anyhow};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
    programs::{SkLookup, links::FdLink},
};
use edgeward_ebpf::abi::{port, steer};
use tracing::{info, warn};

use super::{
    compare::Comparison,
    load, netlink, pins,
    pins::Pins,
    sys::{self, NamespaceLinkInfo, Table, Words},
    tables::Opened,
};

/// What became of connections to ports with a gateway. The kernel asks once for a new connection, and once
/// more for each first packet that is sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SteeringCounts {
    /// Handed to the gateway.
    pub steered: u64,
    /// Left to the application, since no gateway listened.
    pub bypassed_empty: u64,
    /// Left to the application, since the gateway gave no sign of life.
    pub bypassed_stalled: u64,
    /// Refused, since no gateway listened.
    pub refused_empty: u64,
    /// Refused, since the gateway gave no sign of life.
    pub refused_stalled: u64,
    /// The gateway's own connections to applications.
    pub passed_reserved: u64,
}

/// Steering as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SteeringReport {
    /// Some service has a gateway and the program is in place.
    pub attached: bool,
    /// Why the gateway has no address of its own to reach applications over IPv6 from.
    pub no_v6: Option<String>,
    /// Since the maps were made.
    pub counts: SteeringCounts,
}

/// The gateway's sign of life. Cheap to clone; may be given from any thread.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Words>);

impl Heartbeat {
    /// Says that the gateway serves. Connections pass it by when it has been silent for
    /// [`steer::HEARTBEAT_AGE_MAX_NS`].
    pub fn beat(&self) {
        self.store(sys::boot_ns());
    }

    /// Says that it does not, until the next beat.
    pub fn stop(&self) {
        self.store(0);
    }

    fn store(&self, time_ns: u64) {
        if let Some(word) = self.0.get().first() {
            word.store(time_ns, Release);
        }
    }
}

/// The program's state in userspace.
pub(super) struct Steering {
    listeners: Table<u32, u32>,
    heartbeat: Heartbeat,
    counters: PerCpuArray<MapData, u64>,
    /// Some port has a gateway, as of the last reconciliation.
    wanted: bool,
    attached: bool,
    no_v6: Option<String>,
}

impl Steering {
    /// Takes its maps over.
    pub(super) fn open(ebpf: &mut Ebpf, maps: &mut Opened) -> anyhow::Result<Self> {
        let mut take = |name: &'static str| {
            maps.remove(name)
                .ok_or_else(|| anyhow!("the program has no map {name}"))
        };
        let heartbeat = Words::map(take("HEARTBEAT")?.as_fd(), 1)
            .context("cannot map HEARTBEAT into memory")?;
        let listeners = Table::new(take("LISTENERS")?);
        let counters = ebpf
            .take_map("STEERING")
            .context("the program has no map STEERING")?;
        Ok(Self {
            listeners,
            heartbeat: Heartbeat(Arc::new(heartbeat)),
            counters: PerCpuArray::try_from(counters)?,
            wanted: false,
            attached: false,
            no_v6: None,
        })
    }

    /// Takes note of the port rules: whether anything is to be steered at all.
    pub(super) fn set_ports(&mut self, ports: &[(u16, u64)]) {
        self.wanted = is_wanted(ports);
    }

    /// Makes the link be there if it is wanted, with the newest program, or not be there.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, pins: &Pins) -> anyhow::Result<()> {
        let path = pins.steering()?;
        if !self.wanted {
            self.attached = false;
            self.no_v6 = None;
            self.clear_listeners();
            return release(&path);
        }
        let program = load::sk_lookup(ebpf)?;
        if !adopt(program, &path)? {
            make(program, &path)?;
        }
        self.attached = true;
        self.no_v6 = reserve_v6();
        Ok(())
    }

    /// Puts listening sockets in place of those that are there; a family without one is left to the
    /// application.
    pub(super) fn set_listeners(
        &self,
        v4: Option<BorrowedFd<'_>>,
        v6: Option<BorrowedFd<'_>>,
    ) -> anyhow::Result<()> {
        self.heartbeat.beat();
        for (slot, family, socket) in [(steer::SLOT_V4, "IPv4", v4), (steer::SLOT_V6, "IPv6", v6)] {
            let Some(socket) = socket else {
                self.clear(slot)?;
                continue;
            };
            let socket = u32::try_from(socket.as_raw_fd())?;
            self.listeners.set(&slot, &socket).with_context(|| {
                format!("the kernel does not take the gateway's {family} listener for steering")
            })?;
        }
        Ok(())
    }

    /// Takes the listeners away: new connections reach the application, or are refused where the service
    /// says so.
    pub(super) fn clear_listeners(&self) {
        for slot in 0..steer::SLOTS {
            if let Err(error) = self.clear(slot) {
                // The sign of life ends as well, and so does steering, whatever is in the slot.
                warn!("{error:#}");
                self.heartbeat.stop();
            }
        }
    }

    fn clear(&self, slot: u32) -> anyhow::Result<()> {
        match self.listeners.remove(&slot) {
            // The slot was empty.
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
                Err(error).context("cannot take a listener of the gateway away")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    pub(super) fn report(&self) -> anyhow::Result<SteeringReport> {
        let count = |index: u32| -> anyhow::Result<u64> {
            let values = self
                .counters
                .get(&index, 0)
                .context("cannot read a counter of steering")?;
            Ok(values.iter().sum())
        };
        Ok(SteeringReport {
            attached: self.attached,
            no_v6: self.no_v6.clone(),
            counts: SteeringCounts {
                steered: count(steer::STEERED)?,
                bypassed_empty: count(steer::BYPASSED_EMPTY)?,
                bypassed_stalled: count(steer::BYPASSED_STALLED)?,
                refused_empty: count(steer::REFUSED_EMPTY)?,
                refused_stalled: count(steer::REFUSED_STALLED)?,
                passed_reserved: count(steer::PASSED_RESERVED)?,
            },
        })
    }

    /// What the kernel has against what it should have.
    pub(super) fn compare(
        &self,
        found: &mut Comparison,
        ebpf: &Ebpf,
        pins: &Pins,
        ports: &[(u16, u64)],
    ) -> anyhow::Result<()> {
        let held = link_at(&pins.steering()?)?;
        found.checked += 1;
        let program: &SkLookup = ebpf
            .program("edgeward_steer")
            .context("the embedded program has no edgeward_steer")?
            .try_into()?;
        let own = NamespaceLinkInfo {
            program: program.info()?.id(),
            namespace: namespace()?.1,
        };
        match (is_wanted(ports), held) {
            (false, None) => {}
            (true, Some(held)) if held == own => {}
            (false, Some(_)) => found
                .differences
                .push("connections are steered although no service has a gateway".to_owned()),
            (true, None) => found
                .differences
                .push("connections are not steered: the link is missing".to_owned()),
            (true, Some(held)) => found.differences.push(format!(
                "connections are steered by program {} in network namespace {} and should be by {} in {}",
                held.program, held.namespace, own.program, own.namespace
            )),
        }
        if self.attached && self.no_v6.is_none() {
            found.checked += 1;
            if !netlink::addresses()?.contains(&steer::UPSTREAM_SOURCE_V6.into()) {
                found.differences.push(format!(
                    "the loopback interface lacks {}: the gateway reaches no application over IPv6",
                    steer::UPSTREAM_SOURCE_V6
                ));
            }
        }
        Ok(())
    }
}

/// Lets go of the link and of the reserved address, if there is a link.
pub(super) fn release(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    pins::release(path)?;
    info!("connections are not steered any more");
    netlink::set_loopback_address(steer::UPSTREAM_SOURCE_V6, false)
        .with_context(|| format!("cannot remove {}", steer::UPSTREAM_SOURCE_V6))
}

fn is_wanted(ports: &[(u16, u64)]) -> bool {
    ports.iter().any(|(_, rules)| rules & port::STEER != 0)
}

/// Gives the pinned link the newest program; false where there is none that holds our namespace.
fn adopt(program: &SkLookup, path: &Path) -> anyhow::Result<bool> {
    let Some(held) = link_at(path)? else {
        return Ok(false);
    };
    if held.namespace != namespace()?.1 {
        warn!(
            namespace = held.namespace,
            "the pinned link steers another network namespace, or one that is gone; it is made anew"
        );
        release(path)?;
        return Ok(false);
    }
    if held.program != program.info()?.id() {
        let link = sys::open_pin(path)?;
        sys::update_link(link.as_fd(), program.fd()?.as_fd())
            .context("cannot replace the program that steers connections")?;
    }
    Ok(true)
}

fn make(program: &mut SkLookup, path: &Path) -> anyhow::Result<()> {
    let (namespace, _) = namespace()?;
    let id = program
        .attach(&namespace)
        .context("cannot attach the program that steers connections")?;
    let link = FdLink::from(program.take_link(id)?);
    drop(
        link.pin(path)
            .with_context(|| format!("cannot pin the link at {}", path.display()))?,
    );
    info!("connections of trusted proxies are handed to the gateway");
    Ok(())
}

/// What is pinned there; `None` for nothing.
fn link_at(path: &Path) -> anyhow::Result<Option<NamespaceLinkInfo>> {
    if !path.exists() {
        return Ok(None);
    }
    let link =
        sys::open_pin(path).with_context(|| format!("cannot open the link {}", path.display()))?;
    sys::namespace_link_info(link.as_fd())
        .with_context(|| format!("cannot read the link {}", path.display()))?
        .map(Some)
        .ok_or_else(|| anyhow!("{} is not a link to a network namespace", path.display()))
}

/// This thread's network namespace and its inode.
fn namespace() -> anyhow::Result<(File, u32)> {
    const PATH: &str = "/proc/thread-self/ns/net";
    let namespace = File::open(PATH).with_context(|| format!("cannot open {PATH}"))?;
    let inode = namespace
        .metadata()
        .with_context(|| format!("cannot look at {PATH}"))?
        .ino();
    Ok((namespace, u32::try_from(inode)?))
}

/// Says why not, where it cannot be.
fn reserve_v6() -> Option<String> {
    let error = netlink::set_loopback_address(steer::UPSTREAM_SOURCE_V6, true).err()?;
    let why = match error.raw_os_error() {
        Some(libc::EACCES | libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => {
            "this host's loopback interface has no IPv6".to_owned()
        }
        _ => format!("{} cannot be added: {}", steer::UPSTREAM_SOURCE_V6, error),
    };
    warn!("the gateway reaches no application over IPv6: {why}");
    Some(why)
}
