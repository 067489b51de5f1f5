//! An attacker whom nobody named: found by what nginx's access log says, and dropped in the kernel.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use lab::{Host, Lab, Request, Result, Site};
use serde_json::Value;

use super::Stage;
use super::cast::OFFICE_V4;
use crate::page::Style;

/// Somebody who signs in, with how many right and wrong passwords.
struct Guest<'a> {
    who: &'static str,
    host: &'a Host,
    source: IpAddr,
    /// Through the CDN.
    proxied: bool,
    right: usize,
    wrong: usize,
}

impl Stage<'_> {
    pub(crate) fn attacker_found(&mut self) -> Result<()> {
        self.page
            .step("An attacker on no list: Edgeward finds him by itself");
        self.page.say(STORY);
        let guests = guests(self.lab)?;
        let [attacker, ..] = &guests;
        let before = self.tried(&guests);
        let found = self.found(attacker.source)?;
        // Everybody with the right password now.
        let after: Vec<_> = guests
            .iter()
            .map(|guest| self.sign_in(guest, AGAIN, true))
            .collect();
        self.show(&guests, &before, &after);
        let all_heard = guests.iter().zip(&before);
        let heard = all_heard
            .clone()
            .skip(1)
            .all(|(guest, (right, wrong))| (*right, *wrong) == (guest.right, guest.wrong));
        let others = after.iter().skip(1).all(|in_again| *in_again);
        self.page.expect(
            found && !after.first().copied().unwrap_or(true),
            "the attacker is cut off, even with the right password now",
        );
        self.page.expect(
            heard && others,
            "the office, the company behind one address and those behind the CDN are not",
        );
        self.evidence(attacker.source)
    }

    /// What the operator sees of it.
    fn evidence(&mut self, attacker: IpAddr) -> Result<()> {
        let attacker = attacker.to_string();
        self.page
            .say("\nNobody typed a command. What does the operator see?");
        let arguments = ["list", "--origin", "detection"];
        let listed = self.page.run(&self.agent, &arguments, 0)?.stdout;
        let explained = self.page.run(&self.agent, &["explain", &attacker], 0)?;
        self.page
            .say("\nAnd as an event, which an alarm can be made of:");
        self.page
            .command("edgeward events --json | grep security.threat.detected");
        let events = self.agent.cli_ok(&["events", "--json"])?;
        let mut told = events
            .lines()
            .filter(|line| line.contains("security.threat.detected") && line.contains(&attacker));
        let told = told.next_back().unwrap_or_default();
        self.page.say(&format!("| {told}"));
        self.page.say("");
        let right = listed.contains(&attacker)
            && !listed.contains(OFFICE_V4)
            && explained.stdout.contains("detection")
            && told.contains("DENY");
        self.page
            .expect(right, "the list, explain and the event name him, and why");
        Ok(())
    }

    /// Everybody tries at the same time; how many right and how many wrong passwords of each the site answered.
    fn tried(&self, guests: &[Guest<'_>]) -> Vec<(usize, usize)> {
        thread::scope(|scope| {
            let trying: Vec<_> = guests
                .iter()
                .map(|guest| {
                    scope.spawn(|| {
                        let count = |tries: usize, right| {
                            let tries = (0..tries).map(|number| self.sign_in(guest, number, right));
                            tries.filter(|answered| *answered).count()
                        };
                        (count(guest.right, true), count(guest.wrong, false))
                    })
                })
                .collect();
            let tried = trying.into_iter();
            tried.map(|one| one.join().unwrap_or((0, 0))).collect()
        })
    }

    /// Whether the site answered a sign-in as it should.
    fn sign_in(&self, guest: &Guest<'_>, number: usize, right: bool) -> bool {
        let address = if guest.proxied {
            SocketAddr::new(self.lab.proxy.address_like(guest.source), Site::HTTP)
        } else {
            self.site.address(guest.source)
        };
        let (password, status) = if right {
            ("right", 302)
        } else {
            ("wrong", 401)
        };
        let path = format!("{}?password={password}&n={number}", Site::SIGN_IN);
        let patience = if guest.source.to_string() == ATTACKER {
            PATIENCE_DROPPED
        } else {
            PATIENCE
        };
        let answer = guest
            .host
            .http(guest.source, address, &Request::post(&path, ""), patience);
        answer.is_ok_and(|answer| answer.status == status)
    }

    /// Waits until detection has decided.
    fn found(&self, attacker: IpAddr) -> Result<bool> {
        let deadline = Instant::now() + FOUND_MAX;
        loop {
            let listing = self.agent.cli_json(&["list", "--origin", "detection"])?;
            let prefix = format!("{attacker}/32");
            let refuses = |decision: &Value| {
                decision.get("prefix").and_then(Value::as_str) == Some(&prefix)
                    && decision.get("score").and_then(Value::as_u64) >= Some(80)
            };
            let decisions = listing.get("decisions").and_then(Value::as_array);
            if decisions.is_some_and(|decisions| decisions.iter().any(refuses)) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn show(&mut self, guests: &[Guest<'_>], before: &[(usize, usize)], after: &[bool]) {
        let header = ["WHO", "FROM", "GOT IN", "WRONG PASSWORD", "NOW"];
        let mut rows = vec![
            header
                .map(|title| (title.to_owned(), Style::Plain))
                .to_vec(),
        ];
        for ((guest, (right, wrong)), now) in guests.iter().zip(before).zip(after) {
            let now = if *now {
                ("gets in", Style::Good)
            } else {
                ("cut off", Style::Bad)
            };
            rows.push(vec![
                (guest.who.to_owned(), Style::Plain),
                (guest.source.to_string(), Style::Plain),
                (right.to_string(), Style::Plain),
                (wrong.to_string(), Style::Plain),
                (now.0.to_owned(), now.1),
            ]);
        }
        self.page.table(&rows);
    }
}

fn guests(lab: &Lab) -> Result<[Guest<'_>; 4]> {
    let guest = |who, host, source: &str, proxied, right, wrong| -> Result<Guest<'_>> {
        Ok(Guest {
            who,
            host,
            source: source.parse().context("an address")?,
            proxied,
            right,
            wrong,
        })
    };
    let (attacker, customers, office) = (&lab.attacker, &lab.innocent, &lab.exempt);
    Ok([
        guest("attacker", attacker, ATTACKER, false, 0, 24)?,
        guest("your office, exempt", office, OFFICE_V4, false, 0, 24)?,
        guest(
            "30 people behind one address",
            customers,
            NAT,
            false,
            20,
            10,
        )?,
        guest("customer behind your CDN", customers, PROXIED, true, 6, 6)?,
    ])
}

const STORY: &str = "\
Somebody at 203.0.113.20 tries one password after the other. nginx answers 401 and writes a line
into its access log; Edgeward reads it there ([[signal]] above). At the same time people mistype
as well: it is the day on which the office changes its passwords; a company of 30 people shares
one address; and a customer behind the CDN is not at his best today.";

/// In no zone and on no list.
pub(crate) const ATTACKER: &str = "203.0.113.20";
const NAT: &str = "198.51.100.12";
const PROXIED: &str = "198.51.100.13";
/// A number that no try before has.
const AGAIN: usize = 100;
/// Longest a sign-in that should be answered may take: only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the attacker waits for an answer.
const PATIENCE_DROPPED: Duration = Duration::from_millis(400);
/// Longest until the attacker is found: only a failure takes it.
const FOUND_MAX: Duration = Duration::from_secs(10);
