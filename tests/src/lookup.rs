//! A program of somebody else that looks up sockets in a host's network namespace.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;

use crate::Result;
use crate::host::Host;
use crate::sys::bpf;

/// A program that chooses no socket. Dropping it takes it off.
#[derive(Debug)]
pub struct ForeignLookup {
    link: OwnedFd,
}

impl ForeignLookup {
    /// Loads and attaches it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn attach(host: &Host) -> Result<Self> {
        let program = bpf::load_constant_lookup("foreign", SK_PASS)
            .context("cannot load a program that looks up sockets")?;
        let link = bpf::link_lookup(program.as_fd(), host.namespace()?.as_fd())
            .with_context(|| format!("cannot attach it in {}", host.name()))?;
        Ok(Self { link })
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_attached(&self) -> Result<bool> {
        Ok(bpf::holds_namespace(self.link.as_fd())?)
    }
}

/// linux/bpf.h.
const SK_PASS: i32 = 1;
