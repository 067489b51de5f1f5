//! A signal: one sign-in outcome, as detectors see it. Whoever signs in is a pseudonym here, never a name.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::names::Names;

/// One sign-in outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// When it happened, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Who tried; canonical (IPv4-mapped IPv6 is IPv4).
    pub client: IpAddr,
    /// Which service of the configuration; 0 where there is one.
    pub service: u16,
    /// What was tried.
    pub flow: Flow,
    /// How it ended.
    pub outcome: Outcome,
    /// Who was to be signed in, where that is known.
    pub user: Option<Pseudonym>,
    /// What the client's software looks like: its user agent and, where known, the path that it asked for.
    pub agent: Option<Pseudonym>,
    /// The number of the client's autonomous system, where a database tells it.
    pub asn: Option<u32>,
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flow {
    /// Signing in.
    #[default]
    SignIn,
    /// Recovering an account: a password reset.
    Recovery,
    /// Enrolling: a new account.
    Enrolment,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Signed in (or recovered, or enrolled).
    Success,
    /// A wrong password, or another refusal of a user that exists or may exist.
    Failure,
    /// The user does not exist.
    UnknownUser,
    /// A further step was asked for: a second factor, a captcha.
    Challenge,
}

/// A keyed hash of a name: it says whether two are the same, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pseudonym(u64);

/// The secret under which names become pseudonyms. Without it nobody can try names against hashes.
#[derive(Clone)]
pub struct PseudonymKey {
    low: u64,
    high: u64,
    names: Option<Arc<Names>>,
}

/// The longest part of a name that counts, bytes: longer ones are told apart by their beginning.
pub const NAME_BYTES_MAX: usize = 512;

impl Flow {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("sign-in", Self::SignIn),
        ("recovery", Self::Recovery),
        ("enrolment", Self::Enrolment),
    ];
}

impl Outcome {
    /// The words of configuration and command line.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("success", Self::Success),
        ("failure", Self::Failure),
        ("unknown-user", Self::UnknownUser),
        ("challenge", Self::Challenge),
    ];

    /// The outcome of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let found = Self::NAMED.iter().find(|(name, _)| *name == word);
        found.map(|(_, outcome)| *outcome)
    }

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMED.iter().find(|(_, outcome)| *outcome == self);
        found.map_or("", |(name, _)| name)
    }

    /// Whether the attempt was turned away.
    #[must_use]
    pub const fn failed(self) -> bool {
        matches!(self, Self::Failure | Self::UnknownUser)
    }
}

impl Pseudonym {
    /// Its bits, for tables that keep fewer of them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl PseudonymKey {
    /// A key of two random words.
    #[must_use]
    pub const fn new(low: u64, high: u64) -> Self {
        Self {
            low,
            high,
            names: None,
        }
    }

    /// The same key, which tells the names that it is given.
    #[must_use]
    pub fn telling(self, names: Arc<Names>) -> Self {
        Self {
            names: Some(names),
            ..self
        }
    }

    /// The pseudonym of a user name. Spaces around it and ASCII case do not make another user.
    #[must_use]
    pub fn user(&self, name: &[u8]) -> Pseudonym {
        let name = name.trim_ascii();
        let mut folded = [0; NAME_BYTES_MAX];
        let length = name.len().min(NAME_BYTES_MAX);
        for (to, from) in folded.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
        }
        let user = self.hash(b'u', folded.get(..length).unwrap_or_default());
        if let Some(names) = &self.names {
            names.note(user, name);
        }
        user
    }

    /// The pseudonym of a user agent and a path.
    #[must_use]
    pub fn agent(&self, user_agent: &[u8], path: &[u8]) -> Pseudonym {
        let Pseudonym(path) = self.hash(b'p', bounded(path));
        let Pseudonym(agent) = self.hash(b'a', bounded(user_agent));
        Pseudonym(agent ^ path.rotate_left(1))
    }

    /// The pseudonym of two users together.
    #[must_use]
    pub fn both(&self, one: Pseudonym, other: Pseudonym) -> Pseudonym {
        let [one, other] = [one, other].map(|Pseudonym(bits)| bits.to_le_bytes());
        self.hash(b'b', [one, other].as_flattened())
    }

    fn hash(&self, domain: u8, text: &[u8]) -> Pseudonym {
        Pseudonym(siphash(self.low ^ u64::from(domain), self.high, text))
    }
}

/// Never printed: a key in a log would undo the pseudonyms.
impl std::fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PseudonymKey")
    }
}

fn bounded(text: &[u8]) -> &[u8] {
    text.get(..NAME_BYTES_MAX).unwrap_or(text)
}

/// SipHash-2-4 (Aumasson, Bernstein) with 64 bits.
pub(crate) fn siphash(low: u64, high: u64, text: &[u8]) -> u64 {
    let mut state = [
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    // The last word holds what is left and, in its top byte, the length modulo 256.
    let length = (text.len() as u64) << 56;
    absorb(&mut state, u64::from_le_bytes(last) | length);
    state[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

const fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_gives_the_published_vectors() {
        // Key 00..0f, message 00, 01, … of the length given; from the authors' reference.
        let low = 0x0706_0504_0302_0100;
        let high = 0x0f0e_0d0c_0b0a_0908;
        let message: Vec<u8> = (0..15).collect();
        for (length, expected) in [
            (0, 0x726f_db47_dd0e_0e31_u64),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(siphash(low, high, &message[..length]), expected, "{length}");
        }
    }

    #[test]
    fn a_pseudonym_tells_users_apart_and_nothing_else() {
        let key = PseudonymKey::new(1, 2);
        assert_eq!(key.user(b"Alice"), key.user(b" alice "));
        assert_ne!(key.user(b"alice"), key.user(b"bob"));
        assert_ne!(
            key.user(b"alice"),
            PseudonymKey::new(1, 3).user(b"alice"),
            "another key, another pseudonym"
        );
        assert_ne!(key.user(b"alice"), key.agent(b"alice", b""));
        assert_ne!(key.agent(b"curl", b"/a"), key.agent(b"curl", b"/b"));
        assert_eq!(format!("{key:?}"), "PseudonymKey");
        let long = vec![b'x'; 1 << 20];
        assert_eq!(
            key.user(&long),
            key.user(&long[1..]),
            "a user field of a megabyte costs as much as one of {NAME_BYTES_MAX} bytes"
        );
    }
}
