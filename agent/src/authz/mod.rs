//! Decision endpoints: where a proxy that the host already runs asks whether a request may go on.
//!
//! One listener (Unix socket or loopback TCP) for each `[[endpoint]]`, with a profile that says where this
//! caller puts the facts of the original request: `headers` finds them, `question` judges them by the
//! [`Gate`](crate::gate::Gate), `answer` says it in the caller's way. `docs/proxies.md` is the contract.

mod answer;
mod complaint;
mod connection;
mod desk;
mod fault;
mod grpc;
mod headers;
mod http;
pub(crate) mod listen;
mod outcome;
mod question;
mod spoe;
mod supervise;
pub(crate) mod timed;

pub(crate) use supervise::{EndpointState, Endpoints};

use std::time::Duration;

/// Connections of one endpoint at a time. Each holds at most [`HEAD_BYTES_MAX`] twice.
const CONNECTIONS_MAX: usize = 4_096;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Header lines of a request.
const HEADERS_MAX: usize = 256;
/// From the first byte of a request to the end of its head, and for the caller to take an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request. Longer than callers keep theirs (Envoy: an hour), so that the caller
/// closes first: a request sent into a connection that we have just closed would be refused by it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(65 * 60);
/// How long connections may take to end once the agent stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
