//! The order of the verdict, row by row: every combination of facts against the table of the contract.

use super::{Entry, Outcome, Port, Source, Verdict, judge};
use crate::abi::{PolicyWord, SCORE_BLOCKED_ZONE, mode, profile, zone};
use std::{vec, vec::Vec};

/// Facts with a memory of what was asked. The verdict is a pure function over them.
#[derive(Clone, Default)]
struct Facts {
    zones: u32,
    score: u8,
    port: Port,
    over: Vec<u32>,
    asked: Vec<&'static str>,
    enough: Option<u8>,
    profile: Option<u32>,
}

impl Source for Facts {
    fn zones(&mut self) -> u32 {
        self.asked.push("zones");
        self.zones
    }
    fn listed(&mut self, enough: u8) -> Option<Entry> {
        self.asked.push("listed");
        self.enough = Some(enough);
        (self.score > 0).then_some(Entry {
            score: self.score,
            class: 9,
        })
    }
    fn port(&mut self) -> Port {
        self.asked.push("port");
        self.port
    }
    fn over_limit(&mut self, profile: u32) -> bool {
        self.asked.push("over_limit");
        self.profile = Some(profile);
        self.over.contains(&profile)
    }
}

const BLOCK: u8 = 80;
const LIMIT: u8 = 40;

fn policy(attack: bool) -> PolicyWord {
    PolicyWord::new(mode::BLOCK, BLOCK, LIMIT, false, false, attack, 0)
}

/// The contract's seven rows as they are written, one after the other.
fn contract(facts: &Facts, attack: bool) -> Outcome {
    let within = |use_: u32| facts.zones & use_ != 0;
    let limited = facts.score >= LIMIT;
    let profile = if limited {
        profile::LIMITED
    } else {
        profile::NORMAL
    } + if attack { profile::ATTACK } else { 0 };
    let counted = facts.port.protected || limited;
    let rows = [
        (within(zone::EXEMPT), Outcome::Exempt),
        (within(zone::TRUSTED_PROXY), Outcome::Defer),
        (facts.score == SCORE_BLOCKED_ZONE, Outcome::BlockedZone),
        (
            facts.port.restricted && !within(zone::ALLOWED_ORIGIN),
            Outcome::RestrictedOrigin,
        ),
        (facts.score >= BLOCK, Outcome::Reputation),
        (counted && facts.over.contains(&profile), Outcome::RateLimit),
        (limited, Outcome::Limited),
    ];
    rows.into_iter()
        .find(|(holds, _)| *holds)
        .map_or(Outcome::Pass, |(_, outcome)| outcome)
}

fn every_combination() -> Vec<Facts> {
    let mut all = Vec::new();
    for zones in 0..32 {
        for score in [0, 1, 39, 40, 41, 79, 80, 81, 100, SCORE_BLOCKED_ZONE] {
            for rules in 0..4 {
                for over in 0..16_u32 {
                    all.push(Facts {
                        zones,
                        score,
                        port: Port {
                            restricted: rules & 1 != 0,
                            protected: rules & 2 != 0,
                        },
                        over: (0..profile::COUNT)
                            .filter(|profile| over >> profile & 1 != 0)
                            .collect(),
                        ..Facts::default()
                    });
                }
            }
        }
    }
    all
}

#[test]
fn every_combination_of_facts_follows_the_contract() {
    let mut seen = [0_u32; Outcome::ALL.len()];
    for facts in every_combination() {
        for attack in [false, true] {
            let expected = contract(&facts, attack);
            let found = judge(policy(attack), &mut facts.clone());
            let what = (facts.zones, facts.score, facts.port, &facts.over, attack);
            assert_eq!(found.outcome, expected, "{what:?}");
            let carries_entry =
                !matches!(expected, Outcome::Exempt | Outcome::Defer) && facts.score > 0;
            let entry = if carries_entry {
                (facts.score, 9)
            } else {
                (0, 0)
            };
            assert_eq!((found.score, found.class), entry, "{what:?}");
            seen[expected as usize] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn nothing_is_asked_twice_or_after_it_no_longer_matters() {
    let asked = |facts: Facts| {
        let mut facts = facts;
        let judgement = judge(policy(false), &mut facts);
        (judgement.outcome, facts.asked)
    };
    let protected = Port {
        restricted: false,
        protected: true,
    };
    let of_zone = |zones, score| Facts {
        zones,
        score,
        port: protected,
        ..Facts::default()
    };
    for (facts, outcome, order) in [
        (of_zone(zone::EXEMPT, 127), Outcome::Exempt, vec!["zones"]),
        (
            of_zone(zone::TRUSTED_PROXY, 127),
            Outcome::Defer,
            vec!["zones"],
        ),
        (
            of_zone(0, 127),
            Outcome::BlockedZone,
            vec!["zones", "listed"],
        ),
        (
            of_zone(zone::GATEWAY, 90),
            Outcome::Reputation,
            vec!["zones", "listed", "port"],
        ),
        (
            of_zone(0, 50),
            Outcome::Limited,
            vec!["zones", "listed", "port", "over_limit"],
        ),
        (
            of_zone(0, 0),
            Outcome::Pass,
            vec!["zones", "listed", "port", "over_limit"],
        ),
        (
            Facts::default(),
            Outcome::Pass,
            vec!["zones", "listed", "port"],
        ),
    ] {
        assert_eq!(asked(facts), (outcome, order));
    }
}

#[test]
fn the_search_is_told_the_block_threshold_and_the_limits_their_profile() {
    for block in [1, 50, 100, 101] {
        let mut facts = Facts {
            score: 100,
            ..Facts::default()
        };
        let word = PolicyWord::new(mode::LOG, block, 1, true, true, true, u16::MAX);
        let outcome = judge(word, &mut facts).outcome;
        assert_eq!(facts.enough, Some(block));
        // 101 is above any score: nothing is refused by reputation, the tighter limits hold.
        let expected = if block > 100 {
            Outcome::Limited
        } else {
            Outcome::Reputation
        };
        assert_eq!(outcome, expected, "{block}");
    }
    for (score, attack, expected) in [
        (0, false, profile::NORMAL),
        (40, false, profile::LIMITED),
        (0, true, profile::NORMAL + profile::ATTACK),
        (40, true, profile::LIMITED + profile::ATTACK),
    ] {
        let port = Port {
            restricted: false,
            protected: true,
        };
        let mut facts = Facts {
            score,
            port,
            ..Facts::default()
        };
        judge(policy(attack), &mut facts);
        assert_eq!(facts.profile, Some(expected), "{score} {attack}");
    }
}

#[test]
fn outcomes_have_their_code_as_place_and_the_contract_s_verdicts() {
    let verdicts = [
        (Outcome::Pass, Verdict::Pass, None),
        (Outcome::Exempt, Verdict::Pass, None),
        (Outcome::Defer, Verdict::Defer, None),
        (Outcome::BlockedZone, Verdict::Deny, Some("blocked_zone")),
        (
            Outcome::RestrictedOrigin,
            Verdict::Deny,
            Some("restricted_origin"),
        ),
        (Outcome::Reputation, Verdict::Deny, Some("reputation")),
        (Outcome::Limited, Verdict::Limit, Some("reputation")),
        (Outcome::RateLimit, Verdict::Deny, Some("rate_limit")),
    ];
    for (code, (outcome, verdict, reason)) in verdicts.into_iter().enumerate() {
        assert_eq!(Outcome::ALL[code], outcome);
        assert_eq!(outcome as usize, code);
        assert_eq!(
            (outcome.verdict(), outcome.reason()),
            (verdict, reason),
            "{outcome:?}"
        );
    }
}

#[test]
fn the_policy_word_keeps_its_fields_apart() {
    for bits in 0..8_u32 {
        let flag = |bit: u32| bits >> bit & 1 != 0;
        for (mode, block, limit, present) in
            [(0, 1, 1, 0), (1, 80, 40, 0x5555), (2, 101, 101, u16::MAX)]
        {
            let word = PolicyWord::new(mode, block, limit, flag(0), flag(1), flag(2), present);
            assert_eq!(
                (word.mode(), word.block(), word.limit()),
                (mode, block, limit)
            );
            assert_eq!(
                (word.reset(), word.drop_unreadable(), word.attack()),
                (flag(0), flag(1), flag(2))
            );
            assert_eq!(word.present(), present);
            let other = word.with_present(!present);
            assert_eq!(other.present(), !present);
            assert_eq!(other.with_present(present), word);
        }
    }
}
