//! `cargo xtask soak`: the long tests.

use anyhow::Result;

use crate::{lab, packages};

pub(crate) fn run(arguments: &lab::Arguments) -> Result<()> {
    lab::run("edgeward-soak", packages::TEST, arguments)
}
