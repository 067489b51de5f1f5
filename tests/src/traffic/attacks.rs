//! Attacks, each with what is known of its kind.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    Attempt, Chance, Flow, Outcome, Parameters, START_MS, Truth,
    people::{AGENTS, World},
};

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// Many users, one password, a try every few seconds.
    Spray,
    /// The same, a try every 20 to 40 minutes, for days.
    SlowSpray,
    /// A list of leaked credentials, several tries a second.
    Stuffing,
    /// The same, a try every few minutes.
    SlowStuffing,
    /// One user, a try every few seconds.
    BruteForce,
    /// One user, a try every few minutes.
    SlowBruteForce,
    /// Names asked for in password recovery.
    Enumeration,
    /// A spray from all over one hosting network, three tries an address.
    NetworkSpray,
    /// One user from many homes, one to four tries each.
    DistributedBruteForce,
    /// A leaked list from many homes with the attacker's own tool, one to three tries each.
    DistributedTool,
    /// A leaked list from many homes with common browsers' names, four to twelve tries each.
    DistributedBrowser,
}

/// How the tries of one source look.
struct Plan {
    /// From, since the start, ms.
    from_ms: u64,
    /// Time between two tries, ms.
    every_ms: (u64, u64),
    /// Tries.
    tries: u64,
    /// Names that do not exist, of a thousand.
    unknown_permille: u64,
    /// Passwords that fit, of a hundred thousand.
    success_per_100k: u64,
    /// This user only.
    user: Option<String>,
    agent: &'static str,
    flow: Flow,
}

impl Plan {
    /// A spray; the other kinds differ from it.
    const fn spray(tool: &'static str) -> Self {
        Self {
            from_ms: 0,
            every_ms: (3_000, 30_000),
            tries: 200,
            unknown_permille: 100,
            success_per_100k: SPRAY_SUCCESS_PER_100K,
            user: None,
            agent: tool,
            flow: Flow::SignIn,
        }
    }
}

/// Of a leaked list of another site most names do not exist: a site under such an attack counted 99 of 100
/// (security.stackexchange.com/q/237612); own lists and neighbours' lists are nearer.
const STUFFING_UNKNOWN_PERMILLE: u64 = 750;
/// Leaked credentials fit for 0.1 to 2 of 100 (Shape Security, Credential Spill Report 2018).
const STUFFING_SUCCESS_PER_100K: u64 = 500;
/// Sprays succeed for 0 to 6 of 100 users (see `success_percent_max` in the thresholds).
const SPRAY_SUCCESS_PER_100K: u64 = 1_000;
const TOOLS: [&str; 4] = [
    "python-requests/2.32.3",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/58.0.3029.110 Safari/537.36",
    "okhttp/4.9.0",
    "fasthttp",
];
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

impl Attack {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Spray,
        Self::SlowSpray,
        Self::Stuffing,
        Self::SlowStuffing,
        Self::BruteForce,
        Self::SlowBruteForce,
        Self::Enumeration,
        Self::NetworkSpray,
        Self::DistributedBruteForce,
        Self::DistributedTool,
        Self::DistributedBrowser,
    ];

    /// The word of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Spray => "spray",
            Self::SlowSpray => "slow-spray",
            Self::Stuffing => "stuffing",
            Self::SlowStuffing => "slow-stuffing",
            Self::BruteForce => "brute-force",
            Self::SlowBruteForce => "slow-brute-force",
            Self::Enumeration => "enumeration",
            Self::NetworkSpray => "network-spray",
            Self::DistributedBruteForce => "distributed-brute-force",
            Self::DistributedTool => "distributed-tool",
            Self::DistributedBrowser => "distributed-browser",
        }
    }

    /// Whether no single source does much.
    #[must_use]
    pub const fn is_distributed(self) -> bool {
        matches!(
            self,
            Self::NetworkSpray
                | Self::DistributedBruteForce
                | Self::DistributedTool
                | Self::DistributedBrowser
        )
    }

    pub(super) fn run(
        self,
        parameters: &Parameters,
        world: &World,
        chance: &mut Chance,
        attempts: &mut Vec<Attempt>,
    ) {
        let latest = u64::from(parameters.days.saturating_sub(1)).max(1) * 24 * HOUR;
        let begins = chance.below(latest);
        let target = world.somebody(chance);
        let tool = chance.pick(&TOOLS).copied().unwrap_or_default();
        let hosting = hosting_network(chance);
        for number in 0..self.sources() {
            let client = self.client(number, hosting, world, chance);
            let mut plan = self.plan(world, chance, tool);
            plan.from_ms += if self.is_distributed() {
                begins + chance.below(self.lasts_ms())
            } else {
                chance.below(latest)
            };
            if self == Self::DistributedBruteForce {
                plan.user = Some(target.clone());
            }
            self.try_all(&plan, client, world, chance, attempts);
        }
    }

    /// Sources of one such attack. Distributed ones use thousands: one site saw 20,000 addresses in half an hour
    /// (security.stackexchange.com/q/237612), another seven million in a week (Cequence, 2024).
    const fn sources(self) -> u64 {
        match self {
            Self::Spray | Self::Stuffing | Self::BruteForce => 12,
            Self::SlowSpray | Self::SlowStuffing | Self::SlowBruteForce | Self::Enumeration => 10,
            Self::NetworkSpray => 120,
            Self::DistributedBruteForce => 300,
            Self::DistributedTool => 1_500,
            Self::DistributedBrowser => 600,
        }
    }

    /// Over how long a distributed attack begins anew at its sources. Own.
    const fn lasts_ms(self) -> u64 {
        match self {
            Self::NetworkSpray | Self::DistributedBruteForce => 4 * HOUR,
            _ => 3 * HOUR,
        }
    }

    fn client(self, number: u64, hosting: [u8; 3], world: &World, chance: &mut Chance) -> IpAddr {
        let [a, b, c] = hosting;
        match self {
            Self::NetworkSpray if number.is_multiple_of(2) => {
                let host = u8::try_from(number / 2 + 1).unwrap_or(u8::MAX);
                IpAddr::from([a, b, c, host])
            }
            // The other half rotates through the /64 of one /48.
            Self::NetworkSpray => {
                let site = u64::from_be_bytes([0x2a, 0x0e, a, b, c, 0, 0, 0]) | number;
                IpAddr::V6(Ipv6Addr::from(u128::from(site) << 64 | 1))
            }
            _ if self.is_distributed() => world.residential(chance),
            // Rented machines, each in another network; one of five with IPv6.
            _ if number % 5 == 4 => {
                let site = 0x2a0d_u64 << 48 | chance.below(1 << 32) << 16;
                IpAddr::V6(Ipv6Addr::from(u128::from(site) << 64 | 1))
            }
            _ => {
                let [a, b, c] = hosting_network(chance);
                IpAddr::from([a, b, c, chance.small(254) + 1])
            }
        }
    }

    fn plan(self, world: &World, chance: &mut Chance, tool: &'static str) -> Plan {
        let spray = || Plan::spray(tool);
        let stuffing = |every_ms, tries| Plan {
            every_ms,
            tries,
            unknown_permille: STUFFING_UNKNOWN_PERMILLE,
            success_per_100k: STUFFING_SUCCESS_PER_100K,
            ..spray()
        };
        match self {
            Self::Spray => spray(),
            // One password a lockout window, as the tools for it advise.
            Self::SlowSpray => Plan {
                every_ms: (20 * MINUTE, 40 * MINUTE),
                tries: 60,
                ..spray()
            },
            Self::NetworkSpray => Plan {
                tries: 3,
                ..spray()
            },
            Self::Stuffing => stuffing((100, 1_000), 500),
            Self::SlowStuffing => stuffing((2 * MINUTE, 8 * MINUTE), 150),
            Self::BruteForce => Plan {
                every_ms: (500, 10_000),
                tries: 300,
                unknown_permille: 0,
                success_per_100k: 0,
                user: Some(world.somebody(chance)),
                ..spray()
            },
            Self::SlowBruteForce => Plan {
                every_ms: (2 * MINUTE, 6 * MINUTE),
                tries: 200,
                unknown_permille: 0,
                success_per_100k: 0,
                user: Some(world.somebody(chance)),
                ..spray()
            },
            Self::Enumeration => Plan {
                every_ms: (2_000, 60_000),
                unknown_permille: 600,
                flow: Flow::Recovery,
                ..spray()
            },
            Self::DistributedBruteForce => Plan {
                tries: chance.between(1, 4),
                unknown_permille: 0,
                success_per_100k: 0,
                agent: any_browser(chance),
                ..spray()
            },
            Self::DistributedTool => stuffing((5_000, 60_000), chance.between(1, 3)),
            Self::DistributedBrowser => Plan {
                agent: any_browser(chance),
                ..stuffing((10_000, 5 * MINUTE), chance.between(4, 12))
            },
        }
    }

    fn try_all(
        self,
        plan: &Plan,
        client: IpAddr,
        world: &World,
        chance: &mut Chance,
        attempts: &mut Vec<Attempt>,
    ) {
        let mut time_ms = START_MS + plan.from_ms;
        for _ in 0..plan.tries {
            let unknown = chance.permille(plan.unknown_permille);
            let user = match &plan.user {
                Some(user) => user.clone(),
                None if unknown => format!("{:x}@example.net", chance.next() >> 24),
                None => world.somebody(chance),
            };
            let outcome = if unknown {
                Outcome::UnknownUser
            } else if chance.below(100_000) < plan.success_per_100k {
                Outcome::Success
            } else {
                Outcome::Failure
            };
            attempts.push(Attempt {
                time_ms,
                client,
                user,
                outcome,
                flow: plan.flow,
                agent: plan.agent,
                truth: Truth::Attack(self),
            });
            time_ms += chance.between(plan.every_ms.0, plan.every_ms.1);
        }
    }
}

/// A /24 of a hosting company.
const fn hosting_network(chance: &mut Chance) -> [u8; 3] {
    [45, chance.byte(), chance.byte()]
}

fn any_browser(chance: &mut Chance) -> &'static str {
    chance.pick(&AGENTS).copied().unwrap_or_default()
}
