use std::path::Path;

use super::*;
use crate::{config::Config, policy::request::RequestFacts};

const CONFIG: &str = r#"
mode = "MODE"
[[zone]]
name = "cdn"
uses = ["trusted-proxy"]
networks = ["192.0.2.0/24"]
[[zone]]
name = "office"
uses = ["exempt"]
networks = ["203.0.113.200"]
[[list]]
name = "bad"
score = 90
networks = ["203.0.113.0/24"]
[[service]]
name = "login"
ports = [443]
[[service.limit]]
name = "three"
paths = ["/login"]
requests = 3
window = "1h"
[[service.limit]]
name = "watched"
paths = ["/watched"]
requests = 1
window = "1h"
mode = "preview"
"#;

struct World {
    gate: Gate,
    feed: EventFeed,
    _sender: watch::Sender<Arc<Snapshot>>,
}

fn world(mode: &str) -> World {
    let config = CONFIG.replace("MODE", mode);
    let config = Config::parse(&config, Path::new("/"), "test.toml").unwrap();
    let snapshot = Snapshot::of_config(&config, Now::default());
    let (sender, receiver) = watch::channel(Arc::new(snapshot));
    let feed = EventFeed::new(100, 0);
    let gate = Gate::new(
        receiver,
        Gate::nobody_suspected(),
        feed.clone(),
        Clock::new(),
        7,
        &GateLimits::AMPLE,
    );
    World {
        gate,
        feed,
        _sender: sender,
    }
}

impl World {
    fn ask(&self, via: Via, client: &str, path: &str) -> Decision {
        let head = Head {
            facts: RequestFacts {
                service: 0,
                peer: "192.0.2.1".parse().unwrap(),
                path,
                user_agent: Some(b"curl/8"),
                sign_in: None,
            },
            via,
            method: "POST",
            host: Some("login.example.org"),
        };
        let lines = [client.as_bytes()];
        let forwarding = Forwarding::Lines(crate::config::Header::XForwardedFor, lines.into_iter());
        self.gate.decide(&self.gate.snapshot(), &head, forwarding)
    }

    fn events(&self) -> Vec<serde_json::Value> {
        let lines = self.feed.recent(100);
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn service(&self) -> crate::control::report::ProxiedService {
        self.gate.report().services.remove(0)
    }
}

#[test]
fn a_bad_client_is_refused_and_the_refusal_names_its_event() {
    let world = world("block");
    let first = world.ask(Via::Gateway, "203.0.113.9", "/login");
    let refusal = first.refusal.unwrap();
    assert_eq!((refusal.status, refusal.retry_after), (403, None));
    assert!(first.headers.is_empty(), "nothing is passed on");
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["id"], refusal.event_id.as_str());
    assert_eq!(events[0]["event"], "security.threat.detected");
    assert_eq!(events[0]["outcome"], "DENY");
    assert_eq!(events[0]["client"], "203.0.113.9");
    assert_eq!(events[0]["client_reason"], "chain");
    assert_eq!(events[0]["source"], "192.0.2.1");
    assert_eq!(events[0]["detail"], "bad");
    assert_eq!(events[0]["score"], 90);

    let second = world.ask(Via::Gateway, "203.0.113.9", "/login");
    assert_eq!(second.refusal.unwrap().event_id, refusal.event_id);
    assert_eq!(world.events().len(), 1, "one event stands for both");
    assert_eq!(world.gate.report().events["suppressed"], 1);
    assert_eq!(world.service().refused["reputation"], 2);
    assert_eq!(world.service().refused_paths["/login"], 2);
}

#[test]
fn log_mode_passes_and_says_what_would_have_been() {
    let world = world("log");
    let decision = world.ask(Via::Endpoint, "203.0.113.9", "/login");
    assert!(decision.refusal.is_none());
    let headers: Vec<(&str, &str)> = decision
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let expected = [
        (CLIENT, "203.0.113.9"),
        (VERDICT, "deny"),
        (REASON, "reputation"),
        (SCORE, "90"),
        (WOULD, "deny"),
    ];
    assert_eq!(headers, expected);
    assert_eq!(world.events()[0]["outcome"], "ALLOW");
    assert_eq!(world.events()[0]["enforced"], false);
    assert_eq!(world.service().would_refuse["reputation"], 1);
    assert_eq!(world.service().passed["endpoint"], 1);
}

#[test]
fn off_says_nothing_at_all() {
    let world = world("off");
    for _ in 0..5 {
        let decision = world.ask(Via::Gateway, "203.0.113.9", "/login");
        assert!(decision.refusal.is_none());
    }
    assert!(world.events().is_empty());
    assert_eq!(world.service().passed["gateway"], 5);
}

#[test]
fn exempt_clients_and_good_ones_make_no_event() {
    let world = world("block");
    for _ in 0..5 {
        assert!(
            world
                .ask(Via::Gateway, "203.0.113.200", "/login")
                .refusal
                .is_none()
        );
    }
    assert!(
        world
            .ask(Via::Gateway, "198.51.100.1", "/")
            .refusal
            .is_none()
    );
    assert!(world.events().is_empty());
    assert_eq!(world.service().exempt, 5);
    assert_eq!(world.service().passed["gateway"], 1);
}

#[test]
fn over_a_limit_is_429_with_a_time_and_a_preview_only_says_so() {
    let world = world("block");
    for _ in 0..3 {
        assert!(
            world
                .ask(Via::Gateway, "198.51.100.1", "/login")
                .refusal
                .is_none()
        );
    }
    let refusal = world
        .ask(Via::Gateway, "198.51.100.1", "/login")
        .refusal
        .unwrap();
    assert_eq!(refusal.status, 429);
    assert!(
        refusal
            .retry_after_s()
            .is_some_and(|wait| (1..=3_600).contains(&wait))
    );
    assert!(
        world
            .ask(Via::Gateway, "198.51.100.2", "/login")
            .refusal
            .is_none()
    );
    let events = world.events();
    assert_eq!(events[0]["event"], "system.client.rate_limit.violation");
    assert_eq!(events[0]["outcome"], "RATE_LIMIT");
    assert_eq!(events[0]["detail"], "three");

    for _ in 0..2 {
        assert!(
            world
                .ask(Via::Gateway, "198.51.100.3", "/watched")
                .refusal
                .is_none()
        );
    }
    let events = world.events();
    assert_eq!(events[1]["event"], "system.client.rate_limit.notification");
    assert_eq!(events[1]["detail"], "watched");
}

#[test]
fn observation_refuses_nobody() {
    let world = world("block");
    let decision = world.ask(Via::Observe, "203.0.113.9", "/login");
    assert!(decision.refusal.is_none());
    assert_eq!(world.events()[0]["via"], "observe");
    assert_eq!(world.events()[0]["enforced"], false);
    assert_eq!(world.service().would_refuse["reputation"], 1);
}

#[test]
fn a_flood_of_clients_makes_a_bounded_number_of_events_and_every_refusal_names_one() {
    let world = world("block");
    let mut ids = std::collections::HashSet::new();
    for client in 0..5_000_u32 {
        let client = format!("203.0.113.{}", client % 199 + 1);
        let path = if ids.len() % 2 == 0 { "/" } else { "/login" };
        ids.insert(
            world
                .ask(Via::Gateway, &client, path)
                .refusal
                .unwrap()
                .event_id,
        );
    }
    let named: std::collections::HashSet<String> = world
        .feed
        .recent(usize::MAX)
        .iter()
        .filter_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(event["id"].as_str()?.to_owned())
        })
        .collect();
    let report = world.gate.report();
    assert_eq!(report.events["sent"] + report.events["suppressed"], 5_000);
    assert_eq!(ids.len(), 199);
    assert!(
        named.is_subset(&ids),
        "the feed keeps the last hundred of them"
    );
    assert_eq!(world.service().refused["reputation"], 5_000);
}

#[test]
fn the_number_of_events_follows_a_reload() {
    let world = world("block");
    for client in 1..=20 {
        world.ask(Via::Gateway, &format!("203.0.113.{client}"), "/");
    }
    world.gate.set_events_per_second_max(1);
    for client in 21..=40 {
        world.ask(Via::Gateway, &format!("203.0.113.{client}"), "/");
    }
    // Whatever second each of them falls into: the only event of a second stands for the rest of it.
    let events = world.events();
    let (own, shared) = events.split_at(20);
    assert!(own.iter().all(|event| event["stands_for_others"] == false));
    assert!(!shared.is_empty());
    assert!(
        shared
            .iter()
            .all(|event| event["stands_for_others"] == true)
    );
}

#[test]
fn threads_count_together() {
    let world = world("block");
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let asks = (0..50).map(|_| world.ask(Via::Gateway, "198.51.100.9", "/login"));
                    asks.filter(|decision| decision.refusal.is_none()).count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(passed, 3);
}
