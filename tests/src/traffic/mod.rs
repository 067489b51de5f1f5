//! Seeded, labelled sign-in traffic: people with their rhythm and their mistakes, and attacks on them.
//!
//! Every parameter is a field of [`Parameters`] or a constant with its source beside it. The same seed gives the
//! same traffic on every machine.

pub mod attacked;
mod attacks;
mod chance;
pub mod compare;
pub mod measure;
pub mod peers;
mod people;
pub mod systems;
pub mod train;
mod write;

use std::net::IpAddr;

pub use attacks::Attack;
use chance::Chance;
pub use write::{Format, write, write_labels};

/// One attempt to sign in, with the truth about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Where it comes from.
    pub client: IpAddr,
    /// The name that was typed.
    pub user: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was tried.
    pub flow: Flow,
    /// The user agent.
    pub agent: &'static str,
    /// Who really did it.
    pub truth: Truth,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Signed in.
    Success,
    /// Wrong password.
    Failure,
    /// No such user.
    UnknownUser,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Signing in.
    SignIn,
    /// Recovering an account.
    Recovery,
}

/// Who really did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// A person.
    Person,
    /// A person's device that goes on trying an old password by itself.
    StaleDevice,
    /// An attacker.
    Attack(Attack),
}

/// What the traffic is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The same seed, the same traffic.
    pub seed: u64,
    /// People with an account.
    pub people: u32,
    /// Days, beginning on a Monday.
    pub days: u32,
    /// With attacks, or people alone.
    pub attacks: bool,
}

/// The first day: Monday, 2026-06-01, 00:00 UTC, in milliseconds since the epoch.
pub const START_MS: u64 = 1_780_272_000_000;

impl Default for Parameters {
    fn default() -> Self {
        Self {
            seed: 1,
            people: 5_000,
            days: 7,
            attacks: true,
        }
    }
}

impl Truth {
    /// The word of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::StaleDevice => "stale-device",
            Self::Attack(attack) => attack.label(),
        }
    }
}

/// Makes the traffic, in the order of time.
#[must_use]
pub fn generate(parameters: &Parameters) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let world = people::World::new(parameters);
    world.live(&mut attempts);
    if parameters.attacks {
        for (number, attack) in (1..).zip(Attack::ALL) {
            let mut chance = Chance::new(parameters.seed.wrapping_mul(1_000).wrapping_add(number));
            attack.run(parameters, &world, &mut chance, &mut attempts);
        }
    }
    // Stable: attempts of one moment keep the order in which they were made.
    attempts.sort_by_key(|attempt| attempt.time_ms);
    attempts
}
