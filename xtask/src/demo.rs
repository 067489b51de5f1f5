//! `cargo xtask demo`: shows Edgeward at work to somebody who has never seen it.

use anyhow::Result;

use crate::{lab, packages};

pub(crate) fn run(arguments: &lab::Arguments) -> Result<()> {
    lab::run("edgeward-demo", packages::TEST, arguments)
}
