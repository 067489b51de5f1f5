//! The shapes that events can have in a stream. A new one is a file here and a line in [`write`].

mod ecs;
mod ocsf;
mod technique;
#[cfg(test)]
mod tests;

use std::{fs, sync::OnceLock};

use serde_json::{Map, Value};

use super::source::Entry;
use crate::{
    config::StreamFormat,
    journal::{Facts, Kind, address},
};

/// The event as one JSON object. `log_event` is Okta's shape of `entry`, which filters have asked for already.
pub(crate) fn write(format: StreamFormat, entry: &Entry, log_event: &Value, out: &mut Vec<u8>) {
    let about = || About::new(&entry.facts, log_event, entry.seq, own_hostname());
    // Into memory, of values that came out of JSON: this cannot fail.
    drop(match format {
        StreamFormat::Okta => serde_json::to_writer(out, log_event),
        StreamFormat::Ecs => serde_json::to_writer(out, &ecs::document(&about())),
        StreamFormat::Ocsf => serde_json::to_writer(out, &ocsf::document(&about())),
    });
}

/// What shapes are made of: the facts with their types, and what Okta's shape has found out already.
struct About<'a> {
    facts: &'a Facts,
    log_event: &'a Value,
    /// Its place in the log.
    seq: u64,
    /// This host.
    hostname: &'a str,
    kind: Kind,
    /// The client that was judged, else the source of a packet.
    address: Option<String>,
}

impl<'a> About<'a> {
    fn new(facts: &'a Facts, log_event: &'a Value, seq: u64, hostname: &'a str) -> Self {
        let name = facts
            .get("event")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Self {
            facts,
            log_event,
            seq,
            hostname,
            kind: Kind::of(name),
            address: address(facts).map(|address| address.to_string()),
        }
    }

    /// The words that a fact says.
    fn text(&self, key: &str) -> Option<&'a str> {
        self.facts.get(key).and_then(Value::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.facts.get(key).and_then(Value::as_u64)
    }

    /// A part of Okta's shape by its path.
    fn said(&self, path: &str) -> Option<&'a str> {
        self.log_event.pointer(path).and_then(Value::as_str)
    }

    fn event_type(&self) -> &'a str {
        self.text("event").unwrap_or_default()
    }

    /// `SUCCESS`, `DENY`, …
    fn result(&self) -> &'a str {
        self.said("/outcome/result").unwrap_or("UNKNOWN")
    }

    /// What is known of where the address is, and of its network.
    fn place(&self, key: &str) -> Option<&'a Value> {
        let value = self.facts.get("place")?.get(key)?;
        (!value.is_null()).then_some(value)
    }

    /// Every address that the event names, once each.
    fn addresses(&self) -> Vec<String> {
        let chain = self.facts.get("ip_chain").and_then(Value::as_array);
        let chain = chain.into_iter().flatten().filter_map(Value::as_str);
        let named = ["source", "destination"]
            .into_iter()
            .filter_map(|key| self.text(key));
        let mut out: Vec<String> = self.address.iter().cloned().collect();
        for text in chain.chain(named) {
            let is_address = text.parse::<std::net::IpAddr>().is_ok();
            if is_address && !out.iter().any(|known| known == text) {
                out.push(text.to_owned());
            }
        }
        out
    }

    /// Everything that has no place of its own in Okta's shape, every value a string: what a receiver can index without
    /// surprises.
    fn rest(&self) -> Value {
        self.log_event
            .pointer("/debugContext/debugData")
            .cloned()
            .unwrap_or_default()
    }

    /// Whether it is detection that found something, not a request that was refused for it.
    fn is_detection(&self) -> bool {
        self.event_type() == "security.threat.detected" && self.text("prefix").is_some()
    }

    /// The names of what was detected.
    fn detections(&self) -> Vec<&'a str> {
        if self.event_type() != "security.threat.detected" {
            return Vec::new();
        }
        let reason = self.said("/outcome/reason").unwrap_or_default();
        reason
            .split(", ")
            .filter(|name| technique::of(name).is_some())
            .collect()
    }
}

/// An object without what is null or empty, at any depth.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .into_iter()
                .map(|(key, value)| (key, pruned(value)))
                .filter(|(_, value)| !is_empty(value));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(values) => {
            let kept = values.into_iter().map(pruned);
            Value::Array(kept.filter(|value| !is_empty(value)).collect())
        }
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

/// Whether a user is a keyed hash and no name.
fn is_hash(user: &str) -> bool {
    user.len() >= 16 && user.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// This host's name, read once.
pub(crate) fn own_hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match text.trim() {
            "" => "localhost".to_owned(),
            name => name.to_owned(),
        }
    })
}
