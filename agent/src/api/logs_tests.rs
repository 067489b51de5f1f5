//! Parameters with their defaults, bounds and errors; cursors; addresses in links.

use http::Request;

use super::*;

const NOW: u64 = 1_800_000_000_000;

fn asked(query: &str) -> Result<Asked, Fault> {
    Asked::read(query, NOW)
}

#[test]
fn the_sort_follows_from_until_and_order() {
    let day = 86_400_000;
    let cases = [
        ("", Kind::Polling, NOW - 7 * day, None),
        (
            "since=2027-01-15T00:00:00Z",
            Kind::Polling,
            1_799_971_200_000,
            None,
        ),
        (
            "sortOrder=ASCENDING&until=&q=",
            Kind::Polling,
            NOW - 7 * day,
            None,
        ),
        (
            "sortOrder=DESCENDING",
            Kind::Descending,
            NOW - 7 * day,
            Some(NOW),
        ),
        (
            "until=2027-01-15T00:00:00.000Z",
            Kind::Ascending,
            1_799_971_200_000 - 7 * day,
            Some(1_799_971_200_000),
        ),
        (
            "since=2027-01-14T00%3A00%3A00%2B00%3A00&until=2027-01-15T01:00:00+01:00&sortOrder=descending",
            Kind::Descending,
            1_799_971_200_000 - day,
            Some(1_799_971_200_000),
        ),
    ];
    for (query, kind, since_ms, until_ms) in cases {
        let asked = asked(query).unwrap();
        assert_eq!(
            (asked.kind, asked.since_ms, asked.until_ms),
            (kind, since_ms, until_ms),
            "{query}"
        );
        assert_eq!(asked.limit, 100);
    }
}

#[test]
fn mistakes_are_refused_in_oktas_words() {
    let long = "x".repeat(41);
    let cases = [
        (
            "limit=1001",
            "E0000001",
            "'limit': must be a number from 0 to 1000.",
        ),
        ("limit=-1", "E0000001", "'limit'"),
        ("limit=many", "E0000001", "'limit'"),
        (
            "since=yesterday",
            "E0000001",
            "'since': The date format in your query is not recognized.",
        ),
        ("until=2027-01-15", "E0000001", "'until'"),
        (
            "since=2027-01-15T00:00:00Z&until=2027-01-14T00:00:00Z",
            "E0000001",
            "'since': must not be after 'until'.",
        ),
        (
            "since=2027-01-15T00:00:00Z&after=p0__1",
            "E0000001",
            "mutually exclusive",
        ),
        ("after=nonsense", "E0000001", "'after': is no cursor."),
        ("sortOrder=UP", "E0000001", "'sortOrder'"),
        (
            &format!("q={long}"),
            "E0000001",
            "longer than 40 characters",
        ),
        (
            "q=1+2+3+4+5+6+7+8+9+10+11",
            "E0000001",
            "more than 10 items",
        ),
        (
            "filter=eventType+eqq+%22x%22",
            "E0000053",
            "Invalid filter 'eventType eqq \"x\"': Unrecognized attribute operator 'eqq' at position 10. Expected: eq,",
        ),
        (
            "filter=published+gt+%222027-01-15T00:00:00Z%22",
            "E0000053",
            "field is not valid: published",
        ),
    ];
    for (query, code, said) in cases {
        let fault = asked(query).expect_err(query);
        assert_eq!(
            (fault.status, fault.code),
            (StatusCode::BAD_REQUEST, code),
            "{query}"
        );
        assert!(fault.summary.contains(said), "{query}: {}", fault.summary);
        assert_eq!(fault.causes.len(), 1, "{query}");
    }
}

#[test]
fn bounds_themselves_are_taken() {
    assert_eq!(asked("limit=0").unwrap().limit, 0);
    assert_eq!(asked("limit=1000").unwrap().limit, 1000);
    let words = asked("q=San+Francisco%20x").unwrap().words;
    assert_eq!(words, ["san", "francisco", "x"]);
    assert_eq!(
        asked(&format!("q={}", "é".repeat(40))).unwrap().words.len(),
        1
    );
}

#[test]
fn a_cursor_brings_its_request_back() {
    let cursor = Cursor {
        published_ms: 1_799_971_200_000,
        seq: 42,
    };
    for (kind, until_ms) in [
        (Kind::Polling, None),
        (Kind::Ascending, Some(NOW)),
        (Kind::Descending, Some(NOW)),
    ] {
        let text = after(kind, 7, until_ms, cursor);
        assert_eq!(
            parse_after(&text),
            Some((kind, 7, until_ms, cursor)),
            "{text}"
        );
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{text}"
        );
        let asked = asked(&format!("after={text}&limit=5")).unwrap();
        assert_eq!(
            (asked.kind, asked.since_ms, asked.until_ms),
            (kind, 7, until_ms)
        );
        assert_eq!((asked.after, asked.limit), (Some(cursor), 5));
        let other = if kind == Kind::Descending {
            "ASCENDING"
        } else {
            "DESCENDING"
        };
        super::Asked::read(&format!("after={text}&sortOrder={other}"), NOW).unwrap_err();
    }
    for bad in [
        "",
        "p",
        "p7",
        "p7_",
        "p7__",
        "px__0018e6d8b0002a",
        "p7_1_01a316fbc4002a",
        "a7__01a316fbc4002a",
        "é",
    ] {
        assert_eq!(parse_after(bad), None, "{bad}");
    }
}

#[test]
fn who_polls_always_goes_on_and_a_bounded_request_ends() {
    let page = |next: Option<u64>, complete| Page {
        entries: Vec::new(),
        next: next.map(|seq| Cursor {
            published_ms: 1,
            seq,
        }),
        complete,
    };
    let seq = |after: Option<String>| after.map(|text| parse_after(&text).unwrap().3.seq);
    let polling = asked("").unwrap();
    assert_eq!(seq(polling.next(&page(Some(5), true), 9)), Some(5));
    assert_eq!(seq(polling.next(&page(None, true), 9)), Some(9));
    let again = Asked {
        after: Some(Cursor {
            published_ms: 1,
            seq: 7,
        }),
        ..polling
    };
    assert_eq!(seq(again.next(&page(None, true), 9)), Some(7));
    assert_eq!(
        seq(asked("limit=0").unwrap().next(&page(None, true), 9)),
        Some(0)
    );
    let bounded = asked("until=2027-01-15T00:00:00Z").unwrap();
    assert_eq!(seq(bounded.next(&page(Some(5), true), 9)), None);
    assert_eq!(seq(bounded.next(&page(Some(5), false), 9)), Some(5));
}

#[test]
fn links_hold_nothing_that_clients_split_at() {
    let url = |target: &str, host: &str| {
        let (parts, ()) = Request::builder()
            .uri(target)
            .header("host", host)
            .body(())
            .unwrap()
            .into_parts();
        Url::of(&parts, true, "127.0.0.1:8443".parse().unwrap())
    };
    let one = url(
        "/api/v1/logs?filter=a,b;c&limit=2&since=2027-01-15T00:00:00Z&after=old&q=x",
        "log.example:8443",
    );
    assert_eq!(
        one.own(),
        "https://log.example:8443/api/v1/logs?filter=a%2Cb%3Bc&limit=2&since=2027-01-15T00:00:00Z&after=old&q=x"
    );
    assert_eq!(
        one.after("p0__1"),
        "https://log.example:8443/api/v1/logs?filter=a%2Cb%3Bc&limit=2&q=x&after=p0__1"
    );
    let bare = url("/api/v1/logs", "evil\"><x");
    assert_eq!(bare.own(), "https://127.0.0.1:8443/api/v1/logs");
    assert_eq!(
        bare.after("p0__1"),
        "https://127.0.0.1:8443/api/v1/logs?after=p0__1"
    );
}
