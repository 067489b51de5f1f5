//! Least privilege: after the start only the keeper's thread keeps what changing maps and links takes, and every other
//! thread nothing. And as many descriptors as it may have: each proxied connection takes two.

use anyhow::{Context as _, anyhow};
use caps::{CapSet, Capability, CapsHashSet};
use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::set_no_new_privs,
};
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

/// Nothing that this thread starts, and no thread that it starts, gains privileges by executing a program: without
/// this, root would have the capabilities of its bounding set again.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn gain_no_more() -> anyhow::Result<()> {
    set_no_new_privs(true).context("the kernel does not take no_new_privs")
}

/// Drops every capability of this thread but those that the keeper works with.
///
/// The program is loaded and the pins are open by now: what is left is to change maps (`CAP_BPF`) and to
/// attach to an interface that appears later (`CAP_NET_ADMIN`).
///
/// # Errors
/// What the kernel refused; the thread then still has what it had.
pub(crate) fn drop_all_but_needed() -> anyhow::Result<()> {
    keep_of_held(&[Capability::CAP_BPF, Capability::CAP_NET_ADMIN])
}

/// Drops every capability of this thread. Linux keeps them by thread (capabilities(7)), and a thread inherits those of
/// the one that starts it, so each thread but the keeper's calls this before it reads anything
/// ([`crate::threads`]).
///
/// # Errors
/// What the kernel refused; the thread then still has what it had, and must not go on.
pub(crate) fn drop_all() -> anyhow::Result<()> {
    keep_of_held(&[]).context("a thread cannot give up its privileges")
}

fn keep_of_held(needed: &[Capability]) -> anyhow::Result<()> {
    let held = caps::read(None, CapSet::Permitted).map_err(|error| anyhow!("{error}"))?;
    let kept: CapsHashSet = needed
        .iter()
        .filter(|capability| held.contains(capability))
        .copied()
        .collect();
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
