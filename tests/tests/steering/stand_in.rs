//! In the gateway's place: accepts on loopback and answers every request by naming both ends of its connection.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use edgeward::datapath::{Datapath, Heartbeat, boot_ns};
use lab::{Host, PinnedMap, Process, Result};

/// A gateway on a thread of the test. Dropping it closes its listeners.
pub(crate) struct StandIn {
    listeners: [TcpListener; 2],
    stop: Arc<AtomicBool>,
    beats: Arc<AtomicBool>,
    heartbeat: Heartbeat,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Opens the listeners in the host and serves; nothing is steered to them yet.
    pub(crate) fn start(host: &Host, heartbeat: Heartbeat) -> Result<Self> {
        let listeners = host.in_ns(bind)??;
        let (stop, beats) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(true)),
        );
        let own = [listeners[0].try_clone()?, listeners[1].try_clone()?];
        let thread = thread::spawn({
            let (stop, beats, heartbeat) = (stop.clone(), beats.clone(), heartbeat.clone());
            move || {
                while !stop.load(Ordering::Acquire) {
                    if beats.load(Ordering::Acquire) {
                        heartbeat.beat();
                    }
                    serve(&own);
                }
            }
        });
        Ok(Self {
            listeners,
            stop,
            beats,
            heartbeat,
            thread: Some(thread),
        })
    }

    /// Has connections handed to it.
    pub(crate) fn take_over(&self, datapath: &Datapath) -> Result<()> {
        let [v4, v6] = &self.listeners;
        datapath.set_listeners(Some(v4.as_fd()), Some(v6.as_fd()))
    }

    /// Gives signs of life again, or no more and none in the past either.
    pub(crate) fn set_alive(&self, alive: bool) {
        self.hang(!alive);
        if alive {
            self.heartbeat.beat();
        } else {
            self.heartbeat.stop();
        }
    }

    /// Gives no further sign of life, as a gateway that hangs; the last one ages.
    pub(crate) fn hang(&self, hangs: bool) {
        self.beats.store(!hangs, Ordering::Release);
        // A turn that saw the former value has ended after this.
        thread::sleep(TURN * 4);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A gateway in a process of its own: it puts its sockets into the pinned maps by itself.
pub(crate) fn spawn(host: &Host, pins: &Path) -> Result<Process> {
    let binary = std::env::current_exe()?.display().to_string();
    let command = host.command(&[&binary]);
    let mut process = command.env(VARIABLE, &pins.display().to_string()).spawn()?;
    process.wait_for_line(READY, Duration::from_secs(20))?;
    Ok(process)
}

/// What that process does, until it is killed.
pub(crate) fn run(pins: &Path) -> ! {
    let outcome = serve_pinned(pins);
    eprintln!("the stand-in ends: {outcome:?}");
    std::process::exit(1);
}

fn serve_pinned(pins: &Path) -> Result<()> {
    let listeners = bind()?;
    let slots = PinnedMap::open(&pins.join("listeners"))?;
    let heartbeat = PinnedMap::open(&pins.join("heartbeat"))?;
    let beat = || heartbeat.set(&0u32.to_ne_bytes(), &boot_ns().to_ne_bytes());
    beat()?;
    for (slot, listener) in (0u32..).zip(&listeners) {
        slots.set(&slot.to_ne_bytes(), &listener.as_raw_fd().to_ne_bytes())?;
    }
    println!("{READY}");
    loop {
        beat()?;
        serve(&listeners);
    }
}

fn bind() -> Result<[TcpListener; 2]> {
    let open = |address: SocketAddr| -> Result<TcpListener> {
        let listener = TcpListener::bind(address).with_context(|| format!("{address}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    Ok([
        open((Ipv4Addr::LOCALHOST, 0).into())?,
        open((Ipv6Addr::LOCALHOST, 0).into())?,
    ])
}

/// Answers everybody who waits, and pauses if nobody does.
fn serve(listeners: &[TcpListener; 2]) {
    let mut idle = true;
    for listener in listeners {
        match listener.accept() {
            Ok((stream, _)) => {
                idle = false;
                // A client that gave up is the test's business, which looks at what clients get.
                let _ = answer(&stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => eprintln!("the stand-in cannot accept: {error}"),
        }
    }
    if idle {
        thread::sleep(TURN);
    }
}

fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("{GREETING}{} {}", stream.local_addr()?, stream.peer_addr()?);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Tells the process what it is; the directory of the agent's pins.
pub(crate) const VARIABLE: &str = "EDGEWARD_STEERING_STAND_IN";
/// What its answers begin with; local and remote address follow.
pub(crate) const GREETING: &str = "gateway ";
const READY: &str = "the stand-in serves";
/// Pause when nobody waits.
const TURN: Duration = Duration::from_millis(2);
