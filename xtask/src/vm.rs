//! `cargo xtask vm`: the program's tests on other kernels, booted under qemu.

use anyhow::Result;

use crate::{lab, packages};

pub(crate) fn run(arguments: &lab::Arguments) -> Result<()> {
    lab::run("edgeward-vm", packages::VM, arguments)
}
