//! The workspace's paths and the host's cargo: where things are built, and which files came out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Something that cargo built and that can be run.
pub(crate) struct Executable {
    /// The target's name, such as `edgeward-demo`.
    pub(crate) name: String,
    /// Whether the target is a `[[test]]`.
    pub(crate) is_test: bool,
    pub(crate) path: PathBuf,
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    // cargo sets the variable when it runs us; the constant serves a binary started by hand.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_owned).unwrap_or(manifest)
}

/// Where the finished BPF program lies; agent/build.rs looks for it there.
pub(crate) fn ebpf_program() -> PathBuf {
    root().join("target/ebpf/edgeward-xdp")
}

/// Host cargo, in the workspace's root, with the toolchain that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(program());
    command.current_dir(root());
    // Facts about xtask itself: a build script that looks at them would run again for nothing.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The path of host cargo.
pub(crate) fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a cargo command that builds, and returns the executables that it made (or found fresh).
///
/// # Errors
/// The build failed (cargo has shown why), or its messages cannot be read.
pub(crate) fn executables(arguments: &[&str]) -> Result<Vec<Executable>> {
    let mut command = cargo();
    command
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let output = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("cannot start `cargo {}`", arguments.join(" ")))?;
    if !output.status.success() {
        bail!(
            "`cargo {}` ended with {}",
            arguments.join(" "),
            output.status
        );
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| executable(line).transpose())
        .collect()
}

/// The one executable of that name among what `cargo build` made.
///
/// # Errors
/// As [`executables`], or there is none of that name.
pub(crate) fn built(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    executables(arguments)?
        .into_iter()
        .find(|made| made.name == name)
        .map(|made| made.path)
        .with_context(|| format!("`cargo {}` made no {name}", arguments.join(" ")))
}

/// Whether a package of the workspace has a binary of that name.
///
/// # Errors
/// `cargo metadata` failed or is unreadable.
pub(crate) fn has_binary(package: &str, binary: &str) -> Result<bool> {
    let text =
        crate::shell::capture(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("cannot read cargo metadata")?;
    Ok(list(metadata.get("packages"))
        .iter()
        .filter(|found| found.get("name").is_some_and(|name| name == package))
        .flat_map(|found| list(found.get("targets")))
        .any(|target| {
            has_kind(target, "bin") && target.get("name").is_some_and(|name| name == binary)
        }))
}

/// Reads one line of cargo's JSON messages; most lines speak of no executable.
fn executable(line: &str) -> Result<Option<Executable>> {
    if !line.starts_with('{') {
        return Ok(None);
    }
    let message: serde_json::Value = serde_json::from_str(line)
        .with_context(|| format!("cannot read cargo's message {line}"))?;
    let Some(path) = message.get("executable").and_then(|path| path.as_str()) else {
        return Ok(None);
    };
    let target = message.get("target").context("cargo names no target")?;
    Ok(Some(Executable {
        name: target
            .get("name")
            .and_then(|name| name.as_str())
            .context("cargo names no target")?
            .to_owned(),
        is_test: has_kind(target, "test"),
        path: path.into(),
    }))
}

fn has_kind(target: &serde_json::Value, kind: &str) -> bool {
    list(target.get("kind")).iter().any(|found| found == kind)
}

fn list(value: Option<&serde_json::Value>) -> &[serde_json::Value] {
    value
        .and_then(|value| value.as_array())
        .map_or(&[], Vec::as_slice)
}
