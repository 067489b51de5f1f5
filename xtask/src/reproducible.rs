//! Whether two builds of the BPF program give the same bytes, so that anybody can check the
//! program inside a released agent against its source.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::toolchain::Toolchain;
use crate::{build_ebpf, cargo, shell};

/// Builds the program in two fresh directories of different names and compares.
///
/// # Errors
/// A build failed, or the bytes differ: the error says where first.
pub(crate) fn check(debug_log: bool) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let mut programs = Vec::new();
    // The lengths differ as well, so that a path that slips into the program moves its bytes.
    for name in ["target/bpf-once", "target/bpf-once-more"] {
        let directory = cargo::root().join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        let path = build_ebpf::build_in(&toolchain, &directory, debug_log)?;
        programs.push(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let [first, second] = programs.as_slice() else {
        bail!("two builds gave {} programs", programs.len());
    };
    if first != second {
        let at = first.iter().zip(second).position(|(a, b)| a != b);
        bail!(
            "two builds of the BPF program differ: {} and {} bytes, first difference at {}",
            first.len(),
            second.len(),
            at.unwrap_or(first.len().min(second.len()))
        );
    }
    shell::step(format!("two builds gave the same {} bytes", first.len()));
    Ok(())
}
