//! HAProxy, by SPOP 2.0: a connection begins with HELLO, then every NOTIFY asks and is answered by an ACK
//! that sets variables. Several may be under way on one connection; they are answered in order.

mod frame;
#[cfg(test)]
pub(super) mod tests;
mod wire;

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use self::{
    frame::{Arguments, Cut, Frame, Hello, Notify, Status},
    wire::{Value, put_text, put_u32},
};
use super::{
    HEAD_TIMEOUT,
    desk::Desk,
    fault::Fault,
    headers::Headers,
    question::{Judged, Question, judge},
    timed::Phase,
};
use crate::{config::Profile, gate};

/// Serves one connection to its end.
pub(super) async fn serve<S>(mut stream: S, desk: &Desk, phase: &Arc<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut conversation = Conversation {
        desk,
        frame_bytes_max: FRAME_BYTES_MAX,
        greeted: false,
    };
    let mut read = Vec::with_capacity(READ_BYTES);
    let mut answers = Vec::new();
    loop {
        let (taken, next) = conversation.hear(&read, &mut answers);
        read.drain(..taken);
        if read.is_empty() {
            phase.idle();
        }
        let written = stream.write_all(&answers).await;
        answers.clear();
        if written.is_err() || next == Next::End {
            return;
        }
        read.reserve(READ_BYTES);
        let more = async {
            tokio::select! {
                more = stream.read_buf(&mut read) => more.unwrap_or(0) > 0,
                () = desk.moved_on(Profile::Spoe) => false,
            }
        };
        let more = if conversation.greeted {
            more.await
        } else {
            timeout(HEAD_TIMEOUT, more).await.unwrap_or(false)
        };
        if !more {
            frame::put_disconnect(&mut answers, Status::Normal);
            // The other end may be gone; this one goes in any case.
            let _ = stream.write_all(&answers).await;
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    End,
}

/// One connection, without its socket.
struct Conversation<'a> {
    desk: &'a Desk,
    frame_bytes_max: u32,
    greeted: bool,
}

impl Conversation<'_> {
    /// Answers every whole frame; how many bytes that took.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Next) {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let outcome = match frame::cut(rest, self.frame_bytes_max) {
                Cut::More => return (taken, Next::Go),
                Cut::TooLong => Err(Status::TooBig),
                Cut::Frame(frame, length) => {
                    taken = taken.saturating_add(length);
                    frame::read(frame).and_then(|frame| self.answer(&frame, out))
                }
            };
            match outcome {
                Ok(Next::Go) => {}
                Ok(Next::End) => return (taken, Next::End),
                Err(status) => {
                    self.desk.garbled();
                    frame::put_disconnect(out, status);
                    return (taken, Next::End);
                }
            }
        }
    }

    fn answer(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<Next, Status> {
        match frame {
            Frame::Hello(hello) if !self.greeted => Ok(self.greet(*hello, out)),
            Frame::Notify(notify) if self.greeted => {
                self.notified(notify, out)?;
                Ok(Next::Go)
            }
            Frame::Disconnect => {
                frame::put_disconnect(out, Status::Normal);
                Ok(Next::End)
            }
            Frame::Unknown => Ok(Next::Go),
            // Two of them, or a question before one.
            Frame::Hello(_) | Frame::Notify(_) => Err(Status::Invalid),
        }
    }

    fn greet(&mut self, hello: Hello, out: &mut Vec<u8>) -> Next {
        self.greeted = true;
        self.frame_bytes_max = self.frame_bytes_max.min(hello.frame_bytes_max);
        frame::put_agent_hello(out, self.frame_bytes_max, hello.pipelining);
        if hello.health_check {
            Next::End
        } else {
            Next::Go
        }
    }

    /// Every message is a question; where there are several, the last one's answer holds.
    fn notified(&self, notify: &Notify<'_>, out: &mut Vec<u8>) -> Result<(), Status> {
        let mut answer = Answer::default();
        for (index, arguments) in notify.messages().enumerate() {
            if index >= MESSAGES_MAX {
                return Err(Status::Invalid);
            }
            answer = Answer(Some(self.ask(&arguments?)));
        }
        let begin = out.len();
        frame::put_ack(out, notify, |out| answer.put(out, true));
        let frame_bytes = out.len().saturating_sub(begin).saturating_sub(4);
        if u32::try_from(frame_bytes).unwrap_or(u32::MAX) > self.frame_bytes_max {
            // A page of the operator's that HAProxy cannot take: it knows the status all the same.
            out.truncate(begin);
            frame::put_ack(out, notify, |out| answer.put(out, false));
        }
        Ok(())
    }

    fn ask(&self, arguments: &Arguments<'_>) -> Result<Judged, Fault> {
        let endpoint = self.desk.endpoint();
        let outcome = fact(arguments, "method").and_then(|method| {
            let target = fact(arguments, "path")?;
            let lines = match arguments.get("headers") {
                Some(Value::Bytes(lines)) => lines,
                // An address that is the client already needs no chain.
                _ if endpoint.resolved => b"",
                _ => return Err(missing("headers")),
            };
            let question = Question {
                method,
                target,
                headers: &Lines(lines),
                host: None,
                peer: match arguments.get("src") {
                    Some(Value::Address(peer)) => Some(peer),
                    _ => None,
                },
            };
            judge(&self.desk.gate, &endpoint, &question)
        });
        if let Err(fault) = &outcome {
            self.desk.refuse(fault);
        }
        outcome
    }
}

/// An argument that HAProxy's configuration must hand over. It is there and null for a request that has
/// none, as `OPTIONS *` has no path.
fn fact<'a>(arguments: &Arguments<'a>, name: &str) -> Result<&'a [u8], Fault> {
    match arguments.get(name) {
        Some(Value::Bytes(text)) => Ok(text),
        Some(Value::Null) => Ok(b""),
        _ => Err(missing(name)),
    }
}

fn missing(name: &str) -> Fault {
    Fault::Missing(FACT, format!("the argument `{name}`"))
}

/// Header lines as HAProxy's `req.hdrs` gives them.
struct Lines<'a>(&'a [u8]);

impl Headers for Lines<'_> {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|byte| *byte == b'\n').filter_map(move |line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (found, value) = line.split_at_checked(colon)?;
            let value = value.strip_prefix(b":").unwrap_or_default();
            found
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.trim_ascii())
        })
    }
}

/// What a NOTIFY is answered; nothing, if it asked nothing.
#[derive(Default)]
struct Answer(Option<Result<Judged, Fault>>);

impl Answer {
    fn put(&self, out: &mut Vec<u8>, with_page: bool) {
        match &self.0 {
            None => {}
            Some(Err(fault)) => variable(out, "fault", fault.cause()),
            Some(Ok(judged)) => put_judged(out, judged, with_page),
        }
    }
}

fn put_judged(out: &mut Vec<u8>, judged: &Judged, with_page: bool) {
    let Some(refusal) = &judged.decision.refusal else {
        put_number(out, "status", 200);
        for (name, value) in &judged.decision.headers {
            if let Some((_, name)) = NAMES.iter().find(|(told, _)| told == name) {
                variable(out, name, value);
            }
        }
        return;
    };
    put_number(out, "status", u32::from(refusal.status));
    let wait = refusal.retry_after_s();
    variable(
        out,
        "verdict",
        if wait.is_some() { "limit" } else { "deny" },
    );
    variable(out, "event_id", &refusal.event_id);
    if let Some(seconds) = wait {
        put_number(
            out,
            "retry_after",
            u32::try_from(seconds).unwrap_or(u32::MAX),
        );
    }
    if with_page {
        let (kind, page) = refusal.body(judged.wanted);
        variable(out, "content_type", kind);
        frame::put_set_variable(out, "body");
        put_text(out, &in_one_line(&page));
    }
}

/// HAProxy's `lf-string` would write a line's end as `%0A`.
fn in_one_line(page: &[u8]) -> Vec<u8> {
    page.trim_ascii_end()
        .iter()
        .map(|byte| match byte {
            b'\r' | b'\n' | 0 => b' ',
            other => *other,
        })
        .collect()
}

fn variable(out: &mut Vec<u8>, name: &str, value: &str) {
    frame::put_set_variable(out, name);
    put_text(out, value.as_bytes());
}

fn put_number(out: &mut Vec<u8>, name: &str, value: u32) {
    frame::put_set_variable(out, name);
    put_u32(out, value);
}

/// The gate's headers as variables.
const NAMES: [(&str, &str); 5] = [
    (gate::CLIENT, "client"),
    (gate::VERDICT, "verdict"),
    (gate::REASON, "reason"),
    (gate::SCORE, "score"),
    (gate::WOULD, "would"),
];
const FACT: &str = "fact of the original request";
/// Bytes of a frame without its length. HAProxy offers a buffer's size, 16 KiB by default.
const FRAME_BYTES_MAX: u32 = (64 << 10) - 4;
/// Bytes that are read at a time.
const READ_BYTES: usize = 16 << 10;
/// Messages of one NOTIFY.
const MESSAGES_MAX: usize = 8;
