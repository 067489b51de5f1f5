//! Lines as the programs write them, and what they tell. Those of sshd are in `sshd_tests`.

use super::{time::iso, *};
use crate::policy::signal::{
    Flow::{Enrolment, Recovery, SignIn},
    Outcome::{Challenge, Failure, Success, UnknownUser},
    Pseudonym,
};

/// 2026-11-22T08:00:00Z
pub(super) const WRITTEN: u64 = 1_795_334_400_000;

pub(super) fn maker() -> Maker {
    Maker {
        key: PseudonymKey::new(1, 2),
        service: 0,
    }
}

pub(super) fn user(name: &str) -> Option<Pseudonym> {
    Some(maker().key.user(name.as_bytes()))
}

pub(super) fn ms(text: &str) -> u64 {
    iso(text).unwrap().0
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn read_all(format: &mut dyn LogFormat, log: &str) -> Vec<Signal> {
    let mut found = Vec::new();
    for line in log.lines() {
        format
            .read(line, &mut found)
            .unwrap_or_else(|reason| panic!("{reason}: {line}"));
    }
    format.finish(&mut found);
    found
}

fn rejected(format: &mut dyn LogFormat, line: &str) -> String {
    let mut found = Vec::new();
    let reason = format.read(line, &mut found).expect_err(line);
    assert!(found.is_empty());
    reason.to_string()
}

#[test]
fn lines_that_cannot_be_read_say_why() {
    let mut format = Sshd::new(maker(), WRITTEN);
    for (line, expected) in [
        ("hello", "time"),
        ("Foo 31 10:00:00 a sshd[7]: Failed", "time"),
        ("{\"a\":", "JSON"),
        (
            "Nov 21 10:00:00 a sshd[7]: Failed password for root from host.example port 1 ssh2",
            "no IP address",
        ),
        (
            r#"{"SYSLOG_IDENTIFIER":"sshd","MESSAGE":"Failed password for root from 192.0.2.1 port 1 ssh2"}"#,
            "time",
        ),
    ] {
        let reason = rejected(&mut format, line);
        assert!(reason.contains(expected), "{line}: {reason}");
    }
    let mut format = AccessLog::new(maker(), Routes::default());
    for line in [
        "hello",
        "192.0.2.1 - - [yesterday] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"",
        "\0\0",
    ] {
        assert!(rejected(&mut format, line).contains("combined"), "{line}");
    }
    assert!(
        rejected(
            &mut Keycloak::new(maker()),
            "type=\"LOGIN\", ipAddress=\"192.0.2.1\""
        )
        .contains("time")
    );
    let mut format = JsonLines::new(maker(), JsonFields::default(), WRITTEN);
    for (line, expected) in [
        ("nonsense", "JSON"),
        (r#"{"outcome":"maybe"}"#, "nobody explained"),
        (r#"{"outcome":"failure","client":"192.0.2.1"}"#, "time"),
        (
            r#"{"outcome":"failure","time":1704164645,"client":"example.com"}"#,
            "address",
        ),
    ] {
        let reason = rejected(&mut format, line);
        assert!(reason.contains(expected), "{line}: {reason}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of lines")]
fn access_logs_of_both_servers() {
    let time = "[21/Nov/2026:16:47:48 +0000]";
    let mut format = AccessLog::new(maker(), Routes::default());
    let agent = Some(maker().key.agent(b"UA", b"/login"));
    for (line, client, name, outcome) in [
        (
            format!("192.0.2.1 - - {time} \"POST /login HTTP/1.1\" 401 12 \"-\" \"UA\""),
            "192.0.2.1",
            "",
            Failure,
        ),
        (
            format!(
                "2001:db8::1 - - {time} \"POST /login?next=%2F HTTP/2.0\" 302 0 \"https://x/\" \"UA\" \"198.51.100.1\""
            ),
            "2001:db8::1",
            "",
            Success,
        ),
        (
            format!("::ffff:192.0.2.1 - - {time} \"POST /login HTTP/1.1\" 200 12 \"-\" \"UA\""),
            "192.0.2.1",
            "",
            Failure,
        ),
        (
            format!(
                "www.example.com:443 192.0.2.1 - bob {time} \"POST /login HTTP/1.1\" 403 12 \"-\" \"UA\""
            ),
            "192.0.2.1",
            "bob",
            Failure,
        ),
        (
            format!(
                "www.example.com 192.0.2.1 - - {time} \"POST /login HTTP/1.1\" 302 - \"-\" \"UA\""
            ),
            "192.0.2.1",
            "",
            Success,
        ),
        (
            format!("192.0.2.1 - J. Doe [x] {time} \"POST /login HTTP/1.1\" 302 5 \"-\" \"UA\""),
            "192.0.2.1",
            "J. Doe [x]",
            Success,
        ),
        (
            format!(
                "192.0.2.1 - - {time} \"POST /login HTTP/1.1\" 422 12 \"a\\\"b\" \"UA\" rt=0.1 uct=\"0\""
            ),
            "192.0.2.1",
            "",
            Failure,
        ),
    ] {
        let signals = read_all(&mut format, &line);
        assert_eq!(signals.len(), 1, "{line}");
        let signal = signals[0];
        assert_eq!(
            (signal.client, signal.outcome),
            (ip(client), outcome),
            "{line}"
        );
        assert_eq!(
            signal.user,
            user(name).filter(|_| !name.is_empty()),
            "{line}"
        );
        assert_eq!(signal.agent, agent, "{line}");
        assert_eq!(signal.time_ms, ms("2026-11-21T16:47:48Z"), "{line}");
    }
    // Proxies' addresses ahead of the one that the server saw.
    for (head, client) in [
        ("10.0.0.2, 10.0.0.1, 192.0.2.1 - -", "192.0.2.1"),
        ("\"10.5.102.222, 199.96.1.1\" 192.0.2.1 - -", "192.0.2.1"),
        ("2001:db8::1, 10.225.192.17 192.0.2.1 - -", "192.0.2.1"),
        (
            "www.example.com \"10.5.102.222\" 192.0.2.1 - bob - 10.9.9.9",
            "192.0.2.1",
        ),
        ("www.example.com:80 192.0.2.1 - -", "192.0.2.1"),
        ("192.0.2.7:80 192.0.2.1 - -", "192.0.2.1"),
        ("192.0.2.1 ident bob", "192.0.2.1"),
    ] {
        let line = format!("{head} {time} \"POST /login HTTP/1.1\" 401 12 \"-\" \"UA\"");
        let clients: Vec<IpAddr> = read_all(&mut format, &line)
            .iter()
            .map(|s| s.client)
            .collect();
        assert_eq!(clients, [ip(client)], "{line}");
    }
    for head in [
        "localhost - -",
        "www.example.com unix: - -",
        "www.example.com localhost, localhost - -",
    ] {
        let valid = format!("{head} {time} \"GET / HTTP/1.1\" 200 12 \"-\" \"UA\"");
        assert_eq!(read_all(&mut format, &valid), [], "{valid}");
        let line = format!("{head} {time} \"POST /login HTTP/1.1\" 401 12 \"-\" \"UA\"");
        assert!(
            rejected(&mut format, &line).contains("no IP address"),
            "{line}"
        );
    }
    // HTTP's own authentication.
    let basic = |user: &str, status: u16| {
        format!("192.0.2.1 - {user} {time} \"GET /admin HTTP/1.1\" {status} 1 \"-\" \"UA\"")
    };
    for (line, expected) in [
        (basic("-", 401), None),
        (basic("bob", 401), Some(Failure)),
        (basic("bob", 200), Some(Success)),
        (basic("bob", 500), None),
    ] {
        let outcome = read_all(&mut format, &line)
            .first()
            .map(|signal| signal.outcome);
        assert_eq!(outcome, expected, "{line}");
    }
    // Valid, and about something else.
    for request in [
        "\"GET / HTTP/1.1\" 200 5",
        "\"\" 400 0",
        "\"-\" 408 -",
        "\"\\x16\\x03\\x01\" 400 157",
        "\"GET /a\\\"b HTTP/1.1\" 200 -",
    ] {
        let line = format!("192.0.2.1 - - {time} {request} \"-\" \"-\"");
        assert_eq!(read_all(&mut format, &line), [], "{line}");
    }
    let common = format!("192.0.2.1 - - {time} \"POST /login HTTP/1.1\" 401 12");
    assert_eq!(
        read_all(&mut format, &common)[0].agent,
        None,
        "common format"
    );
}

#[test]
fn keycloak_events() {
    let log = r#"2026-11-21 16:47:48,123 WARN  [org.keycloak.events] (executor-thread-1) type="LOGIN_ERROR", realmId="a1", realmName="master", clientId="account-console", userId="null", ipAddress="192.0.2.1", error="user_not_found", auth_method="openid-connect", redirect_uri="https://x/", username="admin"
2026-11-21 16:47:48,124 WARN  [org.keycloak.events] (default task-5) type=LOGIN_ERROR, realmId=master, clientId=web, userId=u1, ipAddress=192.0.2.2, error=invalid_user_credentials, auth_method=openid-connect, username=bob
2026-11-21 16:47:48,125 DEBUG [org.keycloak.events] (executor-thread-2) type="LOGIN", realmName="master", clientId="web", userId="u1", ipAddress="2001:db8::1", username="bob"
2026-11-21 16:47:48,126 WARN  [org.keycloak.events] (executor-thread-2) type="RESET_PASSWORD_ERROR", ipAddress="192.0.2.3", error="user_not_found", username="eve"
2026-11-21 16:47:48,127 WARN  [org.keycloak.events] (executor-thread-2) type="LOGIN_ERROR", ipAddress="192.0.2.3", error="expired_code"
2026-11-21 16:47:48,130 WARN  [org.keycloak.events] (x) type=LOGIN_ERROR, ipAddress=192.0.2.9, error=user_not_found, username=x, type=LOGIN, ipAddress=10.1.1.1
2026-11-21 16:47:48,128 INFO  [io.quarkus] (main) Keycloak 26.0 on JVM started in 5s
	at org.keycloak.Something.run(Something.java:12)
{"timestamp":"2026-11-21T16:47:48.129+00:00","level":"WARN","loggerName":"org.keycloak.events","message":"type=\"REGISTER_ERROR\", ipAddress=\"192.0.2.4\", error=\"email_in_use\", username=\"carol\""}"#;
    let told: Vec<_> = read_all(&mut Keycloak::new(maker()), log)
        .iter()
        .map(|s| {
            (
                s.client.to_string(),
                s.flow,
                s.outcome,
                s.user,
                s.time_ms % 1_000,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "192.0.2.1".to_owned(),
                SignIn,
                UnknownUser,
                user("admin"),
                123
            ),
            ("192.0.2.2".to_owned(), SignIn, Failure, user("bob"), 124),
            ("2001:db8::1".to_owned(), SignIn, Success, user("bob"), 125),
            (
                "192.0.2.3".to_owned(),
                Recovery,
                UnknownUser,
                user("eve"),
                126
            ),
            ("192.0.2.9".to_owned(), SignIn, UnknownUser, user("x"), 130),
            (
                "192.0.2.4".to_owned(),
                Enrolment,
                Failure,
                user("carol"),
                129
            ),
        ]
    );
}

#[test]
fn authelia_lines() {
    let log = r#"time="2026-11-21T16:47:48Z" level=error msg="Unsuccessful 1FA authentication attempt by user 'john'" error="user not found" method=POST path=/api/firstfactor remote_ip=192.0.2.1
time="2026-11-21T16:47:48+01:00" level=error msg="Unsuccessful 1FA authentication attempt by user 'o\"neil'" error="invalid credentials" method=POST path=/api/firstfactor remote_ip=192.0.2.2 stack="github.com/x"
time="2026-11-21T16:47:48Z" level=debug msg="Successful 1FA authentication attempt made by user 'john'" method=POST path=/api/firstfactor remote_ip=192.0.2.3
{"level":"error","method":"POST","msg":"Unsuccessful TOTP authentication attempt by user 'john'","path":"/api/secondfactor/totp","remote_ip":"192.0.2.4","time":"2026-11-21T16:47:48Z"}
time="2026-11-21T16:47:48+02:00" level=error msg="Unsuccessful 1FA authentication attempt by user 'eve': user not found" method=POST path=/api/firstfactor remote_ip=192.0.2.5 stack="x"
time="2026-11-21T16:47:48+02:00" level=error msg="Error occurred getting details for user with username input 'eve' which usually indicates they do not exist" error="user not found" method=POST path=/api/firstfactor remote_ip=192.0.2.6 stack="x"
time="2026-11-21T16:47:48+02:00" level=error msg="Unsuccessful Duo authentication attempt by user 'john': duo auth result: deny" method=POST path=/api/secondfactor/duo remote_ip=192.0.2.7
time="2026-11-21T16:47:48Z" level=info msg="Listening for non-TLS connections on '[::]:9091' path '/'""#;
    let told: Vec<_> = read_all(&mut Authelia::new(maker()), log)
        .iter()
        .map(|s| (s.client.to_string(), s.outcome, s.user))
        .collect();
    assert_eq!(
        told,
        [
            ("192.0.2.1".to_owned(), UnknownUser, user("john")),
            ("192.0.2.2".to_owned(), Failure, user(r#"o\"neil"#)),
            ("192.0.2.3".to_owned(), Success, user("john")),
            ("192.0.2.4".to_owned(), Failure, user("john")),
            ("192.0.2.5".to_owned(), UnknownUser, user("eve")),
            ("192.0.2.6".to_owned(), UnknownUser, user("eve")),
            ("192.0.2.7".to_owned(), Failure, user("john")),
        ]
    );
}

#[test]
fn json_by_fields_and_any_line_by_expression() {
    let mut words = Words::default();
    words.add("success=LOGIN_OK").unwrap();
    words.add("challenge=STEP_UP,OTP").unwrap();
    let fields = "time=ts,client=request.ip,user=who.name,outcome=result,flow=kind";
    let fields = JsonFields::parse(fields, words.clone()).unwrap();
    let log = r#"{"ts":1795279668250,"request":{"ip":"192.0.2.1"},"who":{"name":"bob"},"result":"login_ok"}
{"ts":"2026-11-21T16:47:48Z","request":{"ip":"[2001:db8::1]:443"},"result":false,"who":null}
{"ts":"1795279668","request":{"ip":"192.0.2.1:4711"},"result":"otp"}
{"ts":1795279668.5,"request":{"ip":"192.0.2.2"},"result":"user_not_found","who":{"name":17},"kind":"recovery"}
{"message":"started"}"#;
    let told: Vec<_> = read_all(&mut JsonLines::new(maker(), fields, WRITTEN), log)
        .iter()
        .map(|s| {
            (
                s.client.to_string(),
                s.flow,
                s.outcome,
                s.user,
                s.time_ms % 1_000,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("192.0.2.1".to_owned(), SignIn, Success, user("bob"), 250),
            ("2001:db8::1".to_owned(), SignIn, Failure, None, 0),
            ("192.0.2.1".to_owned(), SignIn, Challenge, None, 0),
            (
                "192.0.2.2".to_owned(),
                Recovery,
                UnknownUser,
                user("17"),
                500
            ),
        ]
    );
    let expression = r"^(?<time>\S+ +\d+ \S+) \S+ dovecot: .*?(?<outcome>failed|ok) user=<(?<user>[^>]*)>.* rip=(?<client>[0-9a-f.:]+)";
    let log = "Nov 21 16:47:48 mail dovecot: imap-login: auth failed user=<bob>, method=PLAIN, rip=192.0.2.1\n\
        Nov 21 16:47:49 mail dovecot: imap-login: ok user=<bob>, rip=192.0.2.1\n\
        Nov 21 16:47:49 mail postfix: something else";
    let mut format = RegexLines::new(
        maker(),
        Expression::parse(expression).unwrap(),
        Words::default(),
        WRITTEN,
    );
    let outcomes: Vec<_> = read_all(&mut format, log)
        .iter()
        .map(|s| (s.outcome, s.user))
        .collect();
    assert_eq!(outcomes, [(Failure, user("bob")), (Success, user("bob"))]);
    for (expression, expected) in [
        ("(", "not understood"),
        ("(?<time>a)", "`client` is missing"),
        (
            "(?<time>a)(?<client>b)(?<nonsense>c)",
            "`nonsense` is not known",
        ),
        ("(?<time>a{1000}{1000}{1000})(?<client>b)", "not understood"),
    ] {
        let error = Expression::parse(expression).unwrap_err();
        assert!(error.contains(expected), "{expression}: {error}");
    }
    assert!(
        JsonFields::parse("when=x", words)
            .unwrap_err()
            .contains("no fact")
    );
}
