//! CrowdSec, its firewall bouncer and fail2ban, for comparison and for the tests of feeds: Debian's packages, unpacked into `target/tools/peers`. Nothing of them is
//! installed on the machine, so no service starts and no script of theirs runs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{linker, packages, shell};

/// The packages and the versions that were tried.
const PACKAGES: &[(&str, &str)] = &[
    ("crowdsec", "1.4.6-6~deb12u1+b1"),
    ("crowdsec-firewall-bouncer", "0.0.25-4~deb12u1"),
    ("fail2ban", "1.0.2-2"),
];

/// What they run with: the interpreter and its SQLite are packages of the test group too.
const NEEDED: &[&str] = &["python3", "libsqlite3-0"];

/// Makes sure that both are there; quick when they are. Returns their folder.
///
/// # Errors
/// They are not, and cannot be fetched or unpacked here.
pub(crate) fn ensure() -> Result<PathBuf> {
    packages::ensure(NEEDED)?;
    let folder = linker::tools().join("peers");
    let wanted: String = PACKAGES
        .iter()
        .map(|(name, version)| format!("{name}={version}\n"))
        .collect();
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    if !packages::has_apt() {
        bail!(
            "CrowdSec and fail2ban come from Debian's packages, and this machine has no apt to fetch them with"
        );
    }
    shell::step(format!(
        "fetching {} by apt-get into {}",
        wanted.trim_end().replace('\n', " and "),
        folder.display()
    ));
    let aside = linker::tools().join("peers.new");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
    for (name, version) in PACKAGES {
        if !packages::is_known(name) {
            bail!("apt knows no package {name}");
        }
        let download = |what: &str| {
            let mut command = Command::new("apt-get");
            command.args(["-qq", "-o", "APT::Sandbox::User=root", "download", what]);
            shell::run(command.current_dir(&aside))
        };
        if download(&format!("{name}={version}")).is_err() {
            eprintln!(
                "note: {name} {version} was tried and is not to be had; taking the one that is"
            );
            download(name)?;
        }
    }
    for entry in fs::read_dir(&aside)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            shell::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&aside))?;
            fs::remove_file(&package)?;
        }
    }
    // Written last: a folder with this file is whole.
    fs::write(aside.join(STAMP), &wanted)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

const STAMP: &str = "versions.txt";
