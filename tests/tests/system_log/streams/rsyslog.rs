//! A real rsyslog on the login host's loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::{Lab, Process, Result};

use super::world::received;

/// Where it listens, by which it is known to be ready.
#[derive(Clone, Debug)]
pub(crate) enum Listens {
    Tcp(u16),
    Udp(u16),
    /// A socket in the file system.
    Path(PathBuf),
}

/// The server, and the file that it writes.
pub(crate) struct Rsyslog {
    pub(crate) process: Process,
    pub(crate) received: PathBuf,
    config: PathBuf,
    listens: Vec<Listens>,
}

impl Rsyslog {
    pub(crate) const PORT: u16 = 5140;
    /// A module for connections without TLS.
    pub(crate) const PLAIN: &'static str = ")\nmodule(load=\"imtcp\")";

    /// Over TCP, each event's JSON on a line of `received`. `input` ends the global settings and loads the module.
    pub(crate) fn tcp(lab: &Lab, input: &str) -> Result<Self> {
        let port = Self::PORT;
        let file = lab.directory().join("received.log");
        let rest = format!(
            "{input}\ntemplate(name=\"message\" type=\"string\" string=\"%msg%\\n\")\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"message\")\n",
            file.display()
        );
        Self::start(lab, &rest, vec![Listens::Tcp(port)])
    }

    /// With a configuration of one's own behind the beginning of the global settings.
    pub(crate) fn start(lab: &Lab, rest: &str, listens: Vec<Listens>) -> Result<Self> {
        let text = format!(
            "main_queue(queue.type=\"direct\")\nglobal(maxMessageSize=\"64k\" workDirectory=\"{}\" {rest}",
            lab.directory().display(),
        );
        let mut server = Self {
            process: lab.login.spawn(&["true"])?,
            received: lab.directory().join("received.log"),
            config: lab.write("rsyslog.conf", &text)?,
            listens,
        };
        server.launch(lab)?;
        Ok(server)
    }

    /// Starts it, again after it was killed; it listens when this returns.
    pub(crate) fn launch(&mut self, lab: &Lab) -> Result<()> {
        let config = self.config.to_str().context("a path that is no UTF-8")?;
        let pid = format!("{config}.pid");
        drop(std::fs::remove_file(&pid));
        for place in &self.listens {
            if let Listens::Path(path) = place {
                drop(std::fs::remove_file(path));
            }
        }
        self.process = lab
            .login
            .spawn(&["rsyslogd", "-n", "-f", config, "-i", &pid])?;
        let deadline = Instant::now() + Duration::from_secs(30);
        for place in &self.listens {
            while !place.is_open(lab)? {
                if Instant::now() >= deadline {
                    let said = (self.process.stdout(), self.process.stderr());
                    bail!("rsyslog does not listen at {place:?}: {said:?}");
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Waits until it has written down so many.
    pub(crate) fn has(&self, events: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while received(&self.received)?.len() < events {
            ensure!(Instant::now() < deadline, "{}", self.process.stderr());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Listens {
    fn is_open(&self, lab: &Lab) -> Result<bool> {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Ok(match self {
            Self::Tcp(port) => lab
                .login
                .connect(here, *port, Duration::from_secs(1))
                .is_ok(),
            Self::Udp(port) => {
                let filter = format!("sport = :{port}");
                let sockets = lab.login.run(&["ss", "-Huln", &filter])?.success()?;
                !sockets.trim().is_empty()
            }
            Self::Path(path) => path.exists(),
        })
    }
}

/// rsyslog is there, with TLS.
pub(crate) fn needed() -> std::result::Result<(), String> {
    let programs = ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"];
    let drivers = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let has_driver = drivers
        .iter()
        .any(|folder| Path::new(folder).join("rsyslog/lmnsd_gtls.so").exists());
    if programs.iter().any(|path| Path::new(path).exists()) && has_driver {
        Ok(())
    } else {
        Err("rsyslog or its gtls driver is not there: run `cargo xtask setup test`".to_owned())
    }
}
