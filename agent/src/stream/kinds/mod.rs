//! The kinds of receivers. A new one is a file here and a line in each of these functions.

mod body;
mod datadog;
mod eventbridge;
mod file;
mod otlp;
mod sentinel;
mod splunk_hec;
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
        StreamKind::SplunkHec(collector) => Arc::new(splunk_hec::Object::new(collector)),
        StreamKind::Otlp(collector) => otlp::encoder(collector),
        StreamKind::EventBridge(bus) => Arc::new(eventbridge::Entry::new(bus)),
        StreamKind::Datadog(intake) => Arc::new(datadog::Entry::new(intake)),
        StreamKind::Sentinel(_) => Arc::new(sentinel::Row),
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
        StreamKind::SplunkHec(collector) => {
            Box::new(splunk_hec::Collector::open(collector, clock)?)
        }
        StreamKind::Otlp(collector) => Box::new(otlp::Collector::open(collector, clock)?),
        StreamKind::EventBridge(bus) => Box::new(eventbridge::Bus::open(bus, clock)?),
        StreamKind::Datadog(intake) => Box::new(datadog::Intake::open(intake, clock)?),
        StreamKind::Sentinel(sentinel) => Box::new(sentinel::Ingestion::open(sentinel, clock)?),
    })
}

pub(crate) use self::{eventbridge::profile as aws_profile, webhook::secret as webhook_secret};
