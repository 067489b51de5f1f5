//! Okta's zones into ours and back.

use super::*;

fn draft_of(body: Value) -> Result<ZoneDraft, Fault> {
    draft(Wanted::deserialize(&body).unwrap())
}

#[test]
fn a_zone_as_clients_send_it_becomes_a_draft() {
    let zone = draft_of(json!({
        "type": "IP", "id": null, "name": "office", "status": "ACTIVE", "usage": "POLICY", "system": false,
        "gateways": [{"type": "CIDR", "value": "192.0.2.0/24"}, {"type": "RANGE", "value": "198.51.100.1-198.51.100.9"}],
        "proxies": null, "_links": {},
    }))
    .unwrap();
    assert_eq!(
        (zone.name.as_str(), zone.blocked, zone.active),
        ("office", false, Some(true))
    );
    let texts: Vec<String> = zone.gateways.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["192.0.2.0/24", "198.51.100.1-198.51.100.9"]);
    assert!(zone.proxies.is_empty());
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_field() {
    let cases = [
        (json!({"type": "DYNAMIC", "name": "x"}), "type"),
        (json!({"type": "IP"}), "name"),
        (json!({"name": "x", "usage": "BLOCK"}), "usage"),
        (json!({"name": "x", "status": "ON"}), "status"),
        (
            json!({"name": "x", "gateways": [{"type": "CIDR", "value": "192.0.2.1/24"}]}),
            "gateways",
        ),
        (
            json!({"name": "x", "gateways": [{"type": "ASN", "value": "1"}]}),
            "gateways",
        ),
        (
            json!({"name": "x", "proxies": [{"type": "CIDR"}]}),
            "proxies",
        ),
    ];
    for (body, field) in cases {
        let fault = draft_of(body.clone()).expect_err("a mistake");
        assert_eq!(fault.code, "E0000001");
        assert!(
            fault.summary.contains(&format!("'{field}'")),
            "{body}: {}",
            fault.summary
        );
    }
}

fn fact(id: &str, uses: &[&str], configured: bool) -> ZoneFact {
    ZoneFact {
        id: id.to_owned(),
        name: "a zone".to_owned(),
        uses: uses.iter().map(|one| (*one).to_owned()).collect(),
        configured,
        active: true,
        gateways: vec![
            "192.0.2.7".to_owned(),
            "2001:db8::1".to_owned(),
            "192.0.2.1-192.0.2.3".to_owned(),
        ],
        proxies: Vec::new(),
        networks: 3,
        created_ms: 1_700_000_000_000,
        updated_ms: 1_700_000_000_000,
    }
}

#[test]
fn a_zone_has_the_fields_that_sdks_read() {
    let zone = shape(&fact("nzo1", &["blocked"], false), "https://h");
    assert_eq!(zone["usage"], "BLOCKLIST");
    assert_eq!(zone["system"], false);
    assert_eq!(zone["created"], "2023-11-14T22:13:20.000Z");
    assert_eq!(
        zone["gateways"],
        json!([
            {"type": "CIDR", "value": "192.0.2.7/32"},
            {"type": "CIDR", "value": "2001:db8::1/128"},
            {"type": "RANGE", "value": "192.0.2.1-192.0.2.3"},
        ])
    );
    assert_eq!(
        zone["_links"]["deactivate"]["href"],
        "https://h/api/v1/zones/nzo1/lifecycle/deactivate"
    );
    let zone = shape(&fact("nzo2", &["exempt"], true), "https://h");
    assert_eq!(
        (&zone["usage"], &zone["system"]),
        (&json!("POLICY"), &json!(true))
    );
    assert_eq!(zone["_links"]["deactivate"], Value::Null);
}

#[test]
fn lists_are_filtered_by_usage_and_id() {
    let zones = [
        fact("nzo1", &["blocked"], false),
        fact("nzo2", &["gateway"], false),
    ];
    let found = |text: &str| -> Vec<&str> {
        let wish = Wish::read(text).unwrap();
        zones
            .iter()
            .filter(|zone| wish.holds(zone))
            .map(|zone| zone.id.as_str())
            .collect()
    };
    assert_eq!(found("usage eq \"BLOCKLIST\""), ["nzo1"]);
    assert_eq!(found("id eq \"nzo2\" or id eq \"nzo1\""), ["nzo1", "nzo2"]);
    assert_eq!(found("id EQ \"nzo3\""), [] as [&str; 0]);
    for bad in [
        "usage",
        "usage eq BLOCKLIST",
        "name eq \"x\"",
        "usage ne \"POLICY\"",
        "usage eq \"a\" \"b\"",
    ] {
        assert_eq!(Wish::read(bad).expect_err(bad).code, "E0000031");
    }
    let wish = Wish::read("usage eq \"BLOCKLIST\"").unwrap();
    assert_eq!(wish.written(), "&filter=usage%20eq%20%22BLOCKLIST%22");
}
