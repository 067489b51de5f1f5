//! What a bouncer is told: the list that is enforced, and how it differs from the one that it was told before.

use std::{iter::Peekable, slice::Iter, sync::Arc, time::Duration};

use edgeward_ebpf::abi::{FOREVER, TICK_SHIFT};
use ipnet::IpNet;
use serde_json::json;

use crate::{
    config::feed::LapiOrigin,
    policy::{
        classes::ClassOrigin,
        clock::Now,
        decision::Origin,
        snapshot::{Enforced, Snapshot},
    },
};

/// What is told of a decision without an end, for which the protocol has no word: a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Everything that is told, at one moment.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) entries: Vec<Enforced>,
    classes: Vec<Option<(&'static str, String)>>,
    /// Entries of too many pieces, which are not told.
    pub(super) left_out: u64,
}

/// Which of it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Words of origins; all if empty.
    pub(super) origins: Vec<String>,
    /// `ip`, `range`; all if empty.
    pub(super) scopes: Vec<String>,
    /// Parts of names, in lower case, one of which must occur; any if empty.
    pub(super) containing: Vec<String>,
    /// Parts of names, in lower case, none of which may occur.
    pub(super) not_containing: Vec<String>,
}

/// What has changed from one list to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) new: Vec<Enforced>,
    pub(super) deleted: Vec<Enforced>,
}

impl List {
    /// What a snapshot enforces, of the origins that are served.
    pub(super) fn of(snapshot: &Snapshot, origins: &[LapiOrigin], now: Now) -> Self {
        let (mut entries, left_out) = snapshot.enforced(now);
        let classes: Vec<Option<(&'static str, String)>> = (0..=u8::MAX)
            .map(|id| {
                let (origin, name) = snapshot.class(id)?;
                served(origin, origins).map(|word| (word, name.to_owned()))
            })
            .collect();
        entries.retain(|one| matches!(classes.get(usize::from(one.class)), Some(Some(_))));
        entries.shrink_to_fit();
        Self {
            entries,
            classes,
            left_out,
        }
    }

    /// The tick of the next end.
    pub(super) fn next_end(&self) -> u32 {
        self.entries
            .iter()
            .map(|one| one.expires)
            .min()
            .unwrap_or(FOREVER)
    }

    /// Whether an entry is asked for.
    pub(super) fn passes(&self, one: &Enforced, filter: &Filter) -> bool {
        let (origin, name) = self.class(one);
        let lower = name.to_lowercase();
        let scope = if is_host(&one.prefix) { "ip" } else { "range" };
        let any = |words: &[String], of: &dyn Fn(&str) -> bool| {
            words.is_empty() || words.iter().any(|word| of(word))
        };
        any(&filter.origins, &|word| word == origin)
            && any(&filter.scopes, &|word| word == scope)
            && any(&filter.containing, &|word| lower.contains(word))
            && !filter
                .not_containing
                .iter()
                .any(|word| lower.contains(word.as_str()))
    }

    /// An entry as the protocol has it.
    pub(super) fn told(&self, one: &Enforced, now: Now, gone: bool) -> String {
        let (origin, name) = self.class(one);
        let (scope, value) = if is_host(&one.prefix) {
            ("Ip", one.prefix.addr().to_string())
        } else {
            ("Range", one.prefix.to_string())
        };
        let duration = if gone {
            "-1s".to_owned()
        } else {
            go_duration(left(one.expires, now))
        };
        json!({
            "duration": duration,
            "id": self.id(one),
            "origin": origin,
            "scenario": name,
            "scope": scope,
            "type": "ban",
            "value": value,
        })
        .to_string()
    }

    /// The same for the same prefix from the same origin, over restarts: FNV-1a, cut to what every language can count.
    fn id(&self, one: &Enforced) -> u64 {
        let (origin, name) = self.class(one);
        let prefix = one.prefix.to_string();
        let bytes = prefix
            .bytes()
            .chain([0])
            .chain(origin.bytes())
            .chain([0])
            .chain(name.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash >> 12).max(1)
    }

    fn class(&self, one: &Enforced) -> (&str, &str) {
        match self.classes.get(usize::from(one.class)) {
            Some(Some((origin, name))) => (origin, name),
            _ => ("", ""),
        }
    }

    /// What is different from an older list. A decision that only lasts longer is new and not deleted.
    pub(super) fn since(&self, old: &Self) -> Delta {
        let mut delta = Delta::default();
        let (mut before, mut after) = (
            old.entries.iter().peekable(),
            self.entries.iter().peekable(),
        );
        loop {
            let prefix = match (before.peek(), after.peek()) {
                (Some(a), Some(b)) => a.prefix.min(b.prefix),
                (Some(a), None) => a.prefix,
                (None, Some(b)) => b.prefix,
                (None, None) => return delta,
            };
            match (at(&mut before, prefix), at(&mut after, prefix)) {
                (Some(old_one), Some(new_one)) => {
                    let same = old.class(old_one) == self.class(new_one);
                    if same && old_one.expires == new_one.expires {
                        continue;
                    }
                    if !same || new_one.expires < old_one.expires {
                        delta.deleted.push(*old_one);
                    }
                    delta.new.push(*new_one);
                }
                (Some(gone), None) => delta.deleted.push(*gone),
                (None, Some(new)) => delta.new.push(*new),
                (None, None) => return delta,
            }
        }
    }
}

fn at<'a>(list: &mut Peekable<Iter<'a, Enforced>>, prefix: IpNet) -> Option<&'a Enforced> {
    list.next_if(|one| one.prefix == prefix)
}

fn served(origin: ClassOrigin, origins: &[LapiOrigin]) -> Option<&'static str> {
    let wanted = match origin {
        ClassOrigin::BlockedZone => LapiOrigin::BlockedZone,
        ClassOrigin::List => LapiOrigin::Of(Origin::List),
        ClassOrigin::Operator => LapiOrigin::Of(Origin::Operator),
        ClassOrigin::Detection => LapiOrigin::Of(Origin::Detection),
        ClassOrigin::Feed => LapiOrigin::Of(Origin::Feed),
    };
    origins.contains(&wanted).then(|| origin.name())
}

fn is_host(prefix: &IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

fn left(expires: u32, now: Now) -> Duration {
    if expires == FOREVER {
        return LONGEST;
    }
    let at_ns = u64::from(expires) << TICK_SHIFT;
    Duration::from_nanos(at_ns.saturating_sub(now.boot_ns)).min(LONGEST)
}

/// As Go prints it, to the millisecond: `3h59m58.712s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let ms = duration.subsec_millis();
    match (hours, minutes) {
        (0, 0) => format!("{seconds}.{ms:03}s"),
        (0, _) => format!("{minutes}m{seconds}.{ms:03}s"),
        _ => format!("{hours}h{minutes}m{seconds}.{ms:03}s"),
    }
}

/// A list that many may hold.
pub(super) type Shared = Arc<List>;

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
