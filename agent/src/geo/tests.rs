//! Both schemas, both address families, files that change, and files that are damaged.

use std::{fs, path::Path};

use serde_json::json;

use super::{maker::database, *};
use crate::policy::random::Random;

fn nested() -> Vec<u8> {
    let record = json!({
        "city": {"geoname_id": 1, "names": {"de": "Genf", "en": "Geneva"}},
        "country": {"iso_code": "CH", "names": {"en": "Switzerland"}},
        "subdivisions": [{"iso_code": "GE", "names": {"en": "Geneva Canton"}}, {"iso_code": "X"}],
        "postal": {"code": "1201"},
        "location": {"latitude": 46.2, "longitude": 6.14, "time_zone": "Europe/Zurich"},
        "traits": {"autonomous_system_number": 64_501, "isp": "Nested"},
    });
    let other = json!({"registered_country": {"iso_code": "SE", "names": {"en": "Sweden"}}});
    let entries = [("192.0.2.0/24", record), ("2001:db8::/32", other)];
    database("GeoLite2-City", 6, &entries)
}

fn flat_v4() -> Vec<u8> {
    let record = json!({
        "city": "Geneva", "country_code": "CH", "state1": "Geneva Canton", "state2": "",
        "postcode": "1201", "latitude": "46.2", "longitude": 6.14, "timezone": "Europe/Zurich",
    });
    database("dbip-city-ipv4", 4, &[("192.0.2.0/24", record)])
}

fn asns(number: u32) -> Vec<u8> {
    let of = |number: u32| json!({"autonomous_system_number": number, "autonomous_system_organization": "Example"});
    let entries = [
        ("192.0.2.0/24", of(number)),
        ("192.0.2.128/25", of(number + 1)),
    ];
    database("dbip-asn-ipv4", 4, &entries)
}

fn written(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    // As updaters do it: a new file, renamed into place.
    let aside = dir.join("aside");
    fs::write(&aside, bytes).unwrap();
    fs::rename(aside, dir.join(name)).unwrap();
    dir.join(name)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn both_schemas_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [("nested", nested()), ("flat", flat_v4())] {
        let files = Files {
            city: vec![written(dir.path(), name, &bytes)],
            asn: vec![written(dir.path(), "asn", &asns(64_500))],
            ..Files::default()
        };
        let databases = Databases::open(&files);
        assert!(
            databases.rows().iter().all(|row| row.problem.is_none()),
            "{:?}",
            databases.rows()
        );
        let place = databases.place(address("192.0.2.7"));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            (&place.country, &place.state, &place.city, &place.postal),
            (
                &text("CH"),
                &text("Geneva Canton"),
                &text("Geneva"),
                &text("1201")
            ),
            "{name}"
        );
        assert_eq!(
            (place.latitude, place.longitude),
            (Some(46.2), Some(6.14)),
            "{name}"
        );
        assert_eq!(
            place.as_org,
            if name == "flat" {
                text("Example")
            } else {
                None
            }
        );
        assert_eq!(databases.asn(address("192.0.2.7")), Some(64_500), "{name}");
        assert_eq!(
            databases.asn(address("192.0.2.200")),
            Some(64_501),
            "the longer prefix"
        );
        assert_eq!(databases.place(address("198.51.100.1")), Place::default());
        // A database of IPv4 knows nothing of IPv6, and that is no failure.
        assert_eq!(databases.asn(address("2001:db8::1")), None);
        assert!(databases.rows().iter().all(|row| row.failed == 0));
    }
    let databases = Databases::open(&Files {
        city: vec![written(dir.path(), "nested", &nested())],
        ..Files::default()
    });
    let place = databases.place(address("2001:db8::1"));
    assert_eq!(place.country.as_deref(), Some("SE"));
    assert_eq!(place.country_name.as_deref(), Some("Sweden"));
    assert_eq!(
        databases.asn(address("192.0.2.7")),
        None,
        "asked of files for it only"
    );
    assert!(!databases.knows_asns());
}

#[test]
fn other_shapes_of_numbers_and_what_hides() {
    let dir = tempfile::tempdir().unwrap();
    let lite = json!({"asn": "AS64502", "as_name": "Example", "as_domain": "example.org",
                      "country": "Sweden", "country_code": "SE"});
    let hidden =
        json!({"is_anonymous": true, "is_anonymous_vpn": true, "is_hosting_provider": true});
    let files = Files {
        city: Vec::new(),
        asn: vec![written(
            dir.path(),
            "lite",
            &database("lite", 6, &[("2001:db8::/32", lite)]),
        )],
        anonymous: vec![written(
            dir.path(),
            "anonymous",
            &database("Anonymous-IP", 4, &[("192.0.2.0/24", hidden)]),
        )],
    };
    let databases = Databases::open(&files);
    let place = databases.place(address("2001:db8::5"));
    assert_eq!(
        (place.asn, place.domain.as_deref()),
        (Some(64_502), Some("example.org"))
    );
    assert_eq!(
        (place.country.as_deref(), place.country_name.as_deref()),
        (Some("SE"), Some("Sweden"))
    );
    let hidden = databases.place(address("192.0.2.1")).anonymous;
    assert!(hidden.any && hidden.vpn && hidden.hosting && !hidden.tor);
}

#[test]
fn a_new_file_is_taken_over_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("asn.mmdb");
    let files = Files {
        asn: vec![path.clone()],
        ..Files::default()
    };
    let mut held = Held::default();
    held.follow(&files);
    assert!(held.look() && !held.look(), "said once");
    assert_eq!(held.0[0].problem.as_deref(), Some("does not exist"));
    let asn = |held: &Held| Databases::fixed(Held(held.0.clone())).asn(address("192.0.2.1"));
    written(dir.path(), "asn.mmdb", &asns(64_500));
    assert!(held.look());
    assert_eq!((asn(&held), &held.0[0].problem), (Some(64_500), &None));
    let cut: Vec<u8> = asns(64_510).into_iter().take(100).collect();
    for (bad, what) in [
        (cut, "damaged or no MaxMind DB"),
        (
            b"<html>not found</html>".to_vec(),
            "damaged or no MaxMind DB",
        ),
        (Vec::new(), "is empty"),
        (nested_without_asns(), "is it another database?"),
    ] {
        written(dir.path(), "asn.mmdb", &bad);
        assert!(held.look(), "{what}");
        let problem = held.0[0].problem.clone().unwrap();
        assert!(problem.contains(what), "{problem}");
        assert_eq!(asn(&held), Some(64_500), "the last good one stays: {what}");
        assert!(!held.look(), "it is not read again and again");
    }
    written(dir.path(), "asn.mmdb", &asns(64_520));
    assert!(held.look());
    assert_eq!((asn(&held), &held.0[0].problem), (Some(64_520), &None));
    fs::remove_file(&path).unwrap();
    assert!(held.look());
    assert_eq!(asn(&held), Some(64_520));
    held.follow(&Files::default());
    assert_eq!(asn(&held), None, "no longer configured");
}

fn nested_without_asns() -> Vec<u8> {
    let record = json!({"country": {"iso_code": "CH"}});
    database("GeoLite2-Country", 4, &[("192.0.2.0/24", record)])
}

#[test]
fn the_first_of_two_files_wins_and_the_second_fills_in() {
    let dir = tempfile::tempdir().unwrap();
    let v6 = database(
        "v6",
        6,
        &[("2001:db8::/32", json!({"autonomous_system_number": 64_999}))],
    );
    let databases = Databases::open(&Files {
        asn: vec![
            written(dir.path(), "v4", &asns(64_500)),
            written(dir.path(), "v6", &v6),
        ],
        ..Files::default()
    });
    assert_eq!(databases.asn(address("192.0.2.1")), Some(64_500));
    assert_eq!(databases.asn(address("2001:db8::1")), Some(64_999));
    let rows = databases.rows();
    assert_eq!((rows.len(), rows[0].built), (2, Some(1_790_000_000_000)));
    assert_eq!(rows[0].addresses.as_deref(), Some("IPv4"));
    assert_eq!(rows[0].bytes, asns(64_500).len() as u64);
}

#[test]
fn no_damage_makes_a_look_up_panic() {
    let mut random = Random::new(5);
    for good in [nested(), flat_v4(), asns(64_500)] {
        for _ in 0..3_000 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(6) {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                bytes[at] = random.next().to_le_bytes()[0];
            }
            let Ok(database) = Database::of(bytes, Kind::City) else {
                continue;
            };
            for one in ["192.0.2.1", "255.255.255.255", "2001:db8::1", "::"] {
                // Whatever it says.
                let _ = database.record(address(one)).map(|record| {
                    record.map(|record| {
                        let mut place = Place::default();
                        record.fill(&mut place);
                        assert!(place.city.unwrap_or_default().len() <= 800);
                    })
                });
            }
        }
    }
}

#[test]
fn it_never_waits_for_a_fifo() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let databases = Databases::open(&Files {
        city: vec![fifo, dir.path().to_owned()],
        ..Files::default()
    });
    let rows = databases.rows();
    let problems = rows.iter().map(|row| row.problem.as_deref());
    assert!(
        problems
            .into_iter()
            .all(|problem| problem == Some("is not a regular file"))
    );
}
