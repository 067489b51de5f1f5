//! STIX patterns as far as they name addresses: comparisons of `ipv4-addr:value`, `ipv6-addr:value` or
//! `network-traffic:src_ref.value` by `=`, `IN` or `ISSUBSET`, joined by `OR`
//! (STIX 2.1, section 9). What holds only together with something else names no address by itself.

use ipnet::IpNet;

use crate::policy::prefix::parse_network;

/// Why a pattern gives no entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is about something else, or about more than an address.
    Other(&'static str),
    /// It cannot be read, or has a value that is no address.
    Bad(String),
}

/// Nested parentheses that are followed.
const DEPTH_MAX: u32 = 16;
/// Addresses that one pattern may name.
const NETWORKS_MAX: usize = 4_096;

/// The networks that a pattern names.
pub(super) fn networks(pattern: &str) -> Result<Vec<IpNet>, Fault> {
    let mut parser = Parser {
        tokens: tokens(pattern)?,
        at: 0,
        found: Vec::new(),
    };
    parser.observations(0)?;
    if parser.peek().is_some() {
        return Err(match parser.peek() {
            Some(Token::Word(word)) if is_any(word, &["AND", "FOLLOWEDBY"]) => {
                Fault::Other("conditions")
            }
            Some(Token::Word(word)) if is_any(word, &["WITHIN", "REPEATS", "START"]) => {
                Fault::Other("conditions")
            }
            _ => bad("goes on behind its end"),
        });
    }
    if parser.found.is_empty() {
        return Err(Fault::Other("no address"));
    }
    Ok(parser.found)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A path, a keyword, an operator, a bare value.
    Word(String),
    /// Between single quotes.
    Text(String),
    Symbol(char),
}

fn tokens(pattern: &str) -> Result<Vec<Token>, Fault> {
    let mut out = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '[' | ']' | '(' | ')' | ',' => out.push(Token::Symbol(c)),
            '\'' => {
                let mut text = String::new();
                loop {
                    match chars.next() {
                        Some('\\') => text.extend(chars.next()),
                        Some('\'') => break,
                        Some(c) => text.push(c),
                        None => return Err(bad("has a text that does not end")),
                    }
                }
                out.push(Token::Text(text));
            }
            '=' | '!' | '<' | '>' => {
                let mut word = String::from(c);
                word.extend(chars.next_if_eq(&'='));
                out.push(Token::Word(word));
            }
            c => {
                let mut word = String::from(c);
                let ends = |c: &char| {
                    c.is_whitespace()
                        || matches!(c, '[' | ']' | '(' | ')' | ',' | '=' | '!' | '<' | '>')
                };
                // Quotes within a path (`extensions.'x-y'`) belong to it.
                while let Some(c) = chars.next_if(|c| !ends(c)) {
                    word.push(c);
                }
                out.push(Token::Word(word));
            }
        }
    }
    Ok(out)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    found: Vec<IpNet>,
}

/// One comparison.
enum Compared {
    /// Networks of addresses.
    Networks(Vec<IpNet>),
    /// A statement about the kind of address, which its value makes anyway.
    Kind,
    /// Anything else.
    Else,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at = self.at.saturating_add(1);
        token
    }

    fn took_symbol(&mut self, symbol: char) -> bool {
        let is = self.peek() == Some(&Token::Symbol(symbol));
        self.at = self.at.saturating_add(usize::from(is));
        is
    }

    fn took_word(&mut self, wanted: &str) -> bool {
        let is =
            matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.at = self.at.saturating_add(usize::from(is));
        is
    }

    fn observations(&mut self, depth: u32) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(bad("nests too deep"));
        }
        loop {
            if self.took_symbol('(') {
                self.observations(depth.saturating_add(1))?;
                self.close(')')?;
            } else if self.took_symbol('[') {
                let found = self.alternatives(depth)?;
                self.close(']')?;
                self.found.extend(found);
                if self.found.len() > NETWORKS_MAX {
                    return Err(bad("names too many addresses"));
                }
            } else {
                return Err(bad("lacks an opening bracket"));
            }
            if !self.took_word("OR") {
                return Ok(());
            }
        }
    }

    fn close(&mut self, symbol: char) -> Result<(), Fault> {
        if self.took_symbol(symbol) {
            return Ok(());
        }
        match self.peek() {
            Some(Token::Word(word))
                if is_any(word, &["AND", "FOLLOWEDBY", "WITHIN", "REPEATS", "START"]) =>
            {
                Err(Fault::Other("conditions"))
            }
            _ => Err(bad("lacks a closing bracket")),
        }
    }

    /// Comparisons joined by OR: each names its addresses by itself.
    fn alternatives(&mut self, depth: u32) -> Result<Vec<IpNet>, Fault> {
        let mut found = Vec::new();
        loop {
            found.extend(self.conjunction(depth)?);
            if !self.took_word("OR") {
                return Ok(found);
            }
        }
    }

    /// Comparisons joined by AND: addresses, if nothing else is asked for.
    fn conjunction(&mut self, depth: u32) -> Result<Vec<IpNet>, Fault> {
        let mut networks: Option<Vec<IpNet>> = None;
        let (mut others, mut count) = (false, 0_u32);
        loop {
            count = count.saturating_add(1);
            match self.comparison(depth)? {
                Compared::Networks(found) if networks.is_none() => networks = Some(found),
                Compared::Networks(_) | Compared::Else => others = true,
                Compared::Kind => {}
            }
            if !self.took_word("AND") {
                break;
            }
        }
        match networks {
            Some(_) if others => Err(Fault::Other("conditions")),
            Some(found) => Ok(found),
            None => Ok(Vec::new()),
        }
    }

    fn comparison(&mut self, depth: u32) -> Result<Compared, Fault> {
        if depth > DEPTH_MAX {
            return Err(bad("nests too deep"));
        }
        if self.took_symbol('(') {
            let found = self.alternatives(depth.saturating_add(1))?;
            self.close(')')?;
            return Ok(if found.is_empty() {
                Compared::Else
            } else {
                Compared::Networks(found)
            });
        }
        let Some(Token::Word(path)) = self.next() else {
            return Err(bad("lacks something to compare"));
        };
        if path.eq_ignore_ascii_case("EXISTS") {
            self.next();
            return Ok(Compared::Else);
        }
        let negated = self.took_word("NOT");
        let Some(Token::Word(operator)) = self.next() else {
            return Err(bad("lacks an operator"));
        };
        let values = self.values()?;
        let positive = !negated && is_any(&operator, &["=", "==", "IN", "ISSUBSET"]);
        if KINDS.contains(&path.as_str()) {
            return Ok(Compared::Kind);
        }
        if !PATHS.contains(&path.as_str()) {
            return Ok(Compared::Else);
        }
        if !positive {
            return Err(Fault::Other("conditions"));
        }
        let mut found = Vec::new();
        for value in values {
            let parsed = parse_network(&value).map_err(|error| Fault::Bad(error.what()))?;
            found.extend(parsed);
        }
        Ok(Compared::Networks(found))
    }

    /// One value, or several between parentheses.
    fn values(&mut self) -> Result<Vec<String>, Fault> {
        let mut out = Vec::new();
        if !self.took_symbol('(') {
            return match self.next() {
                Some(Token::Text(text) | Token::Word(text)) => Ok(vec![text]),
                _ => Err(bad("lacks a value")),
            };
        }
        loop {
            match self.next() {
                Some(Token::Text(text) | Token::Word(text)) => out.push(text),
                _ => return Err(bad("lacks a value")),
            }
            if self.took_symbol(')') {
                return Ok(out);
            }
            if !self.took_symbol(',') {
                return Err(bad("lacks a closing parenthesis"));
            }
        }
    }
}

/// What holds the address of whoever connects.
const PATHS: [&str; 3] = [
    "ipv4-addr:value",
    "ipv6-addr:value",
    "network-traffic:src_ref.value",
];
const KINDS: [&str; 1] = ["network-traffic:src_ref.type"];

fn is_any(word: &str, of: &[&str]) -> bool {
    of.iter().any(|one| one.eq_ignore_ascii_case(word))
}

fn bad(what: &str) -> Fault {
    Fault::Bad(format!("its pattern {what}"))
}
