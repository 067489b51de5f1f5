//! What requests are refused by besides the reputation of their source: the user that is under attack, and the
//! user agent that is the pattern of one. And who is let through all the same: a user at home, a source where
//! somebody signed in.
//!
//! Detection owns the facts; whoever judges requests has them as one immutable value of users and user agents, and
//! as two Bloom filters that detection adds to while requests ask (Bloom, Space/time trade-offs in hash coding
//! with allowable errors, 1970). A filter that errs lets a request pass; it never refuses one.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    detect::{Findings, NetworkKey, SourceKey},
    signal::{Pseudonym, siphash},
};

/// Users and user agents that requests are refused by.
#[derive(Clone, Debug, Default)]
pub struct Suspects {
    users: HashMap<u64, Suspect>,
    agents: HashMap<u64, Suspect>,
    known: Arc<Known>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// 0 to 100.
    pub score: u8,
    /// When it ends, milliseconds since the epoch.
    pub until_ms: u64,
    /// What was found.
    pub findings: Findings,
}

/// What a request says of who signs in, as pseudonyms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignInFacts {
    /// Who is to be signed in, where that is known.
    pub user: Option<Pseudonym>,
    /// Its user agent and path.
    pub agent: Option<Pseudonym>,
}

/// Who has signed in from where. Shared between the one that adds and those that ask.
#[derive(Debug)]
pub struct Known {
    /// Users with the networks that they signed in from.
    homes: Bloom,
    /// Sources where somebody signed in.
    sources: Bloom,
    seed: u64,
}

/// A Bloom filter that can be asked while it is added to.
#[derive(Debug, Default)]
struct Bloom(Box<[AtomicU64]>);

impl Suspects {
    /// Nobody, with what is known of people.
    #[must_use]
    pub fn new(known: Arc<Known>) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Notes a user; what ended meanwhile is left out.
    pub fn note_user(&mut self, user: u64, suspect: Suspect, now_ms: u64) {
        note(&mut self.users, user, suspect, now_ms);
    }

    /// Notes a user agent.
    pub fn note_agent(&mut self, agent: u64, suspect: Suspect, now_ms: u64) {
        note(&mut self.agents, agent, suspect, now_ms);
    }

    /// Whether the user has signed in from this network before: whatever the network's reputation, people at home
    /// are let through.
    #[must_use]
    pub fn is_at_home(&self, facts: &SignInFacts, client: IpAddr) -> bool {
        facts
            .user
            .is_some_and(|user| self.known.is_home(user.bits(), NetworkKey::of(client)))
    }

    /// What refuses a sign-in from this client by its user or user agent, from `block_score` on.
    #[must_use]
    pub fn refuses(
        &self,
        facts: &SignInFacts,
        client: IpAddr,
        block_score: u8,
        now_ms: u64,
    ) -> Option<Suspect> {
        let find = |all: &HashMap<u64, Suspect>, key: Option<Pseudonym>| {
            let suspect = *all.get(&key?.bits())?;
            (suspect.score >= block_score && now_ms < suspect.until_ms).then_some(suspect)
        };
        if self.users.is_empty() && self.agents.is_empty() {
            return None;
        }
        find(&self.users, facts.user)
            .or_else(|| find(&self.agents, facts.agent))
            .filter(|_| !self.is_at_home(facts, client))
            .filter(|_| !self.known.is_good(SourceKey::of(client)))
    }

    /// How many users and user agents are refused.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.users.len(), self.agents.len())
    }

    /// The same with other knowledge of people.
    #[must_use]
    pub fn knowing(&self, known: Arc<Known>) -> Self {
        Self {
            known,
            ..self.clone()
        }
    }
}

impl Known {
    /// Nobody is known yet; `seed` keeps whoever chooses addresses from choosing where they fall.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            homes: Bloom::new(HOMES_BITS),
            sources: Bloom::new(SOURCES_BITS),
            seed,
        }
    }

    /// A user signed in from here.
    pub fn add(&self, user: Option<u64>, client: IpAddr) {
        self.add_source(SourceKey::of(client));
        if let Some(user) = user {
            self.add_home(user, NetworkKey::of(client).mark());
        }
    }

    /// Somebody signed in from here.
    pub fn add_source(&self, source: SourceKey) {
        self.sources.add(self.hash(source.bits(), 0));
    }

    /// A user signed in from a network with this mark.
    pub fn add_home(&self, user: u64, mark: u32) {
        self.homes.add(self.hash(user, mark));
    }

    fn is_home(&self, user: u64, network: NetworkKey) -> bool {
        self.homes.has(self.hash(user, network.mark()))
    }

    fn is_good(&self, source: SourceKey) -> bool {
        self.sources.has(self.hash(source.bits(), 0))
    }

    fn hash(&self, key: u64, mark: u32) -> u64 {
        let [a, b, c, d, e, f, g, h] = key.to_le_bytes();
        let [i, j, k, l] = mark.to_le_bytes();
        siphash(self.seed, !self.seed, &[a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

impl Default for Known {
    /// Knows everybody: nobody is refused by it.
    fn default() -> Self {
        Self {
            homes: Bloom::default(),
            sources: Bloom::default(),
            seed: 0,
        }
    }
}

impl Bloom {
    fn new(bits: u64) -> Self {
        let words = bits.div_ceil(64);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, hash: u64) {
        for (word, bit) in self.places(hash) {
            if let Some(word) = self.0.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    fn has(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| {
            let word = self.0.get(word);
            word.is_none_or(|word| word.load(Ordering::Relaxed) & bit != 0)
        })
    }

    /// Word and bit of each probe, by double hashing (Kirsch, Mitzenmacher, Less Hashing, Same Performance, 2006).
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let bits = (self.0.len() as u64).saturating_mul(64).max(1);
        let step = hash.rotate_left(32) | 1;
        (0..PROBES).map(move |probe| {
            let place = hash.wrapping_add(step.wrapping_mul(probe)) % bits;
            (
                usize::try_from(place / 64).unwrap_or(usize::MAX),
                1 << (place % 64),
            )
        })
    }
}

fn note(all: &mut HashMap<u64, Suspect>, key: u64, suspect: Suspect, now_ms: u64) {
    if all.len() >= SUSPECTS_MAX && !all.contains_key(&key) {
        all.retain(|_, suspect| now_ms < suspect.until_ms);
        if all.len() >= SUSPECTS_MAX {
            // Whoever ends first gives way; what is still found is noted again.
            let first = all.iter().min_by_key(|(_, suspect)| suspect.until_ms);
            if let Some(key) = first.map(|(key, _)| *key) {
                all.remove(&key);
            }
        }
    }
    all.insert(key, suspect);
}

/// Four networks of 262,144 users with a chance of one in a million to err: 4 MiB.
const HOMES_BITS: u64 = 1 << 25;
/// A million sources with one in 200: 1 MiB.
const SOURCES_BITS: u64 = 1 << 23;
const PROBES: u64 = 6;
/// Users, and user agents, that are refused at a time.
const SUSPECTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use edgeward_ebpf::{abi::FOREVER, lookup::Meta};

    use super::*;
    use crate::{
        config::Config,
        policy::{
            chain::Forwarding,
            classes::{ClassOrigin, Classes},
            clock::Now,
            detect::{Detection, Level},
            explain::Action,
            random::Random,
            request::{Reason, RequestFacts},
            signal::PseudonymKey,
            snapshot::Snapshot,
        },
    };

    const NOW: u64 = 1_800_000_000_000;

    fn suspect(until_ms: u64) -> Suspect {
        let mut findings = Findings::default();
        findings.add(Detection::BruteForce, Some(Level::High));
        Suspect {
            score: 90,
            until_ms,
            findings,
        }
    }

    #[test]
    fn a_user_under_attack_still_signs_in_at_home() {
        let key = PseudonymKey::new(1, 2);
        let alice = SignInFacts {
            user: Some(key.user(b"alice")),
            agent: Some(key.agent(b"curl", b"/login")),
        };
        let known = Arc::new(Known::new(7));
        let mut suspects = Suspects::new(Arc::clone(&known));
        let (home, office, away) = ("192.0.2.1", "198.51.100.1", "203.0.113.1");
        let [home, office, away] = [home, office, away].map(|text| text.parse::<IpAddr>().unwrap());
        let bits = |name: Option<Pseudonym>| name.unwrap().bits();
        known.add(Some(bits(alice.user)), home);
        known.add(None, office);
        assert_eq!(suspects.refuses(&alice, away, 80, NOW), None);
        for of_agent in [false, true] {
            let mut suspects = suspects.clone();
            if of_agent {
                suspects.note_agent(bits(alice.agent), suspect(NOW + 10), NOW);
            } else {
                suspects.note_user(bits(alice.user), suspect(NOW + 10), NOW);
            }
            let ask = |client, score, now| suspects.refuses(&alice, client, score, now).is_some();
            assert!(ask(away, 80, NOW));
            assert!(ask(away, 90, NOW) && !ask(away, 91, NOW));
            assert!(!ask(away, 80, NOW + 10), "it has ended");
            assert!(!ask(home, 80, NOW), "at home");
            assert!(!ask(office, 80, NOW), "somebody signed in there");
            let nameless = SignInFacts::default();
            assert_eq!(suspects.refuses(&nameless, away, 80, NOW), None);
        }
        assert!(
            suspects.is_at_home(&alice, "192.0.2.77".parse().unwrap()),
            "the network counts"
        );
        assert!(!suspects.is_at_home(&alice, away));
        suspects = Suspects::default();
        suspects.note_user(bits(alice.user), suspect(NOW + 10), NOW);
        assert_eq!(
            suspects.refuses(&alice, away, 80, NOW),
            None,
            "who knows nothing of people refuses nobody"
        );
    }

    /// What the gate does with it: detection gives way to a home, nothing else does, and who is exempt stays so.
    #[test]
    fn a_home_excuses_from_detection_alone() {
        let text = "mode = \"block\"\n[[zone]]\nname = \"office\"\nuses = [\"exempt\"]\nnetworks = [\"198.51.100.0/24\"]\n";
        let config = Config::parse(text, Path::new(""), "test").unwrap();
        let now = Now {
            wall_ms: NOW,
            boot_ns: 0,
        };
        let mut classes = Classes::default();
        let entry =
            |classes: &mut Classes, origin| Meta::new(90, classes.intern(origin, "why"), FOREVER);
        let detected = entry(&mut classes, ClassOrigin::Detection);
        let listed = entry(&mut classes, ClassOrigin::List);
        let snapshot = Snapshot::of_config(&config, now)
            .with_classes(&classes)
            .with_entry("192.0.2.0/24".parse().unwrap(), Some(detected))
            .with_entry("203.0.113.0/24".parse().unwrap(), Some(listed));
        let known = Arc::new(Known::new(7));
        let key = PseudonymKey::new(1, 2);
        let [alice, bob] = [b"alice".as_slice(), b"bob"].map(|name| SignInFacts {
            user: Some(key.user(name)),
            agent: None,
        });
        let addresses = ["192.0.2.1", "203.0.113.1", "198.51.100.1", "192.88.99.1"];
        let addresses = addresses.map(|text| text.parse::<IpAddr>().unwrap());
        let [detected, listed, exempt, clean] = addresses;
        for home in [detected, listed] {
            known.add(Some(alice.user.unwrap().bits()), home);
        }
        let mut suspects = Suspects::new(known);
        suspects.note_user(bob.user.unwrap().bits(), suspect(NOW + 10), NOW);
        for (client, facts, refused, score) in [
            (detected, alice, false, 90),
            (detected, bob, true, 90),
            (listed, alice, true, 90),
            (exempt, bob, false, 0),
            (clean, alice, false, 0),
            (clean, bob, true, 90),
        ] {
            let request = RequestFacts {
                service: 0,
                peer: client,
                path: "/login",
                user_agent: None,
                sign_in: Some(facts),
            };
            let ruling = snapshot.judge(
                &request,
                Forwarding::<std::iter::Empty<&[u8]>>::Nothing,
                now,
            );
            let ruling = snapshot.with_suspects(ruling, &suspects, &facts, now);
            let is_refused = ruling.action == Action::Refuse;
            assert_eq!(
                (is_refused, ruling.score),
                (refused, score),
                "{client} {facts:?}"
            );
            assert_eq!(
                ruling.reason,
                refused.then_some(Reason::Reputation),
                "{client}"
            );
        }
    }

    #[test]
    fn filters_forget_nobody_and_seldom_err() {
        let known = Known::new(3);
        let mut random = Random::new(5);
        let users: Vec<(u64, u32)> = (0..200_000).map(|_| (random.next(), 77)).collect();
        for (user, mark) in &users {
            known.add_home(*user, *mark);
        }
        assert!(
            users
                .iter()
                .all(|(user, mark)| known.homes.has(known.hash(*user, *mark)))
        );
        let wrong = (0..100_000).filter(|_| known.homes.has(known.hash(random.next(), 77)));
        let wrong = wrong.count();
        assert!(wrong < 10, "{wrong} of 100,000");
    }

    #[test]
    fn there_is_room_for_the_latest() {
        let mut suspects = Suspects::default();
        for user in 0..30_000_u64 {
            suspects.note_user(user, suspect(NOW + user), NOW);
        }
        assert_eq!(suspects.len(), (SUSPECTS_MAX, 0));
        assert!(suspects.users.contains_key(&29_999) && !suspects.users.contains_key(&0));
        suspects.note_user(1, suspect(NOW + 90_000), NOW + 40_000);
        assert_eq!(suspects.len(), (1, 0), "what has ended went first");
    }
}
