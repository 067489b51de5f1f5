//! Real proxies in the lab: nginx and HAProxy of the distribution, Envoy, Traefik and Caddy as `cargo xtask setup`
//! unpacks them, with the configurations that are shipped in `config/proxies`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::host::Host;
use crate::process::Process;
use crate::{Lab, Result};

/// A proxy that runs in a host. Dropping it kills it.
#[derive(Debug)]
pub struct RealProxy {
    name: String,
    process: Process,
}

impl RealProxy {
    /// Starts a proxy and waits until it accepts connections at every address.
    ///
    /// # Errors
    /// With its output when it ends or does not listen.
    pub fn start(host: &Host, argv: &[&str], listens: &[SocketAddr]) -> Result<Self> {
        let folder = host.directory().display().to_string();
        let process = host
            .command(argv)
            .env("HOME", &folder)
            .env("XDG_CONFIG_HOME", &folder)
            .env("XDG_DATA_HOME", &folder)
            .directory(host.directory())
            .spawn()?;
        let mut proxy = Self {
            name: argv.first().map_or_else(String::new, ToString::to_string),
            process,
        };
        let deadline = Instant::now() + READY_MAX;
        for address in listens {
            while let Err(error) = host.connect_from(
                address.ip(),
                address.ip(),
                address.port(),
                Duration::from_secs(1),
            ) {
                if Instant::now() >= deadline || !proxy.process.running() {
                    bail!(
                        "{} does not listen on {address}: {error}\n{}",
                        proxy.name,
                        proxy.output()
                    );
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(proxy)
    }

    /// nginx in the foreground with what stands inside `http { … }`; `folder` becomes its prefix, which relative
    /// includes are looked for in.
    ///
    /// # Errors
    /// As [`RealProxy::start`].
    pub fn nginx(host: &Host, folder: &Path, http: &str, listens: &[SocketAddr]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let prefix = folder.display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("  {name}_temp_path {prefix}/temp-{name};\n"))
            .concat();
        let path = folder.join("nginx.conf");
        // One worker: what a test says about connections kept open is then about all of them.
        let text = format!(
            "daemon off;\nuser root;\nworker_processes 1;\nworker_rlimit_nofile 8192;\npid {prefix}/nginx.pid;\n\
             error_log stderr warn;\nevents {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n{temporary}{http}\n}}\n"
        );
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let path = path.display().to_string();
        Self::start(
            host,
            &["nginx", "-e", "stderr", "-p", &prefix, "-c", &path],
            listens,
        )
    }

    /// Everything it wrote.
    #[must_use]
    pub fn output(&self) -> String {
        format!("{}{}", self.process.stdout(), self.process.stderr())
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.running()
    }
}

/// Copies the shipped configuration of a proxy, `config/proxies/NAME`, into the lab's directory, with some texts
/// replaced: the ones that an operator changes too. Returns the copy's folder.
///
/// # Errors
/// When a file cannot be read or written, or none of them has a text that is to be replaced: the test would then
/// run something else than it believes.
pub fn shipped(lab: &Lab, name: &str, replacements: &[(&str, &str)]) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../config/proxies")
        .join(name);
    let mut found = vec![false; replacements.len()];
    for entry in fs::read_dir(&source).with_context(|| format!("no {}", source.display()))? {
        let path = entry?.path();
        let mut text = fs::read_to_string(&path)?;
        for ((from, to), found) in replacements.iter().zip(&mut found) {
            *found |= text.contains(from);
            text = text.replace(from, to);
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        lab.write(&format!("{name}/{file}"), &text)?;
    }
    for ((from, _), found) in replacements.iter().zip(found) {
        ensure!(found, "no file of config/proxies/{name} has {from:?}");
    }
    Ok(lab.directory().join(name))
}

/// The executable of Envoy, Traefik or Caddy that `cargo xtask setup` unpacked.
///
/// # Errors
/// When it is not there, with what provides it.
pub fn unpacked(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/tools/proxies")
        .join(name);
    path.canonicalize()
        .with_context(|| format!("{name} is not there: run `cargo xtask setup test`"))
}

/// Longest a start may take: only a failure does.
const READY_MAX: Duration = Duration::from_secs(30);
