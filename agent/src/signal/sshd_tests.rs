//! Lines as OpenSSH's server writes them, and what they tell.

use std::net::IpAddr;

use super::{
    LogFormat, Sshd,
    tests::{WRITTEN, ip, maker, ms, read_all, user},
};
use crate::policy::signal::{
    Outcome::{self, Failure, Success, UnknownUser},
    Pseudonym, Signal,
};

fn sshd(log: &str) -> Vec<Signal> {
    read_all(&mut Sshd::new(maker(), WRITTEN), log)
}

/// Client, outcome, user of each signal of one connection.
fn told(log: &str) -> Vec<(IpAddr, Outcome, Option<Pseudonym>)> {
    let log: Vec<String> = log
        .lines()
        .map(|message| format!("Nov 21 16:47:48 host sshd[4711]: {}", message.trim()))
        .collect();
    sshd(&log.join("\n"))
        .iter()
        .map(|signal| (signal.client, signal.outcome, signal.user))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of lines")]
fn one_attempt_counts_once_however_many_lines_tell_of_it() {
    let a = "192.0.2.1";
    let table = [
        // Passwords, before and after OpenSSH 7.
        (
            "Invalid user admin from 192.0.2.1 port 50000
             pam_unix(sshd:auth): check pass; user unknown
             pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1
             Failed password for invalid user admin from 192.0.2.1 port 50000 ssh2
             Connection closed by invalid user admin 192.0.2.1 port 50000 [preauth]",
            vec![(UnknownUser, "admin")],
        ),
        (
            "input_userauth_request: invalid user webmaster [preauth]
             Failed password for invalid user webmaster from 192.0.2.1 port 38926 ssh2
             Received disconnect from 192.0.2.1: 11: Bye Bye [preauth]",
            vec![(UnknownUser, "webmaster")],
        ),
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1  user=root
             Failed password for root from 192.0.2.1 port 4 ssh2
             message repeated 2 times: [ Failed password for root from 192.0.2.1 port 4 ssh2]
             error: maximum authentication attempts exceeded for root from 192.0.2.1 port 4 ssh2 [preauth]
             Disconnecting authenticating user root 192.0.2.1 port 4: Too many authentication failures [preauth]
             PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1  user=root
             PAM service(sshd) ignoring max retries; 3 > 3",
            vec![(Failure, "root"); 3],
        ),
        // Keys alone: sshd says nothing of each, and much at the end.
        (
            "Connection closed by authenticating user root 192.0.2.1 port 46038 [preauth]",
            vec![(Failure, "root")],
        ),
        (
            "Failed publickey for git from 192.0.2.1 port 57910 ssh2: RSA SHA256:abc
             Failed publickey for git from 192.0.2.1 port 57910 ssh2: ED25519 SHA256:def
             Received disconnect from 192.0.2.1 port 57910:14: No supported authentication methods available [preauth]
             Disconnected from authenticating user git 192.0.2.1 port 57910 [preauth]",
            vec![(Failure, "git")],
        ),
        (
            "Failed publickey for git from 192.0.2.1 port 57904 ssh2: RSA 04:bc
             Postponed publickey for git from 192.0.2.1 port 57904 ssh2 [preauth]
             Accepted publickey for git from 192.0.2.1 port 57904 ssh2: ED25519 SHA256:abc
             pam_unix(sshd:session): session opened for user git(uid=1000) by (uid=0)
             Received disconnect from 192.0.2.1 port 57904:11: disconnected by user
             Disconnected from user git 192.0.2.1 port 57904
             pam_unix(sshd:session): session closed for user git",
            vec![(Success, "git")],
        ),
        // A wrong password, then the right one.
        (
            "Failed password for alice from 192.0.2.1 port 1 ssh2
             Accepted password for alice from 192.0.2.1 port 1 ssh2",
            vec![(Failure, "alice"), (Success, "alice")],
        ),
        // PAM's conversation, told twice.
        (
            "error: PAM: Authentication failure for bob from 192.0.2.1
             Failed keyboard-interactive/pam for bob from 192.0.2.1 port 33723 ssh2
             error: PAM: Authentication failure for bob from 192.0.2.1
             Connection closed by authenticating user bob 192.0.2.1 port 33723 [preauth]",
            vec![(Failure, "bob"); 2],
        ),
        (
            "error: PAM: User not known to the underlying authentication module for illegal user kernel from 192.0.2.1 ",
            vec![(UnknownUser, "kernel")],
        ),
        // PAM alone.
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1  user=root
             PAM 4 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1  user=root",
            vec![(Failure, "root"); 5],
        ),
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.1  user=rda
             Accepted password for rda from 192.0.2.1 port 52100 ssh2",
            vec![(Success, "rda")],
        ),
        // Not allowed.
        (
            "User root from 192.0.2.1 not allowed because not listed in AllowUsers
             Failed password for invalid user root from 192.0.2.1 port 3 ssh2",
            vec![(UnknownUser, "root")],
        ),
        (
            "ROOT LOGIN REFUSED FROM 192.0.2.1 port 12345 [preauth]",
            vec![(Failure, "root")],
        ),
        ("[ID 800047 auth.info] Failed keyboard-interactive for james from 192.0.2.1 port 54520 ssh2", vec![(Failure, "james")]),
        // Names are the client's choice.
        (
            "Failed password for invalid user test from 10.10.1.2 port 55555 ssh2 from 192.0.2.1 port 58946 ssh2",
            vec![(UnknownUser, "test from 10.10.1.2 port 55555 ssh2")],
        ),
        (
            "Connection closed by authenticating user test 127.0.0.1 port 12345 192.0.2.1 port 46039 [preauth]",
            vec![(Failure, "test 127.0.0.1 port 12345")],
        ),
        (
            r#"Failed hostbased for dan from 192.0.2.1 port 4 ssh2: RSA 8c:e3, client user "x from 10.1.1.1 port 1 ssh2", client host "h"
               Connection closed by 192.0.2.1 port 4 [preauth]"#,
            vec![(Failure, "dan")],
        ),
        // The address comes last.
        (
            "User root not allowed because account is locked
             Disconnecting: Too many authentication failures for root [preauth]
             Connection closed by 192.0.2.1 [preauth]",
            vec![(Failure, "root")],
        ),
        // The end of a connection that named nobody is a scanner, not a sign-in.
        ("Connection closed by 192.0.2.1 port 1 [preauth]", vec![]),
        ("Did not receive identification string from 192.0.2.1 port 35836", vec![]),
        ("Unable to negotiate with 192.0.2.1 port 55419: no matching cipher found. Their offer: none [preauth]", vec![]),
        ("reverse mapping checking getaddrinfo for x.example [192.0.2.1] failed - POSSIBLE BREAK-IN ATTEMPT!", vec![]),
        ("Failed none for invalid user 0 from 192.0.2.1 port 1 ssh2
          Failed password for invalid user 0 from 192.0.2.1 port 1 ssh2", vec![(UnknownUser, "0")]),
        ("Timeout before authentication for 192.0.2.1 port 5", vec![]),
    ];
    for (log, expected) in table {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(outcome, name)| (ip(a), outcome, user(name)))
            .collect();
        assert_eq!(told(log), expected, "{log}");
    }
    assert_eq!(
        told(
            "Invalid user  from 192.0.2.68 port 34916\nConnection closed by invalid user  192.0.2.68 port 34916 [preauth]"
        ),
        [(ip("192.0.2.68"), UnknownUser, None)],
        "an empty name"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of lines")]
fn sshd_lines_in_every_frame() {
    let message = "Failed password for root from 2001:db8::7 port 4 ssh2";
    for (line, time) in [
        (
            format!("Nov 21 16:47:48 host sshd[1]: {message}"),
            "2026-11-21T16:47:48Z",
        ),
        (
            format!("Nov  1 01:02:03 sshd[1]: {message}"),
            "2026-11-01T01:02:03Z",
        ),
        (
            format!("Nov 1 01:02:03 [sshd]: {message}"),
            "2026-11-01T01:02:03Z",
        ),
        (
            format!("Nov 1 01:02:03 [sshd] {message}"),
            "2026-11-01T01:02:03Z",
        ),
        (
            format!("<38>Nov 21 16:47:48 host sshd[1]: {message}"),
            "2026-11-21T16:47:48Z",
        ),
        (
            format!("<38>1 2026-11-21T16:47:48.250Z host sshd 123 - - {message}"),
            "2026-11-21T16:47:48.250Z",
        ),
        (
            format!("2026-11-21T16:47:48.321974+01:00 host sshd-session[1]: {message}"),
            "2026-11-21T15:47:48.321Z",
        ),
        (
            format!("2026-11-21T16:47:48+0100 host sshd[1]: {message}"),
            "2026-11-21T15:47:48Z",
        ),
        (
            format!("Sat 2026-11-21 16:47:48 UTC host sshd[1]: {message}"),
            "2026-11-21T16:47:48Z",
        ),
        (
            format!("1795279668.25 host sshd[1]: {message}"),
            "2026-11-21T16:47:48.250Z",
        ),
        (
            format!(
                r#"{{"__REALTIME_TIMESTAMP":"1795279668250000","SYSLOG_IDENTIFIER":"sshd","_PID":"1","MESSAGE":"{message}"}}"#
            ),
            "2026-11-21T16:47:48.250Z",
        ),
    ] {
        let signals = sshd(&line);
        assert_eq!(signals.len(), 1, "{line}");
        assert_eq!(signals[0].client, ip("2001:db8::7"), "{line}");
        assert_eq!(signals[0].time_ms, ms(time), "{line}");
        assert_eq!(signals[0].user, user("root"), "{line}");
    }
    let others = "\n-- Boot 0123456789abcdef --\n\
        Nov 21 16:47:48 host CRON[1]: pam_unix(cron:session): session opened\n\
        Nov 21 16:47:48 host sudo: pam_unix(sudo:auth): authentication failure; rhost=192.0.2.1\n\
        Nov 21 16:47:48 host kernel: [1.5] Failed password for root from 192.0.2.1 port 1 ssh2\n\
        Nov 21 16:47:48 host sshd[1]: Server listening on :: port 22.\n\
        {\"SYSLOG_IDENTIFIER\":\"sudo\",\"MESSAGE\":\"Failed password for root from 192.0.2.1 port 1 ssh2\"}";
    assert_eq!(sshd(others), []);
    let bytes: Vec<String> = "Failed password for \u{fc} from 192.0.2.1 port 1 ssh2"
        .bytes()
        .map(|byte| byte.to_string())
        .collect();
    let array = format!(
        r#"{{"__REALTIME_TIMESTAMP":"1795279668250000","SYSLOG_IDENTIFIER":"sshd","MESSAGE":[{}]}}"#,
        bytes.join(",")
    );
    assert_eq!(sshd(&array).len(), 1);
}

#[test]
fn processes_are_numbered_anew() {
    let log = "Nov 21 10:00:00 a sshd[7]: Invalid user x from 192.0.2.1 port 1\n\
        Nov 21 10:00:00 b sshd[7]: Invalid user y from 192.0.2.2 port 1\n\
        Nov 21 10:00:01 a sshd[7]: Invalid user z from 192.0.2.3 port 1\n\
        Nov 21 10:30:00 a sshd[7]: Invalid user z from 192.0.2.3 port 1";
    let mut clients: Vec<String> = sshd(log).iter().map(|s| s.client.to_string()).collect();
    clients.sort();
    assert_eq!(
        clients,
        ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.3"]
    );
}

#[test]
fn connections_that_never_end_are_told_and_memory_is_bounded() {
    let mut format = Sshd::new(maker(), WRITTEN);
    let mut found = Vec::new();
    for process in 0..20_000 {
        let line =
            format!("Nov 21 10:00:00 a sshd[{process}]: Invalid user x from 192.0.2.1 port 1");
        format.read(&line, &mut found).unwrap();
    }
    assert!(found.len() > 11_000, "{}", found.len());
    format.finish(&mut found);
    assert_eq!(found.len(), 20_000);
}
