//! `cargo xtask`: everything a developer of Edgeward runs. This file only dispatches; each
//! subcommand lives in the file of its name and sets up by itself what it needs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod build_ebpf;
mod cargo;
mod demo;
mod fuzz;
mod invariants;
mod lab;
mod linker;
mod lint;
mod okta;
mod packages;
mod peers;
mod proxies;
mod reproducible;
mod setup;
mod shell;
mod tally;
mod test;
mod toolchain;
mod traffic;
mod vm;
mod wheels;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install compiler, linker and test packages
    Setup(setup::Arguments),
    /// Build the BPF program that the agent embeds
    BuildEbpf(build_ebpf::Arguments),
    /// Build the BPF program and the agent
    Build(build::Arguments),
    /// Run every test: reproducible program, lints, unit tests, kernel tests, sample configurations
    Test(test::Arguments),
    /// Check formatting, clippy, the BPF program's warnings and the dependencies
    Lint(lint::Arguments),
    /// Show Edgeward at work in a lab of network namespaces (under a minute once built)
    Demo(lab::Arguments),
    /// Measure Edgeward beside its peers and write the report
    Bench(lab::Arguments),
    /// Run the program's tests on other kernels under qemu
    Vm(lab::Arguments),
    /// Write labelled sign-in traffic as a log, or measure detection on it (`-- --help`)
    Traffic(lab::Arguments),
    /// Fuzz the parsers for a bounded time
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::BuildEbpf(arguments) => build_ebpf::run(&arguments),
        Task::Build(arguments) => build::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Lint(arguments) => lint::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::Traffic(arguments) => traffic::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
