//! Who takes part: clients good and bad with their addresses, the operator's configuration, and one round of
//! sign-ins by everybody at the same time.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use lab::{Host, Lab, Request, Result, Site};

use crate::page::Style;

/// One client with one address.
pub(crate) struct Actor {
    /// As the table names it.
    pub(crate) who: &'static str,
    pub(crate) source: IpAddr,
    pub(crate) part: Part,
    host: Host,
    /// Sign-ins that the site has answered, in each round.
    rounds: Vec<Round>,
}

/// What a client does in the play.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// An attacker whom the configuration names.
    Known,
    /// An attacker whom only the operator can name.
    Unknown,
    /// Nobody may ever refuse it.
    Good,
}

#[derive(Clone, Copy)]
struct Round {
    /// Sign-ins that the client saw answered.
    answered: usize,
    /// Sign-ins that the site's own log shows.
    logged: usize,
    right: bool,
}

/// Everybody, and the names of the rounds played so far.
pub(crate) struct Cast {
    pub(crate) actors: Vec<Actor>,
    titles: Vec<&'static str>,
}

impl Cast {
    /// The clients of the lab, in the order of the table.
    ///
    /// # Errors
    /// An address below is no address.
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        let cast: [(&str, &Host, &str, Part); 11] = [
            (
                "attacker, in your blocked zone",
                &lab.attacker,
                BLOCKED_V4,
                Part::Known,
            ),
            (
                "attacker, on your list",
                &lab.attacker,
                LISTED_V6,
                Part::Known,
            ),
            (
                "attacker, on your list",
                &lab.exempt,
                NEIGHBOUR_V4,
                Part::Known,
            ),
            (
                "attacker, known to nobody",
                &lab.attacker,
                UNKNOWN_V4,
                Part::Unknown,
            ),
            (
                "attacker, known to nobody",
                &lab.attacker,
                UNKNOWN_V6,
                Part::Unknown,
            ),
            ("customer", &lab.innocent, "198.51.100.10", Part::Good),
            ("customer", &lab.innocent, "2001:db8:600d::10", Part::Good),
            ("your office, exempt", &lab.exempt, OFFICE_V4, Part::Good),
            (
                "your office, exempt",
                &lab.exempt,
                "2001:db8:e::130",
                Part::Good,
            ),
            ("your CDN, trusted proxy", &lab.proxy, PROXY_V4, Part::Good),
            (
                "your CDN, trusted proxy",
                &lab.proxy,
                "2001:db8:9::70",
                Part::Good,
            ),
        ];
        let actors = cast.into_iter().map(|(who, host, source, part)| {
            let source = source
                .parse()
                .with_context(|| format!("no address: {source}"))?;
            Ok(Actor {
                who,
                source,
                part,
                host: host.clone(),
                rounds: Vec::new(),
            })
        });
        Ok(Self {
            actors: actors.collect::<Result<_>>()?,
            titles: Vec::new(),
        })
    }

    /// Everybody signs in [`TRIES`] times at the same time. Whether everything went as it should: with
    /// `enforced` the bad ones get no answer and the site never hears of them, everybody else always does.
    ///
    /// # Errors
    /// A host of the lab is gone, or the site's log does not show what it has answered.
    pub(crate) fn round(
        &mut self,
        site: &Site,
        title: &'static str,
        enforced: bool,
    ) -> Result<bool> {
        self.titles.push(title);
        let rounds = thread::scope(|scope| {
            let playing: Vec<_> = self
                .actors
                .iter()
                .map(|actor| scope.spawn(|| actor.play(site, enforced)))
                .collect();
            playing
                .into_iter()
                .map(|one| {
                    one.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let mut right = true;
        for (actor, round) in self.actors.iter_mut().zip(rounds) {
            right &= round.right;
            actor.rounds.push(round);
        }
        Ok(right)
    }

    /// Everybody's rounds so far.
    pub(crate) fn table(&self) -> Vec<Vec<(String, Style)>> {
        let mut header = vec![
            ("WHO".to_owned(), Style::Plain),
            ("FROM".to_owned(), Style::Plain),
        ];
        header.extend(
            self.titles
                .iter()
                .map(|title| (title.to_uppercase(), Style::Plain)),
        );
        let mut rows = vec![header];
        for actor in &self.actors {
            let mut row = vec![
                (actor.who.to_owned(), Style::Plain),
                (actor.source.to_string(), Style::Plain),
            ];
            row.extend(actor.rounds.iter().map(Round::cell));
            rows.push(row);
        }
        rows
    }
}

impl Actor {
    fn play(&self, site: &Site, enforced: bool) -> Result<Round> {
        let refused = enforced && self.part != Part::Good;
        let before = site.requests_from(self.source);
        // Who is dropped waits for nothing, so a short wait will do; who is not gets all the time a busy machine takes.
        let patience = if refused { PATIENCE_DROPPED } else { PATIENCE };
        let answered = thread::scope(|scope| {
            let tries: Vec<_> = (0..TRIES)
                .map(|number| scope.spawn(move || self.sign_in(site, number, patience)))
                .collect();
            tries
                .into_iter()
                .map(|one| one.join().unwrap_or(false))
                .filter(|answered| *answered)
                .count()
        });
        // nginx logs a request after it has answered it.
        site.wait_for_requests(self.source, before + answered)?;
        let logged = site.requests_from(self.source).saturating_sub(before);
        let expected = if refused { 0 } else { TRIES };
        Ok(Round {
            answered,
            logged,
            right: answered == expected && logged == expected,
        })
    }

    /// A sign-in as a browser sends it; whether the site answered.
    fn sign_in(&self, site: &Site, number: usize, patience: Duration) -> bool {
        let form = format!("user=user{number}@example.org&password=Spring2026!");
        let request = Request::post("/login", &form);
        self.host
            .http(self.source, site.address(self.source), &request, patience)
            .is_ok_and(|answer| answer.status == 200 && answer.body == Site::ANSWER)
    }
}

impl Round {
    fn cell(&self) -> (String, Style) {
        let text = match (self.answered, self.logged) {
            (0, 0) => "cut off".to_owned(),
            (TRIES, TRIES) => "got in".to_owned(),
            // The two ends disagree, or only some got in: never as it should be.
            (answered, logged) => format!("{answered} answered, {logged} arrived"),
        };
        match (self.right, self.answered) {
            (false, _) => (format!("{text} (WRONG)"), Style::Bad),
            (true, 0) => (text, Style::Bad),
            (true, _) => (text, Style::Good),
        }
    }
}

/// Sign-ins of each client in a round.
pub(crate) const TRIES: usize = 3;
/// Longest a sign-in that should be answered may take: only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a client that is to be dropped waits for an answer.
const PATIENCE_DROPPED: Duration = Duration::from_millis(900);

const BLOCKED_V4: &str = "203.0.113.66";
const LISTED_V6: &str = "2001:db8:bad::66";
/// A neighbour of the office in the same hosting network.
pub(crate) const NEIGHBOUR_V4: &str = "198.51.100.131";
/// In no zone and on no list.
pub(crate) const UNKNOWN_V4: &str = "203.0.113.9";
const UNKNOWN_V6: &str = "2001:db8:bad:9::9";
/// What the operator blocks to stop it.
pub(crate) const UNKNOWN_V6_NETWORK: &str = "2001:db8:bad:9::/64";
/// The exempt office.
pub(crate) const OFFICE_V4: &str = "198.51.100.130";
/// The trusted proxy.
pub(crate) const PROXY_V4: &str = "198.51.100.70";

/// The operator's configuration. Office and CDN lie inside networks of bad repute on purpose.
pub(crate) const CONFIGURATION: &str = r#"mode = "log"                        # look first, refuse later
interfaces = ["edge0"]

[[zone]]
name = "office"
uses = ["exempt"]                   # never refused, whatever else says so
networks = ["198.51.100.130", "2001:db8:e::130"]

[[zone]]
name = "cdn"
uses = ["trusted-proxy"]            # stands for many people: never dropped
networks = ["198.51.100.70", "2001:db8:9::70"]

[[zone]]
name = "never"
uses = ["blocked"]
networks = ["203.0.113.64/26"]

[[list]]                            # networks that attacks have come from
name = "bad-hosting"
score = 90
networks = ["198.51.100.64-198.51.100.191", "2001:db8:bad::/64", "2001:db8:9::/48", "2001:db8:e::/48"]

[[service]]
name = "login"
ports = [80, 443]
"#;

/// Where this agent keeps its things; hidden from the reader, who has the defaults.
pub(crate) const PLACES: &str =
    "socket = {socket}\nstate_dir = {state_dir}\nbpffs_dir = {bpffs_dir}\n";
