//! Who may do what: accounts of the configuration made into ids, and a peer held against them.

use std::{collections::BTreeSet, fmt, fs, io, os::unix::fs::MetadataExt};

use super::{Peer, Role};
use crate::config::{Control, Principals};

/// The accounts that have a role, as ids. Changes take effect for requests on open connections too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    own_uid: u32,
    operators: Members,
    readers: Members,
}

/// Accounts as the configuration names them: by name or number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// User names or ids.
    pub users: &'a [String],
    /// Group names or ids.
    pub groups: &'a [String],
}

/// An account that the configuration names and the system does not know, or that cannot be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleError {
    /// The key of the configuration, such as `control.operators.users`.
    pub key: String,
    /// What is wrong, and what to write.
    pub what: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Members {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
}

impl Roles {
    /// Only root and the account that the agent runs as.
    ///
    /// # Errors
    /// When /proc cannot say which account that is.
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            own_uid: fs::metadata("/proc/self")?.uid(),
            operators: Members::default(),
            readers: Members::default(),
        })
    }

    /// Looks the configured names up in /etc/passwd and /etc/group.
    ///
    /// Accounts that only a directory service knows are given by number.
    ///
    /// # Errors
    /// Every name that is unknown, and files that cannot be read.
    pub fn resolve(operators: Names<'_>, readers: Names<'_>) -> Result<Self, Vec<RoleError>> {
        let failed = |key: &'static str| {
            move |error: io::Error| {
                vec![RoleError {
                    key: "control".to_owned(),
                    what: format!("{key}: {error}"),
                }]
            }
        };
        let own = Self::own().map_err(failed("/proc/self"))?;
        let wanted = |names: Names<'_>| names.users.iter().chain(names.groups).next().is_some();
        if !wanted(operators) && !wanted(readers) {
            return Ok(own);
        }
        let passwd = fs::read_to_string(PASSWD).map_err(failed(PASSWD))?;
        let group = fs::read_to_string(GROUP).map_err(failed(GROUP))?;
        Self::from_tables(own.own_uid, operators, readers, &passwd, &group)
    }

    /// [`Roles::resolve`] for the accounts of a configuration.
    ///
    /// # Errors
    /// Every name that is unknown, and files that cannot be read.
    pub fn from_config(control: &Control) -> Result<Self, Vec<RoleError>> {
        Self::resolve(Names::of(&control.operators), Names::of(&control.readers))
    }

    /// What the peer may do; none, if no role names it.
    #[must_use]
    pub fn role(&self, peer: &Peer, groups: &[u32]) -> Option<Role> {
        if peer.uid == 0 || peer.uid == self.own_uid || self.operators.hold(peer, groups) {
            Some(Role::Operator)
        } else if self.readers.hold(peer, groups) {
            Some(Role::Reader)
        } else {
            None
        }
    }

    fn from_tables(
        own_uid: u32,
        operators: Names<'_>,
        readers: Names<'_>,
        passwd: &str,
        group: &str,
    ) -> Result<Self, Vec<RoleError>> {
        let mut errors = Vec::new();
        let mut ids = |role: &str, what: &str, names: &[String], table: &str, file: &str| {
            let mut found = BTreeSet::new();
            for name in names {
                match lookup(table, name) {
                    Some(id) => {
                        found.insert(id);
                    }
                    None => errors.push(RoleError {
                        key: format!("control.{role}.{what}s"),
                        what: format!(
                            "`{name}` is not a {what} in {file}; correct it, or give the number if a \
                             directory service keeps it"
                        ),
                    }),
                }
            }
            found
        };
        let roles = Self {
            own_uid,
            operators: Members {
                users: ids("operators", "user", operators.users, passwd, PASSWD),
                groups: ids("operators", "group", operators.groups, group, GROUP),
            },
            readers: Members {
                users: ids("readers", "user", readers.users, passwd, PASSWD),
                groups: ids("readers", "group", readers.groups, group, GROUP),
            },
        };
        if errors.is_empty() {
            Ok(roles)
        } else {
            Err(errors)
        }
    }
}

impl<'a> Names<'a> {
    fn of(principals: &'a Principals) -> Self {
        Self {
            users: &principals.users,
            groups: &principals.groups,
        }
    }
}

impl Members {
    fn hold(&self, peer: &Peer, groups: &[u32]) -> bool {
        self.users.contains(&peer.uid)
            || self.groups.contains(&peer.gid)
            || groups.iter().any(|group| self.groups.contains(group))
    }
}

/// The supplementary groups of a peer, or none where they cannot be told.
///
/// The process may have ended and its id been given to another one since it connected: unless the process
/// there still has the ids that the kernel recorded at the connect, its groups are not believed.
#[must_use]
pub fn supplementary_groups(peer: &Peer) -> Vec<u32> {
    let Some(pid) = peer.pid else {
        return Vec::new();
    };
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| groups_of(&status, peer))
        .unwrap_or_default()
}

fn groups_of(status: &str, peer: &Peer) -> Option<Vec<u32>> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    // Real, effective, saved, file system: the kernel recorded the effective one.
    let effective =
        |name: &str| -> Option<u32> { field(name)?.split_ascii_whitespace().nth(1)?.parse().ok() };
    if effective("Uid")? != peer.uid || effective("Gid")? != peer.gid {
        return None;
    }
    Some(
        field("Groups")?
            .split_ascii_whitespace()
            .filter_map(|group| group.parse().ok())
            .collect(),
    )
}

/// `name:password:id:…`, which both tables share; a number stands for itself.
fn lookup(table: &str, name: &str) -> Option<u32> {
    if let Ok(id) = name.parse() {
        return Some(id);
    }
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

impl std::error::Error for RoleError {}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

#[cfg(test)]
mod tests {

    use super::{Names, Peer, Role, Roles, groups_of, supplementary_groups};

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100::/:\nbob:x:1001:100::/:\n";
    const GROUP: &str = "root:x:0:\nsecops:x:200:alice\nsoc:x:201:\n";

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer {
            uid,
            gid,
            pid: None,
        }
    }

    #[test]
    fn names_and_numbers_become_roles() {
        let (users, groups, soc) = (texts(&["alice"]), texts(&["200"]), texts(&["soc"]));
        let operators = Names {
            users: &users,
            groups: &groups,
        };
        let readers = Names {
            users: &[],
            groups: &soc,
        };
        let roles = Roles::from_tables(999, operators, readers, PASSWD, GROUP).unwrap();
        let cases: [(u32, u32, &[u32], Option<Role>); 8] = [
            (0, 0, &[], Some(Role::Operator)),
            (999, 5, &[], Some(Role::Operator)),
            (1000, 100, &[], Some(Role::Operator)),
            (1001, 100, &[], None),
            (1001, 100, &[200], Some(Role::Operator)),
            (1001, 201, &[], Some(Role::Reader)),
            (1001, 100, &[7, 201], Some(Role::Reader)),
            (1001, 201, &[200], Some(Role::Operator)),
        ];
        for (uid, gid, groups, role) in cases {
            assert_eq!(
                roles.role(&peer(uid, gid), groups),
                role,
                "{uid} {gid} {groups:?}"
            );
        }
    }

    #[test]
    fn every_unknown_name_is_reported() {
        let (users, groups) = (texts(&["alice", "carol"]), texts(&["nobodies"]));
        let names = Names {
            users: &users,
            groups: &groups,
        };
        let errors = Roles::from_tables(0, names, Names::default(), PASSWD, GROUP).unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<String>();
        assert_eq!(errors.len(), 2);
        assert!(text.contains("control.operators.users: `carol`"), "{text}");
        assert!(
            text.contains("control.operators.groups: `nobodies`"),
            "{text}"
        );
    }

    #[test]
    fn groups_are_believed_only_of_the_process_that_connected() {
        let status =
            "Name:\tsh\nUid:\t1000\t1001\t1001\t1001\nGid:\t5\t100\t100\t100\nGroups:\t27 200 \n";
        assert_eq!(groups_of(status, &peer(1001, 100)), Some(vec![27, 200]));
        assert_eq!(groups_of(status, &peer(1000, 100)), None);
        assert_eq!(groups_of(status, &peer(1001, 5)), None);
    }

    #[test]
    fn the_kernel_answers_for_this_process() {
        let own = Roles::own().unwrap();
        let this = Peer {
            uid: own.own_uid,
            gid: u32::MAX,
            pid: i32::try_from(std::process::id()).ok(),
        };
        assert_eq!(own.role(&this, &[]), Some(Role::Operator));
        assert_eq!(
            supplementary_groups(&this),
            Vec::<u32>::new(),
            "another gid is another process"
        );
    }
}
