//! Least privilege: after the start the agent keeps only what changing maps and links takes. And as many
//! descriptors as it may have: each proxied connection takes two.

use anyhow::anyhow;
use caps::{CapSet, Capability, CapsHashSet};
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Raises the limit of open descriptors to what the agent may have: the usual 1,024 are meant for programs that
/// `select(2)`.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "the limit of open descriptors stays as it is");
    }
}

/// Drops every capability but those, from the bounding set too.
///
/// The program is loaded and the pins are open by now: what is left is to change maps (`CAP_BPF`) and to
/// attach to an interface that appears later (`CAP_NET_ADMIN`).
///
/// # Errors
/// What the kernel refused; the agent then still has what it had.
pub(crate) fn drop_all_but_needed() -> anyhow::Result<()> {
    let needed: CapsHashSet = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN]
        .into_iter()
        .collect();
    let held = caps::read(None, CapSet::Permitted).map_err(|error| anyhow!("{error}"))?;
    let kept: CapsHashSet = held.intersection(&needed).copied().collect();
    if held.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all() {
            if !kept.contains(&capability)
                && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
            {
                caps::drop(None, CapSet::Bounding, capability)
                    .map_err(|error| anyhow!("{error}"))?;
            }
        }
    }
    let sets = [
        (CapSet::Inheritable, CapsHashSet::new()),
        (CapSet::Effective, kept.clone()),
        (CapSet::Permitted, kept),
    ];
    for (set, value) in sets {
        caps::set(None, set, &value).map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}
