//! The System Log: events written a second, queries in ten million, and a stream to a syslog receiver.

mod append;
mod queries;
mod stream;

use lab::Result;
use serde_json::{Value, json};

use self::{append::Appended, queries::Queries, stream::Streamed};
use crate::{settings::Settings, targets::Target};

/// What was measured of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    measured: Option<(Appended, Queries, Streamed)>,
}

impl Log {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        let appended = Appended::measure(settings)?;
        let queries = Queries::measure(settings)?;
        Ok(Self {
            measured: Some((appended, queries, Streamed::measure(settings)?)),
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let Some((appended, queries, streamed)) = &self.measured else {
            return Vec::new();
        };
        let parts = [appended.targets(), queries.targets(), streamed.targets()];
        parts.into_iter().flatten().collect()
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        if let Some((appended, queries, streamed)) = &self.measured {
            appended.markdown(text);
            queries.markdown(text);
            streamed.markdown(text);
        }
    }
}

/// An event as the gateway makes it, about one of so many sources; every hundredth is something rarer.
fn event(number: u64, time_ms: u64) -> Value {
    let source = mix(number) % 200_000;
    let address = format!("10.{}.{}.{}", source >> 16, source >> 8 & 255, source & 255);
    let id = format!(
        "{:08x}-{:04x}-7{:03x}-8000-{number:012x}",
        time_ms >> 16 & 0xffff_ffff,
        time_ms & 0xffff,
        number & 0xfff
    );
    match number % 100 {
        0 => json!({
            "event": "decision.create", "time": time_ms, "id": id, "actor": "uid 0", "prefix": format!("{address}/32"),
            "kind": "block", "score": 100, "reason": "operator", "origin": "operator", "expires": null,
        }),
        1..50 => json!({
            "event": "user.session.start", "time": time_ms, "id": id, "client": address, "service": "login",
            "outcome": if number.is_multiple_of(3) { "SUCCESS" } else { "FAILURE" },
            "reason": null, "sign_in": "failure", "user": format!("{:016x}", mix(source)),
        }),
        _ => json!({
            "event": "security.threat.detected", "time": time_ms, "id": id, "outcome": "DENY", "verdict": "deny",
            "reason": "reputation", "enforced": true, "client": address, "client_reason": "chain",
            "ip_chain": [address, "198.51.100.70"], "source": "198.51.100.70", "service": "login", "via": "gateway",
            "method": "POST", "host": "login.example", "path": "/sign-in",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "score": 90,
            "origin": "detection", "detail": "Password Spray, Login Failures", "suppressed": 3,
            "stands_for_others": false,
        }),
    }
}

const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn thousands(rate: f64) -> String {
    format!("{:.1} k", rate / 1e3)
}

/// When the events of a bench begin: 2026-01-01, milliseconds since the Unix epoch.
const START_MS: u64 = 1_767_225_600_000;
