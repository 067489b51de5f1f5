//! The user of a request, as it is found: a pseudonym from the first byte on.

use crate::policy::signal::{NAME_BYTES_MAX, Pseudonym, PseudonymKey};

/// Which value counts where a field stands several times, with different values.
///
/// Applications differ: PHP, Rack and Django take the last, servlets, Go and Flask the first, ASP.NET joins them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeated {
    /// All of them together are one user of their own, and the field's name is read in any case. Nobody can hide
    /// many users behind one, whatever the application takes.
    #[default]
    All,
    /// The first.
    First,
    /// The last.
    Last,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The user.
    pub user: Option<Pseudonym>,
    /// The field stood there with different values.
    pub is_repeated: bool,
    /// No user was found in the part that was read, and there is more.
    pub is_cut: bool,
    /// The body is not what it says it is, or compressed.
    pub is_unreadable: bool,
}

/// Takes names as they are found.
pub(super) struct Names<'k> {
    key: &'k PseudonymKey,
    take: Repeated,
    found: Option<Pseudonym>,
    is_repeated: bool,
}

impl Repeated {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("all", Self::All),
        ("first", Self::First),
        ("last", Self::Last),
    ];

    /// Whether the case of a field's name is looked past: some applications do.
    pub(super) const fn any_case(self) -> bool {
        matches!(self, Self::All)
    }
}

impl<'k> Names<'k> {
    pub(super) const fn new(key: &'k PseudonymKey, take: Repeated) -> Self {
        Self {
            key,
            take,
            found: None,
            is_repeated: false,
        }
    }

    pub(super) const fn any_case(&self) -> bool {
        self.take.any_case()
    }

    /// A value of the field. One that is not whole counts if all that counts of it is there.
    pub(super) fn add(&mut self, name: &[u8], is_whole: bool) {
        let name = name.trim_ascii_start();
        if name.is_empty() || (!is_whole && name.len() < NAME_BYTES_MAX) {
            return;
        }
        let new = self.key.user(name);
        self.found = Some(match self.found {
            None => new,
            Some(old) if old == new => old,
            Some(old) => {
                self.is_repeated = true;
                match self.take {
                    Repeated::All => self.key.both(old, new),
                    Repeated::First => old,
                    Repeated::Last => new,
                }
            }
        });
    }

    pub(super) const fn found(&self) -> Found {
        Found {
            user: self.found,
            is_repeated: self.is_repeated,
            is_cut: false,
            is_unreadable: false,
        }
    }
}
