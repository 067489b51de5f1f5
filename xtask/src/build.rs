//! `cargo xtask build`: the BPF program, then the agent that embeds it.

use anyhow::Result;

use crate::{build_ebpf, cargo, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Optimised, as it is shipped
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build_ebpf::build(false)?;
    let agent = agent(arguments.release)?;
    println!("{}", agent.display());
    Ok(())
}

/// Builds the agent and returns where it lies.
///
/// # Errors
/// The build failed; cargo has shown why.
pub(crate) fn agent(release: bool) -> Result<std::path::PathBuf> {
    shell::step("building the agent");
    let mut arguments = vec!["build", "--package", "edgeward", "--bin", "edgeward"];
    if release {
        arguments.push("--release");
    }
    cargo::built("edgeward", &arguments)
}
