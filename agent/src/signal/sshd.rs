//! OpenSSH's server, in syslog files and journald's output.
//!
//! Several lines may tell of one attempt: `Invalid user`, then PAM, then `Failed password`, then why the
//! connection ended. `Failed password` and its like count at once. The others are hints: they count as one
//! failure when the connection ends and nothing better has been said.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use super::{
    LogFormat, Maker, NO_ADDRESS, NO_TIME, Rejection, Told, address,
    sshd_message::{Kind, Message, read},
    time::{self, Years},
};
use crate::policy::signal::{Flow, Outcome, Signal};

/// Reads the log of OpenSSH's server.
#[derive(Debug)]
pub struct Sshd {
    maker: Maker,
    years: Years,
    connections: HashMap<u64, Connection>,
    /// The connections in the order in which they were first seen.
    order: VecDeque<u64>,
}

/// What is known of one connection: the process that serves it.
#[derive(Clone, Debug, Default)]
struct Connection {
    time_ms: u64,
    client: Option<IpAddr>,
    user: Option<String>,
    unknown: bool,
    /// Something was told for it: hints count no more.
    told: bool,
    /// Failures that PAM noted and nobody told yet.
    pam: u16,
    /// Anything else that is worth one failure.
    hinted: bool,
    /// Failures of PAM that `Failed keyboard-interactive` will repeat.
    repeated: u16,
}

/// One line, its frame taken apart.
struct Framed<'a> {
    time_ms: u64,
    /// Host and process.
    connection: u64,
    message: &'a str,
}

impl Sshd {
    /// A reader of a log that was last written at `latest_ms` (for times without a year).
    #[must_use]
    pub fn new(maker: Maker, latest_ms: u64) -> Self {
        Self {
            maker,
            years: Years::new(latest_ms),
            connections: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn take(&mut self, framed: &Framed<'_>, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        let Some(message) = read(framed.message) else {
            return Ok(());
        };
        let client = message.client.and_then(address);
        let mut connection = self.connection(framed, client, found);
        let taken = connection.take(&message, client, framed.time_ms);
        let told = match taken {
            Taken::Nothing => Ok(()),
            Taken::Signals(outcome, times) => self.tell(&connection, outcome, times, found),
        };
        if message.kind == Kind::Accepted {
            connection.told = true;
        }
        self.connections.insert(framed.connection, connection);
        told
    }

    /// The connection of a line. Processes are numbered anew in time: another client, or a long silence,
    /// is another connection.
    fn connection(
        &mut self,
        framed: &Framed<'_>,
        client: Option<IpAddr>,
        found: &mut Vec<Signal>,
    ) -> Connection {
        match self.connections.remove(&framed.connection) {
            Some(known) if known.is_same(client, framed.time_ms) => known,
            Some(mut other) => {
                self.end(&mut other, found);
                Connection::default()
            }
            None => {
                self.make_room(found);
                self.order.push_back(framed.connection);
                Connection::default()
            }
        }
    }

    fn make_room(&mut self, found: &mut Vec<Signal>) {
        while self.order.len() >= CONNECTIONS_MAX {
            let oldest = self.order.pop_front();
            if let Some(mut left) = oldest.and_then(|key| self.connections.remove(&key)) {
                self.end(&mut left, found);
            }
        }
    }

    /// Tells what hints are worth that nothing better was said about.
    fn end(&self, connection: &mut Connection, found: &mut Vec<Signal>) {
        if let Some(times) = connection.close() {
            // Without an address nobody can be held to it; the line that lacked it was read.
            let _untold = self.tell(connection, connection.failure(), times, found);
        }
    }

    fn tell(
        &self,
        connection: &Connection,
        outcome: Outcome,
        times: u16,
        found: &mut Vec<Signal>,
    ) -> Result<(), Rejection> {
        let client = connection.client.ok_or(NO_ADDRESS)?;
        let signal = self.maker.signal(Told {
            time_ms: connection.time_ms,
            client,
            flow: Flow::SignIn,
            outcome,
            user: connection.user.as_deref(),
            agent: None,
            path: None,
        });
        found.extend(std::iter::repeat_n(signal, times.into()));
        Ok(())
    }
}

impl LogFormat for Sshd {
    fn written(&mut self, latest_ms: u64) {
        self.years.written(latest_ms);
    }

    fn read(&mut self, line: &str, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        let line = line.trim();
        // journald says between lines where a boot begins.
        if line.is_empty() || line.starts_with("-- ") {
            return Ok(());
        }
        if line.starts_with('{') {
            let object: serde_json::Value =
                serde_json::from_str(line).map_err(|_| Rejection::new("is not valid JSON"))?;
            let Some((time_ms, process, message)) = journal(&object)? else {
                return Ok(());
            };
            let framed = Framed {
                time_ms,
                connection: process,
                message: &message,
            };
            return self.take(&framed, found);
        }
        match framed(line, &mut self.years)? {
            Some(framed) => self.take(&framed, found),
            None => Ok(()),
        }
    }

    fn finish(&mut self, found: &mut Vec<Signal>) {
        while let Some(key) = self.order.pop_front() {
            if let Some(mut left) = self.connections.remove(&key) {
                self.end(&mut left, found);
            }
        }
    }
}

/// What a message makes of its connection.
enum Taken {
    Nothing,
    Signals(Outcome, u16),
}

impl Connection {
    fn is_same(&self, client: Option<IpAddr>, time_ms: u64) -> bool {
        let same_client = client.is_none() || self.client.is_none() || client == self.client;
        same_client && time_ms.abs_diff(self.time_ms) <= CONNECTION_MS_MAX
    }

    fn take(&mut self, message: &Message<'_>, client: Option<IpAddr>, time_ms: u64) -> Taken {
        self.time_ms = time_ms;
        self.client = client.or(self.client);
        if let Some(user) = message.user.filter(|user| user.len() <= USER_BYTES_MAX) {
            self.user = Some(user.to_owned());
        }
        self.unknown |= message.invalid;
        let failure = self.failure();
        match message.kind {
            Kind::Begun => {}
            Kind::PamUnknown => self.unknown = true,
            Kind::Hint => self.hinted = true,
            Kind::PamFailures if self.told => {}
            Kind::PamFailures => self.pam = self.pam.saturating_add(message.times),
            Kind::FailedConversation if self.repeated > 0 => self.repeated -= 1,
            Kind::Failed | Kind::FailedConversation => return self.failed(message.times),
            Kind::FailedPam => {
                self.repeated = self.repeated.saturating_add(message.times);
                return self.failed(message.times);
            }
            Kind::Accepted => {
                // Two methods in a row fail once before they succeed; that is no failure.
                self.pam = 0;
                self.hinted = false;
                self.told = true;
                return Taken::Signals(Outcome::Success, message.times);
            }
            Kind::Ended => {
                // Who is named at the end has tried something, if only keys that nobody logged.
                self.hinted |= message.user.is_some();
                // The line that names the address may follow.
                if self.client.is_some()
                    && let Some(times) = self.close()
                {
                    return Taken::Signals(failure, times);
                }
            }
        }
        Taken::Nothing
    }

    fn failed(&mut self, times: u16) -> Taken {
        self.told = true;
        self.pam = 0;
        self.hinted = false;
        Taken::Signals(self.failure(), times)
    }

    const fn failure(&self) -> Outcome {
        if self.unknown {
            Outcome::UnknownUser
        } else {
            Outcome::Failure
        }
    }

    /// How many failures its hints are worth, once.
    fn close(&mut self) -> Option<u16> {
        let times = self.pam.max(u16::from(self.hinted));
        let untold = !self.told && times > 0;
        if untold {
            self.told = true;
        }
        self.pam = 0;
        self.hinted = false;
        untold.then_some(times)
    }
}

/// Takes a line of syslog apart: RFC 3164 with its many habits, RFC 5424, journald's short formats.
/// `None` if another program wrote it.
fn framed<'a>(line: &'a str, years: &mut Years) -> Result<Option<Framed<'a>>, Rejection> {
    let line = without_priority(line);
    let (time_ms, rest) = stamped(line, years).ok_or(NO_TIME)?;
    let mut rest = rest.trim_start();
    let mut host = "";
    // `host sshd[1]: …`, `sshd[1]: …`, `[sshd]: …`, and in RFC 5424 `host sshd 1 - - …`.
    for _ in 0..3 {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let program = word.trim_start_matches('[');
        if is_sshd(program) {
            let (process, message) = process(program, after);
            return Ok(Some(Framed {
                time_ms,
                connection: key(host, process),
                message,
            }));
        }
        if word.ends_with(':') {
            return Ok(None);
        }
        host = word;
        rest = after.trim_start();
    }
    Ok(None)
}

/// `sshd`, since OpenSSH 9.8 also `sshd-session` and `sshd-auth`, and journald's `ssh.service`.
fn is_sshd(word: &str) -> bool {
    let name = word.split(['[', ']', ':', '(']).next().unwrap_or_default();
    name.starts_with("sshd") || matches!(name, "ssh.service" | "ssh")
}

/// The process, and the message behind it.
fn process<'a>(program: &'a str, after: &'a str) -> (&'a str, &'a str) {
    let bracketed = program
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    match bracketed {
        Some((process, _)) => (process, after),
        None if program.ends_with([':', ']']) => ("-", after),
        // RFC 5424: process, message id and structured data follow by themselves.
        None => {
            let mut words = after.splitn(4, ' ');
            let process = words.next().unwrap_or_default();
            (process, words.nth(2).unwrap_or_default())
        }
    }
}

/// `<38>` and, of RFC 5424, the version.
fn without_priority(line: &str) -> &str {
    let Some((priority, rest)) = line.strip_prefix('<').and_then(|line| line.split_once('>'))
    else {
        return line;
    };
    if priority.len() > 3 || !priority.bytes().all(|byte| byte.is_ascii_digit()) {
        return line;
    }
    rest.strip_prefix("1 ").unwrap_or(rest)
}

fn stamped<'a>(line: &'a str, years: &mut Years) -> Option<(u64, &'a str)> {
    if let Some((yearless, rest)) = time::syslog(line) {
        return years.resolve(yearless).map(|moment| (moment, rest));
    }
    if let Some(found) = time::iso(line) {
        return Some(found);
    }
    let (first, rest) = line.split_once(' ')?;
    // `short-unix` of journald; `short-full` begins with the day of the week.
    time::epoch(first)
        .map(|moment| (moment, rest))
        .or_else(|| time::iso(rest))
}

/// Time, process and message of one object of `journalctl -o json`; `None` if another program wrote it.
fn journal(object: &serde_json::Value) -> Result<Option<(u64, u64, String)>, Rejection> {
    let text = |name: &str| object.get(name).and_then(serde_json::Value::as_str);
    let program = text("SYSLOG_IDENTIFIER")
        .or_else(|| text("_COMM"))
        .unwrap_or_default();
    if !is_sshd(program) {
        return Ok(None);
    }
    let micros = text("__REALTIME_TIMESTAMP").or_else(|| text("_SOURCE_REALTIME_TIMESTAMP"));
    let micros: u64 = micros.and_then(|text| text.parse().ok()).ok_or(NO_TIME)?;
    let message = match object.get("MESSAGE") {
        Some(serde_json::Value::String(message)) => message.clone(),
        // What is not UTF-8 comes as an array of bytes.
        Some(serde_json::Value::Array(bytes)) => {
            let bytes = bytes
                .iter()
                .filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        _ => return Ok(None),
    };
    let process = text("SYSLOG_PID")
        .or_else(|| text("_PID"))
        .unwrap_or_default();
    let host = text("_HOSTNAME").unwrap_or_default();
    Ok(Some((micros / 1_000, key(host, process), message)))
}

/// One number for host and process (FNV-1a): whoever can choose either writes the log anyway.
fn key(host: &str, process: &str) -> u64 {
    host.bytes()
        .chain([0])
        .chain(process.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Connections that are followed at a time. sshd itself serves far fewer before they sign in.
const CONNECTIONS_MAX: usize = 8_192;
/// Longest time between two lines of one connection that is not signed in, ms: sshd's own default is 2 minutes.
const CONNECTION_MS_MAX: u64 = 10 * 60_000;
/// Longest user name that is kept for later lines, bytes.
const USER_BYTES_MAX: usize = 512;
