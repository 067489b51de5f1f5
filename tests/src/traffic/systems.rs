//! Autonomous systems of the generated addresses, as a database would tell them. They change nothing about the traffic.

use std::{fmt::Write as _, net::IpAddr};

use edgeward::{
    policy::{defence::Decides, signal::Signal},
    replay::Replay,
};

use super::{
    Attack, Attempt, Parameters, Truth, generate,
    measure::{Measured, View, seen, settings},
};

/// Companies whose machines attackers rent. Own.
const HOSTING: u32 = 3;
/// The first of their numbers; all are private ones (RFC 6996).
const HOSTING_FIRST: u32 = 64_900;
/// Access networks, one for each first octet of a home's IPv4 address or each provider's IPv6 /16.
const ACCESS_FIRST: u32 = 64_600;
/// The operator of mobile networks.
const MOBILE: u32 = 64_800;
/// The office's provider.
const OFFICE: u32 = 64_801;
/// Homes with this second octet belong to people who sign in through a VPN, which comes from rented machines as well:
/// one of a hundred with IPv4. Own.
const VPN_OCTET: u8 = 99;

/// The autonomous system that an attempt comes from.
#[must_use]
pub fn system(attempt: &Attempt) -> u32 {
    match attempt.truth {
        Truth::Attack(attack) if attack.is_rented() => {
            // A campaign stays with one company.
            HOSTING_FIRST + attack as u32 % HOSTING
        }
        _ => of(attempt.client),
    }
}

/// What rules refuse without and with a database of autonomous systems.
#[must_use]
pub fn measure(seeds: &[u64], view: View) -> [Measured; 2] {
    let mut both = [Measured::default(), Measured::default()];
    for seed in seeds {
        let attempts = generate(&Parameters {
            seed: *seed,
            ..Parameters::default()
        });
        for (measured, knows) in both.iter_mut().zip([false, true]) {
            let mut replay = Replay::new(settings(view, Decides::Rules, None), |_| false);
            measured.add(&attempts, |attempt| {
                let asn = knows.then(|| system(attempt));
                replay.take(&Signal {
                    asn,
                    ..seen(attempt, view)
                })
            });
        }
    }
    both
}

/// One row for each kind of attack: refused attempts and attempts before refusal, without and with a database, for each
/// view.
#[must_use]
pub fn table(seeds: &[u64]) -> String {
    let views = [View::Requests, View::Direct, View::AccessLog].map(|view| measure(seeds, view));
    let mut text = String::from(
        "| attack | requests: refused attempts | before refusal | only sources: refused attempts | before refusal | access log: refused attempts | before refusal |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for attack in Attack::ALL {
        let mut row = format!("| {} ", attack.label());
        for [without, with] in &views {
            let kinds = [without, with].map(|measured| measured.kinds.get(&attack));
            let [Some(without), Some(with)] = kinds else {
                continue;
            };
            // Writing into a String cannot fail.
            let _infallible = write!(
                row,
                "| {:.1} → {:.1} % | {} → {} ",
                without.attempts_percent(),
                with.attempts_percent(),
                without.before_median(),
                with.before_median(),
            );
        }
        text.push_str(&row);
        text.push_str("|\n");
    }
    let mut row = "| sign-ins of people hit ".to_owned();
    for [without, with] in &views {
        let _infallible = write!(
            row,
            "| {} → {} of {} | ",
            without.sign_ins_hit, with.sign_ins_hit, without.sign_ins
        );
    }
    text.push_str(&row);
    text.push_str("|\n");
    text
}

fn of(client: IpAddr) -> u32 {
    match client {
        IpAddr::V4(v4) => match v4.octets() {
            [198, ..] => OFFICE,
            [100, ..] => MOBILE,
            [first, VPN_OCTET, ..] => HOSTING_FIRST + u32::from(first) % HOSTING,
            [first, ..] => ACCESS_FIRST + u32::from(first),
        },
        IpAddr::V6(v6) => ACCESS_FIRST + 128 + u32::from(v6.segments()[0] & 0x7f),
    }
}

impl Attack {
    /// Whether it comes from rented machines, and not from homes.
    const fn is_rented(self) -> bool {
        !self.is_distributed() || matches!(self, Self::NetworkSpray)
    }
}
