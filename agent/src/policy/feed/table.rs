//! One feed's entries as the keeper holds them: sorted, each prefix once, 12 bytes an IPv4 address.

use std::{net::Ipv4Addr, sync::Arc};

use edgeward_ebpf::lookup::Meta;
use ipnet::{IpNet, Ipv4Net};

use crate::policy::{
    clock::Now,
    decision::{ACTOR_BYTES_MAX, Decision, Kind, Origin},
};

/// What a feed says of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When it ends, seconds since the Unix epoch; 0 if it has no end of its own.
    pub expires_s: u32,
    /// Which of the table's reasons.
    pub reason: u16,
    /// 1 to 100.
    pub score: u8,
}

/// See the module. Immutable: a refresh makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedTable {
    pub(super) name: Arc<str>,
    /// When entries end that have no end of their own, seconds since the Unix epoch; 0 for never.
    pub(super) until_s: u32,
    /// When the feed was last heard of, milliseconds since the Unix epoch.
    pub(super) heard_ms: u64,
    /// The first is that of entries which bring none.
    pub(super) reasons: Box<[Box<str>]>,
    pub(super) hosts4: Box<[(u32, Fact)]>,
    pub(super) nets: Box<[(IpNet, Fact)]>,
}

/// How a table differs from the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Prefixes that are new.
    pub added: u64,
    /// Prefixes that are gone.
    pub removed: u64,
    /// Prefixes with another score or end.
    pub altered: u64,
    /// All of them, as far as they are not more than was asked for.
    pub prefixes: Vec<IpNet>,
}

impl Changed {
    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.added
            .saturating_add(self.removed)
            .saturating_add(self.altered)
    }

    /// Whether `prefixes` has all of them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        u64::try_from(self.prefixes.len()).is_ok_and(|known| known == self.total())
    }
}

impl FeedTable {
    /// A feed of which nothing is known yet.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        Self {
            name: name.into(),
            until_s: 0,
            heard_ms: 0,
            reasons: Box::new([name.into()]),
            hosts4: Box::default(),
            nets: Box::default(),
        }
    }

    /// The feed's name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many prefixes there are, ended ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts4.len().saturating_add(self.nets.len())
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts4.is_empty() && self.nets.is_empty()
    }

    /// When entries without an end of their own end, seconds since the Unix epoch; 0 for never.
    #[must_use]
    pub const fn until_s(&self) -> u32 {
        self.until_s
    }

    /// The same entries with another end for those that have none of their own.
    #[must_use]
    pub fn with_until(&self, until_s: u32, heard_ms: u64) -> Self {
        Self {
            until_s,
            heard_ms,
            ..self.clone()
        }
    }

    /// Every prefix in the order of the table: IPv4 addresses, then everything else.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, Fact)> + '_ {
        let hosts = self
            .hosts4
            .iter()
            .map(|(host, fact)| (host_of(*host), *fact));
        hosts.chain(self.nets.iter().copied())
    }

    /// What is said of exactly this canonical prefix.
    #[must_use]
    pub fn get(&self, prefix: &IpNet) -> Option<Fact> {
        match prefix {
            IpNet::V4(v4) if v4.prefix_len() == 32 => {
                let host = u32::from(v4.addr());
                let at = self.hosts4.binary_search_by_key(&host, |entry| entry.0);
                Some(self.hosts4.get(at.ok()?)?.1)
            }
            _ => {
                let at = self.nets.binary_search_by_key(prefix, |entry| entry.0);
                Some(self.nets.get(at.ok()?)?.1)
            }
        }
    }

    /// Why, in the feed's words.
    #[must_use]
    pub fn reason(&self, fact: Fact) -> &str {
        self.reasons
            .get(usize::from(fact.reason))
            .or_else(|| self.reasons.first())
            .map_or("", AsRef::as_ref)
    }

    /// The reasons, by the number in [`Fact::reason`].
    #[must_use]
    pub fn reasons(&self) -> &[Box<str>] {
        &self.reasons
    }

    /// When an entry ends, milliseconds since the Unix epoch.
    #[must_use]
    pub fn expires_ms(&self, fact: Fact) -> Option<u64> {
        match self.end_s(fact) {
            0 => None,
            at => Some(u64::from(at) * 1_000),
        }
    }

    /// What is said of exactly this prefix, as a decision of the feed; `None` if nothing is, or no longer.
    #[must_use]
    pub fn decision(&self, prefix: &IpNet, now_ms: u64) -> Option<Decision> {
        let fact = self.get(prefix)?;
        let decision = self.decide(*prefix, fact);
        decision.is_live(now_ms).then_some(decision)
    }

    /// Every entry that has not ended.
    pub fn live(&self, now_s: u32) -> impl Iterator<Item = (IpNet, Fact)> + '_ {
        self.iter().filter(move |(_, fact)| {
            let end = self.end_s(*fact);
            end == 0 || end > now_s
        })
    }

    /// Every entry that has not ended, as decisions of the feed.
    pub fn decisions(&self, now_ms: u64) -> impl Iterator<Item = Decision> + '_ {
        self.iter()
            .map(|(prefix, fact)| self.decide(prefix, fact))
            .filter(move |decision| decision.is_live(now_ms))
    }

    fn decide(&self, prefix: IpNet, fact: Fact) -> Decision {
        Decision {
            prefix,
            kind: Kind::Block,
            score: fact.score,
            reason: self.reason(fact).to_owned(),
            origin: Origin::Feed,
            created: self.heard_ms,
            expires: self.expires_ms(fact),
            actor: self.name.to_string(),
            evidence: String::new(),
        }
    }

    /// Every live entry for the kernel's tables, under the class of the feed: addresses, then the others.
    pub(in crate::policy) fn metas(
        &self,
        class: u8,
        now: Now,
    ) -> (
        impl Iterator<Item = (u32, Meta)> + '_,
        impl Iterator<Item = (IpNet, Meta)> + '_,
    ) {
        let meta = move |fact: Fact| {
            let expires = now.expiry_tick(self.expires_ms(fact));
            now.is_live(expires)
                .then(|| Meta::new(fact.score, class, expires))
        };
        (
            self.hosts4
                .iter()
                .filter_map(move |(host, fact)| Some((*host, meta(*fact)?))),
            self.nets
                .iter()
                .filter_map(move |(net, fact)| Some((*net, meta(*fact)?))),
        )
    }

    /// What this table changes for the kernel against `old`; prefixes are given for `most` of them.
    #[must_use]
    pub fn changed(&self, old: &Self, most: usize) -> Changed {
        let mut out = Changed::default();
        walk(&old.hosts4, &self.hosts4, |host, before, after| {
            out.note(
                most,
                before.map(|fact| (fact.score, old.end_s(fact))),
                after.map(|fact| (fact.score, self.end_s(fact))),
                || host_of(host),
            );
        });
        walk(&old.nets, &self.nets, |net, before, after| {
            out.note(
                most,
                before.map(|fact| (fact.score, old.end_s(fact))),
                after.map(|fact| (fact.score, self.end_s(fact))),
                || net,
            );
        });
        out
    }

    /// When the next entry ends after `after_s`, seconds since the Unix epoch.
    #[must_use]
    pub fn next_end_s(&self, after_s: u32) -> Option<u32> {
        self.facts()
            .map(|fact| self.end_s(fact))
            .filter(|end| *end > after_s)
            .min()
    }

    /// The prefixes that end after `after_s` and not after `until_s`; `None` if they are more than `most`.
    #[must_use]
    pub fn ended(&self, after_s: u32, until_s: u32, most: usize) -> Option<Vec<IpNet>> {
        let mut found = Vec::new();
        for (prefix, fact) in self.iter() {
            let end = self.end_s(fact);
            if end > after_s && end <= until_s {
                if found.len() >= most {
                    return None;
                }
                found.push(prefix);
            }
        }
        Some(found)
    }

    fn facts(&self) -> impl Iterator<Item = Fact> + '_ {
        let hosts = self.hosts4.iter().map(|entry| entry.1);
        hosts.chain(self.nets.iter().map(|entry| entry.1))
    }

    fn end_s(&self, fact: Fact) -> u32 {
        match fact.expires_s {
            0 => self.until_s,
            own => own,
        }
    }
}

impl Changed {
    fn note<T: PartialEq>(
        &mut self,
        most: usize,
        before: Option<T>,
        after: Option<T>,
        prefix: impl FnOnce() -> IpNet,
    ) {
        let count = match (&before, &after) {
            (Some(old), Some(new)) if old == new => return,
            (Some(_), Some(_)) => &mut self.altered,
            (Some(_), None) => &mut self.removed,
            (None, _) => &mut self.added,
        };
        *count = count.saturating_add(1);
        if self.prefixes.len() < most {
            self.prefixes.push(prefix());
        }
    }
}

/// Every key of two sorted slices, with what each has under it.
fn walk<K: Ord + Copy>(
    old: &[(K, Fact)],
    new: &[(K, Fact)],
    mut each: impl FnMut(K, Option<Fact>, Option<Fact>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let key = match (old.peek(), new.peek()) {
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((a, _)), None) => *a,
            (None, Some((b, _))) => *b,
            (None, None) => return,
        };
        let before = old.next_if(|entry| entry.0 == key).map(|entry| entry.1);
        let after = new.next_if(|entry| entry.0 == key).map(|entry| entry.1);
        each(key, before, after);
    }
}

pub(super) fn host_of(host: u32) -> IpNet {
    IpNet::V4(Ipv4Net::from(Ipv4Addr::from(host)))
}

// The name of a feed is the actor of its decisions.
const _: () = assert!(ACTOR_BYTES_MAX >= 64);
