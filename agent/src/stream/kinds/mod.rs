//! The kinds of receivers. A new one is a file here and a line in each of these functions.

mod file;
mod syslog;
mod webhook;

use std::sync::Arc;

use super::sink::{Encode, Sink};
use crate::{
    clock::Clock,
    config::{Stream, stream::StreamKind},
};

/// How a stream's events are written.
pub(super) fn encoder(stream: &Stream) -> Arc<dyn Encode> {
    match &stream.kind {
        StreamKind::Syslog(syslog) => Arc::new(syslog::Message::new(syslog)),
        StreamKind::File(_) => Arc::new(file::Line),
        StreamKind::Webhook(_) => Arc::new(webhook::Object),
    }
}

/// A stream's receiver, with its secrets and certificates as they are now. Reads files; connects to nobody yet.
///
/// # Errors
/// What cannot be used, in a sentence without secrets.
pub(super) fn open(stream: &Stream, clock: Clock) -> Result<Box<dyn Sink>, String> {
    Ok(match &stream.kind {
        StreamKind::Syslog(syslog) => syslog::open(syslog)?,
        StreamKind::File(file) => Box::new(file::Lines::new(file)),
        StreamKind::Webhook(webhook) => Box::new(webhook::Receiver::open(webhook, clock)?),
    })
}

pub(crate) use self::webhook::secret as webhook_secret;
