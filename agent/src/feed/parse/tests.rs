//! Each format as it is sent, and everything that it should not be.

use std::io::BufReader;

use super::{moment::go_duration, pattern::Fault, *};
use crate::config::feed::Columns;
use crate::policy::feed::{FeedTable, Gate, Limits};

const NOW_MS: u64 = 1_800_000_000_000;

fn terms() -> Terms {
    Terms {
        score: 80,
        score_min: 10,
        now_ms: NOW_MS,
    }
}

/// Entries as `prefix score end reason`, sorted.
fn listed(draft: Draft) -> Vec<String> {
    let limits = Limits {
        length_v4_min: 0,
        length_v6_min: 0,
        private_allowed: true,
    };
    let (table, _) = draft.finish("f", &Gate::new(limits, &[]));
    let line = |(prefix, fact)| {
        let table: &FeedTable = &table;
        let end = table.expires_ms(fact).map_or("-".to_owned(), |at| {
            ((at.saturating_sub(NOW_MS)) / 1_000).to_string()
        });
        format!("{prefix} {} {end} {}", fact.score, table.reason(fact))
    };
    table.iter().map(line).collect()
}

fn read(format: &Whole, text: impl AsRef<[u8]>) -> Result<(Vec<String>, Report), String> {
    // A tiny buffer: whatever is read must not depend on where a chunk ends.
    let mut results = Vec::new();
    for capacity in [1, 3, 64 * 1024] {
        let mut draft = Draft::new(1_000, "f");
        let source = BufReader::with_capacity(capacity, text.as_ref());
        let outcome = read_whole(format, source, &mut draft, terms());
        results.push(
            outcome
                .map(|report| (listed(draft), report))
                .map_err(|error| error.to_string()),
        );
    }
    let last = results.pop().unwrap();
    // The look for markup needs a few bytes at once.
    assert_eq!(results.pop().unwrap(), last);
    last
}

fn bad(report: &Report) -> Vec<String> {
    let line = |bad: &Bad| format!("{}: {}", bad.place, bad.what);
    report.bad_kept.iter().map(line).collect()
}

#[test]
fn netsets() {
    let text = "# FireHOL\n; other\n192.0.2.1\n198.51.100.0/24 # net\n\n203.0.113.1-203.0.113.2\nhello\n2001:db8::/48\n";
    let (entries, report) = read(&Whole::Netset, text).unwrap();
    assert_eq!(
        entries,
        [
            "192.0.2.1/32 80 - f",
            "203.0.113.1/32 80 - f",
            "203.0.113.2/32 80 - f",
            "198.51.100.0/24 80 - f",
            "2001:db8::/48 80 - f"
        ]
    );
    assert_eq!((report.seen, report.read, report.bad), (8, 5, 1));
    assert!(bad(&report)[0].starts_with("line 7: `hello`"), "{report:?}");
}

#[test]
fn what_is_no_list_is_refused_as_a_whole() {
    let table: [(&str, &str); 4] = [
        ("  <!DOCTYPE html><html>", "HTML"),
        ("<?xml version=\"1.0\"?>", "HTML"),
        (
            "this\nis\na page\nof text\nfrom somebody\n192.0.2.1\n",
            "more than half",
        ),
        ("\u{feff}<html>", "HTML"),
    ];
    for (text, words) in table {
        let mut draft = Draft::new(10, "f");
        let error = read_whole(&Whole::Netset, text.as_bytes(), &mut draft, terms()).unwrap_err();
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
    let many: String = (0..1_001)
        .map(|n| format!("10.0.{}.{}\n", n / 256, n % 256))
        .collect();
    let error = read(&Whole::Netset, many).unwrap_err();
    assert!(error.contains("more than 1000"), "{error}");
}

#[test]
fn spamhaus_in_both_forms() {
    let text = "; Spamhaus DROP List\n; Expires: Sun\n1.10.16.0/20 ; SBL256894\n2.56.192.0/22;SBL459831\nnonsense ; SBL1\n";
    let (entries, report) = read(&Whole::Spamhaus, text).unwrap();
    assert_eq!(
        entries,
        [
            "1.10.16.0/20 80 - SBL256894",
            "2.56.192.0/22 80 - SBL459831"
        ]
    );
    assert!(
        bad(&report)[0].starts_with("line 5: `nonsense`"),
        "{report:?}"
    );
    let json = concat!(
        "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}\n",
        "{\"cidr\":\"2001:db8::/32\",\"sblid\":\"SBL1\",\"rir\":\"ripencc\"}\n",
        "{\"sblid\":\"SBL2\"}\n",
        "{\"type\":\"metadata\",\"timestamp\":1,\"size\":1,\"records\":3,\"copyright\":\"\",\"terms\":\"\"}\n"
    );
    let (entries, report) = read(&Whole::Spamhaus, json).unwrap();
    assert_eq!(
        entries,
        ["1.10.16.0/20 80 - SBL256894", "2001:db8::/32 80 - SBL1"]
    );
    assert_eq!(bad(&report), ["line 3: has no `cidr`"]);
    let short = json.replace("\"records\":3", "\"records\":1000");
    assert!(
        read(&Whole::Spamhaus, short)
            .unwrap_err()
            .contains("cut off")
    );
}

#[test]
fn abuseipdb_in_both_forms() {
    let plain = "5.188.10.179\n185.222.209.14\n";
    assert_eq!(read(&Whole::AbuseIpDb, plain).unwrap().0.len(), 2);
    let json = r#"{"meta":{"generatedAt":"2026-01-01T00:00:00+00:00"},"data":[
        {"ipAddress":"5.188.10.179","countryCode":"RU","abuseConfidenceScore":100,"lastReportedAt":"x"},
        {"ipAddress":"192.0.2.9","abuseConfidenceScore":45},
        {"ipAddress":"192.0.2.10","abuseConfidenceScore":5},
        {"ipAddress":"192.0.2.11","abuseConfidenceScore":450},
        {"ipAddress":"nobody","abuseConfidenceScore":45},
        {"countryCode":"RU"}, 7]}"#;
    let (entries, report) = read(&Whole::AbuseIpDb, json).unwrap();
    assert_eq!(
        entries,
        ["5.188.10.179/32 80 - AbuseIPDB, RU", "192.0.2.9/32 45 - f"]
    );
    assert_eq!((report.seen, report.read, report.bad), (7, 2, 4));
    assert_eq!(report.skipped.get("low score"), Some(&1));
    assert!(
        bad(&report)[1].starts_with("data[4]: `nobody`"),
        "{report:?}"
    );
    let refused =
        r#"{"errors":[{"detail":"Daily rate limit of 5 requests exceeded","status":429}]}"#;
    assert!(
        read(&Whole::AbuseIpDb, refused)
            .unwrap_err()
            .contains("rate limit")
    );
}

#[test]
fn csv_by_its_columns() {
    let columns = Columns {
        prefix: "ip".to_owned(),
        score: Some("Confidence".to_owned()),
        expires: Some("until".to_owned()),
        reason: Some("why".to_owned()),
        delimiter: ',',
    };
    let text = concat!(
        "# made today\n# ip,why,until,confidence\n",
        "192.0.2.1,\"spray, fast \"\"x\"\"\",2030-01-01T00:00:00Z,70.9\n",
        "192.0.2.2,,1800000060,\n",
        "192.0.2.3,scan,2020-01-01,50\n",
        "192.0.2.4,scan,never,50\n",
        "192.0.2.5,scan,,500\n",
        ",scan,,50\n",
        "192.0.2.6,\"open,,50\n",
        "# note\n",
        "192.0.2.7-192.0.2.8,scan,,20\n"
    );
    let (entries, report) = read(&Whole::Csv(columns.clone()), text).unwrap();
    assert_eq!(
        entries,
        [
            "192.0.2.1/32 70 93456000 spray, fast \"x\"",
            "192.0.2.2/32 80 60 f",
            "192.0.2.7/32 20 - scan",
            "192.0.2.8/32 20 - scan"
        ]
    );
    assert_eq!(report.skipped.get("ended"), Some(&1));
    assert_eq!(
        bad(&report),
        [
            "line 6: has an end that is no time",
            "line 7: has a score that is not 0 to 100",
            "line 8: has no network",
            "line 9: has a quote that does not end on its line"
        ]
    );
    let other = "address;score\n192.0.2.1;5\n";
    assert!(
        read(&Whole::Csv(columns), other)
            .unwrap_err()
            .contains("no column \"ip\"")
    );
}

#[test]
fn stix_bundles() {
    let bundle = r#"{"type":"bundle","id":"bundle--1","objects":[
        {"type":"identity","id":"identity--1","name":"x"},
        {"type":"indicator","id":"indicator--1","modified":"2026-01-01T00:00:00.000Z","name":"Spray",
         "pattern_type":"stix","pattern":"[ipv4-addr:value = '192.0.2.1' OR ipv6-addr:value ISSUBSET '2001:db8::/48']",
         "valid_from":"2026-01-01T00:00:00Z","valid_until":"2030-01-01T00:00:00Z","confidence":55},
        {"type":"indicator","id":"indicator--2","pattern":"[file:name = 'x']"},
        {"type":"indicator","id":"indicator--3","revoked":true,"pattern":"[ipv4-addr:value = '192.0.2.2']"},
        {"type":"indicator","id":"indicator--4","pattern":"[ipv4-addr:value = 'nobody']"},
        {"type":"indicator","id":"indicator--5","pattern":"[ipv4-addr:value = '192.0.2.3'","valid_until":"x"},
        {"type":"indicator","id":"indicator--6","pattern_type":"snort","pattern":"alert"},
        {"type":"indicator","id":"indicator--7","valid_from":"2099-01-01T00:00:00Z","pattern":"[ipv4-addr:value = '192.0.2.7']"}
    ]}"#;
    let (entries, report) = read(&Whole::Stix, bundle).unwrap();
    assert_eq!(
        entries,
        [
            "192.0.2.1/32 55 93456000 Spray",
            "2001:db8::/48 55 93456000 Spray"
        ]
    );
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|(what, n)| format!("{what} {n}"))
        .collect();
    assert_eq!(
        skipped,
        [
            "no address 1",
            "no indicator 1",
            "not valid yet 1",
            "other pattern language 1",
            "revoked 1"
        ]
    );
    assert!(
        bad(&report)[0].starts_with("objects[4] indicator--4: `nobody`"),
        "{report:?}"
    );
    assert_eq!(
        bad(&report)[1],
        "objects[5] indicator--5: has a `valid_until` that is no time"
    );
}

#[test]
fn patterns() {
    let good: [(&str, &[&str]); 8] = [
        ("[ipv4-addr:value = '192.0.2.1']", &["192.0.2.1/32"]),
        ("[ipv4-addr:value='192.0.2.0/24']", &["192.0.2.0/24"]),
        (
            "[ipv4-addr:value ISSUBSET '192.0.2.0/24'] OR [ipv6-addr:value = '2001:db8::1']",
            &["192.0.2.0/24", "2001:db8::1/128"],
        ),
        (
            "[ipv4-addr:value IN ('192.0.2.1', '192.0.2.2')]",
            &["192.0.2.1/32", "192.0.2.2/32"],
        ),
        (
            "([ (ipv4-addr:value = '192.0.2.1') OR domain-name:value = 'x' ])",
            &["192.0.2.1/32"],
        ),
        (
            "[network-traffic:src_ref.type = 'ipv4-addr' AND network-traffic:src_ref.value = '192.0.2.1']",
            &["192.0.2.1/32"],
        ),
        (
            "[ipv4-addr:value = '192.0.2.1']  or [url:value = 'it\\'s']",
            &["192.0.2.1/32"],
        ),
        (
            "[domain-name:value = 'a' AND url:value = 'b' OR ipv4-addr:value = '192.0.2.1']",
            &["192.0.2.1/32"],
        ),
    ];
    for (text, wanted) in good {
        let found: Vec<String> = pattern::networks(text)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, wanted, "{text}");
    }
    let other = [
        "[file:hashes.MD5 = 'x']",
        "[ipv4-addr:value = '192.0.2.1' AND network-traffic:dst_port = 22]",
        "[ipv4-addr:value != '192.0.2.1']",
        "[ipv4-addr:value NOT = '192.0.2.1']",
        "[ipv4-addr:value LIKE '192.%']",
        "[ipv4-addr:value = '192.0.2.1'] AND [ipv4-addr:value = '192.0.2.2']",
        "[ipv4-addr:value = '192.0.2.1'] WITHIN 300 SECONDS",
        "([ipv4-addr:value = '192.0.2.1'] FOLLOWEDBY [ipv4-addr:value = '192.0.2.2'])",
        "[network-traffic:dst_ref.value = '192.0.2.1']",
    ];
    for text in other {
        let fault = pattern::networks(text).unwrap_err();
        assert!(matches!(fault, Fault::Other(_)), "{text}: {fault:?}");
    }
    let nested = format!("{}[a:b = 'c']", "(".repeat(1_000_000));
    for text in [
        "",
        "[",
        "[ipv4-addr:value = '1.2.3.4",
        "[ipv4-addr:value]",
        "]",
        "[ipv4-addr:value = ]",
        "ipv4-addr:value = '1.2.3.4'",
        &nested,
    ] {
        let fault = pattern::networks(text).unwrap_err();
        assert!(matches!(fault, Fault::Bad(_)), "{}: {fault:?}", text.len());
    }
}

#[test]
fn durations_of_go() {
    let table = [
        ("3h59m58.7s", Some(14_398_700)),
        ("-1h2m", Some(-3_720_000)),
        ("1.5h", Some(5_400_000)),
        ("300ms", Some(300)),
        ("1500µs", Some(1)),
        ("999us", Some(0)),
        ("0s", Some(0)),
        ("0", Some(0)),
        ("2562047h47m16.854775807s", Some(9_223_372_036_854)),
        ("", None),
        ("-", None),
        ("5", None),
        ("h", None),
        ("1d", None),
        ("1h ", None),
        (".s", None),
        ("9999999999999999h", None),
    ];
    for (text, wanted) in table {
        assert_eq!(go_duration(text), wanted, "{text}");
    }
}

fn stream(text: &str) -> Result<(Vec<CrowdSecDelta>, Report), String> {
    let mut report = Report::default();
    let mut found = Vec::new();
    let source = BufReader::with_capacity(2, text.as_bytes());
    read_stream(source, &mut report, |delta| {
        found.push(delta);
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok((found, report))
}

#[test]
fn the_stream_of_crowdsec() {
    let text = r#"{"deleted":[{"duration":"-9m1.2s","id":7,"origin":"cscli","scenario":"manual","scope":"Ip","type":"ban","value":"192.0.2.7"}],
        "new":[{"duration":"3h59m58.7s","id":8,"origin":"cscli","scenario":"ssh bf","scope":"Ip","type":"ban","value":"192.0.2.8"},
        {"duration":"1h","id":9,"origin":"CAPI","scenario":"x","scope":"range","type":"ban","value":"198.51.100.9/24"},
        {"duration":"1h","id":10,"origin":"cscli","scenario":"x","scope":"AS","type":"ban","value":"64500"},
        {"duration":"1h","id":11,"origin":"cscli","scenario":"x","scope":"Ip","type":"captcha","value":"192.0.2.9"},
        {"duration":"-1h","id":12,"origin":"cscli","scenario":"x","scope":"Ip","type":"ban","value":"192.0.2.9"},
        {"duration":"soon","id":13,"origin":"cscli","scenario":"x","scope":"Ip","type":"ban","value":"192.0.2.9"},
        {"duration":"1h","id":14,"origin":"cscli","scenario":"x","scope":"Ip","type":"ban","value":"nobody"},
        {"duration":"1h","scope":"Ip","type":"ban","value":"192.0.2.9"}]}"#;
    let (found, report) = stream(text).unwrap();
    let new = |id, prefix: &str, left_ms, origin: &str, scenario: &str| {
        CrowdSecDelta::New(CrowdSecDecision {
            id,
            prefix: prefix.parse().unwrap(),
            left_ms,
            origin: origin.to_owned(),
            scenario: scenario.to_owned(),
        })
    };
    assert_eq!(
        found,
        [
            CrowdSecDelta::Deleted(7),
            new(8, "192.0.2.8/32", 14_398_700, "cscli", "ssh bf"),
            new(9, "198.51.100.0/24", 3_600_000, "CAPI", "x"),
        ]
    );
    assert_eq!((report.seen, report.bad), (9, 3));
    assert_eq!(
        bad(&report)[0],
        "new[5]: has a `duration` that cannot be read"
    );
    for empty in [
        r#"{"deleted":null,"new":null}"#,
        r#"{"deleted":[],"new":[]}"#,
        " {} ",
    ] {
        assert_eq!(stream(empty).unwrap().0, []);
    }
    let refused = stream(r#"{"message":"access forbidden"}"#).unwrap_err();
    assert!(refused.contains("access forbidden"), "{refused}");
    for end in 1..text.len() {
        if text.is_char_boundary(end) {
            assert!(stream(&text[..end]).is_err(), "{end}");
        }
    }
}

#[test]
fn events_of_okta() {
    let text = r#"[{"eventType":"security.threat.detected","published":"2027-01-15T07:59:00.000Z","client":{"ipAddress":"192.0.2.1"},
        "outcome":{"result":"DENY","reason":"Password Spray"},
        "debugContext":{"debugData":{"threatSuspected":"true","threatDetections":"{\"Login Failures\":\"MEDIUM\",\"Password Spray\":\"HIGH\"}"}}},
        {"eventType":"security.threat.detected","published":"2027-01-15T07:59:30.000Z","client":{"ipAddress":"192.0.2.2"},
        "debugContext":{"debugData":{"threatDetections":"{\"Login Failures\":\"LOW\"}"}}},
        {"eventType":"security.threat.detected","published":"2027-01-15T07:59:30.000Z","client":{"ipAddress":"192.0.2.3"},"outcome":{"reason":"Brute Force"}},
        {"eventType":"user.session.start","published":"2027-01-15T07:59:00.000Z","client":{"ipAddress":"192.0.2.4"}},
        {"eventType":"security.threat.detected","published":"2027-01-15T06:00:00.000Z","client":{"ipAddress":"192.0.2.5"}},
        {"eventType":"security.threat.detected","published":"2027-01-15T07:59:00.000Z","client":{"ipAddress":null}}]"#;
    let mut draft = Draft::new(100, "f");
    let mut harvest = Harvest {
        draft: &mut draft,
        terms: terms(),
        report: Report::default(),
    };
    read_events(text.as_bytes(), 600_000, &mut harvest).unwrap();
    let report = harvest.report;
    assert_eq!(
        listed(draft),
        [
            "192.0.2.1/32 80 540 Password Spray, Login Failures",
            "192.0.2.2/32 30 570 Login Failures",
            "192.0.2.3/32 80 570 Brute Force"
        ]
    );
    assert_eq!(
        bad(&report),
        ["event 5: has no address (`client.ipAddress`)"]
    );
    let error = r#"{"errorCode":"E0000011","errorSummary":"Invalid token provided"}"#;
    let mut draft = Draft::new(100, "f");
    let mut harvest = Harvest {
        draft: &mut draft,
        terms: terms(),
        report: Report::default(),
    };
    let refused = read_events(error.as_bytes(), 1, &mut harvest).unwrap_err();
    assert!(refused.to_string().contains("Invalid token"), "{refused}");
}

#[test]
fn objects_of_any_size_cost_a_bounded_buffer() {
    let huge = "x".repeat(OBJECT_BYTES_MAX + 10);
    let text = format!(
        r#"{{"pad":"{huge}","data":[{{"ipAddress":"{huge}"}},{{"ipAddress":"192.0.2.1"}}]}}"#
    );
    let (entries, report) = read(&Whole::AbuseIpDb, text).unwrap();
    assert_eq!(entries, ["192.0.2.1/32 80 - f"]);
    assert_eq!(
        bad(&report),
        [format!("data[0]: is longer than {OBJECT_BYTES_MAX} bytes")]
    );
    for text in [
        "{\"data\":[1,2]} x",
        "{\"data\" 1}",
        "{1:2}",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "7",
        "{\"data\":[",
    ] {
        assert!(read(&Whole::Stix, text).is_err(), "{text}");
    }
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let seeds: [(&[u8], Whole); 5] = [
        (b"192.0.2.1\n2001:db8::/32 # x\n", Whole::Netset),
        (b"{\"cidr\":\"1.10.16.0/20\"}\n1.2.3.4 ; x\n", Whole::Spamhaus),
        (b"{\"data\":[{\"ipAddress\":\"192.0.2.1\"}]}", Whole::AbuseIpDb),
        (b"prefix,x\n192.0.2.1,\"a\"\n", Whole::Csv(Columns::default())),
        (b"{\"objects\":[{\"type\":\"indicator\",\"id\":\"i\",\"pattern\":\"[ipv4-addr:value = '1.2.3.4']\"}]}", Whole::Stix),
    ];
    let mut random = crate::policy::random::Random::new(503);
    for (seed, format) in &seeds {
        for _ in 0..3_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..=random.below(4) {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                bytes[at] = random.pick(&[
                    0, 0xff, b'"', b'[', b'{', b'}', b']', b'\'', b',', b'\n', b'9', b'\\', 0xc3,
                ]);
            }
            bytes.truncate(usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap());
            let mut draft = Draft::new(10, "f");
            let source = BufReader::with_capacity(5, bytes.as_slice());
            if let Ok(report) = read_whole(format, source, &mut draft, terms()) {
                assert!(report.read >= draft.len() as u64, "{bytes:?}");
            }
        }
    }
}
