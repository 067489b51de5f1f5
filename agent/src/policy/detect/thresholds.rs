//! Every number that a detector compares with, its default and where the default comes from.

use super::detection::{DetectionSet, Level};

/// The counts from which a detection has its three levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// From here on LOW.
    pub low: u32,
    /// From here on MEDIUM.
    pub medium: u32,
    /// From here on HIGH.
    pub high: u32,
}

/// All thresholds.
///
/// Sources of the defaults: Sentinel (Microsoft's analytics rule for sprays), Google (its Workspace rule),
/// Cloudflare (its recommended login rules), AWS (WAF Account Takeover Prevention), Auth0 (suspicious IP
/// throttling), Entra (smart lockout), CrowdSec and fail2ban (their default brute-force rules). "Own" is a
/// number that follows from the generator of this repository; `docs/detection.md` has what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Length of the short window, ms. 10 minutes: fail2ban, AWS, Cloudflare.
    pub short_ms: u64,
    /// Length of the long window, ms. A day: Auth0, Cloudflare's longest rule.
    pub long_ms: u64,
    /// Above this share of successes, in percent, a source is an office and not an attacker. Real sprays
    /// succeed for 0 to 6 % of their users, a school behind NAT for 47 %; 20 lies between with room for luck.
    /// Counted in users where they are known: an attacker's own account then counts once.
    pub success_percent_max: u32,
    /// Users that failed and never succeeded here, short window. Google: more than 5 in an hour; Sentinel:
    /// more than 15 in 5 minutes. HIGH lies between, since without any success less is needed.
    pub spray_short: Steps,
    /// The same, long window: a slow spray. Own: as many as an attacker can try in a day unseen.
    pub spray_long: Steps,
    /// Tries for each user up to which many users are a spray; above, it is brute force on many. Own.
    pub spray_tries_max: u32,
    /// Users tried, long window, where [`Self::stuffing_unknown_percent`] holds. Own: like a spray.
    pub stuffing_users: Steps,
    /// Share of unknown users, in percent, from which a list is foreign. Own; published breaches of one
    /// site hold far fewer users of another than half.
    pub stuffing_unknown_percent: u32,
    /// Failures in the short window that are volume, with ten users or more. AWS: more than 20.
    pub stuffing_volume: Steps,
    /// Failures for one user that never succeeded here, short window. CrowdSec and fail2ban: 5; Entra and
    /// Auth0: 10.
    pub brute_short: Steps,
    /// The same, long window. Auth0 allows 100 a day.
    pub brute_long: Steps,
    /// Tries in the short window from which those of the long window count twice. Own: mail clients poll every
    /// 5 to 15 minutes, which is one or two.
    pub brute_hurried_min: u32,
    /// Sources that fail for one user, short window. Own: a phone that roams changes address a few times.
    pub brute_sources_short: Steps,
    /// The same, long window. Own.
    pub brute_sources_long: Steps,
    /// Failures of any user, short window. Cloudflare: 10 in 10 minutes are challenged; AWS: more than 20;
    /// HIGH below that, so that a spray is refused before its 20th attempt where no users are known.
    pub failures_short: Steps,
    /// Failures of any user, long window. Auth0: 100 a day.
    pub failures_long: Steps,
    /// Failures of a source without any success, long window, where several users or none are named.
    /// CrowdSec's slow rule takes 10, Cloudflare blocks for a day at 20 in an hour.
    pub failures_alone: Steps,
    /// Unknown users, short window. Own: a person misspells a name once or twice.
    pub unknown_short: Steps,
    /// Unknown users, long window. Own.
    pub unknown_long: Steps,
    /// Share of unknown users among those that failed, in percent. Own.
    pub unknown_percent: u32,
    /// Users asked for in recovery or enrolment, short window. Own: people recover one account.
    pub enumeration_short: Steps,
    /// The same, long window. Own.
    pub enumeration_long: Steps,
    /// Sources of a /24 (or of a /48) that failed and never succeeded, from which the network is looked at.
    /// Own: fewer may be a coincidence.
    pub network_sources_min: u32,
    /// Failures of such a network, short window. Own: three for each source, since all of them only fail.
    pub network_short: Steps,
    /// The same, long window.
    pub network_long: Steps,
    /// Sources with one user agent and path that fail and never succeed, short window, from which it is the
    /// pattern of an attack. Own.
    pub pattern_sources: Steps,
    /// Sources that succeeded, long window, from which it is known what honest sign-ins look like; before, no user
    /// agent is taken for a pattern, and no source for part of a surge. Own.
    pub honest_sources_min: u32,
    /// Above this share of sources that succeed, in percent, a user agent is in honest use. Own: half of what a source
    /// may have, because refusing a pattern meets sources that did nothing yet.
    pub pattern_success_percent_max: u32,
    /// Sources that begin to fail, short window, from which it is looked whether many do. Own.
    pub surge_sources_min: u32,
    /// Sources that begin to fail, in percent of those that begin to succeed, from which the service is under a
    /// distributed attack. People who mistype get in a moment later and are not among them. Own.
    pub surge_percent: u32,
    /// Failures of a source that never succeeded, long window, from which it belongs to such an attack where no users
    /// are named. Own: with 7 half as many again of the people were hit on the seeds that are tuned by, with 8 nobody more.
    pub surge_failures_min: u32,
    /// Sources of an autonomous system that failed and never succeeded, long window, from which the system is looked
    /// at. Own: fewer may be a coincidence.
    pub asn_sources_min: u32,
    /// Above this share of sources that succeed, in percent, a system has customers among the users. Own: that of a
    /// source.
    pub asn_success_percent_max: u32,
    /// Part of the counts, in percent, that is enough for a source of a system where hardly anybody succeeds. Own:
    /// half.
    pub asn_counts_percent: u32,
    /// Detections that count and report, and decide nothing.
    pub simulated: DetectionSet,
}

impl Steps {
    /// The three counts.
    #[must_use]
    pub const fn new(low: u32, medium: u32, high: u32) -> Self {
        Self { low, medium, high }
    }

    /// The level that a count has reached.
    #[must_use]
    pub const fn level(&self, count: u32) -> Option<Level> {
        if count >= self.high {
            Some(Level::High)
        } else if count >= self.medium {
            Some(Level::Medium)
        } else if count >= self.low {
            Some(Level::Low)
        } else {
            None
        }
    }
}

impl std::fmt::Display for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {}, {}]", self.low, self.medium, self.high)
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            short_ms: 10 * 60_000,
            long_ms: 24 * 3_600_000,
            success_percent_max: 20,
            spray_short: Steps::new(4, 6, 8),
            spray_long: Steps::new(6, 8, 10),
            spray_tries_max: 5,
            stuffing_users: Steps::new(6, 8, 10),
            stuffing_unknown_percent: 30,
            stuffing_volume: Steps::new(15, 20, 30),
            brute_short: Steps::new(6, 8, 10),
            brute_long: Steps::new(50, 75, 100),
            brute_hurried_min: 3,
            brute_sources_short: Steps::new(4, 5, 6),
            brute_sources_long: Steps::new(12, 18, 25),
            failures_short: Steps::new(10, 13, 16),
            failures_long: Steps::new(50, 75, 100),
            failures_alone: Steps::new(10, 13, 16),
            unknown_short: Steps::new(4, 5, 6),
            unknown_long: Steps::new(5, 7, 9),
            unknown_percent: 50,
            enumeration_short: Steps::new(4, 6, 8),
            enumeration_long: Steps::new(6, 9, 12),
            network_sources_min: 8,
            network_short: Steps::new(15, 20, 25),
            network_long: Steps::new(20, 25, 30),
            pattern_sources: Steps::new(10, 15, 20),
            honest_sources_min: 50,
            pattern_success_percent_max: 10,
            surge_sources_min: 12,
            surge_percent: 25,
            surge_failures_min: 8,
            asn_sources_min: 4,
            asn_success_percent_max: 20,
            asn_counts_percent: 50,
            simulated: DetectionSet::default(),
        }
    }
}
