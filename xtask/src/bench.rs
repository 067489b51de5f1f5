//! `cargo xtask bench`: measures Edgeward beside its peers.

use anyhow::Result;

use crate::{lab, packages};

pub(crate) fn run(arguments: &lab::Arguments) -> Result<()> {
    lab::run("edgeward-bench", packages::TEST, arguments)
}
