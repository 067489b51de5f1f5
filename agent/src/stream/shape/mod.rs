//! The shapes that events can have in a stream. A new one is a file here and a line in [`write`].

use serde_json::Value;

use super::source::Entry;
use crate::config::StreamFormat;

/// The event as one JSON object. `log_event` is Okta's shape of `entry`, which filters have asked for already.
pub(crate) fn write(format: StreamFormat, entry: &Entry, log_event: &Value, out: &mut Vec<u8>) {
    let _ = entry;
    match format {
        // Into memory, of values that came out of JSON: this cannot fail.
        StreamFormat::Okta => drop(serde_json::to_writer(out, log_event)),
    }
}
