//! Classes: what the one class byte of a kernel entry stands for, as (origin, name).
//!
//! An entry has no room for a list's name or a decision's reason. The registry is persisted record by
//! record in a pinned map, so an agent that restarts reads the same meaning from entries that outlived
//! the one before it.

use std::collections::HashMap;

use edgeward_ebpf::abi::{CLASS_NAME_BYTES, Class};

use super::decision::Origin;

/// Where an entry comes from. The numbers are in pinned maps and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ClassOrigin {
    /// A zone with the use `blocked`; the name is the zone's.
    BlockedZone = 1,
    /// A list of the configuration; the name is the list's.
    List = 2,
    /// A person's decision; the name is its reason.
    Operator = 3,
    /// A detector's decision; the name is its reason.
    Detection = 4,
    /// An entry of a feed; the name is the feed's.
    Feed = 5,
}

impl ClassOrigin {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] = [
        Self::BlockedZone,
        Self::List,
        Self::Operator,
        Self::Detection,
        Self::Feed,
    ];

    /// The code in [`Class::origin`]; also the identifier of the origin's "other" class.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The origin of a code; `None` for one that a later version may have written.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|origin| u32::from(origin.code()) == code)
    }

    /// Its word in JSON, tables and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockedZone => "blocked_zone",
            Self::List => "list",
            Self::Operator => "operator",
            Self::Detection => "detection",
            Self::Feed => "feed",
        }
    }
}

impl From<Origin> for ClassOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Operator => Self::Operator,
            Origin::List => Self::List,
            Origin::Detection => Self::Detection,
            Origin::Feed => Self::Feed,
        }
    }
}

/// The registry. Identifier 0 is unknown, 1 to 5 are each origin's "other", 6 to 255 are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// By identifier; always 256 long.
    names: Vec<Option<(ClassOrigin, String)>>,
    ids: HashMap<ClassOrigin, HashMap<String, u8>>,
}

impl Default for Classes {
    fn default() -> Self {
        let mut classes = Self {
            names: vec![None; 256],
            ids: HashMap::new(),
        };
        for origin in ClassOrigin::ALL {
            classes.set(origin.code(), origin, OTHER);
        }
        classes
    }
}

impl Classes {
    /// Adopts what an earlier agent persisted: (identifier, record) as [`Self::records`] gave them.
    ///
    /// Records that cannot be read, or repeat a class under a second identifier, are left out: their
    /// entries read as unknown until the next reconciliation names them anew.
    #[must_use]
    pub fn load(records: impl IntoIterator<Item = (u8, Class)>) -> Self {
        let mut classes = Self::default();
        for (id, record) in records {
            let Some((origin, name)) = read(&record) else {
                continue;
            };
            if id >= FIRST_NAMED
                && classes.find(origin, &name).is_none()
                && classes.get(id).is_none()
            {
                classes.set(id, origin, &name);
            }
        }
        classes
    }

    /// The identifier of a class, newly given out if need be. When all are taken, the origin's "other".
    ///
    /// Names are cut to 60 bytes (at a character): longer ones that begin alike share a class.
    pub fn intern(&mut self, origin: ClassOrigin, name: &str) -> u8 {
        let name = cut(name);
        if let Some(id) = self.find(origin, name) {
            return id;
        }
        let Some(id) = (FIRST_NAMED..=u8::MAX).find(|id| self.get(*id).is_none()) else {
            return origin.code();
        };
        self.set(id, origin, name);
        id
    }

    /// The class of an entry; `None` for an identifier never given out.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<(ClassOrigin, &str)> {
        let (origin, name) = self.names.get(usize::from(id))?.as_ref()?;
        Some((*origin, name))
    }

    /// Gives back the identifiers for which `used` is false. Call it only when no entry in the kernel
    /// holds them any more: what is given out next would otherwise rename those entries.
    pub fn retain(&mut self, used: impl Fn(u8) -> bool) {
        for id in FIRST_NAMED..=u8::MAX {
            if used(id) {
                continue;
            }
            let gone = self.names.get_mut(usize::from(id)).and_then(Option::take);
            if let Some((origin, name)) = gone
                && let Some(ids) = self.ids.get_mut(&origin)
            {
                ids.remove(&name);
            }
        }
    }

    /// Every class as the kernel map keeps it, by rising identifier.
    pub fn records(&self) -> impl Iterator<Item = (u8, Class)> + '_ {
        (0..=u8::MAX).filter_map(|id| {
            self.get(id)
                .map(|(origin, name)| (id, record(origin, name)))
        })
    }

    fn find(&self, origin: ClassOrigin, name: &str) -> Option<u8> {
        self.ids.get(&origin)?.get(name).copied()
    }

    fn set(&mut self, id: u8, origin: ClassOrigin, name: &str) {
        if let Some(slot) = self.names.get_mut(usize::from(id)) {
            *slot = Some((origin, name.to_owned()));
            self.ids
                .entry(origin)
                .or_default()
                .insert(name.to_owned(), id);
        }
    }
}

/// The longest beginning of `name` that fits a record, whole characters only.
fn cut(name: &str) -> &str {
    // A zero would end the name where it is read back.
    let name = name.split('\0').next().unwrap_or_default();
    name.get(..name.floor_char_boundary(CLASS_NAME_BYTES))
        .unwrap_or_default()
}

fn record(origin: ClassOrigin, name: &str) -> Class {
    let mut out = Class {
        origin: u32::from(origin.code()),
        ..Class::default()
    };
    for (to, from) in out.name.as_flattened_mut().iter_mut().zip(name.bytes()) {
        *to = from;
    }
    out
}

fn read(record: &Class) -> Option<(ClassOrigin, String)> {
    let origin = ClassOrigin::from_code(record.origin)?;
    let bytes = record.name.as_flattened().split(|byte| *byte == 0).next()?;
    Some((origin, std::str::from_utf8(bytes).ok()?.to_owned()))
}

/// Name of the class that stands for all names of an origin that found no identifier.
const OTHER: &str = "other";
/// The first identifier that is given out.
const FIRST_NAMED: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_stable_and_one_each() {
        let mut classes = Classes::default();
        let spray = classes.intern(ClassOrigin::Detection, "Password Spray");
        assert_eq!(spray, 6);
        assert_eq!(classes.intern(ClassOrigin::Operator, "Password Spray"), 7);
        assert_eq!(
            classes.intern(ClassOrigin::Detection, "Password Spray"),
            spray
        );
        assert_eq!(
            classes.get(spray),
            Some((ClassOrigin::Detection, "Password Spray"))
        );
        assert_eq!(classes.get(0), None);
        assert_eq!(classes.get(2), Some((ClassOrigin::List, "other")));
        assert_eq!(classes.intern(ClassOrigin::List, "other"), 2);
    }

    #[test]
    fn a_full_registry_falls_back_and_recovers() {
        let mut classes = Classes::default();
        for index in 0..250 {
            assert_eq!(
                classes.intern(ClassOrigin::Operator, &format!("reason {index}")),
                index + 6
            );
        }
        assert_eq!(classes.intern(ClassOrigin::Operator, "one more"), 3);
        assert_eq!(classes.intern(ClassOrigin::Feed, "one more"), 5);
        assert_eq!(classes.intern(ClassOrigin::Operator, "reason 249"), 255);
        classes.retain(|id| id != 77);
        assert_eq!(classes.get(77), None);
        assert_eq!(classes.intern(ClassOrigin::Feed, "one more"), 77);
        classes.retain(|_| false);
        assert_eq!(classes, Classes::default(), "the fixed ones stay");
    }

    #[test]
    fn records_come_back_as_they_went() {
        let mut classes = Classes::default();
        for name in [
            "",
            "käse",
            &"é".repeat(31),
            &"x".repeat(61),
            &format!("{}é", "x".repeat(59)),
        ] {
            classes.intern(ClassOrigin::List, name);
        }
        assert_eq!(
            classes.get(8),
            Some((ClassOrigin::List, "é".repeat(30).as_str()))
        );
        assert_eq!(
            classes.get(9),
            Some((ClassOrigin::List, "x".repeat(60).as_str()))
        );
        assert_eq!(
            classes.get(10),
            Some((ClassOrigin::List, "x".repeat(59).as_str()))
        );
        assert_eq!(Classes::load(classes.records()), classes);
        assert_eq!(
            classes.intern(ClassOrigin::List, &"x".repeat(99)),
            9,
            "cut alike, one class"
        );
    }

    #[test]
    fn damaged_records_are_left_out() {
        let good = record(ClassOrigin::Feed, "drop");
        let mut torn = good;
        torn.name[0] = [0xff; 4];
        let later = Class { origin: 99, ..good };
        let classes = Classes::load([
            (0, good),
            (3, good),
            (9, torn),
            (10, later),
            (11, good),
            (12, good),
        ]);
        assert_eq!(classes.get(11), Some((ClassOrigin::Feed, "drop")));
        assert_eq!(
            classes.get(3),
            Some((ClassOrigin::Operator, "other")),
            "fixed ones cannot be overwritten"
        );
        for id in [0, 9, 10, 12] {
            assert_eq!(classes.get(id), None, "{id}");
        }
    }
}
