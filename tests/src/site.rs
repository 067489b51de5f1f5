//! The sign-in site of the lab: a real nginx on the login host, in the foreground, with a configuration of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::Result;
use crate::network::Lab;
use crate::process::{Process, read_text};

/// A running site. Dropping it stops nginx.
#[derive(Debug)]
pub struct Site {
    process: Process,
    access_log: PathBuf,
    v4: IpAddr,
    v6: IpAddr,
}

impl Site {
    /// Port of plain HTTP.
    pub const HTTP: u16 = 80;
    /// Where HTTPS would be; plain HTTP here too, the kernel edge does not look that far.
    pub const HTTPS: u16 = 443;
    /// A port for tests that need one outside of the protected services.
    pub const OTHER: u16 = 8080;
    /// Where a sign-in with `?password=right` is answered with 302, and any other with 401.
    pub const SIGN_IN: &'static str = "/sign-in";
    /// What a sign-in answers.
    pub const ANSWER: &'static str = "signed in\n";

    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let access_log = lab.directory().join("access.log");
        let folder = lab.directory().display().to_string();
        let path = lab.write("nginx.conf", &configuration(&folder))?;
        let path = path.display().to_string();
        let process = lab
            .login
            .spawn(&["nginx", "-e", "stderr", "-p", &folder, "-c", &path])?;
        let [v4, v6] = lab.login.addresses();
        let mut site = Self {
            process,
            access_log,
            v4,
            v6,
        };
        site.wait_ready(lab)?;
        Ok(site)
    }

    /// The site's address of the same family as `client`, on the plain port.
    #[must_use]
    pub fn address(&self, client: IpAddr) -> SocketAddr {
        SocketAddr::new(if client.is_ipv4() { self.v4 } else { self.v6 }, Self::HTTP)
    }

    /// The finished lines of the access log (nginx's combined format, then the `X-Forwarded-For` header in quotes).
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        read_text(&self.access_log)
            .lines()
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Requests that came from a peer.
    #[must_use]
    pub fn requests_from(&self, peer: IpAddr) -> usize {
        let start = format!("{peer} ");
        self.requests()
            .iter()
            .filter(|line| line.starts_with(&start))
            .count()
    }

    /// Requests that a proxy forwarded for a client: whose `X-Forwarded-For` ends with it.
    #[must_use]
    pub fn requests_for(&self, client: IpAddr) -> usize {
        let (alone, last) = (format!("\"{client}\""), format!(" {client}\""));
        self.requests()
            .iter()
            .filter(|line| line.ends_with(&alone) || line.ends_with(&last))
            .count()
    }

    /// Waits until a peer has made `count` requests: nginx logs a request after it has answered it.
    ///
    /// # Errors
    /// With the log when that does not happen in time.
    pub fn wait_for_requests(&self, peer: IpAddr, count: usize) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while self.requests_from(peer) < count {
            if Instant::now() >= deadline {
                bail!(
                    "fewer than {count} requests from {peer}: {:#?}",
                    self.requests()
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Puts the access log aside under `name`, as logrotate does: renamed, then nginx told to open a new one.
    ///
    /// # Errors
    /// When nginx does not open it.
    pub fn rotate(&mut self, name: &str) -> Result<()> {
        std::fs::rename(&self.access_log, self.access_log.with_file_name(name))?;
        self.process.signal(libc::SIGUSR1)?;
        let deadline = Instant::now() + READY_MAX;
        while !self.access_log.exists() {
            if Instant::now() >= deadline {
                bail!("nginx does not open its log again");
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The access log's path, for whoever follows it.
    #[must_use]
    pub fn access_log(&self) -> &std::path::Path {
        &self.access_log
    }

    /// Waits until the site answers in both families, from inside the login host.
    fn wait_ready(&mut self, lab: &Lab) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        for address in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            while let Err(error) = reach(lab, address) {
                if Instant::now() >= deadline || !self.process.running() {
                    bail!(
                        "nginx does not answer on {address}: {error}\n{}",
                        self.process.stderr()
                    );
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

/// Connects to the site over the login host's own loopback.
fn reach(lab: &Lab, address: IpAddr) -> io::Result<()> {
    lab.login
        .connect_from(address, address, Site::HTTP, Duration::from_secs(1))
        .map(drop)
}

/// nginx's configuration: one process, no daemon, everything it writes in the lab's folder.
fn configuration(folder: &str) -> String {
    let listen: String = [Site::HTTP, Site::HTTPS, Site::OTHER]
        .map(|port| format!("    listen {port};\n    listen [::]:{port};\n"))
        .concat();
    let answer = Site::ANSWER.trim_end();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           log_format lab '$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent '\n\
             '\"$http_referer\" \"$http_user_agent\" \"$http_x_forwarded_for\"';\n\
           access_log {folder}/access.log lab;\n\
           client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;\n\
           fastcgi_temp_path {folder}/nginx-fastcgi; uwsgi_temp_path {folder}/nginx-uwsgi;\n\
           scgi_temp_path {folder}/nginx-scgi;\n\
           default_type text/plain;\n\
           server {{\n{listen}    location / {{ return 200 \"{answer}\\n\"; }}\n\
             location = /sign-in {{\n\
               if ($arg_password = right) {{ return 302 /home; }}\n\
               return 401 \"no\\n\";\n    }}\n  }}\n\
         }}\n"
    )
}

/// Longest nginx may take to answer: only a failure does.
const READY_MAX: Duration = Duration::from_secs(10);
