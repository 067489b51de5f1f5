//! Debian packages: the groups that tasks need, the versions that were tried, and installing what
//! is missing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// What the kernel tests, the demo and the bench run beside the agent.
pub(crate) const TEST: &[&str] = &[
    "nginx-light",
    "iproute2",
    "ethtool",
    "nftables",
    "ipset",
    "iptables",
    "xdp-tools",
    "curl",
    "haproxy",
    "nghttp2-client",
    "openssl",
    "prometheus",
    "python3",
    "python3-pip",
    "python3-websockets",
    "wrk",
    "faketime",
    "rsyslog",
    "rsyslog-gnutls",
];

/// What `vm` boots other kernels with.
pub(crate) const VM: &[&str] = &["qemu-system-x86", "busybox-static", "cpio"];

/// The distribution's compiler with a ready `core` for BPF.
pub(crate) const COMPILER: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

/// The versions that Edgeward was last built and tested with, on Debian 12. Another version is no
/// error: it is printed, so that a surprise has a first suspect.
const TRIED: &[(&str, &str)] = &[
    ("rustc-web", "1.96.0+dfsg1-1~deb12u2"),
    ("libstd-rust-web-dev-bpf", "1.96.0+dfsg1-1~deb12u2"),
    ("llvm-22-dev", "1:22.1.8-1~deb12u1"),
    ("libpolly-22-dev", "1:22.1.8-1~deb12u1"),
    ("zlib1g-dev", "1:1.2.13.dfsg-1"),
    ("libzstd-dev", "1.5.4+dfsg2-5"),
    ("nginx-light", "1.22.1-9+deb12u11"),
    ("iproute2", "6.1.0-3"),
    ("ethtool", "1:6.1-1"),
    ("nftables", "1.0.6-2+deb12u2"),
    ("ipset", "7.17-1"),
    ("iptables", "1.8.9-2"),
    ("xdp-tools", "1.3.1-1"),
    ("curl", "7.88.1-10+deb12u15"),
    ("haproxy", "2.6.12-1+deb12u4"),
    ("nghttp2-client", "1.52.0-1+deb12u3"),
    ("openssl", "3.0.19-1~deb12u2"),
    ("prometheus", "2.42.0+ds-5+deb12u1"),
    ("python3", "3.11.2-1+b1"),
    ("python3-pip", "23.0.1+dfsg-1"),
    ("python3-websockets", "10.4-1"),
    ("wrk", "4.1.0-3+b2"),
    ("faketime", "0.9.10-2.1"),
    ("rsyslog", "8.2302.0-1+deb12u2"),
    ("rsyslog-gnutls", "8.2302.0-1+deb12u2"),
    ("qemu-system-x86", "1:7.2+dfsg-7+deb12u18+b3"),
    ("busybox-static", "1:1.35.0-4+deb12u1+b1"),
    ("cpio", "2.13+dfsg-7.1"),
];

/// The command of each package that a machine without dpkg is searched for.
const COMMANDS: &[(&str, &str)] = &[
    ("nginx-light", "nginx"),
    ("iproute2", "ip"),
    ("nftables", "nft"),
    ("xdp-tools", "xdp-filter"),
    ("nghttp2-client", "h2load"),
    ("prometheus", "promtool"),
    ("python3-pip", "pip3"),
    ("rsyslog", "rsyslogd"),
    // A driver, which no command shows.
    ("rsyslog-gnutls", "rsyslogd"),
    // A module, which no command shows; the interpreter at least.
    ("python3-websockets", "python3"),
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("busybox-static", "busybox"),
];

/// Makes sure that the packages are there; quick when they are.
///
/// # Errors
/// Something is missing and cannot be installed here: the error names each piece and, where there
/// is apt, the command that installs it.
pub(crate) fn ensure(packages: &[&str]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !has_apt() {
        let names: Vec<_> = missing.iter().map(|name| command_of(name)).collect();
        bail!(
            "missing on this machine, and it has no apt to install them with: {}",
            names.join(", ")
        );
    }
    install(&missing)
}

/// Which of the packages are not installed; prints those whose version is not the one tried.
///
/// # Errors
/// dpkg is there but does not answer.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    if !has_apt() {
        return Ok(packages
            .iter()
            .copied()
            .filter(|name| !on_search_path(command_of(name)))
            .collect());
    }
    let installed = installed(packages)?;
    for (package, tried) in TRIED {
        if let Some(version) = installed.get(*package)
            && version != tried
        {
            eprintln!("note: {package} is {version}; {tried} was tried");
        }
    }
    Ok(packages
        .iter()
        .copied()
        .filter(|name| !installed.contains_key(*name))
        .collect())
}

/// Whether this is Debian, Ubuntu or one of their kind.
pub(crate) fn has_apt() -> bool {
    shell::which("apt-get").is_some() && shell::which("dpkg-query").is_some()
}

/// Whether apt could install the package; reads the package lists anew when it does not know it.
pub(crate) fn is_known(package: &str) -> bool {
    has_apt() && (knows(package) || (update().is_ok() && knows(package)))
}

fn command_of(package: &str) -> &str {
    COMMANDS
        .iter()
        .find(|(name, _)| *name == package)
        .map_or(package, |(_, command)| command)
}

/// Administration commands are often outside of an ordinary user's PATH.
fn on_search_path(command: &str) -> bool {
    shell::which(command).is_some()
        || ["/usr/sbin", "/sbin", "/usr/local/sbin"]
            .iter()
            .any(|directory| shell::is_executable(&Path::new(directory).join(command)))
}

/// Asks dpkg once for all packages: name to version.
fn installed(packages: &[&str]) -> Result<BTreeMap<String, String>> {
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat=${Package} ${db:Status-Status} ${Version}\n",
        ])
        .args(packages)
        .output()
        .context("cannot start dpkg-query")?;
    // Its status is 1 as soon as one package is unknown to it; the lines of the others are right.
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (name, status, version) = (fields.next()?, fields.next()?, fields.next()?);
            (status == "installed").then(|| (name.to_owned(), version.to_owned()))
        })
        .collect())
}

fn knows(package: &str) -> bool {
    shell::succeeds(Command::new("apt-cache").args(["--no-all-versions", "show", package]))
}

fn update() -> Result<()> {
    shell::step("reading the package lists (apt-get update)");
    shell::run(apt()?.arg("update"))
}

fn install(missing: &[&str]) -> Result<()> {
    let by_hand = format!(
        "apt-get install --no-install-recommends {}",
        missing.join(" ")
    );
    let could_not = || format!("missing packages; as root: {by_hand}");
    shell::as_root("true").with_context(could_not)?;
    let mut updated = false;
    if !missing.iter().all(|package| knows(package)) {
        update().with_context(could_not)?;
        updated = true;
    }
    shell::step(format!("installing by apt-get: {}", missing.join(" ")));
    let attempt = quiet_services(missing, || install_once(missing));
    if attempt.is_ok() || updated {
        return attempt.with_context(could_not);
    }
    // Lists that are old name versions which the mirror no longer has.
    update().with_context(could_not)?;
    quiet_services(missing, || install_once(missing)).with_context(could_not)
}

fn install_once(missing: &[&str]) -> Result<()> {
    shell::run(
        apt()?
            .args(["install", "--yes", "--no-install-recommends"])
            .args(missing),
    )
}

fn apt() -> Result<Command> {
    // `env` carries the variables through sudo whatever its policy keeps. RUNLEVEL=1 keeps SysV
    // scripts from starting services on a machine without systemd.
    let mut command = shell::as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]);
    command.args([
        "-qq",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    Ok(command)
}

/// nginx and HAProxy are wanted as programs, not as servers of the developer's machine: their units are masked while
/// the packages are set up, and left disabled.
fn quiet_services(missing: &[&str], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut units = Vec::new();
    if Path::new("/run/systemd/system").is_dir() {
        for (package, with_unit, unit) in SERVICES {
            if missing.contains(package) && installed(&[with_unit])?.is_empty() {
                units.push(*unit);
            }
        }
    }
    let systemctl = |word: &str| -> Result<()> {
        for unit in &units {
            shell::run(shell::as_root("systemctl")?.args([word, "--quiet", unit]))?;
        }
        Ok(())
    };
    systemctl("mask")?;
    let outcome = install();
    systemctl("unmask")?;
    if outcome.is_ok() {
        systemctl("disable")?;
    }
    outcome
}

/// Packages that start a service: the package asked for, the one that has the unit, the unit.
const SERVICES: &[(&str, &str, &str)] = &[
    ("nginx-light", "nginx-common", "nginx.service"),
    ("haproxy", "haproxy", "haproxy.service"),
    ("rsyslog", "rsyslog", "rsyslog.service"),
];
