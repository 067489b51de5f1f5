//! Names behind pseudonyms: kept for a moment in memory, and only where the operator wants events to tell them.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::signal::{NAME_BYTES_MAX, Pseudonym};

/// The latest names by their pseudonyms. Empty, and costing nothing, unless the operator wants names.
#[derive(Default)]
pub struct Names {
    wanted: AtomicBool,
    generations: Mutex<Generations>,
}

/// Two of them: what has not come again while the newer one filled up is forgotten with the older one.
#[derive(Default)]
struct Generations {
    new: HashMap<Pseudonym, Box<str>>,
    old: HashMap<Pseudonym, Box<str>>,
}

impl Names {
    /// Whether names are wanted from now on; all are forgotten if not.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
        if !wanted {
            *self.generations() = Generations::default();
        }
    }

    /// The name of a pseudonym, if it is wanted: as it was written, without the spaces around it.
    pub fn note(&self, user: Pseudonym, name: &[u8]) {
        if !self.wanted.load(Relaxed) {
            return;
        }
        let name = name.trim_ascii();
        let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
        let mut generations = self.generations();
        if generations.new.contains_key(&user) {
            return;
        }
        if generations.new.len() >= GENERATION_MAX {
            generations.old = mem::take(&mut generations.new);
        }
        let name = String::from_utf8_lossy(name).into_owned().into_boxed_str();
        generations.new.insert(user, name);
    }

    /// What to call a user in an event: the name where names are wanted and it is known, otherwise the pseudonym in
    /// hexadecimal.
    #[must_use]
    pub fn call(&self, user: Pseudonym) -> String {
        let known = self.wanted.load(Relaxed).then(|| self.of(user)).flatten();
        known.unwrap_or_else(|| format!("{:016x}", user.bits()))
    }

    fn of(&self, user: Pseudonym) -> Option<String> {
        let generations = self.generations();
        let name = generations.new.get(&user);
        name.or_else(|| generations.old.get(&user))
            .map(|name| name.to_string())
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        // Whole at every moment: a panic elsewhere leaves nothing half done.
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says nothing of the names.
impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// Names of a generation: more than wait for their event at any time.
const GENERATION_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::signal::PseudonymKey;

    #[test]
    fn a_name_is_told_only_where_it_is_wanted() {
        let names = Arc::new(Names::default());
        let key = PseudonymKey::new(1, 2).telling(Arc::clone(&names));
        let user = key.user(b" Alice ");
        let hash = format!("{:016x}", user.bits());
        assert_eq!(names.call(user), hash, "not wanted");
        names.want(true);
        assert_eq!(names.call(user), hash, "not seen since");
        assert_eq!(key.user(b" Alice "), user);
        assert_eq!(names.call(user), "Alice");
        assert!(!format!("{names:?} {key:?}").contains("Alice"));
        names.want(false);
        names.want(true);
        assert_eq!(names.call(user), hash, "forgotten");
        for (written, told) in [
            (&b"\xff\xfe"[..], "\u{fffd}\u{fffd}"),
            (b"a\nb\x1b[1m", "a\nb\x1b[1m"),
            (&[b'x'; 10_000], &"x".repeat(NAME_BYTES_MAX)),
        ] {
            assert_eq!(names.call(key.user(written)), told);
        }
    }

    #[test]
    fn only_so_many_are_kept_and_the_latest_of_them() {
        let names = Arc::new(Names::default());
        names.want(true);
        let key = PseudonymKey::new(1, 2).telling(Arc::clone(&names));
        let users: Vec<_> = (0..3 * GENERATION_MAX)
            .map(|number| (key.user(format!("user {number}").as_bytes()), number))
            .collect();
        for (user, number) in users.iter().skip(2 * GENERATION_MAX) {
            assert_eq!(names.call(*user), format!("user {number}"));
        }
        let generations = names.generations();
        assert!(generations.new.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }
}
