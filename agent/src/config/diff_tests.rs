//! What `diff` says about a reload.

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("/nonexistent"), "test.toml").unwrap()
}

#[test]
fn nothing_differs_from_itself() {
    let text = "[[zone]]\nname = \"a\"\nuses = [\"blocked\"]\nnetworks = [\"10.0.0.0/8\"]\n";
    assert_eq!(changes(&config(text), &config(text)), [""; 0]);
    assert_eq!(needs_restart(&config(text), &config(text)), [""; 0]);
}

#[test]
fn every_difference_is_one_sentence() {
    let old = config(
        r#"
        interfaces = ["eth0"]
        [control]
        operators = { users = ["ann"], groups = ["ops"] }
        [[zone]]
        name = "gone"
        uses = ["blocked"]
        networks = ["192.0.2.0/24"]
        [[zone]]
        name = "cdn"
        uses = ["trusted-proxy"]
        networks = ["10.0.0.1", "10.0.0.2", "10.1.0.0/16", "2001:db8::1"]
        [[service]]
        name = "login"
        ports = [443]
        "#,
    );
    let new = config(
        r#"
        mode = "block"
        interfaces = ["eth0", "eth1"]
        refusal = "reset"
        state_dir = "/srv/edgeward"
        [reputation]
        block_threshold = 90
        [rate_limit]
        window = "1m"
        connections = 30
        limited_packets = 0
        [capacity]
        zones = 1000
        [events]
        ring_bytes = 65536
        [control]
        operators = { users = ["bob"], groups = ["ops"] }
        [[zone]]
        name = "cdn"
        uses = ["trusted-proxy", "allowed-origin"]
        networks = ["10.0.0.2", "10.0.0.3", "10.1.0.0/16", "10.2.0.0/16"]
        [[list]]
        name = "feed"
        networks = ["198.51.100.0/24"]
        [[service]]
        name = "login"
        ports = [443, 8443]
        header = "forwarded"
        restricted = true
        "#,
    );
    assert_eq!(changes(&old, &new), DIFFERENCES);
    assert_eq!(
        needs_restart(&old, &new),
        ["state_dir", "capacity", "events.ring_bytes"]
    );
}

const DIFFERENCES: [&str; 15] = [
    "mode of a first start: log → block",
    "interfaces: eth0 → eth0, eth1",
    "state_dir: /var/lib/edgeward → /srv/edgeward",
    "refusal: drop → reset",
    "reputation.block_threshold: 80 → 90",
    "rate_limit.window: 10s → 1m",
    "rate_limit.connections: no limit → 30",
    "rate_limit.limited_packets: 200 → no limit",
    "capacity.zones: 65536 → 1000",
    "events.ring_bytes: 1048576 → 65536",
    "control.operators.users: +bob, -ann",
    "zone \"gone\" removed (1 networks)",
    "zone \"cdn\": uses: trusted-proxy → trusted-proxy, allowed-origin, 2 networks added, 2 removed (4 now)",
    "list \"feed\" added (1 networks)",
    "service \"login\": ports: 443 → 443 8443, header: x-forwarded-for → forwarded, restricted: false → true",
];

#[test]
fn shared_counts_what_both_hold() {
    let table: [(&[u32], &[u32], usize); 5] = [
        (&[], &[], 0),
        (&[1], &[], 0),
        (&[1, 2, 3], &[2, 3, 4], 2),
        (&[1, 3, 5], &[2, 4], 0),
        (&[7], &[7], 1),
    ];
    for (a, b, expected) in table {
        assert_eq!(shared(a, b), expected, "{a:?} {b:?}");
    }
}
