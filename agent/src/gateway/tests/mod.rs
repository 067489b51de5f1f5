//! The gateway as its clients and its upstream meet it: real sockets on loopback, an in-process gate.

mod basics;
mod http2;
mod sign_in;
mod smuggling;
mod tls;
mod upstreams;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Listeners, Material, Running, start};
use crate::{
    clock::Clock,
    config::Config,
    control::EventFeed,
    gate::{Gate, GateLimits},
    policy::{clock::Now, snapshot::Snapshot, suspects::Suspects},
};

/// A gateway in block mode, before a service whose ports are its own listeners'.
struct Fixture {
    running: Option<Running>,
    gate: Gate,
    snapshot: watch::Sender<Arc<Snapshot>>,
    suspects: watch::Sender<Arc<Suspects>>,
    v4: SocketAddr,
    v6: SocketAddr,
    beats: Arc<AtomicUsize>,
}

impl Fixture {
    /// `service` and `gateway` are lines of those tables, `{v4}` and `{v6}` the ports in them.
    fn new(service: &str, gateway: &str) -> Self {
        let listeners = Listeners::bind().unwrap();
        let (v4, v6) = listeners.addresses().unwrap();
        let v6 = v6.expect("the tests' host has IPv6");
        let config = config(v4.port(), v6.port(), service, gateway);
        let (snapshot, receiver) =
            watch::channel(Arc::new(Snapshot::of_config(&config, Now::default())));
        let (suspects, suspected) = watch::channel(Arc::default());
        let gate = Gate::new(
            receiver,
            suspected,
            EventFeed::new(100, 0),
            Clock::new(),
            1,
            &GateLimits::AMPLE,
        );
        let material =
            Material::read(&config.services).unwrap_or_else(|errors| panic!("{errors:?}"));
        let beats = Arc::new(AtomicUsize::new(0));
        let beat = Arc::clone(&beats);
        let beat = Arc::new(move || {
            beat.fetch_add(1, SeqCst);
        });
        let running = start(gate.clone(), &listeners, material, beat).unwrap();
        Self {
            running: Some(running),
            gate,
            snapshot,
            suspects,
            v4,
            v6,
            beats,
        }
    }

    /// Before an upstream at that address.
    fn before(upstream: SocketAddr, gateway: &str) -> Self {
        Self::new("", &format!("upstream = \"{upstream}\"\n{gateway}"))
    }

    fn reconfigure(&self, service: &str, gateway: &str) {
        let config = config(self.v4.port(), self.v6.port(), service, gateway);
        let material = Material::read(&config.services).unwrap();
        self.snapshot
            .send_replace(Arc::new(Snapshot::of_config(&config, Now::default())));
        self.running().install(material);
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn cause(&self, word: &str) -> u64 {
        let causes = self.running().report().causes;
        causes
            .iter()
            .find(|(cause, _)| *cause == word)
            .map_or(0, |(_, count)| *count)
    }

    /// Requests that came to a judgement, and those of them that were let on.
    fn judged(&self) -> (u64, u64) {
        let report = self.gate.report();
        let passed: u64 = report
            .services
            .iter()
            .flat_map(|service| service.passed.values())
            .sum();
        let refused: u64 = report
            .services
            .iter()
            .flat_map(|service| service.refused.values())
            .sum();
        (passed + refused, passed)
    }

    fn connect(&self) -> Raw {
        Raw::connect(self.v4)
    }

    /// Ends the gateway at once.
    fn end(mut self) {
        self.running.take().unwrap().drain(Duration::ZERO);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.drain(Duration::ZERO);
        }
    }
}

fn config(v4: u16, v6: u16, service: &str, gateway: &str) -> Config {
    let text = format!(
        r#"
mode = "block"
interfaces = ["lo"]
[[zone]]
name = "proxies"
uses = ["trusted-proxy"]
networks = ["127.0.0.1", "::1"]
[[zone]]
name = "attackers"
uses = ["blocked"]
networks = ["203.0.113.0/24"]
[[service]]
name = "login"
ports = [{v4}, {v6}]
{service}
[service.gateway]
{gateway}
"#
    );
    Config::parse(&text, Path::new("/"), "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// A connection that is spoken to in raw bytes.
struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, and its body by `Content-Length` or chunks.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Raw {
    fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// `GET` with that client in the forwarding header.
    fn get(&mut self, path: &str, client: &str) -> Answer {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nHost: login.example\r\nX-Forwarded-For: {client}\r\n\r\n"
        ));
        self.answer().unwrap()
    }

    /// The next answer; `None` if the connection ends first.
    fn answer(&mut self) -> Option<Answer> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.exactly(length)?;
        } else if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = String::from_utf8(self.until(b"\r\n")?).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                if size == 0 {
                    while let Some(line) = self.until(b"\r\n").filter(|line| line != b"\r\n") {
                        answer.head.push_str(&String::from_utf8(line).unwrap());
                    }
                    break;
                }
                let chunk = self.exactly(size + 2)?;
                answer.body.extend_from_slice(&chunk[..size]);
            }
        }
        Some(answer)
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|bytes| bytes == end) {
                let rest = self.read.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.read, rest));
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.read.len() < bytes {
            if !self.more() {
                return None;
            }
        }
        let rest = self.read.split_off(bytes);
        Some(std::mem::replace(&mut self.read, rest))
    }

    /// Reads more; `false` at the end of the connection.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Whether the other side has closed, with nothing more to say.
    fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more()
    }
}

/// An upstream that keeps every head it is sent and answers as it is told to.
struct Upstream {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// What an upstream does with a connection on which a head has arrived. `false` closes it.
type Play = dyn Fn(&mut TcpStream, &str) -> bool + Send + Sync;

impl Upstream {
    /// Reads bodies by `Content-Length` or chunks and answers 200 with `ok`.
    fn plain() -> Self {
        Self::playing(|stream, head| {
            let lower = head.to_lowercase();
            let mut body = Vec::new();
            if let Some(length) = field(&lower, "content-length") {
                body.resize(length.parse().unwrap(), 0);
                stream.read_exact(&mut body).unwrap();
            } else if field(&lower, "transfer-encoding").is_some() {
                let mut byte = [0];
                while !body.ends_with(b"0\r\n\r\n") {
                    stream.read_exact(&mut byte).unwrap();
                    body.push(byte[0]);
                }
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .is_ok()
        })
    }

    fn playing(play: impl Fn(&mut TcpStream, &str) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (kept, play): (_, Arc<Play>) = (Arc::clone(&heads), Arc::new(play));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), kept, play) = (stream, Arc::clone(&kept), Arc::clone(&play))
                else {
                    continue;
                };
                thread::spawn(move || {
                    while let Some(head) = read_head(&mut stream) {
                        kept.lock().unwrap().push(head.clone());
                        if !play(&mut stream, &head) {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// A header's value in a head in lower case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
