//! One connection to the control socket: lines in, lines out, each bounded in size and in time.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc, oneshot, watch,
    },
    time::timeout,
};

use super::{
    Command, Envelope, EventFeed, Failure, FailureKind, Peer, Request, Role, Roles, log,
    protocol::{Reply, SSH_PEERS_MAX},
    ssh,
};

/// What a connection needs besides its stream.
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) groups: Vec<u32>,
    pub(super) roles: watch::Receiver<Roles>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) events: EventFeed,
}

/// How a connection goes on after a line.
enum Line {
    Request(Vec<u8>),
    Refused(Failure),
    End,
}

/// Tells a peer why it is turned away, without ever waiting for it.
pub(super) fn refuse(stream: &UnixStream, failure: Failure) {
    // A fresh socket takes a short line at once; a peer that made that impossible gets the close alone.
    drop(stream.try_write(Reply::line(Err(failure)).as_bytes()));
}

impl Connection {
    /// Serves the stream until its peer leaves, falls silent or breaks a limit.
    pub(super) async fn run(self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let line = match next_line(&mut read).await {
                Line::Request(line) => line,
                Line::Refused(failure) => {
                    drop(send(&mut write, &Reply::line(Err(failure))).await);
                    return;
                }
                Line::End => return,
            };
            let answer = match self.admit(&line) {
                Ok(Envelope {
                    request: Request::Events { follow, limit },
                    ..
                }) => {
                    let limit = limit.unwrap_or(EVENTS_DEFAULT);
                    if follow {
                        let (past, coming) = self.events.subscribe(limit);
                        self.follow(&past, coming, &mut read, &mut write).await;
                        return;
                    }
                    Reply::events_line(&self.events.recent(limit))
                }
                Ok(Envelope {
                    request: Request::Log(query),
                    ..
                }) => Reply::line(log::answer(&self.events, query).await),
                Ok(envelope) => Reply::line(self.ask(envelope).await),
                Err(failure) => Reply::line(Err(failure)),
            };
            if send(&mut write, &answer).await.is_err() {
                return;
            }
        }
    }

    /// Reads a request and holds it against what the peer may do now, not what it could when it connected.
    fn admit(&self, line: &[u8]) -> Result<Envelope, Failure> {
        let envelope = Envelope::parse(line)?;
        let role = self.roles.borrow().role(&self.peer, &self.groups);
        if role.is_some_and(|role| role >= envelope.request.role()) {
            return Ok(envelope);
        }
        let (needed, list) = match envelope.request.role() {
            Role::Operator => ("an operator", "control.operators"),
            Role::Reader => ("a reader", "control.readers"),
        };
        Err(Failure::new(
            FailureKind::Denied,
            format!(
                "uid {} is not {needed} here; run this as root, or add the account to `{list}` in the \
                 configuration",
                self.peer.uid
            ),
        ))
    }

    /// Hands a request to the keeper and waits for its answer.
    async fn ask(&self, envelope: Envelope) -> Result<Value, Failure> {
        let unavailable = |what: &str| Failure::new(FailureKind::Unavailable, what);
        let ssh_peers = self.ssh_peers(&envelope);
        let (reply, answer) = oneshot::channel();
        let command = Command {
            request: envelope.request,
            peer: self.peer,
            token: None,
            ssh_peers,
            reply,
        };
        match timeout(QUEUE_TIMEOUT, self.commands.send(command)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(unavailable("the agent is stopping")),
            Err(_) => {
                return Err(unavailable(
                    "the agent is busy with earlier commands; try again",
                ));
            }
        }
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::new(
                FailureKind::Internal,
                "the agent dropped the command without an answer; its log says why",
            )),
            Err(_) => Err(unavailable(
                "the agent took the command and is still at it; ask for `status` to see the outcome",
            )),
        }
    }

    /// What the client says and what its ancestors' environments say, for the commands that could
    /// cut an operator off.
    fn ssh_peers(&self, envelope: &Envelope) -> Vec<std::net::IpAddr> {
        if !matches!(
            envelope.request,
            Request::Block { .. } | Request::Mode { set: Some(_), .. }
        ) {
            return Vec::new();
        }
        let mut peers: Vec<_> = envelope
            .ssh_peers
            .iter()
            .map(|peer| peer.to_canonical())
            .collect();
        for peer in self.peer.pid.map(ssh::peers_of).unwrap_or_default() {
            if !peers.contains(&peer) && peers.len() < SSH_PEERS_MAX {
                peers.push(peer);
            }
        }
        peers
    }

    /// Streams events until the peer leaves. One that reads too slowly loses events and is told how many.
    async fn follow(
        &self,
        past: &[Arc<str>],
        mut coming: Receiver<Arc<str>>,
        read: &mut BufReader<OwnedReadHalf>,
        write: &mut OwnedWriteHalf,
    ) {
        if send(write, &Reply::events_line(past)).await.is_err() {
            return;
        }
        let mut roles = self.roles.clone();
        let mut ignored = [0; 64];
        loop {
            let line = tokio::select! {
                event = coming.recv() => match event {
                    Ok(line) => format!("{line}\n"),
                    Err(RecvError::Lagged(lost)) => format!("{{\"lost\":{lost}}}\n"),
                    Err(RecvError::Closed) => return,
                },
                // Nothing more is expected from the peer: an end means that it has left.
                got = read.read(&mut ignored) => match got {
                    Ok(0) | Err(_) => return,
                    Ok(_) => continue,
                },
                // A role that was taken away ends the stream too.
                changed = roles.changed() => {
                    let role = roles.borrow().role(&self.peer, &self.groups);
                    if changed.is_err() || role.is_none() {
                        return;
                    }
                    continue;
                },
            };
            // No timeout: a pager may stand still for hours, and what it misses is counted above.
            if write.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The next line without its end. A peer may stay silent for a while between lines, but a line that was
/// begun must be finished soon.
async fn next_line(read: &mut BufReader<OwnedReadHalf>) -> Line {
    match timeout(IDLE_TIMEOUT, read.fill_buf()).await {
        Ok(Ok([])) | Ok(Err(_)) | Err(_) => return Line::End,
        Ok(Ok(_)) => {}
    }
    let mut line = Vec::new();
    let mut limited = read.take(LINE_BYTES_MAX + 1);
    match timeout(LINE_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
        Err(_) => Line::Refused(Failure::new(
            FailureKind::Usage,
            format!(
                "the request line was not finished within {} s",
                LINE_TIMEOUT.as_secs()
            ),
        )),
        Ok(Err(_)) => Line::End,
        Ok(Ok(_)) if line.last() == Some(&b'\n') => Line::Request(line),
        Ok(Ok(_)) if line.len() as u64 > LINE_BYTES_MAX => Line::Refused(Failure::new(
            FailureKind::Usage,
            format!("the request line is longer than {LINE_BYTES_MAX} bytes"),
        )),
        // The end of the stream in the middle of a line: nobody is left to answer.
        Ok(Ok(_)) => Line::End,
    }
}

async fn send(write: &mut OwnedWriteHalf, line: &str) -> std::io::Result<()> {
    timeout(WRITE_TIMEOUT, write.write_all(line.as_bytes())).await?
}

/// The longest request line, bytes, with its end.
pub(super) const LINE_BYTES_MAX: u64 = 64 << 10;
const EVENTS_DEFAULT: usize = 100;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// A reload of very large lists is the longest that any command takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
