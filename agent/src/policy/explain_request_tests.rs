//! What is told of proxied requests: each step in words, and the same verdict as the gate's in any world.

use std::path::Path;

use super::*;
use crate::{
    config::{List, Networks, Zone},
    policy::{
        decision::{Decision, Kind, Origin},
        explain::{Client, explain_client},
        path::PathPattern,
        random::Random,
        request::HeaderLine,
    },
};

const WORLD: &str = r#"
mode = "block"

[[zone]]
name = "cdn"
uses = ["trusted-proxy"]
networks = ["10.0.0.0/8"]

[[zone]]
name = "nat"
uses = ["gateway"]
networks = ["172.16.0.0/12"]

[[zone]]
name = "office"
uses = ["exempt"]
networks = ["198.51.100.0/28", "203.0.113.200"]

[[zone]]
name = "monitor"
uses = ["allowed-origin"]
networks = ["198.51.100.128/28"]

[[zone]]
name = "bad"
uses = ["blocked"]
networks = ["203.0.113.0/24"]

[[list]]
name = "drop"
score = 90
reason = "seen attacking"
networks = ["192.0.2.90"]

[[list]]
name = "slow"
score = 50
networks = ["192.0.2.50"]

[[service]]
name = "login"
ports = [443]

[[service]]
name = "inner"
ports = [9000]
header = "forwarded"
restricted = true
"#;

fn world() -> Config {
    let mut config = Config::parse(WORLD, Path::new("/"), "test.toml").unwrap();
    config.services[1].restricted_except = vec![PathPattern::parse("/public/*").unwrap()];
    config.services[1].unknown_client = UnknownClient::Deny;
    config
}

fn told(service: Option<&str>, peer: &str, path: &str, headers: &[&str]) -> Explanation {
    let headers: Vec<HeaderLine> = headers.iter().map(|line| line.parse().unwrap()).collect();
    let asked = Described {
        peer: peer.parse().unwrap(),
        headers: &headers,
        service: None,
        port: None,
        path,
    };
    serde_json::from_value(offline(&world(), asked, service).unwrap()).unwrap()
}

fn steps(explanation: &Explanation) -> Vec<String> {
    let sentence = |step: &Step| format!("{}: {}; {}", step.check, step.result, step.detail);
    explanation.steps.iter().map(sentence).collect()
}

#[test]
fn every_hop_and_every_question_is_told() {
    let explanation = told(
        None,
        "::ffff:10.0.0.1",
        "/",
        &[
            "Forwarded: for=1.1.1.1",
            "X-Forwarded-For: junk, 203.0.113.200, \"[2001:db8::1]:443\"",
            "x-forwarded-for: 192.0.2.90:80, 10.0.0.2",
            "X-Real-IP: 1.1.1.1",
            "forwarded: for=1.1.1.2",
        ],
    );
    assert_eq!(
        steps(&explanation),
        [
            "peer: trusted proxy; 10.0.0.1 in \"cdn\" 10.0.0.0/8: its x-forwarded-for is read",
            "hop 1: skipped; 10.0.0.2 is a trusted proxy in \"cdn\" 10.0.0.0/8",
            "hop 2: client; 192.0.2.90 (`192.0.2.90:80`) is not a trusted proxy",
            "hop 3: not walked; 2001:db8::1 (`\\\"[2001:db8::1]:443\\\"`) is left of where the walk ended: it says nothing about the client",
            "hop 4: not walked; 203.0.113.200 is left of where the walk ended: it says nothing about the client",
            "hop 5: not walked; `junk` is no IP address, left of where the walk ended",
            "header Forwarded: ignored; service \"login\" reads x-forwarded-for",
            "header X-Real-IP: ignored; service \"login\" reads x-forwarded-for",
            "blocked zone: no; no address of the chain, proxies and exempt ones aside",
            "exempt zone: no; ",
            "restricted service: no; \"login\" is open to all",
            "unknown client: no; ",
            "trusted proxy: no; ",
            "reputation: score 90, refused from 80 on; list \"drop\" for 192.0.2.90/32, \"seen attacking\"",
        ]
    );
    let json = serde_json::to_value(&explanation).unwrap();
    for (field, value) in [
        ("client", "192.0.2.90"),
        ("client_reason", "chain"),
        ("peer", "10.0.0.1"),
        ("service", "login"),
        ("verdict", "deny"),
        ("action", "refuse"),
        ("reason", "reputation"),
        ("mode", "block"),
        ("list", "drop"),
        ("prefix", "192.0.2.90/32"),
    ] {
        assert_eq!(json[field], value, "{field}");
    }
    assert_eq!(json["score"], 90);
    assert_eq!(
        json["chain"],
        serde_json::json!([
            "203.0.113.200",
            "2001:db8::1",
            "192.0.2.90",
            "10.0.0.2",
            "10.0.0.1"
        ])
    );
}

/// Service, peer, path, headers, `client client_reason verdict action reason zone`, last step.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const ROWS: &[Row] = &[
    (
        "login",
        "192.0.2.1",
        "/",
        &["X-Forwarded-For: 1.1.1.1"],
        "192.0.2.1 peer pass pass - -",
        "rate limit: no; no limit applies",
    ),
    (
        "login",
        "10.0.0.1",
        "/",
        &[],
        "10.0.0.1 no_header pass pass - cdn",
        "trusted proxy: yes; \"cdn\" 10.0.0.0/8",
    ),
    (
        "login",
        "10.0.0.1",
        "/",
        &["X-Forwarded-For: 10.0.0.2"],
        "10.0.0.2 all_trusted pass pass - cdn",
        "trusted proxy: yes; \"cdn\" 10.0.0.0/8",
    ),
    (
        "login",
        "10.0.0.1",
        "/",
        &["X-Forwarded-For: unknown"],
        "10.0.0.1 unknown pass pass - cdn",
        "trusted proxy: yes; \"cdn\" 10.0.0.0/8",
    ),
    (
        "login",
        "10.0.0.1",
        "/",
        &["X-Forwarded-For: 1.1.1.1, 172.16.0.1"],
        "172.16.0.1 gateway pass pass - -",
        "rate limit: no; no limit applies",
    ),
    (
        "login",
        "10.0.0.1",
        "/",
        &["X-Forwarded-For: 192.0.2.50"],
        "192.0.2.50 chain limit limit reputation -",
        "rate limit: not evaluated; limits: that of limited reputation; its rate is not evaluated here",
    ),
    (
        "login",
        "10.0.0.1",
        "/",
        &["X-Forwarded-For: 203.0.113.5, 192.0.2.1"],
        "192.0.2.1 chain deny refuse blocked_zone bad",
        "blocked zone: yes; 203.0.113.5 in \"bad\" 203.0.113.0/24",
    ),
    (
        "login",
        "10.0.0.1",
        "/",
        &["X-Forwarded-For: 203.0.113.200"],
        "203.0.113.200 chain pass pass - office",
        "exempt zone: yes; \"office\" 203.0.113.200/32",
    ),
    (
        "inner",
        "192.0.2.1",
        "/",
        &[],
        "192.0.2.1 peer deny refuse restricted_origin -",
        "restricted service: yes; \"inner\" takes trusted proxies and allowed origins only",
    ),
    (
        "inner",
        "192.0.2.1",
        "/public/x",
        &[],
        "192.0.2.1 peer pass pass - -",
        "rate limit: no; no limit applies",
    ),
    (
        "inner",
        "198.51.100.129",
        "/",
        &[],
        "198.51.100.129 peer pass pass - -",
        "rate limit: no; no limit applies",
    ),
    (
        "inner",
        "10.0.0.1",
        "/",
        &["X-Forwarded-For: 192.0.2.90"],
        "10.0.0.1 no_header pass pass - cdn",
        "trusted proxy: yes; \"cdn\" 10.0.0.0/8",
    ),
    (
        "inner",
        "10.0.0.1",
        "/",
        &["Forwarded: for=192.0.2.90"],
        "192.0.2.90 chain deny refuse reputation -",
        "reputation: score 90, refused from 80 on; list \"drop\" for 192.0.2.90/32, \"seen attacking\"",
    ),
    (
        "inner",
        "10.0.0.1",
        "/",
        &["Forwarded: for=unknown"],
        "10.0.0.1 unknown deny refuse client_unknown -",
        "unknown client: yes; the service refuses requests whose client cannot be read",
    ),
];

#[test]
fn what_decides_comes_last() {
    for (service, peer, path, headers, facts, last) in ROWS {
        let explanation = told(Some(service), peer, path, headers);
        let json = serde_json::to_value(&explanation).unwrap();
        let words: Vec<&str> = [
            "client",
            "client_reason",
            "verdict",
            "action",
            "reason",
            "zone",
        ]
        .iter()
        .map(|field| json[*field].as_str().unwrap_or("-"))
        .collect();
        assert_eq!(
            &words.join(" "),
            facts,
            "{service} {peer} {path} {headers:?}"
        );
        assert_eq!(
            steps(&explanation).last().map(String::as_str),
            Some(*last),
            "{service} {peer} {path} {headers:?}"
        );
    }
}

#[test]
fn which_service_is_meant() {
    let snapshot = Snapshot::of_config(&world(), Now::default());
    assert_eq!(service_of(&snapshot, None, None), Ok(Some(0)));
    assert_eq!(service_of(&snapshot, None, Some(9000)), Ok(Some(1)));
    assert_eq!(service_of(&snapshot, None, Some(22)), Ok(None));
    assert_eq!(service_of(&snapshot, Some("inner"), Some(443)), Ok(Some(1)));
    assert!(
        service_of(&snapshot, Some("x"), None)
            .unwrap_err()
            .contains("\"x\"")
    );
    assert_eq!(service_of(&Snapshot::default(), None, None), Ok(None));
}

#[test]
fn headers_are_read_as_typed_or_refused() {
    let line: HeaderLine = "X-Forwarded-For:  192.0.2.1 \t".parse().unwrap();
    assert_eq!(
        (line.name(), line.value()),
        ("X-Forwarded-For", "192.0.2.1")
    );
    assert!(line.is("x-forwarded-for"));
    assert_eq!("x:".parse::<HeaderLine>().unwrap().value(), "");
    assert_eq!("a: b:c".parse::<HeaderLine>().unwrap().value(), "b:c");
    for text in [
        "",
        "x",
        ": v",
        "a b: c",
        " a: b",
        "a: b\r\nc: d",
        "ä: b",
        "a: \u{1b}[2J",
    ] {
        assert!(text.parse::<HeaderLine>().is_err(), "{text:?}");
    }
    let json = serde_json::to_string(&line).unwrap();
    assert_eq!(serde_json::from_str::<HeaderLine>(&json).unwrap(), line);
}

/// A random world: zones of every use, lists, decisions, two services.
fn chance(random: &mut Random) -> (Config, Vec<Decision>) {
    let networks = |random: &mut Random| {
        let some = (0..3)
            .map(|_| random.prefix())
            .filter(|net| net.prefix_len() > 7);
        Networks::from_networks(some.collect::<Vec<_>>())
    };
    let mut config = world();
    config.mode = random.pick(&[Mode::Off, Mode::Log, Mode::Block]);
    let uses = [
        Uses::EXEMPT,
        Uses::TRUSTED_PROXY,
        Uses::GATEWAY,
        Uses::BLOCKED,
        Uses::ALLOWED_ORIGIN,
    ];
    config.zones = (0..4)
        .map(|index| Zone {
            name: format!("zone {index}"),
            uses: if index == 0 {
                Uses::TRUSTED_PROXY
            } else {
                random.pick(&uses)
            },
            networks: networks(random),
        })
        .collect();
    config.lists = vec![List {
        name: "list".to_owned(),
        score: random.pick(&[20, 50, 90]),
        reason: String::new(),
        networks: networks(random),
    }];
    let mut decisions: Vec<Decision> = (0..4)
        .map(|_| Decision {
            prefix: random.prefix(),
            kind: random.pick(&[Kind::Block, Kind::Block, Kind::Exempt]),
            score: random.pick(&[30, 60, 100]),
            reason: "spray".to_owned(),
            origin: Origin::Operator,
            created: 1,
            expires: None,
            actor: String::new(),
            evidence: String::new(),
        })
        .collect();
    decisions.sort_by_key(Decision::key);
    decisions.dedup_by_key(|decision| decision.key());
    (config, decisions)
}

fn snapshot_of(config: &Config, decisions: &[Decision], now: Now) -> Snapshot {
    let mut classes = crate::policy::classes::Classes::default();
    let exempt = decisions
        .iter()
        .filter(|decision| decision.kind == Kind::Exempt);
    let held = crate::policy::snapshot::Held {
        mode: config.mode,
        policy: crate::policy::snapshot::policy_word(config, config.mode, false),
        entries: &crate::policy::listing::Desired::build(
            &config.zones,
            &config.lists,
            decisions,
            &mut classes,
            now,
        ),
        zones: &crate::policy::zone::ZoneTable::build(
            &config.zones,
            exempt.map(|decision| (decision.prefix, None)),
            now,
        ),
        classes: &classes,
    };
    Snapshot::build(config, &held)
}

#[test]
fn the_explanation_and_the_gate_agree_in_any_world() {
    let mut random = Random::new(501);
    let now = Now {
        wall_ms: 1_800_000_000_000,
        boot_ns: 3_600_000_000_000,
    };
    let mut reasons = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..400 {
        let (config, decisions) = chance(&mut random);
        let snapshot = snapshot_of(&config, &decisions, now);
        let decisions: Vec<&Decision> = decisions.iter().collect();
        let facts = Facts::new(&config, config.mode, &decisions, now);
        for _ in 0..10 {
            let service = usize::try_from(random.below(2)).unwrap();
            let (peer, text) = question(&mut random, &config, service);
            let headers = [text.parse::<HeaderLine>().unwrap()];
            let path = random.pick(&["/", "/public/x"]);
            let asked = Described {
                peer,
                headers: &headers,
                service: Some(service),
                port: None,
                path,
            };
            let walked = Walked::new(&snapshot, asked, now);
            let explanation = explain_request(&facts, &walked);
            let context = format!("{peer} {text} {path} {:?} {:?}", explanation, config.zones);

            let request = RequestFacts {
                service,
                peer,
                path,
                user_agent: None,
                sign_in: None,
            };
            let lines = [headers[0].value().as_bytes()].into_iter();
            let ruling = snapshot.judge(
                &request,
                Forwarding::Lines(config.services[service].header, lines),
                now,
            );
            assert_eq!(
                (
                    explanation.client,
                    explanation.client_reason,
                    explanation.verdict,
                    explanation.action
                ),
                (
                    ruling.chain.client,
                    ruling.chain.reason,
                    ruling.verdict,
                    ruling.action
                ),
                "{context}"
            );
            let reason = ruling.reason.map(Reason::name);
            assert_eq!(explanation.reason.as_deref(), reason, "{context}");
            assert_eq!(explanation.score.unwrap_or(0), ruling.score, "{context}");
            *reasons
                .entry(format!("{:?} {reason:?}", ruling.verdict))
                .or_default() += 1;

            steps_say_the_same(&explanation, &ruling, config.mode, &context);
            the_kernel_says_the_same(&facts, &ruling, &context);
        }
    }
    assert_eq!(reasons.len(), 6, "{reasons:?}");
}

/// A peer, often a trusted one, and its header line.
fn question(random: &mut Random, config: &Config, service: usize) -> (IpAddr, String) {
    let hops: Vec<String> = (0..random.below(4))
        .map(|_| random.address().to_string())
        .collect();
    let junk = random.pick(&["", "", "unknown"]);
    let text = if service == 0 {
        format!("X-Forwarded-For: {},{junk}", hops.join(","))
    } else {
        let hops: Vec<String> = hops.iter().map(|hop| format!("for=\"[{hop}]\"")).collect();
        format!("Forwarded: {}", hops.join(","))
    };
    let peer = match config.zones[0].networks.iter().next() {
        Some(net) if random.below(3) > 0 => net.addr(),
        _ => random.address(),
    };
    (peer, text)
}

/// The steps, which are found in the configuration, say the same as the snapshot.
fn steps_say_the_same(explanation: &Explanation, ruling: &Ruling, mode: Mode, context: &str) {
    let last = explanation.steps.last().unwrap();
    let decided = (last.check.as_str(), last.result.as_str() == YES);
    let expected = match ruling.reason {
        _ if mode == Mode::Off => ("mode", false),
        Some(Reason::BlockedZone) => ("blocked zone", true),
        Some(Reason::RestrictedOrigin) => ("restricted service", true),
        Some(Reason::ClientUnknown) => ("unknown client", true),
        Some(Reason::Reputation) if ruling.verdict == Judged::Deny => ("reputation", false),
        _ if ruling.exempt => (
            if last.check.starts_with("exempt") {
                last.check.as_str()
            } else {
                "exempt"
            },
            true,
        ),
        _ if last.check == "trusted proxy" => ("trusted proxy", true),
        _ => ("rate limit", false),
    };
    assert_eq!(decided, expected, "{context}");
    for step in explanation.steps.iter().rev().skip(1) {
        let question = matches!(
            step.check.as_str(),
            "blocked zone" | "exempt zone" | "restricted service" | "trusted proxy"
        );
        assert!(!question || step.result == NO, "{context}");
    }
}

fn the_kernel_says_the_same(facts: &Facts<'_>, ruling: &Ruling, context: &str) {
    // The kernel would say the same of the client, were it here itself.
    let kernel = explain_client(
        facts,
        Client {
            address: ruling.chain.client,
            reason: ruling.chain.reason,
            steps: Vec::new(),
        },
        None,
    );
    if !matches!(
        ruling.reason,
        Some(Reason::BlockedZone | Reason::RestrictedOrigin | Reason::ClientUnknown)
    ) {
        let verdict = if kernel.verdict == Judged::Defer {
            Judged::Pass
        } else {
            kernel.verdict
        };
        assert_eq!(
            (verdict, kernel.reason.as_deref()),
            (ruling.verdict, ruling.reason.map(Reason::name)),
            "{context}"
        );
    }
}
