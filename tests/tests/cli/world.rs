//! The configuration that these tests share, and how they look at an answer.

use anyhow::ensure;
use lab::frames::Frame;
use lab::{AgentConfig, EdgeTap, Lab, Output, Result};
pub(crate) use lab::{WAIT_MAX, until};

/// Something of every kind: zones of each use, two lists, an open and a restricted service.
pub(crate) fn rich(mode: &str) -> AgentConfig {
    AgentConfig::new(mode)
        .zone(
            "office",
            &["exempt"],
            &["198.51.100.128/26", "2001:db8:e::/48"],
        )
        .zone(
            "cdn",
            &["trusted-proxy"],
            &["198.51.100.64/26", "2001:db8:9::/48"],
        )
        .zone(
            "hostile",
            &["blocked"],
            &["203.0.113.0/26", "2001:db8:bad:b::/64"],
        )
        .zone("partners", &["allowed-origin"], &["198.51.100.32/28"])
        .push(
            "list",
            [
                ("name", "bad".into()),
                ("score", 95.into()),
                ("reason", "seen attacking".into()),
                (
                    "networks",
                    networks(&["203.0.113.66", "2001:db8:bad::66", "198.51.100.130"]),
                ),
            ],
        )
        .list("slow", 50, &["203.0.113.128/25"])
        .list("faint", 10, &["203.0.113.80/29"])
        .service("web", &[80, 443], false)
        .service("admin", &[8443], true)
}

fn networks(networks: &[&str]) -> toml::Value {
    networks.to_vec().into()
}

/// It ended with this code and said all of these words, on either output.
pub(crate) fn says(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    ensure!(
        output.code == code,
        "exit code {} instead of {code}: {output:?}",
        output.code
    );
    for word in words {
        ensure!(
            output.stdout.contains(word) || output.stderr.contains(word),
            "{word:?} is not in {output:?}"
        );
    }
    ensure!(!output.stderr.contains("panicked"), "{output:?}");
    Ok(())
}

/// Whether one packet of a source passes now.
pub(crate) fn passes(lab: &Lab, tap: &mut EdgeTap, source: &str) -> Result<bool> {
    let source = source.parse()?;
    let target = lab.login.address_like(source);
    tap.passes(
        &Frame::between(source, target)
            .udp(50_000, 443, b"probe")
            .build(),
    )
}
