//! `cargo xtask vm`: the program's tests on other kernels, booted under qemu.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, lab, packages, shell};

/// Needs no root of its own: the guest has that. The tools of the kernel tests are copied into the guest.
pub(crate) fn run(arguments: &lab::Arguments) -> Result<()> {
    let path = lab::build("edgeward-vm", &[packages::VM, packages::TEST].concat())?;
    let mut command = Command::new(path);
    command.current_dir(cargo::root());
    for test in cargo::executables(&["test", "--package", "edgeward-tests", "--tests", "--no-run"])?
    {
        if test.is_test {
            command.arg("--test-binary").arg(test.path);
        }
    }
    shell::run(command.args(&arguments.arguments))
}
