//! Kinds of policies: dense or sparse, with long prefixes or short ones, and how refusals look.

/// What a policy is like.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) mode: &'static str,
    pub(crate) drop_unreadable: bool,
    pub(crate) reset: bool,
    /// Adds decisions that have ended by the time of the test, and kills the agent before they do.
    pub(crate) expired: bool,
    pub(crate) prefixes: usize,
    /// Shortest length of an entry, IPv4 and IPv6.
    pub(crate) shortest: (u8, u8),
    /// The same for zones: what they exempt must not be all there is.
    pub(crate) shortest_zone: (u8, u8),
    /// How many bits of an address are drawn: the fewer, the more prefixes cover each other.
    pub(crate) spread: u32,
}

impl Style {
    pub(crate) const fn plain() -> Self {
        Self {
            mode: "block",
            drop_unreadable: false,
            reset: false,
            expired: false,
            prefixes: 40,
            shortest: (16, 44),
            shortest_zone: (21, 56),
            spread: 10,
        }
    }
    pub(crate) const fn nested(self) -> Self {
        Self {
            prefixes: 90,
            spread: 6,
            shortest_zone: (25, 60),
            ..self
        }
    }
    pub(crate) const fn short(self) -> Self {
        Self {
            prefixes: 16,
            shortest: (0, 0),
            shortest_zone: (11, 40),
            ..self
        }
    }
    pub(crate) const fn few(self) -> Self {
        Self {
            prefixes: 2,
            ..self
        }
    }
    /// Hosts in networks of their own, so that the program expects more of them, between a few prefixes and zones.
    pub(crate) const fn hosts(self) -> Self {
        Self {
            shortest: (31, 127),
            shortest_zone: (30, 126),
            ..self
        }
    }
    pub(crate) const fn drop_unreadable(self) -> Self {
        Self {
            drop_unreadable: true,
            ..self
        }
    }
    pub(crate) const fn reset(self) -> Self {
        Self {
            reset: true,
            ..self
        }
    }
    pub(crate) const fn log(self) -> Self {
        Self {
            mode: "log",
            ..self
        }
    }
    pub(crate) const fn expired(self) -> Self {
        Self {
            expired: true,
            ..self
        }
    }
}
