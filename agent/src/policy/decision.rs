//! A decision: what an operator, a list or a detection made enforceable for one prefix.
//!
//! Everything that ends in the kernel as a reputation or a carve-out passes through this type, so its
//! limits (score, reason, actor) are checked here once and nowhere else.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::prefix::canonical_network;

/// What a decision does with its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Gives the prefix a reputation score; the thresholds make a refusal or a rate limit of it.
    Block,
    /// Carves the prefix out of reputation, lists and rate limits.
    Exempt,
}

/// Who made a decision. Two origins may hold a decision for one prefix; neither overwrites the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person, through the CLI or the API.
    Operator,
    /// A list file of the configuration.
    List,
    /// A detector that read sign-in outcomes.
    Detection,
    /// A reputation source from outside.
    Feed,
}

/// One decision. It is identified by [`Key`]; a second one under the same key replaces the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The canonical prefix: host bits zero, IPv4-mapped IPv6 folded to IPv4.
    pub prefix: IpNet,
    /// Block or exempt.
    pub kind: Kind,
    /// Reputation, 1..=100; 0 for an exemption, where it means nothing.
    pub score: u8,
    /// Why, in the words that events and `explain` repeat; at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// Who made it.
    pub origin: Origin,
    /// When it was made, milliseconds since the Unix epoch.
    pub created: u64,
    /// When it ends, milliseconds since the Unix epoch; never, if absent.
    pub expires: Option<u64>,
    /// The account that made it (`uid 1000`, a detector's or a feed's name); at most [`ACTOR_BYTES_MAX`] bytes.
    pub actor: String,
    /// What was counted or observed, in a sentence for a person; at most [`EVIDENCE_BYTES_MAX`] bytes, often empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

/// What identifies a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The prefix it is about.
    pub prefix: IpNet,
    /// Block or exempt.
    pub kind: Kind,
    /// Who made it.
    pub origin: Origin,
}

/// Who makes a decision, when, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// Which part of the system speaks.
    pub origin: Origin,
    /// The account behind it.
    pub actor: &'a str,
    /// The present, milliseconds since the Unix epoch.
    pub now: u64,
    /// How long the decision lives, milliseconds; for ever, if absent.
    pub lifetime_ms: Option<u64>,
}

/// Why a decision cannot exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionError {
    /// The score is 0 or above 100.
    Score(u8),
    /// A text is longer than its limit in bytes.
    TooLong {
        /// `reason` or `actor`.
        field: &'static str,
        /// The limit, bytes.
        bytes_max: usize,
        /// What was given, bytes.
        bytes: usize,
    },
    /// A text holds a control character, which would reach terminals and log lines unescaped.
    Control {
        /// `reason` or `actor`.
        field: &'static str,
    },
    /// The lifetime is zero or reaches past the end of time.
    Lifetime,
}

/// The longest reason, bytes: one length byte in every format that carries it.
pub const REASON_BYTES_MAX: usize = 255;
/// The longest actor, bytes.
pub const ACTOR_BYTES_MAX: usize = 64;
/// The longest evidence, bytes; what is longer is cut.
pub const EVIDENCE_BYTES_MAX: usize = 512;
/// The highest score.
pub const SCORE_MAX: u8 = 100;

impl Decision {
    /// A reputation for `prefix`.
    ///
    /// # Errors
    /// When the score is not 1..=100, a text breaks its limit or the lifetime cannot be represented.
    pub fn block(
        prefix: IpNet,
        score: u8,
        reason: &str,
        author: Author<'_>,
    ) -> Result<Self, DecisionError> {
        if score == 0 || score > SCORE_MAX {
            return Err(DecisionError::Score(score));
        }
        Self::new(prefix, Kind::Block, score, reason, author)
    }

    /// A carve-out for `prefix`.
    ///
    /// # Errors
    /// When a text breaks its limit or the lifetime cannot be represented.
    pub fn exempt(prefix: IpNet, reason: &str, author: Author<'_>) -> Result<Self, DecisionError> {
        Self::new(prefix, Kind::Exempt, 0, reason, author)
    }

    /// The same with what speaks for it. Control characters become spaces, and what is too long is cut.
    #[must_use]
    pub fn with_evidence(mut self, evidence: &str) -> Self {
        let clean = evidence.replace(char::is_control, " ");
        let mut end = clean.len().min(EVIDENCE_BYTES_MAX);
        while !clean.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        clean
            .get(..end)
            .unwrap_or_default()
            .clone_into(&mut self.evidence);
        self
    }

    /// What identifies it.
    #[must_use]
    pub const fn key(&self) -> Key {
        Key {
            prefix: self.prefix,
            kind: self.kind,
            origin: self.origin,
        }
    }

    /// Whether it still holds at `now` (milliseconds since the Unix epoch). It ends at `expires`, not after.
    #[must_use]
    pub fn is_live(&self, now: u64) -> bool {
        self.expires.is_none_or(|at| now < at)
    }

    fn new(
        prefix: IpNet,
        kind: Kind,
        score: u8,
        reason: &str,
        author: Author<'_>,
    ) -> Result<Self, DecisionError> {
        check_text("reason", reason, REASON_BYTES_MAX)?;
        check_text("actor", author.actor, ACTOR_BYTES_MAX)?;
        let expires = match author.lifetime_ms {
            None => None,
            Some(0) => return Err(DecisionError::Lifetime),
            // The store keeps times as signed 64-bit integers; past that a lifetime would turn negative.
            Some(lifetime) => match author.now.checked_add(lifetime) {
                Some(at) if i64::try_from(at).is_ok() => Some(at),
                _ => return Err(DecisionError::Lifetime),
            },
        };
        Ok(Self {
            // Two spellings of one prefix would be two decisions, and removing one would leave the other.
            prefix: canonical_network(prefix),
            kind,
            score,
            reason: reason.to_owned(),
            origin: author.origin,
            created: author.now,
            expires,
            actor: author.actor.to_owned(),
            evidence: String::new(),
        })
    }
}

impl Kind {
    /// The word used in JSON, tables and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Exempt => "exempt",
        }
    }
}

impl Origin {
    /// The word used in JSON, tables and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::List => "list",
            Self::Detection => "detection",
            Self::Feed => "feed",
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Operator, Self::List, Self::Detection, Self::Feed]
            .into_iter()
            .find(|origin| origin.name() == text)
            .ok_or_else(|| {
                format!("`{text}` is not an origin; use operator, list, detection or feed")
            })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DecisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Score(score) => write!(f, "a score is 1 to {SCORE_MAX}, not {score}"),
            Self::TooLong {
                field,
                bytes_max,
                bytes,
            } => write!(
                f,
                "the {field} is {bytes} bytes long; the limit is {bytes_max}"
            ),
            Self::Control { field } => write!(
                f,
                "the {field} holds a control character; use plain text on one line"
            ),
            Self::Lifetime => {
                f.write_str("the lifetime must be above zero and end within reach of the clock")
            }
        }
    }
}

impl std::error::Error for DecisionError {}

fn check_text(field: &'static str, text: &str, bytes_max: usize) -> Result<(), DecisionError> {
    if text.len() > bytes_max {
        return Err(DecisionError::TooLong {
            field,
            bytes_max,
            bytes: text.len(),
        });
    }
    if text.chars().any(char::is_control) {
        return Err(DecisionError::Control { field });
    }
    Ok(())
}

#[cfg(test)]
mod tests {

    use super::{Author, Decision, DecisionError, Origin};

    fn author(lifetime_ms: Option<u64>) -> Author<'static> {
        Author {
            origin: Origin::Operator,
            actor: "uid 0",
            now: 1_000,
            lifetime_ms,
        }
    }

    #[test]
    fn limits_are_checked_where_a_decision_is_made() {
        let prefix = "192.0.2.0/24".parse().unwrap();
        let block = |score, reason: &str, lifetime| {
            Decision::block(prefix, score, reason, author(lifetime)).map(|d| d.expires)
        };
        assert_eq!(block(0, "x", None), Err(DecisionError::Score(0)));
        assert_eq!(block(101, "x", None), Err(DecisionError::Score(101)));
        assert_eq!(block(100, "x", None), Ok(None));
        assert_eq!(block(1, &"r".repeat(255), Some(5)), Ok(Some(1_005)));
        assert_eq!(
            block(1, &"r".repeat(256), None),
            Err(DecisionError::TooLong {
                field: "reason",
                bytes_max: 255,
                bytes: 256
            })
        );
        assert_eq!(
            block(1, "a\u{1b}[2Jb", None),
            Err(DecisionError::Control { field: "reason" })
        );
        assert_eq!(block(1, "x", Some(0)), Err(DecisionError::Lifetime));
        assert_eq!(block(1, "x", Some(u64::MAX)), Err(DecisionError::Lifetime));
        assert_eq!(
            block(1, "x", Some(1 << 63)),
            Err(DecisionError::Lifetime),
            "a time that the store cannot keep"
        );
    }

    #[test]
    fn a_decision_ends_at_its_expiry_and_not_after() {
        let decision = Decision::exempt(
            "2001:db8::1/128".parse().unwrap(),
            "on call",
            author(Some(10)),
        )
        .unwrap();
        assert!(decision.is_live(1_009));
        assert!(!decision.is_live(1_010));
    }

    #[test]
    fn another_spelling_never_makes_a_second_key() {
        let loose = Decision::exempt("10.1.2.3/8".parse().unwrap(), "", author(None)).unwrap();
        let tidy = Decision::exempt("10.0.0.0/8".parse().unwrap(), "", author(None)).unwrap();
        assert_eq!(loose.key(), tidy.key());
        let mapped =
            Decision::exempt("::ffff:10.0.0.0/104".parse().unwrap(), "", author(None)).unwrap();
        assert_eq!(mapped.key(), tidy.key());
    }

    #[test]
    fn json_uses_the_words_of_the_protocol() {
        let decision = Decision::block(
            "192.0.2.1/32".parse().unwrap(),
            90,
            "spray",
            author(Some(1)),
        )
        .unwrap();
        let json = serde_json::to_value(&decision).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"prefix": "192.0.2.1/32", "kind": "block", "score": 90,
                "reason": "spray", "origin": "operator", "created": 1000, "expires": 1001, "actor": "uid 0"})
        );
        assert_eq!(serde_json::from_value::<Decision>(json).unwrap(), decision);
    }
}
