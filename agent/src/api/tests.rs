//! Requests over real connections, against a real System Log; a function answers in the keeper's place.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Api, Material};
use crate::{
    clock::Clock,
    config::{Api as Settings, ApiToken, Scopes},
    control::{Command, EventFeed, Failure, FailureKind, Request},
    geo::Databases,
    journal::{Journal, JournalSettings},
};

const READER: &str = "reader-0123456789abcdef";
const MANAGER: &str = "manager-0123456789abcdef";

struct World {
    dir: tempfile::TempDir,
    settings: Settings,
    feed: EventFeed,
    journal: Option<Journal>,
    api: Option<Api>,
    now_ms: u64,
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl World {
    fn start(requests_per_minute: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let token = |name: &str, text: &str, scopes| {
            let secret_file = dir.path().join(name);
            fs::write(&secret_file, text).unwrap();
            fs::set_permissions(&secret_file, fs::Permissions::from_mode(0o600)).unwrap();
            ApiToken {
                name: name.to_owned(),
                secret_file,
                scopes,
            }
        };
        let settings = Settings {
            listen,
            tls: None,
            requests_per_minute,
            tokens: vec![
                token(
                    "reader",
                    READER,
                    Scopes::LOGS_READ.with(Scopes::THREATS_READ),
                ),
                token(
                    "manager",
                    MANAGER,
                    Scopes::THREATS_MANAGE.with(Scopes::ZONES_MANAGE),
                ),
            ],
        };
        let feed = EventFeed::new(10, 0);
        let clock = Clock::new();
        let log = dir.path().join("log");
        let settings_of_log = JournalSettings::default();
        let journal =
            Journal::start(&log, settings_of_log, feed.ids(), clock, Databases::none()).unwrap();
        feed.keep_in(journal.log());
        let (commands, queue) = mpsc::channel(4);
        thread::spawn(move || keep(queue));
        let api = Api::start(Some(&settings), commands, feed.clone(), clock).unwrap();
        Self {
            dir,
            settings,
            feed,
            journal: Some(journal),
            api: Some(api),
            now_ms: clock.now().wall_ms,
        }
    }

    /// Events with these numbers, a second apart, the first some minutes ago.
    fn events(&self, numbers: std::ops::Range<u64>) {
        let until = numbers.end;
        for number in numbers {
            self.feed.push(json!({
                "event": if number % 2 == 0 { "zone.update" } else { "zone.create" },
                "time": self.now_ms - 600_000 + number * 1_000, "actor": "token x", "zone": format!("n{number}"),
            }));
        }
        let reader = self.feed.log().unwrap().reader();
        while *reader.committed().borrow() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn ask(&self, method: &str, target: &str, authorization: &str, body: &str) -> Answer {
        let length = body.len();
        let text = format!(
            "{method} {target} HTTP/1.1\r\nhost: log.example\r\nauthorization: {authorization}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        exchange(self.settings.listen, &text)
    }

    fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &format!("SSWS {READER}"), "")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.api.take().into_iter().for_each(Api::stop);
        self.journal.take().into_iter().for_each(Journal::stop);
    }
}

impl Answer {
    fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The target of a link, on this server.
    fn link(&self, rel: &str) -> Option<String> {
        let end = format!(">; rel=\"{rel}\"");
        let [links] = self.header("link")[..] else {
            panic!("{}", self.head);
        };
        let url = links
            .split(", ")
            .find_map(|link| link.strip_suffix(&end)?.strip_prefix('<'))?;
        Some(url.strip_prefix("http://log.example").unwrap().to_owned())
    }

    fn zones(&self) -> Vec<String> {
        let events = self.body.as_array().unwrap().iter();
        events
            .map(|event| event["target"][0]["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn exchange(listen: SocketAddr, text: &str) -> Answer {
    // The thread may not listen yet.
    let mut stream = loop {
        match TcpStream::connect(listen) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut whole = Vec::new();
    stream.read_to_end(&mut whole).unwrap();
    let whole = String::from_utf8(whole).unwrap();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    let body = if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Answer {
        status: head.get(9..12).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: serde_json::from_str(&body).unwrap_or(Value::Null),
    }
}

fn unchunked(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((length, rest)) = text.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        out.push_str(rest.get(..length).unwrap());
        text = rest.get(length + 2..).unwrap_or_default();
    }
    out
}

/// Says what it was asked, in the shape of its answers.
fn keep(mut queue: mpsc::Receiver<Command>) {
    while let Some(command) = queue.blocking_recv() {
        let answer = match &command.request {
            Request::Threats { set, exempt } => Ok(json!({
                "mode": set.unwrap_or_default(),
                "exempt": exempt.clone().unwrap_or_else(|| command.token.clone().into_iter().collect()),
                "since_ms": 0,
            })),
            Request::ZonePut { zone, .. } if zone.name == "taken" => Err(Failure::new(
                FailureKind::Conflict,
                "name: there is already a zone \"taken\"",
            )),
            Request::ZoneDelete { id } if id == "nzofixed" => Err(Failure::new(
                FailureKind::Denied,
                "the configuration defines the zone \"office\"",
            )),
            Request::ZoneDelete { .. } => Ok(Value::Null),
            Request::ZoneFacts => Ok(json!({ "zones": [] })),
            _ => Err(Failure::new(FailureKind::Unavailable, "the disk is full")),
        };
        drop(command.reply.send(answer));
    }
}

const TAKEN: &str =
    r#"{"type":"IP","name":"taken","gateways":[{"type":"CIDR","value":"192.0.2.0/24"}]}"#;

/// Method, target, who asks, body; status and code of the answer.
const ASKED: [(&str, &str, &str, &str, u16, &str); 24] = [
    ("GET", "/api/v1/logs", "", "", 401, "E0000011"),
    ("GET", "/api/v1/logs", "wrong", "", 401, "E0000011"),
    ("GET", "/api/v1/nothing", "wrong", "", 401, "E0000011"),
    ("GET", "/api/v1/logs", "reader", "", 200, ""),
    ("GET", "/api/v1/logs", "manager", "", 403, "E0000006"),
    ("GET", "/api/v1/zones", "reader", "", 403, "E0000006"),
    ("GET", "/api/v1/zones", "manager", "", 200, ""),
    (
        "GET",
        "/api/v1/threats/configuration",
        "reader",
        "",
        200,
        "",
    ),
    (
        "GET",
        "/api/v1/threats/configuration",
        "manager",
        "",
        200,
        "",
    ),
    (
        "POST",
        "/api/v1/threats/configuration",
        "reader",
        "{\"action\":\"block\"}",
        403,
        "E0000006",
    ),
    (
        "POST",
        "/api/v1/threats/configuration",
        "manager",
        "{\"action\":\"block\"}",
        200,
        "",
    ),
    (
        "POST",
        "/api/v1/threats/configuration",
        "manager",
        "{\"action\":\"log\"}",
        400,
        "E0000001",
    ),
    (
        "POST",
        "/api/v1/threats/configuration",
        "manager",
        "{}",
        400,
        "E0000001",
    ),
    (
        "POST",
        "/api/v1/threats/configuration",
        "manager",
        "{",
        400,
        "E0000003",
    ),
    (
        "PUT",
        "/api/v1/threats/configuration",
        "manager",
        "{}",
        405,
        "E0000022",
    ),
    ("POST", "/api/v1/logs", "reader", "{}", 405, "E0000022"),
    ("GET", "/api/v1/users", "reader", "", 404, "E0000007"),
    ("GET", "/", "reader", "", 404, "E0000007"),
    ("GET", "/api/v1/zones/nzo1", "manager", "", 404, "E0000007"),
    ("POST", "/api/v1/zones", "manager", TAKEN, 400, "E0000001"),
    (
        "DELETE",
        "/api/v1/zones/nzofixed",
        "manager",
        "",
        403,
        "E0000006",
    ),
    ("DELETE", "/api/v1/zones/nzo1", "manager", "", 204, ""),
    (
        "POST",
        "/api/v1/zones/nzo1/lifecycle/activate",
        "manager",
        "",
        503,
        "E0000009",
    ),
    (
        "GET",
        "/api/v1/logs?filter=x+eq+1",
        "reader",
        "",
        400,
        "E0000053",
    ),
];

#[test]
fn only_known_tokens_with_the_scope_are_answered() {
    let world = World::start(1_000);
    for (method, target, who, body, status, code) in ASKED {
        let authorization = match who {
            "reader" => format!("SSWS{READER}"),
            "manager" => format!("Bearer {MANAGER}"),
            other => other.to_owned(),
        };
        let answer = world.ask(method, target, &authorization, body);
        let shown = format!("{method} {target} {authorization}: {}", answer.body);
        assert_eq!(answer.status, status, "{shown}");
        if !code.is_empty() {
            assert_eq!(answer.body["errorCode"], code, "{shown}");
            assert_eq!(answer.body["errorLink"], code);
            assert!(
                answer.body["errorCauses"].is_array() && answer.body["errorSummary"].is_string()
            );
            assert_eq!(
                answer.header("x-okta-request-id"),
                [answer.body["errorId"].as_str().unwrap()]
            );
        }
        for header in [
            "x-rate-limit-limit",
            "x-rate-limit-remaining",
            "x-rate-limit-reset",
        ] {
            assert_eq!(answer.header(header).len(), 1, "{shown}");
        }
    }
}

#[test]
fn a_command_carries_the_name_of_its_token() {
    let world = World::start(1_000);
    let body = r#"{"action":"audit","created":"x"}"#;
    let answer = world.ask(
        "POST",
        "/api/v1/threats/configuration",
        &format!("SSWS {MANAGER}"),
        body,
    );
    assert_eq!(answer.body["action"], "audit");
    assert_eq!(answer.body["excludeZones"], json!(["manager"]));
}

#[test]
fn a_budget_is_for_one_token_and_told() {
    let world = World::start(3);
    let left = |answer: &Answer| answer.header("x-rate-limit-remaining")[0].to_owned();
    let first = world.get("/api/v1/logs");
    assert_eq!((first.status, left(&first).as_str()), (200, "2"));
    let mut last = first;
    for _ in 0..3 {
        last = world.get("/api/v1/logs");
    }
    // A minute may have ended meanwhile, once at most.
    while last.status == 200 {
        last = world.get("/api/v1/logs");
    }
    assert_eq!(last.status, 429);
    assert_eq!(last.body["errorCode"], "E0000047");
    assert_eq!(left(&last), "0");
    let other = world.ask("GET", "/api/v1/zones", &format!("SSWS {MANAGER}"), "");
    assert_eq!(other.status, 200);
}

#[test]
fn who_polls_gets_every_event_once_and_always_a_next_page() {
    let world = World::start(1_000_000);
    world.events(0..25);
    let mut next = "/api/v1/logs?limit=10".to_owned();
    let mut seen = Vec::new();
    for expected in [10, 10, 5, 0, 0] {
        let page = world.get(&next);
        assert_eq!(page.link("self").unwrap(), next);
        assert_eq!(page.zones().len(), expected, "{next}");
        seen.extend(page.zones());
        next = page.link("next").unwrap();
    }
    world.events(25..27);
    seen.extend(world.get(&next).zones());
    let all: Vec<String> = (0..27).map(|number| format!("n{number}")).collect();
    assert_eq!(seen, all);
    // Nothing matches, and what comes later is still found.
    let empty = world.get("/api/v1/logs?filter=target.id+eq+%22n28%22");
    assert_eq!(empty.zones(), [] as [&str; 0]);
    world.events(27..29);
    assert_eq!(world.get(&empty.link("next").unwrap()).zones(), ["n28"]);
}

#[test]
fn a_bounded_query_is_in_order_and_ends() {
    let world = World::start(1_000_000);
    world.events(0..20);
    let at = |number: u64| crate::journal::published(world.now_ms - 600_000 + number * 1_000);
    let bounded = format!("since={}&until={}", at(4), at(16));
    for (order, first, last) in [("ASCENDING", "n4", "n14"), ("DESCENDING", "n14", "n4")] {
        let mut next = Some(format!(
            "/api/v1/logs?{bounded}&limit=4&sortOrder={order}&filter=eventType%20eq%20%22zone.update%22&q=ZONE,"
        ));
        // A word that is nowhere: no events.
        let nothing = world.get(next.as_deref().unwrap());
        assert_eq!((nothing.status, nothing.zones().len()), (200, 0));
        next = next.map(|url| url.replace("&q=ZONE,", "&q=ZONE"));
        let mut seen = Vec::new();
        while let Some(url) = next {
            let page = world.get(&url);
            assert!(page.zones().len() <= 4);
            seen.extend(page.zones());
            next = page.link("next");
        }
        assert_eq!(seen.len(), 6, "{order}: {seen:?}");
        assert_eq!(
            (
                seen.first().unwrap().as_str(),
                seen.last().unwrap().as_str()
            ),
            (first, last)
        );
    }
}

#[test]
fn other_tokens_count_with_the_next_configuration_and_the_listener_stays() {
    let world = World::start(1_000);
    assert_eq!(world.get("/api/v1/logs").status, 200);
    let file = world.dir.path().join("reader");
    fs::write(&file, "another-0123456789abcdef").unwrap();
    let material = Material::read(Some(&world.settings)).unwrap();
    world.api.as_ref().unwrap().orders().set(material);
    assert_eq!(world.get("/api/v1/logs").status, 401);
    assert_eq!(
        world
            .ask("GET", "/api/v1/logs", "Bearer another-0123456789abcdef", "")
            .status,
        200
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Material::read(Some(&world.settings))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("may be read or written by everybody") && !error.contains("another"),
        "{error}"
    );
}

#[test]
fn what_is_too_large_or_no_http_is_refused() {
    let world = World::start(1_000);
    let long = "x".repeat(70_000);
    let answer = world.get(&format!("/api/v1/logs?q={long}"));
    assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(600_000));
    let answer = world.ask("POST", "/api/v1/zones", &format!("SSWS {MANAGER}"), &body);
    assert_eq!(
        (answer.status, &answer.body["errorCode"]),
        (413, &json!("E0000003"))
    );
    let listen = world.settings.listen;
    assert_eq!(exchange(listen, "nonsense\r\n\r\n").status, 400);
    assert_eq!(world.get("/api/v1/logs").status, 200);
}

#[test]
fn an_api_that_is_switched_off_answers_nobody() {
    let world = World::start(1_000);
    assert_eq!(world.get("/api/v1/logs").status, 200);
    let orders = world.api.as_ref().unwrap().orders();
    orders.set(None);
    while TcpStream::connect(world.settings.listen).is_ok() {
        thread::sleep(Duration::from_millis(10));
    }
    orders.set(Material::read(Some(&world.settings)).unwrap());
    assert_eq!(world.get("/api/v1/logs").status, 200);
    assert_eq!(orders.problem(), None);
}

#[test]
fn refusals_carry_the_headers_of_their_statuses_and_heads_no_body() {
    let world = World::start(1_000);
    let reader = format!("SSWS {READER}");
    let refused = world.ask("DELETE", "/api/v1/logs", &reader, "");
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, vec!["GET, HEAD"])
    );
    let refused = world.ask("PATCH", "/api/v1/zones/nzo1", &reader, "");
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, vec!["GET, HEAD, PUT, DELETE"])
    );
    let unknown = world.ask("GET", "/api/v1/logs", "SSWS nobody", "");
    assert_eq!(
        (unknown.status, unknown.header("www-authenticate")),
        (401, vec!["Bearer"])
    );
    let head = world.ask("HEAD", "/api/v1/logs?limit=1", &reader, "");
    assert_eq!((head.status, &head.body), (200, &Value::Null));
    assert!(head.link("next").is_some(), "{}", head.head);
}
