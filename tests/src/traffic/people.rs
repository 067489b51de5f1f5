//! People: where they are, when they sign in, and what they do wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Attempt, Chance, Flow, Outcome, Parameters, START_MS, Truth};

/// Everybody with an account, and the places they sign in from.
pub(super) struct World {
    parameters: Parameters,
    people: Vec<Person>,
    /// Addresses of mobile operators, each shared by many (RFC 6269 reports hundreds to thousands).
    mobile: Vec<IpAddr>,
}

struct Person {
    name: String,
    home: IpAddr,
    /// Works in the office behind one address.
    in_office: bool,
    agent: &'static str,
    phone: &'static str,
    /// Has a device that keeps trying an old password from this day on.
    stale_from_day: Option<u32>,
}

/// The office: one address for all who work there.
const OFFICE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20));
/// The day on which the office changes its passwords: a Tuesday.
const CHANGE_DAY: u32 = 1;

/// People who work in the office, of a thousand. Own.
const OFFICE_PERMILLE: u64 = 60;
/// Homes with IPv6, of a thousand: Google counts 450 to 500 of its users in 2025.
const IPV6_PERMILLE: u64 = 450;
/// Sign-ins from a phone on a mobile network, of a thousand. Own.
const MOBILE_PERMILLE: u64 = 250;
/// Sign-ins from somewhere new (hotel, train, friends), of a thousand. Own.
const ROAMING_PERMILLE: u64 = 40;
/// Sign-ins that begin with a wrong password, of a thousand. Chatterjee et al. (IEEE S&P 2016) saw some 30 of a
/// thousand users of a large service turned away by typos alone within a day; others type the wrong one.
const MISTYPED_PERMILLE: u64 = 80;
/// Sign-ins of people who have forgotten their password and try several. Florêncio and Herley (WWW 2007): 43 of a
/// thousand accounts recover within three months; they are assumed to try before.
const FORGOTTEN_PERMILLE: u64 = 8;
/// Sign-ins with a misspelled name, of a thousand. Own.
const MISSPELLED_PERMILLE: u64 = 15;
/// People with a device that keeps an old password, of a thousand. Own.
const STALE_PERMILLE: u64 = 8;
/// How often such a device tries, ms: mail clients poll every 15 minutes.
const STALE_EVERY_MS: u64 = 15 * 60_000;
/// Sign-ins by hour of a working day: mornings and early afternoons, few at night. Own.
const HOURS: [u64; 24] = [
    2, 1, 1, 1, 1, 3, 10, 30, 70, 90, 75, 60, 45, 65, 70, 60, 50, 40, 35, 35, 35, 30, 20, 8,
];
/// Share of a working day's sign-ins on Saturday and Sunday, percent. Own.
const WEEKEND_PERCENT: u64 = 45;
/// Chance of a sign-in on a working day, twice a day, of a thousand: sessions last most of a day. Own.
const SIGN_IN_PERMILLE: u64 = 600;

/// Browsers with their share; the first are far more common than the last (StatCounter, rounded).
pub(super) const AGENTS: [&str; 10] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36 Edg/137.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:139.0) Gecko/20100101 Firefox/139.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
    "LoginApp/7.4.1 (Android 14)",
    "LoginApp/7.4.1 (iOS 18.5)",
];
const AGENT_WEIGHTS: [u64; AGENTS.len()] = [320, 180, 170, 90, 80, 50, 10, 30, 40, 30];

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

impl World {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let mut chance = Chance::new(parameters.seed);
        let mobile = (0..40).map(|_| mobile_address(&mut chance)).collect();
        let people = (0..parameters.people)
            .map(|number| Person {
                name: format!("user{number}@example.com"),
                home: home(&mut chance),
                in_office: chance.permille(OFFICE_PERMILLE),
                agent: agent(&mut chance),
                phone: if chance.permille(500) {
                    AGENTS[1]
                } else {
                    AGENTS[2]
                },
                stale_from_day: chance
                    .permille(STALE_PERMILLE)
                    .then(|| u32::try_from(chance.below(parameters.days.into())).unwrap_or(0)),
            })
            .collect();
        Self {
            parameters: *parameters,
            people,
            mobile,
        }
    }

    /// The name of somebody with an account.
    pub(super) fn somebody(&self, chance: &mut Chance) -> String {
        chance
            .pick(&self.people)
            .map_or_else(String::new, |person| person.name.clone())
    }

    /// An address as customers have them; now and then one that a person really has.
    pub(super) fn residential(&self, chance: &mut Chance) -> IpAddr {
        // Own: proxies in homes are run by infected devices and free VPN apps, so some share with customers.
        if chance.permille(20) {
            let person = chance.pick(&self.people).map(|person| person.home);
            return person.unwrap_or_else(|| home(chance));
        }
        if chance.permille(30) {
            return self.mobile(chance);
        }
        home(chance)
    }

    /// Everybody lives through the days.
    pub(super) fn live(&self, attempts: &mut Vec<Attempt>) {
        let mut chance = Chance::new(self.parameters.seed ^ 0x5eed);
        for person in &self.people {
            for day in 0..self.parameters.days {
                self.day(person, day, &mut chance, attempts);
            }
            if let Some(from) = person.stale_from_day {
                self.stale_device(person, from, &mut chance, attempts);
            }
        }
    }

    fn day(&self, person: &Person, day: u32, chance: &mut Chance, attempts: &mut Vec<Attempt>) {
        let weekend = day % 7 >= 5;
        let often = if weekend {
            SIGN_IN_PERMILLE * WEEKEND_PERCENT / 100
        } else {
            SIGN_IN_PERMILLE
        };
        let changes = person.in_office && day == CHANGE_DAY;
        for turn in 0..2 {
            if !(chance.permille(often) || (changes && turn == 0)) {
                continue;
            }
            let hour = chance.weighted(&HOURS) as u64;
            let time = START_MS + u64::from(day) * DAY_MS + hour * HOUR_MS + chance.below(HOUR_MS);
            let working = person.in_office && !weekend && (8..18).contains(&hour);
            let (client, agent) = if working {
                (OFFICE, person.agent)
            } else if chance.permille(MOBILE_PERMILLE) {
                (self.mobile(chance), person.phone)
            } else if chance.permille(ROAMING_PERMILLE) {
                (home(chance), person.phone)
            } else {
                (person.home, person.agent)
            };
            let place = Place {
                client,
                agent,
                name: &person.name,
            };
            if changes && turn == 0 {
                // The old password, once to three times: a school behind NAT saw 47 of 100 attempts succeed.
                let morning = START_MS + u64::from(day) * DAY_MS + 8 * HOUR_MS;
                let time = morning + chance.below(2 * HOUR_MS);
                let place = Place {
                    client: OFFICE,
                    agent: person.agent,
                    ..place
                };
                let failures = chance.between(0, 3);
                place.sign_in(time, failures, chance, attempts);
            } else {
                place.visit(time, chance, attempts);
            }
        }
    }

    fn stale_device(
        &self,
        person: &Person,
        from_day: u32,
        chance: &mut Chance,
        attempts: &mut Vec<Attempt>,
    ) {
        let mut time = START_MS + u64::from(from_day) * DAY_MS + chance.below(DAY_MS);
        let end = (time + chance.between(2, 30) * HOUR_MS)
            .min(START_MS + u64::from(self.parameters.days) * DAY_MS);
        let at_home = chance.permille(700);
        let mut client = if at_home {
            person.home
        } else {
            self.mobile(chance)
        };
        while time < end {
            // A phone that moves gets another address every few hours.
            if !at_home && chance.permille(60) {
                client = self.mobile(chance);
            }
            attempts.push(Attempt {
                time_ms: time,
                client,
                user: person.name.clone(),
                outcome: Outcome::Failure,
                flow: Flow::SignIn,
                agent: "LoginApp/6.9.0 (Android 13)",
                truth: Truth::StaleDevice,
            });
            time += STALE_EVERY_MS + chance.below(30_000);
        }
    }

    fn mobile(&self, chance: &mut Chance) -> IpAddr {
        let shared = chance.pick(&self.mobile).copied();
        shared.unwrap_or(OFFICE)
    }
}

/// Who sits where, with which browser.
#[derive(Clone, Copy)]
struct Place<'a> {
    client: IpAddr,
    agent: &'static str,
    name: &'a str,
}

impl Place<'_> {
    /// One visit, with the mistakes that people make.
    fn visit(&self, time: u64, chance: &mut Chance, attempts: &mut Vec<Attempt>) {
        if chance.permille(FORGOTTEN_PERMILLE) {
            let failures = chance.between(3, 7);
            let time = self.fail(
                time,
                failures,
                Outcome::Failure,
                self.name,
                chance,
                attempts,
            );
            let mut recovery = self.attempt(time, Outcome::Success, self.name);
            recovery.flow = Flow::Recovery;
            attempts.push(recovery);
            // Not everybody comes back the same hour.
            if chance.permille(700) {
                self.sign_in(time + chance.between(60_000, 600_000), 0, chance, attempts);
            }
            return;
        }
        if chance.permille(MISSPELLED_PERMILLE) {
            let misspelled = self.name.replacen('u', "", 1);
            let failures = chance.between(1, 2);
            let outcome = Outcome::UnknownUser;
            let time = self.fail(time, failures, outcome, &misspelled, chance, attempts);
            return self.sign_in(time, 0, chance, attempts);
        }
        let mut failures = 0;
        if chance.permille(MISTYPED_PERMILLE) {
            failures = 1;
            // Half of those who failed fail again.
            while failures < 5 && chance.permille(400) {
                failures += 1;
            }
        }
        self.sign_in(time, failures, chance, attempts);
    }

    fn sign_in(&self, time: u64, failures: u64, chance: &mut Chance, attempts: &mut Vec<Attempt>) {
        let time = self.fail(
            time,
            failures,
            Outcome::Failure,
            self.name,
            chance,
            attempts,
        );
        attempts.push(self.attempt(time, Outcome::Success, self.name));
    }

    /// Fails so many times; gives the time of the next try, 5 to 40 seconds later each.
    fn fail(
        &self,
        mut time: u64,
        failures: u64,
        outcome: Outcome,
        name: &str,
        chance: &mut Chance,
        attempts: &mut Vec<Attempt>,
    ) -> u64 {
        for _ in 0..failures {
            attempts.push(self.attempt(time, outcome, name));
            time += chance.between(5_000, 40_000);
        }
        time
    }

    fn attempt(&self, time_ms: u64, outcome: Outcome, name: &str) -> Attempt {
        Attempt {
            time_ms,
            client: self.client,
            user: name.to_owned(),
            outcome,
            flow: Flow::SignIn,
            agent: self.agent,
            truth: Truth::Person,
        }
    }
}

fn agent(chance: &mut Chance) -> &'static str {
    let index = chance.weighted(&AGENT_WEIGHTS);
    AGENTS.get(index).copied().unwrap_or_default()
}

/// A customer's line at home: of a hundred /16 of access networks, or a /64 of an IPv6 provider.
fn home(chance: &mut Chance) -> IpAddr {
    if chance.permille(IPV6_PERMILLE) {
        let provider = chance.between(0x2a00, 0x2a0f);
        let host = chance.next() | 1;
        let bits = u128::from(provider) << 112
            | u128::from(chance.below(1 << 48)) << 64
            | u128::from(host);
        return IpAddr::V6(Ipv6Addr::from(bits));
    }
    IpAddr::from([
        70 + chance.small(20),
        chance.small(100),
        chance.byte(),
        chance.byte(),
    ])
}

fn mobile_address(chance: &mut Chance) -> IpAddr {
    IpAddr::from([100, 40, chance.small(4), chance.byte()])
}
