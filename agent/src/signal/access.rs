//! Access logs of nginx and Apache in the combined format and its kin.

use super::{LogFormat, Maker, NO_ADDRESS, NO_TIME, Rejection, Routes, Told, address, time};
use crate::policy::signal::{Flow, Outcome, Signal};

/// Reads `ADDRESS - USER [TIME] "METHOD PATH PROTOCOL" STATUS SIZE "REFERER" "USER AGENT"`, with a virtual host
/// ahead of it and anything behind it.
#[derive(Debug)]
pub struct AccessLog {
    maker: Maker,
    routes: Routes,
}

/// A line, taken apart.
struct Request<'a> {
    client: &'a str,
    user: &'a str,
    time: &'a str,
    method: &'a str,
    target: &'a str,
    status: u16,
    agent: &'a str,
}

impl AccessLog {
    /// A reader that knows these routes.
    #[must_use]
    pub const fn new(maker: Maker, routes: Routes) -> Self {
        Self { maker, routes }
    }

    /// Flow, outcome and user of a request that signs somebody in.
    fn tells<'a>(&self, request: &Request<'a>) -> Option<(Flow, Outcome, Option<&'a str>)> {
        let user = Some(request.user).filter(|user| !matches!(*user, "-" | ""));
        if let Some((flow, outcome)) =
            self.routes
                .outcome(request.method, request.target, request.status)
        {
            return Some((flow, outcome, user));
        }
        // HTTP's own authentication names the user on every request; 401 without one only asks for it.
        let user = user?;
        match request.status {
            401 | 403 => Some((Flow::SignIn, Outcome::Failure, Some(user))),
            200..=399 => Some((Flow::SignIn, Outcome::Success, Some(user))),
            _ => None,
        }
    }
}

impl LogFormat for AccessLog {
    fn read(&mut self, line: &str, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let request = Request::parse(line).ok_or(NOT_COMBINED)?;
        let Some((flow, outcome, user)) = self.tells(&request) else {
            return Ok(());
        };
        let path = request.target.split('?').next();
        found.push(self.maker.signal(Told {
            time_ms: time::common_log(request.time).ok_or(NO_TIME)?,
            client: address(request.client).ok_or(NO_ADDRESS)?,
            flow,
            outcome,
            user,
            agent: Some(request.agent).filter(|agent| *agent != "-"),
            path,
        }));
        Ok(())
    }
}

impl<'a> Request<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // The user is the only part before the time that may hold a bracket, and the time the only one
        // that looks like a time.
        let (head, time, rest) = split_time(line)?;
        let (client, user) = who(head)?;
        let (request, rest) = quoted(rest)?;
        let mut numbers = rest.split_ascii_whitespace();
        let status = numbers.next()?.parse().ok()?;
        let rest = rest
            .find('"')
            .and_then(|at| rest.get(at..))
            .unwrap_or_default();
        let agent = quoted(rest).and_then(|(_, rest)| quoted(rest));
        let mut words = request.split(' ');
        Some(Self {
            client,
            user,
            time,
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            status,
            agent: agent.map_or("", |(agent, _)| agent),
        })
    }
}

/// Client and user of what is before the time: `[HOST ][FORWARDED, FORWARDED ]ADDRESS IDENTITY USER`.
///
/// The last address is the one that the server saw; what a header says is to its left. The user may hold
/// spaces, addresses and dashes, so the first dash by itself, or the word behind the first address, is the
/// identity (that of `identd`, which nobody runs).
fn who(head: &str) -> Option<(&str, &str)> {
    if let Some((addresses, user)) = head.split_once(" - ") {
        let mut words = addresses.rsplit([' ', ',', '"']);
        let client = words.find(|word| !word.is_empty())?;
        return Some((client, user.trim()));
    }
    let (first, after) = head.split_once(' ')?;
    let (client, after) = if address(first).is_some() {
        (first, after)
    } else {
        after.trim_start().split_once(' ')?
    };
    let (_, user) = after.trim_start().split_once(' ')?;
    Some((client, user.trim()))
}

/// What is before, in and behind the brackets around the time.
fn split_time(line: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in line.match_indices(" [") {
        let inner = line.get(at + 2..)?;
        let Some((time, rest)) = inner.split_once(']') else {
            continue;
        };
        if time::common_log(time).is_some() {
            return Some((line.get(..at)?, time, rest));
        }
    }
    None
}

/// The text between the first quotes, and what is behind it. Both servers escape quotes within.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some((inner.get(..end)?, inner.get(end + 1..)?))
}

const NOT_COMBINED: Rejection = Rejection::new(
    "is not in the combined format: ADDRESS - USER [TIME] \"REQUEST\" STATUS SIZE \"REFERER\" \"USER AGENT\"",
);
