//! One host of the lab: a network namespace with its addresses, and all a test does inside it.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::http::{KeptAlive, Request, Response, exchange};
use crate::identity::NAMESPACES;
use crate::process::{Cmd, Output, Process};
use crate::{Result, sys};

/// A handle on a host of the lab. Cheap to clone; it does not keep the lab alive.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    namespace: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    directory: PathBuf,
    files: Arc<AtomicU32>,
}

impl Host {
    pub(crate) fn new(tag: &str, name: &str, v4: Ipv4Addr, v6: Ipv6Addr, directory: &Path) -> Self {
        Self {
            name: name.to_owned(),
            namespace: format!("{tag}-{name}"),
            v4,
            v6,
            directory: directory.to_owned(),
            files: Arc::default(),
        }
    }

    /// Its short name: `login`, `attacker`, …
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its network namespace, as `ip netns` shows it.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        &self.namespace
    }

    /// Its main IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its main IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// Both main addresses, IPv4 first: for tests that do the same in both families.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// The main address of the same family as `other`.
    #[must_use]
    pub fn address_like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() {
            self.v4.into()
        } else {
            self.v6.into()
        }
    }

    /// A command to be run or started in this host: `host.command(&["ip", "addr"]).run()?`.
    pub fn command(&self, argv: &[&str]) -> Cmd {
        Cmd::new(self, argv)
    }

    /// Runs a command to its end, whatever its exit code; see [`Output::success`].
    ///
    /// # Errors
    /// When it cannot start or hangs.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        self.command(argv).run()
    }

    /// Starts a process that goes on in the background.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn spawn(&self, argv: &[&str]) -> Result<Process> {
        self.command(argv).spawn()
    }

    /// Runs a closure on a fresh thread inside this host's network namespace.
    ///
    /// Sockets opened there stay in this host, wherever they are used later. A panic goes on in the caller.
    ///
    /// # Errors
    /// When the namespace cannot be entered; the closure's own result is returned as it is.
    pub fn in_ns<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = self.namespace()?;
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| {
                    sys::enter(&namespace)?;
                    Ok::<T, io::Error>(work())
                })
                .join()
        });
        match outcome {
            Ok(result) => result.with_context(|| format!("cannot enter {}", self.namespace)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Connects by TCP from the host's main address. See [`Host::connect_from`].
    ///
    /// # Errors
    /// As [`Host::connect_from`].
    pub fn connect(&self, address: IpAddr, port: u16, timeout: Duration) -> io::Result<TcpStream> {
        self.connect_from(self.address_like(address), address, port, timeout)
    }

    /// Connects by TCP from a chosen source address, which may be any that is routed to this host.
    ///
    /// # Errors
    /// `TimedOut` when nothing answered (dropped), `ConnectionRefused` for a reset, others as the system says.
    pub fn connect_from(
        &self,
        source: IpAddr,
        address: IpAddr,
        port: u16,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        let target = SocketAddr::new(address, port);
        self.in_ns(|| sys::tcp_connect(Some(source), target, timeout))
            .map_err(io::Error::other)?
    }

    /// Binds a UDP socket to an address that is routed to this host, or to all with `0.0.0.0` or `::`.
    ///
    /// # Errors
    /// As the system says.
    pub fn udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.in_ns(|| sys::udp_bind(address))
            .map_err(io::Error::other)?
    }

    /// GET over HTTP/1.1 from the host's main address; header lines as `"Name: value"`.
    ///
    /// # Errors
    /// As [`Host::http`].
    pub fn http_get(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &[&str],
        timeout: Duration,
    ) -> io::Result<Response> {
        let request = headers
            .iter()
            .fold(Request::get(path), |request, line| request.header(line));
        self.http(self.address_like(address.ip()), address, &request, timeout)
    }

    /// One HTTP/1.1 request on a connection of its own, from a chosen source address.
    ///
    /// # Errors
    /// As [`Host::connect_from`] for the connection; `TimedOut` when the answer is not whole in time;
    /// `InvalidData` when it is no HTTP.
    pub fn http(
        &self,
        source: IpAddr,
        address: SocketAddr,
        request: &Request,
        timeout: Duration,
    ) -> io::Result<Response> {
        let stream = self.connect_from(source, address.ip(), address.port(), timeout)?;
        exchange(stream, address, request, timeout)
    }

    /// A connection for several HTTP/1.1 requests, from a chosen source address.
    ///
    /// # Errors
    /// As [`Host::connect_from`].
    pub fn keep_alive(
        &self,
        source: IpAddr,
        address: SocketAddr,
        timeout: Duration,
    ) -> io::Result<KeptAlive> {
        let stream = self.connect_from(source, address.ip(), address.port(), timeout)?;
        KeptAlive::new(stream, &address.to_string(), timeout)
    }

    /// Where the files of its processes lie: the lab's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The open namespace file of this host.
    pub(crate) fn namespace(&self) -> Result<File> {
        let path = Path::new(NAMESPACES).join(&self.namespace);
        File::open(&path)
            .with_context(|| format!("host {} has no namespace {}", self.name, path.display()))
    }

    /// Fresh files for a process's two outputs.
    pub(crate) fn output_files(&self, program: &str) -> (PathBuf, PathBuf) {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let short = Path::new(program)
            .file_name()
            .map_or_else(Default::default, |name| name.to_string_lossy());
        let file = |end: &str| {
            self.directory
                .join(format!("{}-{short}-{number}.{end}", self.name))
        };
        (file("out"), file("err"))
    }
}
