//! The endpoints as their callers meet them: real sockets, raw bytes, an in-process gate.

mod grpc;
mod http1;
mod judged;
mod reported;
mod signing;
mod sockets;
mod spoe;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::Endpoints;
use crate::{
    clock::Clock,
    config::{Config, Endpoint, Listen, PeerSource, Profile},
    control::EventFeed,
    detection::{Batch, Intake},
    gate::{Gate, GateLimits},
    policy::{clock::Now, signal::PseudonymKey, snapshot::Snapshot},
    signal::outcomes::Outcomes,
};

/// An endpoint of the service "login" at `place`.
fn endpoint(profile: Profile, listen: Listen) -> Endpoint {
    Endpoint {
        name: format!("for-{}", profile.name()),
        listen,
        profile,
        service: "login".to_owned(),
        peer: profile.peer(),
        resolved: false,
        user_header: None,
    }
}

fn unix(directory: &Path, name: &str) -> Listen {
    Listen::Unix(directory.join(name), 0o660)
}

fn gate(config: &str) -> Gate {
    let config = Config::parse(config, Path::new("/"), "test.toml").unwrap();
    let snapshot = Snapshot::of_config(&config, Now::default());
    let (sender, receiver) = watch::channel(Arc::new(snapshot));
    drop(sender);
    Gate::new(
        receiver,
        Gate::nobody_suspected(),
        EventFeed::new(100, 0),
        Clock::new(),
        1,
        &GateLimits::AMPLE,
    )
}

/// Endpoints that are being served until this is stopped.
struct Serving {
    wanted: watch::Sender<Arc<[Endpoint]>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    gate: Gate,
    batches: mpsc::Receiver<Batch>,
}

impl Serving {
    fn start(config: &str, endpoints: Vec<Endpoint>) -> Self {
        let gate = gate(config);
        let bound = Endpoints::bind(&endpoints).unwrap_or_else(|errors| panic!("{errors:?}"));
        let (wanted, receiver) = watch::channel(endpoints.into());
        let (stop, stopped) = oneshot::channel::<()>();
        let outcomes = Outcomes::new(Clock::new(), EventFeed::new(100, 0));
        let (intake, batches) = Intake::new();
        outcomes.open(intake, PseudonymKey::new(1, 2), &BTreeMap::new());
        let task = tokio::spawn(bound.serve(gate.clone(), outcomes, receiver, async {
            let _ = stopped.await;
        }));
        Self {
            batches,
            wanted,
            stop,
            task,
            gate,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    fn rejected(&self, cause: &str) -> u64 {
        self.gate
            .report()
            .rejected
            .values()
            .filter_map(|causes| causes.get(cause))
            .sum()
    }
}

/// One answer with its body, by `Content-Length`.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A connection that is spoken to in raw bytes.
struct Raw {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Raw {
    async fn connect(path: &Path) -> Self {
        Self {
            stream: UnixStream::connect(path).await.unwrap(),
            read: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer; `None` if the connection ends first.
    async fn answer(&mut self) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            if !self.more().await {
                return None;
            }
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse::<usize>().unwrap());
        while self.read.len() < length {
            assert!(self.more().await, "the body is cut short");
        }
        let rest = self.read.split_off(length);
        answer.body = String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
        Some(answer)
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).await.unwrap_or(0) > 0
    }

    async fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes).await;
        self.answer().await.expect("an answer")
    }
}

const LOGIN: &str = r#"
interfaces = ["eth0"]
[[service]]
name = "login"
ports = [443]
"#;

fn by_header(endpoint: &mut Endpoint, name: &str) {
    endpoint.peer = PeerSource::Header(name.to_owned());
}

/// A proxy, who is blocked behind it, who is not, and a limit.
fn site(mode: &str, more: &str) -> String {
    format!(
        r#"
mode = "{mode}"
interfaces = ["eth0"]
[[zone]]
name = "cdn"
uses = ["trusted-proxy"]
networks = ["192.0.2.0/24", "2001:db8:1::/48"]
[[list]]
name = "botnet"
score = 90
networks = ["203.0.113.0/24", "2001:db8:bad::/48"]
[[service]]
name = "login"
ports = [443]
{more}
[[service.limit]]
name = "twice"
paths = ["/limited"]
requests = 2
window = "1h"
"#
    )
}
