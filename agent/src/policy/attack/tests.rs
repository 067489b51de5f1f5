//! Whole courses of a service: what is an attack, what is none, and what an operator says.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::policy::{
    random::Random,
    signal::{Flow, Outcome, Pseudonym, PseudonymKey},
};

pub(super) const MINUTE_MS: u64 = 60_000;
pub(super) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;
/// A Monday, 00:00 UTC.
pub(super) const START_MS: u64 = 1_780_272_000_000;

/// A service that people live with: some sources by the slot, most of them known.
pub(super) struct Lab {
    pub(super) model: AttackModel,
    random: Random,
    now_ms: u64,
    /// Sign-ins of an hour by day; a tenth by night.
    people: u64,
    pub(super) changes: Vec<Change>,
}

/// What else happens in a minute.
#[derive(Clone, Copy, Default)]
pub(super) struct Beside {
    /// Strangers that fail, of every hundred minutes so many hundreds.
    strangers_percent: u64,
    /// Everybody fails.
    outage: bool,
    /// People, in percent of what is usual.
    people_percent: Option<u64>,
    /// One source fails so often, with as many users.
    loud: u64,
    /// Of an office behind one known address, so many users fail.
    office: u64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self {
            model: AttackModel::new(Settings::default(), 3),
            random: Random::new(5),
            now_ms: START_MS,
            people: 300,
            changes: Vec::new(),
        }
    }

    pub(super) fn live(&mut self, ms: u64, beside: Beside) -> &mut Self {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.minute(beside);
            self.now_ms += MINUTE_MS;
            self.changes.extend(self.model.tick(self.now_ms));
        }
        self
    }

    pub(super) fn days(&mut self, days: u64) -> &mut Self {
        self.live(days * DAY_MS, Beside::default())
    }

    fn minute(&mut self, beside: Beside) {
        let hour = self.now_ms / HOUR_MS % 24;
        let usual = if (8..20).contains(&hour) {
            self.people
        } else {
            self.people / 10
        };
        let people = usual * beside.people_percent.unwrap_or(100) / 100;
        for _ in 0..self.chance(people, 60) {
            let person = self.random.below(2_000);
            let client = if self.random.below(10) == 0 {
                self.anywhere(60)
            } else {
                address(70, person)
            };
            let mistypes = self.random.below(12) == 0;
            if mistypes || beside.outage {
                for _ in 0..1 + 3 * u64::from(beside.outage) {
                    self.tries(client, person, Outcome::Failure);
                }
            }
            // One of ten who mistype gives up.
            let gives_up = mistypes && self.random.below(10) == 0;
            if !(beside.outage || gives_up) {
                self.tries(client, person, Outcome::Success);
            }
        }
        for _ in 0..self.chance(beside.strangers_percent, 100) {
            let (client, user) = (self.anywhere(90), self.random.below(50_000));
            let outcome = if user < 20_000 {
                Outcome::Failure
            } else {
                Outcome::UnknownUser
            };
            self.tries(client, user, outcome);
        }
        for user in 0..beside.loud {
            self.tries(address(45, 1), 10_000 + user, Outcome::UnknownUser);
        }
        for user in 0..beside.office {
            self.tries(address(70, 7), 3_000 + user, Outcome::Failure);
        }
    }

    fn tries(&mut self, client: IpAddr, user: u64, outcome: Outcome) {
        self.model
            .observe(&signal(0, self.now_ms, client, user, outcome));
    }

    fn anywhere(&mut self, network: u8) -> IpAddr {
        address(network, self.random.below(1 << 24))
    }

    /// `of` events in `among` minutes, one minute of them.
    fn chance(&mut self, of: u64, among: u64) -> u64 {
        of / among + u64::from(self.random.below(among) < of % among)
    }

    fn starts(&self) -> usize {
        self.changes.iter().filter(|change| change.attacked).count()
    }
}

pub(super) fn signal(
    service: u16,
    time_ms: u64,
    client: IpAddr,
    user: u64,
    outcome: Outcome,
) -> Signal {
    Signal {
        time_ms,
        client,
        service,
        flow: Flow::SignIn,
        outcome,
        user: Some(name(user)),
        agent: None,
        asn: None,
    }
}

fn name(user: u64) -> Pseudonym {
    PseudonymKey::new(1, 2).user(&user.to_be_bytes())
}

fn address(network: u8, host: u64) -> IpAddr {
    let host = u32::try_from(host % (1 << 24)).unwrap();
    IpAddr::V4(Ipv4Addr::from(u32::from(network) << 24 | host))
}

fn attack(strangers_a_minute: u64) -> Beside {
    Beside {
        strangers_percent: strangers_a_minute * 100,
        ..Beside::default()
    }
}

#[test]
fn a_log_of_the_past_teaches_while_nobody_tells_the_present() {
    let now_ms = START_MS + 3 * DAY_MS;
    let mut hours = Vec::new();
    for told_the_present in [true, false] {
        let mut lab = Lab::new();
        while lab.now_ms < now_ms {
            lab.minute(Beside::default());
            lab.now_ms += MINUTE_MS;
            let changes = if told_the_present {
                lab.model.tick(now_ms)
            } else {
                lab.model.lapse(now_ms)
            };
            assert!(changes.is_empty());
        }
        hours.push(lab.model.standings(now_ms)[0].hours_known);
    }
    assert_eq!(hours, [0, 71]);
}

#[test]
fn what_is_no_attack() {
    let calm = Beside::default();
    let cases: [(&str, u64, Beside); 7] = [
        ("an ordinary day", 9, calm),
        (
            "five times the people",
            9,
            Beside {
                people_percent: Some(500),
                ..calm
            },
        ),
        (
            "nobody",
            9,
            Beside {
                people_percent: Some(0),
                ..calm
            },
        ),
        (
            "everybody fails",
            9,
            Beside {
                outage: true,
                ..calm
            },
        ),
        (
            "everybody fails on the first day",
            0,
            Beside {
                outage: true,
                ..calm
            },
        ),
        ("one loud source", 9, Beside { loud: 500, ..calm }),
        (
            "an office changes its passwords",
            9,
            Beside { office: 40, ..calm },
        ),
    ];
    for (what, days, beside) in cases {
        let mut lab = Lab::new();
        lab.days(days).live(9 * HOUR_MS, calm);
        lab.live(2 * HOUR_MS, beside).live(6 * HOUR_MS, calm);
        assert!(lab.changes.is_empty(), "{what}: {:#?}", lab.changes);
    }
}

#[test]
fn an_attack_starts_with_evidence_and_ends_after_a_quiet_while() {
    for (learned, hour) in [(0, 3), (0, 11), (2, 3), (9, 3), (9, 11)] {
        let mut lab = Lab::new();
        lab.days(learned).live(hour * HOUR_MS, Beside::default());
        let began = lab.now_ms;
        lab.live(3 * HOUR_MS, attack(20));
        let over = lab.now_ms;
        lab.live(3 * HOUR_MS, Beside::default());
        let [start, end] = lab.changes.as_slice() else {
            panic!("{learned} days, {hour}:00: {:#?}", lab.changes);
        };
        assert!(start.attacked && !end.attacked);
        assert_eq!(
            (start.cause, end.cause, end.since_ms),
            (Cause::Model, Cause::Model, start.at_ms)
        );
        let delay = start.at_ms - began;
        assert!(
            delay <= 20 * MINUTE_MS,
            "{learned} days, {hour}:00: after {delay} ms"
        );
        assert!(start.rising_since_ms.unwrap() + 2 * SLOT_MS >= began);
        let quiet = end.at_ms - over;
        assert!((25 * MINUTE_MS..60 * MINUTE_MS).contains(&quiet), "{quiet}");
        let [sources, .., unknown] = start.evidence;
        assert_eq!(
            (sources.statistic, unknown.statistic),
            (Statistic::Sources, Statistic::UnknownUsers)
        );
        assert!(
            sources.observed > 2.0 * sources.expected
                && sources.score >= Settings::default().limit()
        );
        assert!(
            end.evidence[0].observed > 3_000.0,
            "all of it: {:?}",
            end.evidence
        );
    }
}

#[test]
fn a_small_attack_is_seen_by_night_and_a_rising_one_in_time() {
    let mut lab = Lab::new();
    lab.days(9).live(HOUR_MS, attack(2));
    assert_eq!(lab.starts(), 1, "ten strangers a slot");
    let mut lab = Lab::new();
    lab.days(9);
    for step in 0..24 {
        lab.live(
            HOUR_MS,
            Beside {
                strangers_percent: 20 * step,
                ..Beside::default()
            },
        );
    }
    assert_eq!(lab.starts(), 1, "{:#?}", lab.changes);
}

#[test]
fn an_attack_of_days_does_not_become_what_is_usual() {
    let mut lab = Lab::new();
    lab.days(9).live(5 * DAY_MS, attack(10));
    assert_eq!(lab.changes.len(), 1, "it lasts: {:#?}", lab.changes);
    let known = lab.model.standings(lab.now_ms)[0].hours_known;
    assert_eq!(
        known,
        9 * 24 - 1,
        "nothing was learned from it, nor from the hour before"
    );
    lab.days(1).live(HOUR_MS, attack(10));
    assert_eq!(lab.starts(), 2, "and the next one is seen again");
}

#[test]
fn around_the_threshold_nothing_flaps() {
    for strangers_percent in [10, 20, 40, 60, 80, 100, 150, 200, 300] {
        let mut lab = Lab::new();
        lab.days(9).live(
            2 * DAY_MS,
            Beside {
                strangers_percent,
                ..Beside::default()
            },
        );
        // What is visible by night alone comes and goes with the day, but no faster.
        assert!(
            lab.changes.len() <= 8,
            "{strangers_percent}: {:#?}",
            lab.changes
        );
        for pair in lab.changes.windows(2) {
            let lasted = pair[1].at_ms - pair[0].at_ms;
            assert!(lasted >= HOUR_MS, "{strangers_percent}: {lasted} ms");
        }
    }
}

#[test]
fn daylight_saving_gaps_and_a_clock_that_steps_are_no_attack() {
    let mut lab = Lab::new();
    lab.days(9);
    for step in [HOUR_MS, 36 * HOUR_MS, 3 * HOUR_MS] {
        lab.now_ms += step;
        lab.days(1);
    }
    for step in [HOUR_MS, 3 * HOUR_MS, 40 * HOUR_MS] {
        lab.now_ms -= step;
        lab.days(2);
    }
    assert!(lab.changes.is_empty(), "{:#?}", lab.changes);
    lab.live(HOUR_MS, attack(40));
    assert_eq!(lab.starts(), 1, "and it still sees one");
}

#[test]
fn one_line_from_the_far_future_blinds_nobody() {
    let mut lab = Lab::new();
    lab.days(3);
    let far = signal(0, 4_000_000_000_000, address(9, 9), 1, Outcome::Failure);
    lab.model.observe(&far);
    lab.days(1).live(HOUR_MS, attack(40));
    assert_eq!(lab.starts(), 1);
}

#[test]
fn attempts_that_are_refused_are_an_attack_too() {
    let mut lab = Lab::new();
    lab.days(9);
    for _ in 0..30 {
        for _ in 0..40 {
            let client = lab.anywhere(90);
            lab.model.refused(0, client, lab.now_ms);
        }
        // Somebody at home whom a detection hit by mistake, again and again.
        lab.model.refused(0, address(70, 3), lab.now_ms);
        lab.live(MINUTE_MS, Beside::default());
    }
    assert_eq!(lab.starts(), 1);
}

#[test]
fn an_operator_starts_and_ends_it() {
    let mut lab = Lab::new();
    lab.days(9);
    let start = lab.model.say(0, true, lab.now_ms, HOUR_MS).unwrap();
    assert!(start.attacked && start.cause == Cause::Operator && start.rising_since_ms.is_none());
    assert!(lab.model.is_attacked(0) && lab.model.any_attacked() && !lab.model.is_attacked(1));
    lab.live(2 * HOUR_MS, Beside::default());
    assert_eq!(lab.changes.len(), 1);
    assert!(!lab.changes[0].attacked && lab.changes[0].cause == Cause::Lapsed);
    // What the model declared ends by an operator's word, and does not start again while that holds.
    lab.changes.clear();
    lab.live(HOUR_MS, attack(20));
    assert_eq!(lab.starts(), 1);
    let end = lab.model.say(0, false, lab.now_ms, 3 * HOUR_MS).unwrap();
    assert!(!end.attacked && end.cause == Cause::Operator);
    lab.live(2 * HOUR_MS, attack(20));
    assert_eq!(lab.starts(), 1);
    lab.live(2 * HOUR_MS, attack(20));
    assert_eq!(lab.starts(), 2, "the word ran out and it goes on");
}

#[test]
fn without_detection_only_the_operator_declares() {
    let settings = Settings {
        detect: false,
        ..Settings::default()
    };
    let mut lab = Lab::new();
    lab.live(HOUR_MS, attack(60));
    assert!(lab.model.any_attacked());
    lab.model.resume(settings, Some);
    lab.live(2 * HOUR_MS, attack(60));
    assert!(!lab.model.any_attacked() && lab.changes.len() == 2);
    assert!(lab.model.say(0, true, lab.now_ms, HOUR_MS).is_some());
}

#[test]
fn a_restart_goes_on_where_it_ended() {
    let mut lab = Lab::new();
    lab.days(9).live(HOUR_MS, attack(20));
    assert!(lab.model.any_attacked());
    let text = serde_json::to_string(&lab.model).unwrap();
    let before = lab.model.standings(lab.now_ms);
    lab.model = serde_json::from_str(&text).unwrap();
    lab.model
        .resume(Settings::default(), |service| Some(service + 4));
    let after = lab.model.standings(lab.now_ms);
    assert!(lab.model.is_attacked(4) && !lab.model.is_attacked(0));
    assert_eq!(
        (after[0].hours_known, after[0].attack),
        (before[0].hours_known, before[0].attack)
    );
    lab.model.resume(Settings::default(), |_| None);
    assert!(lab.model.standings(lab.now_ms).is_empty());
}
