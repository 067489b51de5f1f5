//! One event as a syslog message (RFC 5424), framed for its transport (RFC 6587, section 3.4).

use std::{fs, io::Write as _, process};

use super::super::super::sink::{Encode, Event};
use crate::{
    config::stream::{Framing, Syslog, Transport},
    journal::published,
};

/// Longest `HOSTNAME` and `MSGID`, in bytes (RFC 5424, section 6).
const HOSTNAME_BYTES_MAX: usize = 255;
const MSGID_BYTES_MAX: usize = 32;
/// `sequenceId` begins anew behind this (RFC 5424, section 7.3.1).
const SEQUENCE_MAX: u64 = 2_147_483_647;

/// How messages are written.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    facility: u8,
    /// `HOSTNAME APP-NAME PROCID`, with a space around.
    origin: String,
    structured_data: Option<String>,
    frame: Frame,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    Length,
    Line,
    /// A datagram is a message.
    None,
}

impl Message {
    pub(crate) fn new(settings: &Syslog) -> Self {
        let hostname = settings.hostname.clone().unwrap_or_else(own_hostname);
        let frame = match (&settings.transport, settings.framing) {
            (Transport::Udp(_) | Transport::UnixDatagram(_), _) => Frame::None,
            (_, Framing::OctetCounting) => Frame::Length,
            (_, Framing::Newline) => Frame::Line,
        };
        Self {
            facility: settings.facility,
            origin: format!(
                " {} {} {} ",
                word(&hostname, HOSTNAME_BYTES_MAX),
                settings.app_name,
                process::id()
            ),
            structured_data: settings.structured_data.clone(),
            frame,
            bytes_max: settings.message_bytes_max,
        }
    }

    fn write(&self, event: &Event<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
        let priority = u16::from(self.facility) * 8 + severity(event.severity);
        let sequence = event.seq.saturating_sub(1) % SEQUENCE_MAX + 1;
        write!(
            out,
            "<{priority}>1 {}{}{} ",
            published(event.published_ms),
            self.origin,
            word(event.event_type, MSGID_BYTES_MAX)
        )?;
        write!(
            out,
            "[meta sequenceId=\"{sequence}\"][origin software=\"edgeward\" swVersion=\"{}\"]",
            env!("CARGO_PKG_VERSION")
        )?;
        if let Some(name) = &self.structured_data {
            write!(
                out,
                "[{name} uuid=\"{}\" eventType=\"{}\"]",
                escaped(event.id),
                escaped(event.event_type)
            )?;
        }
        out.push(b' ');
        out.extend_from_slice(event.json.as_bytes());
        Ok(())
    }
}

impl Encode for Message {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let mut message = Vec::with_capacity(event.json.len().saturating_add(256));
        self.write(event, &mut message)
            .map_err(|error| error.to_string())?;
        if message.len() > self.bytes_max {
            return Err(format!(
                "is {} bytes long; message_bytes_max is {}",
                message.len(),
                self.bytes_max
            ));
        }
        match self.frame {
            Frame::Length => {
                out.extend_from_slice(message.len().to_string().as_bytes());
                out.push(b' ');
                out.extend_from_slice(&message);
            }
            Frame::Line => {
                out.extend_from_slice(&message);
                out.push(b'\n');
            }
            Frame::None => out.extend_from_slice(&message),
        }
        Ok(())
    }
}

/// RFC 5424, table 2.
fn severity(word: &str) -> u16 {
    match word {
        "ERROR" => 3,
        "WARN" => 4,
        "DEBUG" => 7,
        _ => 6,
    }
}

/// `PRINTUSASCII`, or `-` for nothing.
fn word(text: &str, bytes_max: usize) -> String {
    let word: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(bytes_max)
        .collect();
    if word.is_empty() {
        "-".to_owned()
    } else {
        word
    }
}

/// A value of structured data (RFC 5424, section 6.3.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn own_hostname() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::stream::Place;

    fn settings() -> Syslog {
        Syslog {
            transport: Transport::Tcp(Place {
                host: "127.0.0.1".to_owned(),
                port: 514,
            }),
            framing: Framing::OctetCounting,
            facility: 10,
            app_name: "edgeward".to_owned(),
            hostname: Some("login 1.example".to_owned()),
            structured_data: None,
            message_bytes_max: 65_536,
            settle: std::time::Duration::ZERO,
        }
    }

    fn encoded(settings: &Syslog, json: &str) -> Result<String, String> {
        let event = Event {
            seq: 2_147_483_648,
            id: "01\"92]\\",
            published_ms: 1_700_000_000_123,
            event_type: "system.client.rate_limit.notification.of.a.long.kind",
            severity: "WARN",
            json,
        };
        let mut out = Vec::new();
        Message::new(settings).encode(&event, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_message_is_that_of_the_rfc() {
        let version = env!("CARGO_PKG_VERSION");
        let json = "{\"a\":\"\u{e9}\"}";
        let head = format!(
            "<84>1 2023-11-14T22:13:20.123Z login1.example edgeward {} system.client.rate_limit.notific",
            process::id()
        );
        let data = format!(
            "[meta sequenceId=\"1\"][origin software=\"edgeward\" swVersion=\"{version}\"]"
        );
        let message = format!("{head} {data} {json}");
        assert_eq!(
            encoded(&settings(), json).unwrap(),
            format!("{} {message}", message.len()),
            "the length is in bytes, not characters"
        );
        let named = Syslog {
            framing: Framing::Newline,
            structured_data: Some("event@32473".to_owned()),
            ..settings()
        };
        let event_type = "system.client.rate_limit.notification.of.a.long.kind";
        let more = format!("[event@32473 uuid=\"01\\\"92\\]\\\\\" eventType=\"{event_type}\"]");
        assert_eq!(
            encoded(&named, json).unwrap(),
            format!("{head} {data}{more} {json}\n")
        );
        let datagram = Syslog {
            transport: Transport::UnixDatagram("/dev/log".into()),
            ..settings()
        };
        assert_eq!(encoded(&datagram, json).unwrap(), message);
    }

    #[test]
    fn what_is_too_long_is_no_message() {
        let short = Syslog {
            message_bytes_max: 1_024,
            ..settings()
        };
        let said = encoded(&short, &"x".repeat(1_000)).unwrap_err();
        assert!(said.contains("message_bytes_max is 1024"), "{said}");
        assert!(encoded(&short, "{}").is_ok());
    }

    #[test]
    fn severities_and_words_are_those_of_syslog() {
        assert_eq!(
            ["ERROR", "WARN", "INFO", "DEBUG", "?"].map(severity),
            [3, 4, 6, 7, 6]
        );
        assert_eq!(word("a b\n\u{e9}c", 10), "abc");
        assert_eq!(word("\u{e9}", 10), "-");
        assert!(!own_hostname().is_empty());
    }
}
