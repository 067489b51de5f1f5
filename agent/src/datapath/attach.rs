//! The program on its interfaces: links are made once, pinned, and afterwards only given a newer
//! program, so there is no moment without one.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, anyhow, bail};
use aya::{
    Ebpf,
    programs::{
        links::{FdLink, PinnedLink},
        loaded_programs,
        xdp::{XdpLink, XdpMode as Flags},
    },
};
use tracing::{info, warn};

use super::{
    load,
    netlink::{self, Interface, XdpMode},
    pins::{Pins, release},
    sys,
};
use crate::config::Interfaces;

/// An interface that runs the program.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Attachment {
    /// Kernel index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Native or generic.
    pub mode: XdpMode,
}

/// Attaches to what is wanted, hands the newest program to links that are there, and lets go of the
/// others.
///
/// # Errors
/// The first interface that cannot be attached, with the reason; links made before it stay.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    pins: &Pins,
    wanted: &Interfaces,
) -> anyhow::Result<Vec<Attachment>> {
    let all = netlink::interfaces().context("cannot list the network interfaces")?;
    let chosen = choose(&all, wanted)?;
    let mut held = adopt(ebpf, pins, &chosen)?;
    for interface in &chosen {
        if !held.contains(&interface.index) {
            make(ebpf, pins, interface)?;
            held.insert(interface.index);
        }
    }
    let now = netlink::interfaces().context("cannot list the network interfaces")?;
    Ok(now
        .into_iter()
        .filter(|interface| held.contains(&interface.index))
        .map(|interface| Attachment {
            index: interface.index,
            mode: interface.xdp.map_or(XdpMode::Other, |xdp| xdp.mode),
            name: interface.name,
        })
        .collect())
}

fn choose<'a>(all: &'a [Interface], wanted: &Interfaces) -> anyhow::Result<Vec<&'a Interface>> {
    let chosen: Vec<&Interface> = match wanted {
        Interfaces::AllPhysical => all
            .iter()
            .filter(|interface| interface.is_physical())
            .collect(),
        Interfaces::Named(names) => names
            .iter()
            .map(|name| {
                all.iter()
                    .find(|interface| interface.name == *name)
                    .ok_or_else(|| {
                        let known: Vec<&str> =
                            all.iter().map(|other| other.name.as_str()).collect();
                        anyhow!(
                            "there is no interface {name}; there are {}",
                            known.join(", ")
                        )
                    })
            })
            .collect::<anyhow::Result<_>>()?,
    };
    if chosen.is_empty() {
        bail!("there is no physical interface here; name one in `interfaces`");
    }
    Ok(chosen)
}

/// Hands the program to pinned links; unpins those whose interface is gone or no longer wanted.
fn adopt(ebpf: &mut Ebpf, pins: &Pins, chosen: &[&Interface]) -> anyhow::Result<BTreeSet<u32>> {
    let mut held = BTreeSet::new();
    for path in pins.links()? {
        let index = link_interface(&path)?;
        if !chosen.iter().any(|interface| interface.index == index) {
            info!(link = %path.display(), "letting go of an interface");
            release(&path)?;
            continue;
        }
        let pinned = PinnedLink::from_pin(&path)
            .with_context(|| format!("cannot open the link {}", path.display()))?;
        let link = XdpLink::try_from(FdLink::from(pinned))
            .with_context(|| format!("{} is not an XDP link", path.display()))?;
        let program = load::xdp(ebpf)?;
        let id = program
            .attach_to_link(link)
            .with_context(|| format!("cannot replace the program of {}", path.display()))?;
        // Taken out of aya's hands: it would detach the link with the process.
        drop(FdLink::try_from(program.take_link(id)?));
        held.insert(index);
    }
    Ok(held)
}

fn make(ebpf: &mut Ebpf, pins: &Pins, interface: &Interface) -> anyhow::Result<()> {
    if let Some(foreign) = interface.xdp {
        bail!("{}", foreign_sentence(&interface.name, foreign.program));
    }
    let program = load::xdp(ebpf)?;
    let attached = match program.attach_to_if_index(interface.index, Flags::Driver) {
        Ok(id) => Ok(id),
        Err(native) => {
            warn!(
                interface = interface.name,
                error = %chain(&native),
                "the driver does not take XDP programs; attaching in generic mode, which is slower"
            );
            program.attach_to_if_index(interface.index, Flags::Skb)
        }
    };
    let id = attached.with_context(|| format!("cannot attach to {}", interface.name))?;
    let link = program.take_link(id)?;
    let link = FdLink::try_from(link).map_err(|_| {
        anyhow!(
            "the kernel gave no link for {}, so nothing would outlive the agent",
            interface.name
        )
    })?;
    let path = pins.link(interface.index);
    drop(
        link.pin(&path)
            .with_context(|| format!("cannot pin the link at {}", path.display()))?,
    );
    Ok(())
}

/// The interface that a pinned link holds; 0 once it is gone.
fn link_interface(path: &Path) -> anyhow::Result<u32> {
    let link =
        sys::open_pin(path).with_context(|| format!("cannot open the link {}", path.display()))?;
    let info = sys::xdp_link_info(std::os::fd::AsFd::as_fd(&link))
        .with_context(|| format!("cannot read the link {}", path.display()))?;
    Ok(info.interface)
}

fn foreign_sentence(interface: &str, program: u32) -> String {
    let name = loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == program)
        .and_then(|info| info.name_as_str().map(str::to_owned))
        .unwrap_or_default();
    if name.starts_with("edgeward") {
        return format!(
            "{interface} is held by another edgeward agent (program {name}, id {program}) with another \
             bpffs_dir: stop it and run `edgeward detach` there first"
        );
    }
    format!(
        "{interface} already runs an XDP program of somebody else (`{name}`, id {program}); Edgeward \
         does not replace it: detach it first (`ip link set dev {interface} xdp off`, or the tool that \
         attached it)"
    )
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
