//! `cargo xtask bench`: measures Edgeward beside its peers.

use anyhow::Result;

use crate::{lab, packages, peers};

pub(crate) fn run(arguments: &lab::Arguments) -> Result<()> {
    peers::ensure()?;
    lab::run("edgeward-bench", packages::TEST, arguments)
}
