//! Debian's kernel packages: the pinned one, else the newest of its series, else a sentence that says what is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A series of kernels that Edgeward promises to run on.
pub(crate) struct Series {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// The package that was last tried, and its version.
    package: &'static str,
    version: &'static str,
    /// Where Debian has the series.
    offered_by: &'static str,
}

/// Oldest first.
pub(crate) const SERIES: &[Series] = &[
    Series {
        name: "6.1",
        package: "linux-image-6.1.0-56-cloud-amd64",
        version: "6.1.192-2",
        offered_by: "the suites bookworm and bookworm-security, component main",
    },
    Series {
        name: "6.12",
        package: "linux-image-6.12.117+deb12-cloud-amd64",
        version: "6.12.117-1~deb12u1",
        offered_by: "the suites bookworm-security, bookworm-backports, trixie and trixie-security, component main",
    },
];

/// A kernel that is unpacked.
pub(crate) struct Obtained {
    pub(crate) package: String,
    pub(crate) version: String,
    /// What `uname -r` says there.
    pub(crate) release: String,
    /// The bootable file.
    pub(crate) image: PathBuf,
    /// Its modules, `…/lib/modules/RELEASE`.
    pub(crate) modules: PathBuf,
}

/// Fetches (once) and unpacks (once) a kernel of the series. The inner error says why there is none.
///
/// # Errors
/// What was fetched cannot be unpacked.
pub(crate) fn obtain(
    series: &Series,
    folder: &Path,
) -> Result<std::result::Result<Obtained, String>> {
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)
        .with_context(|| format!("cannot create {}", packages.display()))?;
    match fetch(series, &packages) {
        Ok(file) => unpack(&file, &folder.join(series.name)).map(Ok),
        Err(reason) => Ok(Err(format!("{reason:#}"))),
    }
}

/// The package file of the series: already here, or from apt.
fn fetch(series: &Series, packages: &Path) -> Result<PathBuf> {
    let pinned = packages.join(format!("{}_{}_amd64.deb", series.package, series.version));
    if pinned.is_file() {
        return Ok(pinned);
    }
    let failure = match download(&format!("{}={}", series.package, series.version), packages) {
        Ok(()) if pinned.is_file() => return Ok(pinned),
        Ok(()) => bail!("apt-get download made no {}", pinned.display()),
        Err(error) => error,
    };
    // What an earlier run fetched serves as well as what a mirror would give now.
    if let Some(file) = newest(files_of(series, packages)) {
        println!(
            "note: {} {} cannot be had; {} is here",
            series.package, series.version, file
        );
        return Ok(packages.join(file));
    }
    let Some(package) = newest(offered(series)?) else {
        bail!(
            "the apt sources of this machine offer no linux-image-{}.*-cloud-amd64; it is in {} (add the \
             source, then apt-get update)",
            series.name,
            series.offered_by
        );
    };
    println!(
        "note: {} {} is not offered ({failure:#}); taking {package}, the newest of its series",
        series.package, series.version
    );
    download(&package, packages)?;
    newest(files_of(series, packages))
        .map(|file| packages.join(file))
        .with_context(|| format!("apt-get download made no file for {package}"))
}

fn download(package: &str, packages: &Path) -> Result<()> {
    println!("==> fetching {package}");
    let output = Command::new("apt-get")
        .args(["-qq", "download", package])
        .current_dir(packages)
        .output()
        .context("cannot start apt-get: this needs Debian or a relative of it")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "apt-get download {package}: {}",
            said.lines().last().unwrap_or("failed").trim()
        );
    }
    Ok(())
}

/// The packages of the series that apt knows.
fn offered(series: &Series) -> Result<Vec<String>> {
    let output = Command::new("apt-cache")
        .args(["pkgnames", &format!("linux-image-{}.", series.name)])
        .output()
        .context("cannot start apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter(|name| name.ends_with("-cloud-amd64"))
        .map(ToOwned::to_owned)
        .collect())
}

/// The package files of the series that are here.
fn files_of(series: &Series, packages: &Path) -> Vec<String> {
    let start = format!("linux-image-{}.", series.name);
    let Ok(entries) = fs::read_dir(packages) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&start) && name.ends_with("_amd64.deb"))
        .collect()
}

/// The name with the highest numbers in it.
fn newest(names: Vec<String>) -> Option<String> {
    names.into_iter().max_by_key(|name| numbers(name))
}

/// Every number in a name, in order: 6.1.0-56 comes after 6.1.0-9.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Unpacks beside and renames, so that a killed run leaves nothing half.
fn unpack(file: &Path, folder: &Path) -> Result<Obtained> {
    let name = file
        .file_stem()
        .and_then(|name| name.to_str())
        .context("a package's name")?;
    let mut parts = name.split('_');
    let (package, version) = parts
        .next()
        .zip(parts.next())
        .with_context(|| format!("{name}: no version"))?;
    let unpacked = folder.join(name);
    if !unpacked.is_dir() {
        let aside = folder.join("unpacking");
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir_all(&aside).with_context(|| format!("cannot create {}", aside.display()))?;
        let status = Command::new("dpkg-deb")
            .arg("-x")
            .args([file, &aside])
            .status()
            .context("cannot start dpkg-deb")?;
        if !status.success() {
            bail!(
                "dpkg-deb cannot unpack {} ({status}): remove it and try again",
                file.display()
            );
        }
        fs::rename(&aside, &unpacked)
            .with_context(|| format!("cannot make {}", unpacked.display()))?;
    }
    let image = only_entry(&unpacked.join("boot"), "vmlinuz-")?;
    // A merged /usr has the modules below usr, as packages of later releases do.
    let modules = only_entry(&unpacked.join("lib/modules"), "")
        .or_else(|_| only_entry(&unpacked.join("usr/lib/modules"), ""))?;
    let release = modules
        .file_name()
        .and_then(|name| name.to_str())
        .context("a release")?
        .to_owned();
    Ok(Obtained {
        package: package.to_owned(),
        version: version.to_owned(),
        release,
        image,
        modules,
    })
}

/// The first entry of a directory whose name starts like that.
fn only_entry(folder: &Path, start: &str) -> Result<PathBuf> {
    fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .with_context(|| format!("nothing named {start}* in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_told_by_numbers_not_by_letters() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
        ];
        assert_eq!(
            newest(names.map(ToOwned::to_owned).to_vec()).as_deref(),
            Some(names[1])
        );
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn files_of_a_series_are_not_those_of_another() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "linux-image-6.12.1-cloud-amd64_6.12.1-1_amd64.deb",
            "linux-image-6.1.0-1.deb",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let counts: Vec<_> = SERIES
            .iter()
            .map(|series| files_of(series, folder.path()).len())
            .collect();
        assert_eq!(counts, [0, 1]);
    }
}
