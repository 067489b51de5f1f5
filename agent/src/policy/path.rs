//! Paths of requests: what a pattern of the configuration matches, whatever the spelling.
//!
//! Servers disagree about what `/a/%2e%2e/b`, `//b`, `/b;x` and `/b%2F` name. A rate limit therefore
//! matches every spelling that some server reads as the path: dodging it would be worth something. An
//! exemption from a restriction matches only a path that all servers read alike.
//!
//! | spelling | read as | exempts |
//! |---|---|---|
//! | `%61` to `%7E`, letters, digits, `-._~` | the character | yes |
//! | other `%XX` | the byte | no |
//! | `%2F`, `%5C`, `\` | `/` | no |
//! | `//` | `/` | no |
//! | `/./`, `/../` | resolved | no |
//! | `;…` up to the next `/` | nothing | no |
//! | `%zz`, `%` at the end | itself | no |
//! | `/` at the end | itself; a limit on the path without it matches too | yes |
//! | upper and lower case | different | yes |
//!
//! Decoding happens once: what a server that decodes twice would see is not guessed.

use std::{borrow::Cow, fmt};

/// `/login` matches exactly, `/login/*` everything that begins with `/login/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: String,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("a path begins with `/`".to_owned());
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("a path is at most {PATTERN_BYTES_MAX} bytes long"));
        }
        let plain = text.strip_suffix('*').unwrap_or(text);
        if plain.contains('*') {
            return Err("`*` stands at the end only".to_owned());
        }
        if plain.contains(['?', '#']) {
            return Err("a path has no query and no fragment".to_owned());
        }
        if plain.chars().any(char::is_control) || plain.contains(' ') {
            return Err("a path has no spaces and no control characters".to_owned());
        }
        let normal = normalise(plain);
        if normal != plain {
            return Err(format!("write it as servers read it: `{normal}`"));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// Whether a normalised path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self.text.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == self.text,
        }
    }

    /// Whether a limit on this path holds for a normalised path: a slash at the end is no way around it.
    #[must_use]
    pub fn limits(&self, path: &str) -> bool {
        self.matches(path)
            || path
                .strip_suffix('/')
                .is_some_and(|path| self.matches(path))
    }

    /// Whether a path, as received, is exempt by this pattern: it matches, and no server reads it
    /// differently.
    #[must_use]
    pub fn exempts(&self, path: &str) -> bool {
        let (path, plain) = read(path);
        plain && self.matches(&path)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The path that a spelling names, without query and fragment; always with `/` at the beginning.
#[must_use]
pub fn normalise(path: &str) -> Cow<'_, str> {
    read(path).0
}

/// The path, and whether every server reads it so.
fn read(path: &str) -> (Cow<'_, str>, bool) {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let path = path.get(..end).unwrap_or(path);
    if is_normal(path) {
        return (Cow::Borrowed(path), true);
    }
    let (decoded, plain) = decode(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut same = decoded.starts_with('/');
    let mut ends_with_slash = false;
    let mut rest = decoded.split('/').enumerate().peekable();
    while let Some((index, segment)) = rest.next() {
        let name = segment.split(';').next().unwrap_or_default();
        ends_with_slash = matches!(name, "" | "." | "..");
        match name {
            // Before the first slash, or behind the last.
            "" => same &= segment.is_empty() && (index == 0 || rest.peek().is_none()),
            "." => same = false,
            ".." => {
                same = false;
                segments.pop();
            }
            name => {
                same &= name.len() == segment.len();
                segments.push(name);
            }
        }
    }
    let mut out = String::with_capacity(decoded.len().saturating_add(1));
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if ends_with_slash || out.is_empty() {
        out.push('/');
    }
    (Cow::Owned(out), plain && same)
}

/// Whether it is its own normal form, and plain.
fn is_normal(path: &str) -> bool {
    let mut before = 0;
    for byte in path.bytes() {
        let doubtful = match byte {
            b'%' | b'\\' | b';' | 0..=0x1f | 0x7f => true,
            // `/.well-known` is a name; whether it is one is looked at again.
            b'/' | b'.' => before == b'/',
            _ => false,
        };
        if doubtful {
            return false;
        }
        before = byte;
    }
    path.starts_with('/')
}

/// Percent-decodes once; whether only what all servers decode was encoded.
fn decode(path: &str) -> (String, bool) {
    let mut plain = true;
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.as_bytes();
    while let Some((byte, rest)) = bytes.split_first() {
        bytes = rest;
        let decoded = match (byte, rest) {
            (b'%', [high, low, behind @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| {
                bytes = behind;
                high << 4 | low
            }),
            _ => None,
        };
        match decoded {
            Some(b'/' | b'\\') => {
                plain = false;
                out.push(b'/');
            }
            Some(byte) => {
                plain &= byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                out.push(byte);
            }
            None => {
                plain &= !matches!(byte, b'%' | b'\\' | 0..=0x1f | 0x7f);
                out.push(if *byte == b'\\' { b'/' } else { *byte });
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) => (text, plain),
        Err(error) => (
            String::from_utf8_lossy(error.as_bytes()).into_owned(),
            false,
        ),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Longest pattern.
const PATTERN_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn every_spelling_of_a_path() {
        // Spelling, what it names, whether all servers agree.
        for (spelling, named, plain) in [
            ("/login", "/login", true),
            ("/", "/", true),
            ("/login/", "/login/", true),
            ("/.well-known/acme", "/.well-known/acme", true),
            ("/.well-known/", "/.well-known/", true),
            ("/a.b/c..d/...", "/a.b/c..d/...", true),
            ("/käse", "/käse", true),
            ("/login?next=/x", "/login", true),
            ("/login#x", "/login", true),
            ("/%6cogin", "/login", true),
            ("/%6Cogin/", "/login/", true),
            ("/%7euser", "/~user", true),
            ("/LOGIN", "/LOGIN", true),
            ("//login", "/login", false),
            ("/login//", "/login/", false),
            ("/./login", "/login", false),
            ("/login/.", "/login/", false),
            ("/x/../login", "/login", false),
            ("/../../login", "/login", false),
            ("/x/..", "/", false),
            ("/public/%2e%2e/login", "/login", false),
            ("/public/.%2E/login", "/login", false),
            ("/public/..;/login", "/login", false),
            ("/public%2f..%2flogin", "/login", false),
            ("/public\\..\\login", "/login", false),
            ("/public/..%5clogin", "/login", false),
            ("/login;x", "/login", false),
            ("/login;x=1/y;z", "/login/y", false),
            ("/;x/login", "/login", false),
            ("/login%3Bx", "/login", false),
            ("/login%20", "/login ", false),
            ("/login%00", "/login\0", false),
            ("/100%", "/100%", false),
            ("/%zz%6", "/%zz%6", false),
            ("/%25%36cogin", "/%6cogin", false),
            ("/%256cogin", "/%6cogin", false),
            ("/%ff", "/\u{fffd}", false),
            ("/k%C3%A4se", "/käse", false),
            ("login", "/login", false),
            ("", "/", false),
            ("?x", "/", false),
            ("*", "/*", false),
        ] {
            let (named_so, plain_so) = read(spelling);
            assert_eq!((named_so.as_ref(), plain_so), (named, plain), "{spelling}");
        }
    }

    #[test]
    fn a_limit_cannot_be_dodged_by_spelling() {
        let (exact, below) = (pattern("/login"), pattern("/login/*"));
        for spelling in [
            "/login",
            "/%6cogin",
            "//login",
            "/./login",
            "/login;x",
            "/login/",
            "/a/../login",
            "/login%2f",
            "\\login",
        ] {
            assert!(exact.limits(&normalise(spelling)), "{spelling}");
        }
        for spelling in ["/LOGIN", "/login2", "/login/x", "/x/login", "/"] {
            assert!(!exact.limits(&normalise(spelling)), "{spelling}");
        }
        for spelling in ["/login/x", "/login//x", "/login/", "/login%2Fx"] {
            assert!(below.limits(&normalise(spelling)), "{spelling}");
        }
        assert!(
            !below.limits("/login")
                && pattern("/*").limits("/")
                && pattern("/log*").limits("/login")
        );
    }

    #[test]
    fn an_exemption_cannot_be_gained_by_spelling() {
        let public = pattern("/public/*");
        for spelling in [
            "/public/",
            "/public/x",
            "/public/x/y.css",
            "/%70ublic/x",
            "/public/x?y=/../z",
        ] {
            assert!(public.exempts(spelling), "{spelling}");
        }
        for spelling in [
            "/login",
            "/public",
            "/PUBLIC/x",
            "/public/../login",
            "/public/%2e%2e/login",
            "/public/..;/login",
            "/public/..%2flogin",
            "/public/..%5clogin",
            "/public/x\\..\\..\\login",
            "//public/x",
            "/public//x",
            "/public/./x",
            "/public/x;y",
            "/public/%00",
            "/public/%",
            "/login/../public/x",
            "/public/%252e%252e/login",
        ] {
            assert!(!public.exempts(spelling), "{spelling}");
        }
        let exact = pattern("/health");
        assert!(
            exact.exempts("/health")
                && !exact.exempts("/health/")
                && !exact.exempts("/health;/../login")
        );
    }

    #[test]
    fn patterns_are_written_as_servers_read_paths() {
        for text in [
            "/",
            "/login",
            "/login/",
            "/login/*",
            "/*",
            "/log*",
            "/käse",
            "/.well-known/*",
        ] {
            assert_eq!(pattern(text).to_string(), text);
        }
        for (text, says) in [
            ("login", "begins with"),
            ("", "begins with"),
            ("/a*b", "at the end only"),
            ("/a**", "at the end only"),
            ("/a?b", "no query"),
            ("/a b", "no spaces"),
            ("/%6cogin", "`/login`"),
            ("//login", "`/login`"),
            ("/a/../b", "`/b`"),
            ("/login;x", "`/login`"),
            ("/a\\b", "`/a/b`"),
        ] {
            let error = PathPattern::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(PathPattern::parse(&format!("/{}", "x".repeat(1_024))).is_err());
    }

    #[test]
    fn a_normal_path_is_its_own() {
        let mut random = crate::policy::random::Random::new(51);
        for _ in 0..50_000 {
            let text: String = (0..random.below(12))
                .map(|_| {
                    random.pick(&[
                        "/", ".", "..", "a", "%2e", "%2F", "%6c", ";x", "\\", "%", "?", "é", "%ff",
                        "//",
                    ])
                })
                .collect();
            let normal = normalise(&text);
            assert!(
                normal.starts_with('/') && !normal.contains("//") && !normal.contains(['\\', ';']),
                "{text}: {normal}"
            );
            assert!(
                !normal.split('/').any(|name| name == "." || name == ".."),
                "{text}: {normal}"
            );
            if read(&text).1 {
                assert_eq!(read(&normal), (normal.clone(), true), "{text}");
            }
        }
    }
}
