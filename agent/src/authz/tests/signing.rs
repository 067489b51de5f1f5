//! Questions about sign-ins: judged by user and user agent too, the user on nobody's word but the proxy's.

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::{
    authz::question::{Question, judge},
    policy::{
        detect::Findings,
        sign_in,
        suspects::{Known, Suspect, Suspects},
    },
};

const KEY: PseudonymKey = PseudonymKey::new(1, 2);

/// In block mode; bob is refused, and whoever signs in with `bot`.
fn strict_gate() -> Gate {
    let text = "mode = \"block\"\n[[service]]\nname = \"login\"\nports = [443]\n[[service.sign_in]]\npath = \"/login\"";
    let config = Config::parse(text, Path::new("/"), "test.toml").unwrap();
    let snapshot = Snapshot::of_config(&config, Now::default());
    let mut suspects = Suspects::new(Arc::new(Known::new(7)));
    let suspect = Suspect {
        score: 100,
        until_ms: u64::MAX,
        findings: Findings::default(),
    };
    suspects.note_user(KEY.user(b"bob").bits(), suspect, 0);
    let bot = sign_in::agent(&KEY, Some(b"bot"), "/login").unwrap();
    suspects.note_agent(bot.bits(), suspect, 0);
    let gate = Gate::new(
        watch::channel(Arc::new(snapshot)).1,
        watch::channel(Arc::new(suspects)).1,
        EventFeed::new(100, 0),
        Clock::new(),
        1,
        &GateLimits::AMPLE,
    );
    gate.tell_sign_ins(KEY, Intake::new().0);
    gate
}

/// The endpoint's header, method, target, what stands in the header, user agent, whether it is refused.
type Row = (
    Option<&'static str>,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    bool,
);

#[test]
fn the_user_is_the_word_of_the_proxy_where_the_endpoint_says_so() {
    const NAMED: Option<&str> = Some("x-edgeward-user");
    let gate = strict_gate();
    let table: [Row; 9] = [
        (NAMED, "POST", "/login", &["bob"], "curl", true),
        (NAMED, "POST", "/%6cogin/?next=/", &[" Bob"], "curl", true),
        (NAMED, "POST", "/login", &["alice"], "curl", false),
        (NAMED, "POST", "/login", &[], "curl", false),
        (NAMED, "POST", "/login", &["bob", "alice"], "curl", false),
        (NAMED, "GET", "/login", &["bob"], "bot", false),
        (NAMED, "POST", "/other", &["bob"], "bot", false),
        (None, "POST", "/login", &["bob"], "curl", false),
        (None, "POST", "/login?x", &[], "bot", true),
    ];
    for (user_header, method, target, users, agent, refused) in table {
        let endpoint = Endpoint {
            user_header: user_header.map(str::to_owned),
            ..endpoint(Profile::AuthRequest, unix(Path::new("/run"), "a"))
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-edgeward-peer", HeaderValue::from_static("198.51.100.7"));
        headers.insert("user-agent", agent.parse().unwrap());
        for user in users {
            headers.append("x-edgeward-user", user.parse().unwrap());
        }
        let question = Question {
            method: method.as_bytes(),
            target: target.as_bytes(),
            headers: &headers,
            host: None,
            peer: None,
        };
        let judged = judge(&gate, &endpoint, &question).unwrap();
        assert_eq!(
            judged.decision.refusal.is_some(),
            refused,
            "{user_header:?} {method} {target} {users:?} {agent}"
        );
    }
}
