//! Seeded nonsense: no line makes a reader fail, whatever it holds.

use super::*;
use crate::policy::random::Random;

const SEEDS: [&str; 12] = [
    "Nov 21 16:47:48 host sshd[1]: Failed password for invalid user admin from 192.0.2.1 port 50000 ssh2",
    "message repeated 2 times: [ Failed password for root from 192.0.2.1 port 4 ssh2]",
    "Nov 21 16:47:48 host sshd[1]: message repeated 99999 times: [ Failed password for root from 192.0.2.1 port 4 ssh2]",
    "Nov 21 16:47:48 host sshd[1]: Connection closed by authenticating user root 192.0.2.1 port 46038 [preauth]",
    "Nov 21 16:47:48 host sshd[1]: PAM 2 more authentication failures; rhost=192.0.2.1  user=root",
    "2026-11-21T16:47:48.321974+01:00 host sshd[1]: Received disconnect from 2001:db8::1: 11: Bye [preauth]",
    "192.0.2.1 - - [21/Nov/2026:16:47:48 +0000] \"POST /login HTTP/1.1\" 401 12 \"-\" \"UA\"",
    "2026-11-21 16:47:48,123 WARN [org.keycloak.events] (x) type=\"LOGIN_ERROR\", ipAddress=\"192.0.2.1\", error=\"user_not_found\"",
    "time=\"2026-11-21T16:47:48Z\" msg=\"Unsuccessful 1FA authentication attempt by user 'john'\" remote_ip=192.0.2.1",
    "{\"time\":1795279668,\"client\":\"192.0.2.1\",\"outcome\":\"failure\",\"user\":\"bob\"}",
    "{\"__REALTIME_TIMESTAMP\":\"1795279668250000\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"MESSAGE\":\"Invalid user x from 192.0.2.1\"}",
    "",
];
const PIECES: [&str; 16] = [
    " ",
    "\"",
    "[",
    "]",
    "from ",
    "port ",
    "=",
    "\\",
    "\u{fc}",
    "\u{1f600}",
    "\0",
    "{",
    ":",
    "user ",
    "-",
    "999999999999999999999",
];

fn mutated(random: &mut Random) -> String {
    let mut line: Vec<char> = random.pick(&SEEDS).chars().collect();
    for _ in 0..random.below(6) {
        let length = line.len() as u64;
        let at = usize::try_from(random.below(length + 1)).unwrap();
        let end = (at + usize::try_from(random.below(8)).unwrap()).min(line.len());
        match random.below(4) {
            0 => drop(line.drain(at..end)),
            1 => drop(line.splice(at..end, random.pick(&PIECES).chars())),
            2 => drop(line.splice(at..at, random.pick(&SEEDS).chars())),
            _ => line.truncate(at),
        }
    }
    line.into_iter().collect()
}

#[test]
fn no_line_makes_a_reader_fail() {
    let maker = Maker {
        key: PseudonymKey::new(1, 2),
        service: 0,
    };
    let expression = r"(?<time>\S+).*?(?<client>[0-9a-f.:]{3,})";
    let mut formats: Vec<Box<dyn LogFormat>> = vec![
        Box::new(Sshd::new(maker.clone(), 1_795_334_400_000)),
        Box::new(AccessLog::new(maker.clone(), Routes::default())),
        Box::new(Keycloak::new(maker.clone())),
        Box::new(Authelia::new(maker.clone())),
        Box::new(JsonLines::new(maker.clone(), JsonFields::default(), 0)),
        Box::new(RegexLines::new(
            maker.clone(),
            Expression::parse(expression).unwrap(),
            Words::default(),
            0,
        )),
    ];
    let mut random = Random::new(20_261_122);
    let mut found = Vec::new();
    let (mut read, mut rejected) = (0_u32, 0_u32);
    for _ in 0..30_000 {
        let line = mutated(&mut random);
        for format in &mut formats {
            match format.read(&line, &mut found) {
                Ok(()) => read += 1,
                Err(reason) => {
                    rejected += 1;
                    assert!(!reason.to_string().is_empty());
                }
            }
        }
        assert!(found.len() < 1_000_000);
    }
    for format in &mut formats {
        format.finish(&mut found);
    }
    assert!(
        read > 10_000 && rejected > 10_000 && found.len() > 1_000,
        "{read} {rejected}"
    );
    assert!(
        found
            .iter()
            .all(|signal| signal.client == canonical_address(signal.client)),
        "clients are canonical"
    );
}
