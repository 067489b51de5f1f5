//! Envoy, Traefik and Caddy for the tests: fetched as Python wheels that are pinned by hash in the repository, and
//! unpacked into `target/tools/proxies`. Nothing of them is installed on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, linker, shell};

/// The executables, each with its place in its wheel.
const BINARIES: &[(&str, &str)] = &[
    ("envoy", "envoy/_bin/envoy"),
    ("traefik", ".data/scripts/traefik"),
    ("caddy", ".data/scripts/caddy"),
];

/// Debian's interpreter, whose `pip` is a package of the test group; another one may come first on PATH.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Makes sure that the executables of the pinned versions are there; quick when they are. Returns their folder.
///
/// # Errors
/// They are not, and could not be fetched or unpacked.
pub(crate) fn ensure() -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements()).context("the pinned versions")?;
    let folder = linker::tools().join("proxies");
    let present = fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted)
        && BINARIES
            .iter()
            .all(|(name, _)| shell::is_executable(&folder.join(name)));
    if present {
        return Ok(folder);
    }
    shell::step(format!(
        "fetching {} by pip into {}",
        pinned(&wanted).join(", "),
        folder.display()
    ));
    let aside = linker::tools().join("proxies.new");
    let _ = fs::remove_dir_all(&aside);
    fetch(&requirements(), &aside.join(WHEELS))
        .context("the proxies Envoy, Traefik and Caddy cannot be fetched")?;
    unpack(&aside)?;
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
        |text| pinned(&text).join(" "),
    )
}

fn requirements() -> PathBuf {
    cargo::root().join("tests/proxies-requirements.txt")
}

/// `name==version` of each requirement.
pub(crate) fn pinned(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.starts_with(['#', ' ']))
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

/// Downloads the wheels of a requirements file; pip refuses any whose hash is not in it.
///
/// # Errors
/// pip says why.
pub(crate) fn fetch(requirements: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let arguments = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--timeout=30",
        "--retries=2",
    ];
    shell::run(
        Command::new(PYTHON)
            .args(arguments)
            .arg("--requirement")
            .arg(requirements)
            .arg("--dest")
            .arg(into),
    )
}

/// Takes the executable out of each wheel, which is a zip file, and forgets the rest.
fn unpack(folder: &Path) -> Result<()> {
    let wheels = folder.join(WHEELS);
    let contents = folder.join("contents");
    for entry in fs::read_dir(&wheels)? {
        let wheel = entry?.path();
        shell::run(
            Command::new(PYTHON)
                .args(["-m", "zipfile", "--extract"])
                .arg(&wheel)
                .arg(&contents),
        )?;
    }
    for (name, place) in BINARIES {
        let found = find(&contents, place)?;
        let target = folder.join(name);
        fs::rename(&found, &target)?;
        make_executable(&target)?;
    }
    fs::remove_dir_all(&contents)?;
    fs::remove_dir_all(&wheels)?;
    Ok(())
}

/// The file at a place whose first folder carries a version in its name.
fn find(contents: &Path, place: &str) -> Result<PathBuf> {
    let mut left = vec![contents.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.to_string_lossy().ends_with(place) {
                return Ok(path);
            }
        }
    }
    bail!("no wheel has a file {place}")
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // A zip file carries no mode that Python's extractor would set.
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// A copy of the requirements, which says what was unpacked.
const STAMP: &str = "requirements.txt";
const WHEELS: &str = "wheels";

#[cfg(test)]
mod tests {
    use super::pinned;

    #[test]
    fn names_and_versions_are_read_and_nothing_else() {
        let text = "# a comment\na==1 \\\n    --hash=sha256:0\nb==2\n";
        assert_eq!(pinned(text), ["a==1", "b==2"]);
    }
}
