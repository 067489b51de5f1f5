//! What one message of OpenSSH's server says, in whatever of its versions.

/// What a message says, with the words it says it about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    pub(super) user: Option<&'a str>,
    /// The user does not exist or may not sign in.
    pub(super) invalid: bool,
    /// An address, or a name that sshd looked up.
    pub(super) client: Option<&'a str>,
    /// How often it happened.
    pub(super) times: u16,
}

/// What happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A password (or another secret) was wrong.
    Failed,
    /// PAM refused a conversation; `FailedConversation` may say it again.
    FailedPam,
    /// A conversation failed.
    FailedConversation,
    /// Signed in.
    Accepted,
    /// A failure that another line may tell as well: a key that is not known, a user that does not exist.
    Hint,
    /// PAM noted failures, which sshd may tell as well.
    PamFailures,
    /// PAM says that the user does not exist.
    PamUnknown,
    /// The connection begins.
    Begun,
    /// The connection ends, and was not signed in.
    Ended,
}

/// Reads a message; `None` if it tells nothing about signing in.
pub(super) fn read(text: &str) -> Option<Message<'_>> {
    let text = bare(text);
    if let Some(repeated) = text.strip_prefix("message repeated ") {
        let (times, message) = repeated.split_once(" times: [")?;
        let inner = read(message.trim_end().trim_end_matches(']').trim())?;
        let times = times.parse().unwrap_or(1_u16).min(REPEATED_MAX);
        return Some(Message { times, ..inner });
    }
    attempt(text).or_else(|| pam(text)).or_else(|| ending(text))
}

/// Without what syslog daemons and sshd put around: message ids, severities, the process that spoke.
fn bare(text: &str) -> &str {
    let mut text = text.trim();
    if let Some((_, rest)) = text.strip_prefix("[ID ").and_then(|id| id.split_once("] ")) {
        text = rest;
    }
    for severity in ["error: ", "fatal: ", "info: "] {
        text = text.strip_prefix(severity).unwrap_or(text);
    }
    text.strip_suffix("[preauth]").unwrap_or(text).trim_end()
}

fn attempt(text: &str) -> Option<Message<'_>> {
    if let Some(rest) = text.strip_prefix("Failed ") {
        let (method, rest) = rest.split_once(" for ")?;
        let kind = match method {
            "password" => Kind::Failed,
            _ if method.starts_with("keyboard-interactive") => Kind::FailedConversation,
            // A client offers every key it has, and asks with `none` which methods there are.
            _ => Kind::Hint,
        };
        // A client names its own user and host in `hostbased`; nothing behind that is sshd's word.
        let rest = rest
            .split_once(", client user \"")
            .map_or(rest, |(rest, _)| rest);
        return Some(about(kind, rest));
    }
    if let Some(rest) = text.strip_prefix("Accepted ") {
        let (_, rest) = rest.split_once(" for ")?;
        return Some(about(Kind::Accepted, rest));
    }
    for start in ["Invalid user ", "Illegal user "] {
        if let Some(rest) = text.strip_prefix(start) {
            let message = about(Kind::Hint, rest);
            return Some(Message {
                invalid: true,
                ..message
            });
        }
    }
    if let Some(rest) = text.strip_prefix("PAM: ") {
        let (what, rest) = rest.split_once(" for ")?;
        let what = what.to_ascii_lowercase();
        let fails = [
            "failure",
            "error",
            "not known",
            "maximum",
            "denied",
            "expired",
        ];
        if fails.iter().any(|word| what.contains(word)) {
            let rest = rest.split_once(" via ").map_or(rest, |(rest, _)| rest);
            return Some(about(Kind::FailedPam, rest));
        }
        return None;
    }
    if let Some(rest) = text.strip_prefix("ROOT LOGIN REFUSED FROM ") {
        let client = rest.split(' ').next();
        return Some(Message {
            user: Some("root"),
            client,
            ..plain(Kind::Failed)
        });
    }
    let rest = text.strip_prefix("User ")?;
    let (who, _) = rest.split_once(" not allowed because ")?;
    Some(about(Kind::Hint, who))
}

fn pam(text: &str) -> Option<Message<'_>> {
    if text.starts_with("pam_") {
        if text.ends_with("check pass; user unknown") {
            return Some(plain(Kind::PamUnknown));
        }
        let (module, rest) = text.split_once(": ")?;
        return (module.contains(":auth)") && rest.starts_with("authentication failure;"))
            .then(|| pam_failures(rest, 1));
    }
    let rest = text.strip_prefix("PAM ")?;
    let (times, rest) = rest.split_once(" more authentication failure")?;
    Some(pam_failures(rest, times.parse().ok()?))
}

fn pam_failures(rest: &str, times: u16) -> Message<'_> {
    let field = |name: &str| {
        let (_, value) = rest.split_once(name)?;
        value.split(' ').next().filter(|value| !value.is_empty())
    };
    Message {
        user: field(" user=").or_else(|| field(" ruser=")),
        client: field(" rhost="),
        times: times.min(REPEATED_MAX),
        ..plain(Kind::PamFailures)
    }
}

fn ending(text: &str) -> Option<Message<'_>> {
    if let Some(rest) = text.strip_prefix("Connection from ") {
        let client = rest.split(' ').next();
        return Some(Message {
            client,
            ..plain(Kind::Begun)
        });
    }
    if let Some(rest) = text.strip_prefix("maximum authentication attempts exceeded for ") {
        return Some(about(Kind::Ended, rest));
    }
    for start in [
        "Connection closed by ",
        "Connection reset by ",
        "Disconnected from ",
    ] {
        if let Some(rest) = text.strip_prefix(start) {
            return Some(ended(rest));
        }
    }
    if let Some(rest) = text.strip_prefix("Disconnecting ") {
        return Some(ended(rest.split_once(": ").map_or(rest, |(who, _)| who)));
    }
    if let Some((_, rest)) = text.split_once("imeout before authentication for ") {
        return Some(ended(rest.strip_prefix("connection from ").unwrap_or(rest)));
    }
    if let Some(rest) = text.strip_prefix("Received disconnect from ") {
        let client = rest.split([' ', ':']).next();
        // IPv6 has colons of its own, and before OpenSSH 7 one follows the address at once.
        let spaced = rest
            .split(' ')
            .next()
            .map(|word| word.trim_end_matches(':'));
        let client = if super::address(spaced?).is_some() {
            spaced
        } else {
            client
        };
        return Some(Message {
            client,
            ..plain(Kind::Ended)
        });
    }
    text.starts_with("Disconnecting: ")
        .then(|| plain(Kind::Ended))
}

/// `authenticating user NAME ADDRESS port N`, `invalid user NAME ADDRESS port N`, `ADDRESS port N`.
fn ended(rest: &str) -> Message<'_> {
    let invalid = rest.starts_with("invalid user ");
    let named = ["authenticating user ", "invalid user "]
        .iter()
        .find_map(|start| rest.strip_prefix(start));
    let who = named.unwrap_or(rest);
    let who = who.rsplit_once(" port ").map_or(who, |(who, _)| who);
    let (user, client) = match named {
        // The name may be empty, and may hold spaces and addresses: the last word is sshd's.
        Some(_) => who.rsplit_once(' ').unwrap_or(("", who)),
        None => ("", who.split(' ').next().unwrap_or(who)),
    };
    Message {
        user: named.map(|_| user),
        invalid,
        client: Some(client),
        ..plain(Kind::Ended)
    }
}

/// `[invalid user ]NAME from ADDRESS[ port N …]`.
///
/// The name is the client's choice and may itself look like the rest of the line, so the last place that
/// fits counts; one with a port counts more than one without.
fn about(kind: Kind, rest: &str) -> Message<'_> {
    let mut last = None;
    let mut last_with_port = None;
    for (at, _) in rest.match_indices("from ") {
        if at > 0 && rest.as_bytes().get(at - 1) != Some(&b' ') {
            continue;
        }
        let after = rest.get(at + 5..).unwrap_or_default();
        let (client, tail) = after.split_once(' ').unwrap_or((after, ""));
        let found = Some((rest.get(..at).unwrap_or_default(), client));
        last = found;
        if tail.starts_with("port ") {
            last_with_port = found;
        }
    }
    let (user, client) = last_with_port.or(last).unwrap_or((rest, ""));
    let mut user = user.strip_suffix(' ').unwrap_or(user);
    let mut invalid = user == "<invalid username>";
    for start in ["invalid user", "illegal user"] {
        if let Some(name) = user
            .strip_prefix(start)
            .filter(|name| name.is_empty() || name.starts_with(' '))
        {
            user = name.strip_prefix(' ').unwrap_or(name);
            invalid = true;
        }
    }
    Message {
        user: Some(user),
        invalid,
        client: Some(client).filter(|client| !client.is_empty()),
        ..plain(kind)
    }
}

const fn plain<'a>(kind: Kind) -> Message<'a> {
    Message {
        kind,
        user: None,
        invalid: false,
        client: None,
        times: 1,
    }
}

/// More repetitions than a syslog daemon holds back are a forged line.
const REPEATED_MAX: u16 = 1_000;
