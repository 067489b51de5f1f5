//! Finds the BPF program that the agent embeds. It is built by `cargo xtask build-ebpf` and not
//! from here: it needs another compiler, and a cargo inside of cargo would wait for its own lock.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/edgeward-xdp");
    println!("cargo:rerun-if-changed={}", program.display());
    match program.canonicalize() {
        Ok(found) => println!("cargo:rustc-env=EDGEWARD_XDP={}", found.display()),
        Err(error) => {
            eprintln!(
                "The BPF program that the agent embeds is missing ({}: {error}); build it first: \
                 cargo xtask build-ebpf",
                program.display()
            );
            std::process::exit(1);
        }
    }
}
