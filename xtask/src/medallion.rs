//! medallion, a TAXII 2.1 server, for the tests: fetched as Python wheels that are pinned by hash in the repository, and
//! unpacked into `target/tools/medallion`, which becomes its `PYTHONPATH`. Nothing of it is installed on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cargo, linker, proxies, shell};

/// Makes sure that it is there in the pinned version; quick when it is. Returns its folder.
///
/// # Errors
/// It is not, and could not be fetched or unpacked.
pub(crate) fn ensure() -> Result<PathBuf> {
    let requirements = requirements();
    let wanted = fs::read_to_string(&requirements).context("the pinned versions")?;
    let folder = linker::tools().join("medallion");
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    shell::step(format!(
        "fetching {} by pip into {}",
        proxies::pinned(&wanted).join(", "),
        folder.display()
    ));
    let aside = linker::tools().join("medallion.new");
    let _ = fs::remove_dir_all(&aside);
    let wheels = aside.join("wheels");
    proxies::fetch(&requirements, &wheels).context("medallion cannot be fetched")?;
    unpack(&wheels, &aside)?;
    // Written last: a folder with this file is whole.
    fs::write(aside.join(STAMP), &wanted)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The pinned versions as the file names them, for a person.
pub(crate) fn describe() -> String {
    fs::read_to_string(requirements()).map_or_else(
        |error| format!("unknown: {error}"),
        |text| proxies::pinned(&text).join(" "),
    )
}

fn requirements() -> PathBuf {
    cargo::root().join("tests/feeds-requirements.txt")
}

/// A wheel is a zip file whose content is importable as it is.
fn unpack(wheels: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(wheels)? {
        let wheel = entry?.path();
        shell::run(
            Command::new(proxies::PYTHON)
                .args(["-m", "zipfile", "--extract"])
                .arg(&wheel)
                .arg(into),
        )?;
    }
    Ok(fs::remove_dir_all(wheels)?)
}

/// A copy of the requirements, which says what was unpacked.
const STAMP: &str = "requirements.txt";
