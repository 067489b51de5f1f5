//! The bodies of the fuzz targets for chains, sign-ins, logs, reports, models and filters, run over seeds and small changes of them: `cargo xtask fuzz` goes further.

#[path = "../tests/common/chains.rs"]
mod chains;
#[path = "../tests/common/filters.rs"]
mod filters;
#[path = "../tests/common/logs.rs"]
mod logs;
#[path = "../tests/common/models.rs"]
mod models;
#[path = "../tests/common/sign_ins.rs"]
mod sign_ins;

/// Headers as proxies and attackers write them.
const HEADERS: [&str; 12] = [
    "192.0.2.1, 10.0.0.2",
    "192.0.2.1\n10.0.0.3, 10.0.0.2",
    "unknown, [2001:db8::1]:443, \"10.0.0.2:80\", ::ffff:10.0.0.3",
    "fe80::1%eth0,, 172.16.0.1 ,\t10.0.0.2",
    "010.0.0.1, 0.0.0.0, ::, _x, junk",
    "for=192.0.2.1;proto=https, for=\"[fd00::2]:443\";by=_a",
    "for=\"192.0.2.1, for=10.0.0.2",
    "for=192.0.2.1;y=\", for=10.0.0.2;host=x\"",
    "FOR=\"\\192.0.2.1\", for=10.0.0.2;ext=\"a,b\\\",c\"",
    "for=unknown, for=\"_obf:_port\", for=\"192.0.2.1:_p\"",
    "2001:db8::1:46532",
    "192.0.2.1:46532",
];

const PROXY_HEADERS: [&[u8]; 5] = [
    b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb\x04\0\x04abcd",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
];

/// Lines and reports as programs and attackers write them.
const LOGS: [&str; 9] = [
    "Nov 21 16:47:48 host sshd[1]: Failed password for invalid user admin from 192.0.2.1 port 50000 ssh2\n",
    "Nov 21 16:47:48 host sshd[1]: message repeated 2 times: [ Failed password for root from 192.0.2.1 port 4 ssh2]\n",
    "192.0.2.1 - - [21/Nov/2026:16:47:48 +0000] \"POST /login HTTP/1.1\" 401 12 \"-\" \"UA\"\n",
    "2026-11-21 16:47:48,123 WARN [org.keycloak.events] (x) type=\"LOGIN_ERROR\", ipAddress=\"192.0.2.1\", error=\"user_not_found\"\n",
    "time=\"2026-11-21T16:47:48Z\" msg=\"Unsuccessful 1FA authentication attempt by user 'john'\" remote_ip=192.0.2.1\n",
    "{\"time\":1795279668,\"client\":\"192.0.2.1\",\"outcome\":\"failure\",\"user\":\"bob\"}\n{\"outcome\":\"ok\"}",
    "[{\"id\":\"1\",\"client\":\"192.0.2.1\",\"outcome\":\"success\"},{\"outcome\":\"unknown-user\",\"path\":\"/a?b\"}]",
    "1795279668 192.0.2.1 failure\r\n\n1795279668 ::ffff:192.0.2.1 ok\n",
    "\u{feff}\0\0\0one\ntwo",
];

/// Xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }

    /// A seed with a few bytes changed, removed, doubled or taken from elsewhere.
    fn changed(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..self.below(5) {
            let at = self.below(bytes.len().max(1));
            match (self.below(4), bytes.is_empty()) {
                (_, true) => bytes.push(b','),
                (0, _) => bytes[at] = b",\"\\:[];=%. \n\x000f"[self.below(15)],
                (1, _) => drop(bytes.remove(at)),
                (2, _) => bytes.insert(at, bytes[at]),
                _ => {
                    let tail = bytes.split_off(at);
                    bytes.splice(0..0, tail);
                }
            }
        }
        bytes
    }
}

#[test]
fn chains_hold_what_they_promise() {
    let mut random = Random(0x5eed);
    for _ in 0..20_000 {
        let seed = HEADERS[random.below(HEADERS.len())].as_bytes();
        let text = random.changed(seed);
        chains::forwarded(&text);
        let first = u8::try_from(random.below(256)).unwrap();
        chains::chain(&[&[first], text.as_slice()].concat());
    }
}

#[test]
fn proxy_protocol_holds_what_it_promises() {
    let mut random = Random(0x5eed);
    for _ in 0..20_000 {
        let seed = PROXY_HEADERS[random.below(PROXY_HEADERS.len())];
        chains::proxy_protocol(&random.changed(seed));
    }
}

/// Bodies behind the bytes that choose their type.
const BODIES: [&[u8]; 8] = [
    b"\x01\xc0user.name=alice&x=%41+b",
    b"\x00\x80user.name=alice&user.name=bob",
    b"\x02\xf0{\"user\":{\"name\":\"al\\u0069ce\"},\"x\":[1,{}]}",
    b"\x04\x90 [{\"user.name\":\"x\"},\"\\ud83d\\ude00\"]",
    b"\x03\xff--XX\r\nContent-Disposition: form-data; name=\"user.name\"\r\n\r\nalice\r\n--XX--\r\n",
    b"\x03\xa0--XX\nContent-Disposition: form-data; filename=a; name=user.name\n\na\n--XX \n--XX--",
    b"\x00\x00Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
    b"\x02\xff{\"user\":{\"name\":12.5e3",
];

#[test]
fn sign_ins_hold_what_they_promise() {
    let mut random = Random(0x5eed);
    for _ in 0..40_000 {
        let seed = BODIES[random.below(BODIES.len())];
        sign_ins::body(&random.changed(seed));
    }
}

#[test]
fn logs_and_reports_hold_what_they_promise() {
    let mut random = Random(0x5eed);
    for _ in 0..5_000 {
        let seed = LOGS[random.below(LOGS.len())].as_bytes();
        let text = random.changed(seed);
        logs::reported(&text);
        let first = u8::try_from(random.below(256)).unwrap();
        logs::log_lines(&[&[first], text.as_slice()].concat());
    }
}

#[test]
fn models_hold_what_they_promise() {
    let shipped = edgeward::policy::model::Model::shipped().unwrap();
    models::model(shipped.to_string().as_bytes());
    let mut random = Random(0x5eed);
    for _ in 0..5_000 {
        models::model(&random.changed(shipped.to_string().as_bytes()));
    }
}

/// Expressions as people and attackers write them.
const FILTERS: [&str; 5] = [
    "eventType eq \"security.threat.detected\" and outcome.result ne \"DENY\"",
    "not (target.id pr or (actor.id sw \"192.0.2.\" AND NOT(uuid pr)))",
    "debugContext.debugData.score ge 80 or securityContext.isProxy eq true",
    "debugContext.debugData.at lt \"2026-01-02T03:04:05Z\" and securityContext.asNumber le -6.45e4",
    "displayMessage co \"a \\\"b\\\" \\ud83d\\ude00 \\u00e9\"",
];

#[test]
fn filters_hold_what_they_promise() {
    let mut random = Random(0x5eed);
    for _ in 0..20_000 {
        let seed = FILTERS[random.below(FILTERS.len())].as_bytes();
        filters::filter(&random.changed(seed));
    }
}
