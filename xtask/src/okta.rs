//! Okta's SDK for Node, for the tests: fetched by npm as the repository pins it by hash, into `target/tools/okta-node`.
//! Nothing of it is installed on the machine. That for Python is one of the sets of `wheels`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cargo, linker, packages, shell};

/// Makes sure that it is there in the pinned version; quick when it is. Returns its folder.
///
/// # Errors
/// It is not, and could not be fetched.
pub(crate) fn ensure() -> Result<PathBuf> {
    let pinned = cargo::root().join(PINNED);
    let wanted = fs::read_to_string(pinned.join(LOCK)).context("the pinned versions")?;
    let folder = linker::tools().join("okta-node");
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    ensure_npm()?;
    shell::step(format!(
        "fetching {} by npm into {}",
        describe(),
        folder.display()
    ));
    let aside = folder.with_extension("new");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&aside)?;
    for name in ["package.json", LOCK] {
        fs::copy(pinned.join(name), aside.join(name))?;
    }
    let arguments = [
        "ci",
        "--silent",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
    ];
    shell::run(Command::new("npm").args(arguments).current_dir(&aside))
        .context("Okta's SDK for Node cannot be fetched")?;
    // Written last: a folder with this file is whole.
    fs::write(aside.join(STAMP), &wanted)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The pinned version as the file names it, for a person.
pub(crate) fn describe() -> String {
    let text = fs::read_to_string(cargo::root().join(PINNED).join("package.json"));
    let text = text.unwrap_or_default();
    let line = text.lines().find(|line| line.contains("okta-sdk-nodejs"));
    line.unwrap_or("unknown").trim().replace('"', "")
}

/// Node and npm, of whatever origin; the distribution's where there are none.
fn ensure_npm() -> Result<()> {
    if shell::which("node").is_some() && shell::which("npm").is_some() {
        return Ok(());
    }
    packages::ensure(&["nodejs", "npm"])
}

const PINNED: &str = "tests/okta-node";
const LOCK: &str = "package-lock.json";
/// A copy of the pinned versions.
const STAMP: &str = "pinned";
