//! Limits of requests: windows, keys, modes, requests in progress, and a table that is too small.

use std::path::Path;

use super::*;
use crate::{
    config::{Config, Header},
    policy::chain::Forwarding,
};

const CONFIG: &str = r#"
mode = "block"

[[zone]]
name = "cdn"
uses = ["trusted-proxy"]
networks = ["10.0.0.0/8"]

[[zone]]
name = "office"
uses = ["exempt"]
networks = ["198.51.100.1"]

[[list]]
name = "slow"
score = 50
networks = ["192.0.2.50", "2001:db8:50::/48"]

[[list]]
name = "drop"
score = 90
networks = ["192.0.2.90"]

[[service]]
name = "login"
ports = [443]

[[service]]
name = "other"
ports = [444]
"#;

fn limit(name: &str, requests: u32) -> RequestLimit {
    RequestLimit {
        name: name.to_owned(),
        paths: Vec::new(),
        key: LimitKey::Client,
        requests: Some(requests),
        concurrent: None,
        window: Duration::from_secs(10),
        mode: LimitMode::Enforce,
    }
}

/// A world in which the first service has these limits.
fn world(limits: Vec<RequestLimit>) -> Snapshot {
    world_in("block", limits)
}

fn world_in(mode: &str, limits: Vec<RequestLimit>) -> Snapshot {
    let text = CONFIG.replace("\"block\"", &format!("\"{mode}\""));
    let mut config = Config::parse(&text, Path::new("/"), "test.toml").unwrap();
    config.services[0].limits = limits;
    Snapshot::of_config(&config, at(0))
}

fn at(ms: u64) -> Now {
    let boot_ms = 1_000_000 + ms;
    Now {
        wall_ms: 1_800_000_000_000 + ms,
        boot_ns: boot_ms * NS_A_MS,
    }
}

struct Ask<'a> {
    client: &'a str,
    path: &'a str,
    user_agent: Option<&'a [u8]>,
    service: usize,
    ms: u64,
}

const ASK: Ask<'static> = Ask {
    client: "192.0.2.1",
    path: "/login",
    user_agent: None,
    service: 0,
    ms: 0,
};

impl Ask<'_> {
    fn put(&self, limiter: &Limiter, snapshot: &Snapshot) -> Admission {
        let facts = RequestFacts {
            service: self.service,
            peer: "10.0.0.1".parse().unwrap(),
            path: self.path,
            user_agent: self.user_agent,
            sign_in: None,
        };
        let lines = [self.client.as_bytes()].into_iter();
        let ruling = snapshot.judge(
            &facts,
            Forwarding::Lines(Header::XForwardedFor, lines),
            at(self.ms),
        );
        limiter.admit(snapshot, &ruling, &facts, at(self.ms))
    }

    /// Which limit refuses it.
    fn refused_by(&self, limiter: &Limiter, snapshot: &Snapshot) -> Option<String> {
        self.put(limiter, snapshot)
            .exceeded
            .map(|limited| limited.limit)
    }
}

fn limiter() -> Limiter {
    Limiter::new(7, 10_000)
}

#[test]
fn a_window_has_so_many_requests_and_the_next_as_many_again() {
    let (limiter, snapshot) = (limiter(), world(vec![limit("few", 3)]));
    for ms in [0, 1_000, 9_000] {
        assert_eq!(
            Ask { ms, ..ASK }.put(&limiter, &snapshot).exceeded,
            None,
            "{ms}"
        );
    }
    let refused = |ms, seconds| {
        let exceeded = Ask { ms, ..ASK }.put(&limiter, &snapshot).exceeded.unwrap();
        assert_eq!(
            exceeded,
            Limited {
                limit: "few".to_owned(),
                enforced: true,
                retry_after: Duration::from_millis(seconds)
            }
        );
    };
    refused(9_000, 1_000);
    refused(9_999, 1);
    for _ in 0..3 {
        assert_eq!(
            Ask { ms: 10_000, ..ASK }.put(&limiter, &snapshot).exceeded,
            None
        );
    }
    refused(10_000, 10_000);
}

#[test]
fn what_counts_together() {
    let agent = RequestLimit {
        key: LimitKey::ClientUserAgent,
        ..limit("agent", 1)
    };
    let group = RequestLimit {
        paths: vec![
            crate::policy::path::PathPattern::parse("/login").unwrap(),
            crate::policy::path::PathPattern::parse("/token/*").unwrap(),
        ],
        ..limit("group", 1)
    };
    let first = |limit: &RequestLimit, ask: Ask<'_>| {
        let (limiter, snapshot) = (limiter(), world(vec![limit.clone()]));
        assert_eq!(
            Ask {
                client: "2001:db8::1",
                user_agent: Some(b"a"),
                ..ASK
            }
            .put(&limiter, &snapshot)
            .exceeded,
            None
        );
        ask.refused_by(&limiter, &snapshot).is_some()
    };
    let client = limit("client", 1);
    let six = Ask {
        client: "2001:db8::1",
        user_agent: Some(b"a"),
        ..ASK
    };
    for (limit, ask, together) in [
        (&client, Ask { ..six }, true),
        (
            &client,
            Ask {
                client: "[2001:db8::9]:99",
                ..six
            },
            true,
        ),
        (
            &client,
            Ask {
                client: "2001:db8:0:1::1",
                ..six
            },
            false,
        ),
        (
            &client,
            Ask {
                client: "192.0.2.1",
                ..six
            },
            false,
        ),
        (
            &client,
            Ask {
                user_agent: Some(b"b"),
                ..six
            },
            true,
        ),
        (
            &client,
            Ask {
                path: "/elsewhere",
                ..six
            },
            true,
        ),
        (&client, Ask { service: 1, ..six }, false),
        (&agent, Ask { ..six }, true),
        (
            &agent,
            Ask {
                user_agent: Some(b"b"),
                ..six
            },
            false,
        ),
        (
            &agent,
            Ask {
                user_agent: Some(b""),
                ..six
            },
            false,
        ),
        (
            &agent,
            Ask {
                user_agent: None,
                ..six
            },
            false,
        ),
        (
            &group,
            Ask {
                path: "/%6cogin;x",
                ..six
            },
            true,
        ),
        (
            &group,
            Ask {
                path: "/token/x",
                ..six
            },
            true,
        ),
        (
            &group,
            Ask {
                path: "/elsewhere",
                ..six
            },
            false,
        ),
    ] {
        let context = format!(
            "{} {} {} {:?} {}",
            limit.name, ask.client, ask.path, ask.user_agent, ask.service
        );
        assert_eq!(first(limit, ask), together, "{context}");
    }
}

#[test]
fn addresses_of_ipv4_count_each_by_itself() {
    let (limiter, snapshot) = (limiter(), world(vec![limit("one", 1)]));
    for client in ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3"] {
        assert_eq!(
            Ask { client, ..ASK }.refused_by(&limiter, &snapshot),
            None,
            "{client}"
        );
    }
    assert!(
        Ask {
            client: "192.0.2.3:80",
            ..ASK
        }
        .refused_by(&limiter, &snapshot)
        .is_some()
    );
}

#[test]
fn modes_of_limits_and_of_the_agent() {
    let preview = RequestLimit {
        mode: LimitMode::Preview,
        ..limit("preview", 1)
    };
    let off = RequestLimit {
        mode: LimitMode::Off,
        ..limit("off", 0)
    };
    let all = vec![off, preview, limit("first", 2), limit("second", 1)];
    for (mode, refuses) in [("block", true), ("log", true), ("off", false)] {
        let (limiter, snapshot) = (limiter(), world_in(mode, all.clone()));
        let told = |admission: &Admission| {
            let previews: Vec<&str> = admission
                .previews
                .iter()
                .map(|limited| limited.limit.as_str())
                .collect();
            let exceeded = admission
                .exceeded
                .as_ref()
                .map(|limited| limited.limit.clone());
            (exceeded, previews.join(" "))
        };
        assert_eq!(told(&ASK.put(&limiter, &snapshot)), (None, String::new()));
        let second = told(&ASK.put(&limiter, &snapshot));
        let third = told(&ASK.put(&limiter, &snapshot));
        let says = |limit: &str| {
            if refuses {
                (Some(limit.to_owned()), "preview".to_owned())
            } else {
                (None, String::new())
            }
        };
        assert_eq!((second, third), (says("second"), says("first")), "{mode}");
    }
}

#[test]
fn exempt_clients_proxies_and_refused_requests_are_not_counted() {
    let (limiter, snapshot) = (limiter(), world(vec![limit("none", 0)]));
    for client in ["198.51.100.1", "10.0.0.7", "junk", "", "192.0.2.90"] {
        let admission = Ask { client, ..ASK }.put(&limiter, &snapshot);
        assert_eq!(
            (admission.exceeded, admission.previews.len()),
            (None, 0),
            "{client}"
        );
    }
    assert!(ASK.refused_by(&limiter, &snapshot).is_some());
}

#[test]
fn limited_reputation_is_held_to_the_tighter_limit() {
    let (limiter, snapshot) = (limiter(), world(Vec::new()));
    for (client, same) in [
        ("192.0.2.50", "192.0.2.50"),
        ("2001:db8:50::1", "2001:db8:50::2"),
    ] {
        for _ in 0..5 {
            assert_eq!(Ask { client, ..ASK }.refused_by(&limiter, &snapshot), None);
        }
        // On every service together.
        let ask = Ask {
            client: same,
            service: 1,
            ..ASK
        };
        assert_eq!(
            ask.refused_by(&limiter, &snapshot).as_deref(),
            Some(LIMITED_REPUTATION)
        );
    }
    for _ in 0..20 {
        assert_eq!(ASK.refused_by(&limiter, &snapshot), None);
    }
}

#[test]
fn requests_in_progress_end_with_their_permits() {
    let two = RequestLimit {
        requests: None,
        concurrent: Some(2),
        ..limit("two", 0)
    };
    let (limiter, snapshot) = (limiter(), world(vec![two.clone()]));
    let first = ASK.put(&limiter, &snapshot);
    let second = Ask { ms: 60_000, ..ASK }.put(&limiter, &snapshot);
    assert_eq!(
        (first.exceeded.clone(), second.exceeded.clone()),
        (None, None)
    );
    for ms in [60_000, 120_000] {
        let third = Ask { ms, ..ASK }.put(&limiter, &snapshot);
        assert_eq!(
            third
                .exceeded
                .map(|limited| (limited.limit, limited.retry_after)),
            Some(("two".to_owned(), CONCURRENT_RETRY))
        );
    }
    drop(first);
    let third = ASK.put(&limiter, &snapshot);
    assert_eq!(third.exceeded, None, "what was refused took no share");
    // A reload that changes the limit: old permits end the old share, and never another's.
    let changed = world(vec![RequestLimit {
        concurrent: Some(1),
        ..two.clone()
    }]);
    let new = ASK.put(&limiter, &changed);
    assert_eq!(new.exceeded, None);
    drop((second, third));
    assert!(ASK.put(&limiter, &changed).exceeded.is_some());
    drop(new);
    assert_eq!(ASK.put(&limiter, &changed).exceeded, None);
    assert_eq!(ASK.put(&limiter, &snapshot).exceeded, None);
    // Log mode lets it pass, so it is in progress.
    let logging = world_in("log", vec![two]);
    let passed: Vec<Admission> = (0..3).map(|_| ASK.put(&limiter, &logging)).collect();
    assert!(passed[1].exceeded.is_none() && passed[2].exceeded.is_some());
    drop(passed);
    let again: Vec<Admission> = (0..2).map(|_| ASK.put(&limiter, &logging)).collect();
    assert!(again.iter().all(|admission| admission.exceeded.is_none()));
}

#[test]
fn a_reload_keeps_the_windows_of_what_did_not_change() {
    let limiter = limiter();
    let before = world(vec![limit("kept", 1), limit("changed", 1)]);
    assert_eq!(ASK.refused_by(&limiter, &before), None);
    let changed = RequestLimit {
        requests: Some(5),
        ..limit("changed", 1)
    };
    let kept = world(vec![changed.clone(), limit("kept", 1)]);
    assert_eq!(ASK.refused_by(&limiter, &kept).as_deref(), Some("kept"));
    let preview = RequestLimit {
        mode: LimitMode::Preview,
        ..limit("kept", 1)
    };
    let previewed = ASK.put(&limiter, &world(vec![preview]));
    assert_eq!(
        previewed.previews.len(),
        1,
        "its mode is not its definition"
    );
    assert_eq!(ASK.refused_by(&limiter, &world(vec![changed])), None);
}

#[test]
fn a_flood_of_clients_pushes_out_the_idle_and_never_the_busy() {
    let limiter = Limiter::new(7, 0);
    let capacity = limiter.report().capacity;
    assert_eq!(capacity, 512);
    let snapshot = world(vec![limit("ten", 10)]);
    for _ in 0..11 {
        drop(ASK.put(&limiter, &snapshot));
    }
    let clients: Vec<String> = (0..20_000_u32)
        .map(|index| format!("172.{}.{}.{}", index >> 16, index >> 8 & 255, index & 255))
        .collect();
    for client in &clients {
        assert_eq!(
            Ask { client, ..ASK }.refused_by(&limiter, &snapshot),
            None,
            "each is new"
        );
    }
    assert!(
        ASK.refused_by(&limiter, &snapshot).is_some(),
        "it is still known"
    );
    let report = limiter.report();
    assert!(
        report.displaced > 10_000 && report.uncounted == 0,
        "{report:?}"
    );
    // All of the next window are over their limit: newcomers find no place, and that is counted.
    let strict = world(vec![limit("none", 0)]);
    let refused = clients
        .iter()
        .filter(|client| {
            Ask {
                client,
                ms: 10_000,
                ..ASK
            }
            .refused_by(&limiter, &strict)
            .is_some()
        })
        .count();
    let uncounted = usize::try_from(limiter.report().uncounted).unwrap();
    assert_eq!(refused + uncounted, clients.len());
    assert!(refused <= 512 && refused > 400, "{refused}");
}

#[test]
fn a_request_in_progress_is_never_pushed_out() {
    let limiter = Limiter::new(7, 0);
    let one = RequestLimit {
        requests: None,
        concurrent: Some(1),
        ..limit("one", 0)
    };
    let snapshot = world(vec![one]);
    let held = ASK.put(&limiter, &snapshot);
    for index in 0..20_000_u32 {
        let client = format!("172.{}.{}.{}", index >> 16, index >> 8 & 255, index & 255);
        drop(
            Ask {
                client: &client,
                ms: u64::from(index) * 100,
                ..ASK
            }
            .put(&limiter, &snapshot),
        );
    }
    assert!(ASK.put(&limiter, &snapshot).exceeded.is_some());
    drop(held);
    assert!(ASK.put(&limiter, &snapshot).exceeded.is_none());
}

#[test]
fn under_attack_a_service_allows_less_and_the_others_as_much() {
    let passes = |snapshot: &Snapshot, ask: &Ask<'_>| {
        let limiter = limiter();
        (0..50)
            .take_while(|_| ask.refused_by(&limiter, snapshot).is_none())
            .count()
    };
    let ordinary = world(vec![limit("few", 5)]);
    assert_eq!(passes(&ordinary, &ASK), 5);
    assert_eq!(passes(&ordinary.with_attacked(&[true, false]), &ASK), 3);
    assert_eq!(passes(&ordinary.with_attacked(&[false, true]), &ASK), 5);
    // Of limited reputation: the kernel's word, for all services.
    let slow = Ask {
        client: "192.0.2.50",
        service: 1,
        ..ASK
    };
    assert_eq!(passes(&ordinary, &slow), 5);
    let config = Config::parse(CONFIG, Path::new("/"), "test.toml").unwrap();
    let word = crate::policy::snapshot::policy_word(&config, Mode::Block, true);
    assert_eq!((word.attack(), word.block(), word.limit()), (true, 65, 20));
    assert_eq!(passes(&ordinary.with_policy(Mode::Block, word), &slow), 3);
}
