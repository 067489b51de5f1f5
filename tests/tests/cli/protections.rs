//! What a slip of the hand cannot block: the operator's own session, an address of the host, a trusted proxy.

use anyhow::ensure;
use lab::{Agent, Lab, Result, TestFn};

use super::world::{passes, rich, says};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("the_own_session_is_not_blocked", session),
        ("an_address_of_the_host_is_not_blocked", local),
        ("a_trusted_proxy_is_not_blocked", proxy),
    ]
}

fn session() -> Result<()> {
    let lab = Lab::new("session")?;
    let agent = Agent::start(&lab, &rich("log"))?;
    let over_ssh = |peer: &str, arguments: &[&str]| {
        agent
            .command(arguments)?
            .env("SSH_CONNECTION", &format!("{peer} 50022 192.0.2.10 22"))
            .run()
    };
    for (peer, targets) in [
        (
            "203.0.113.90",
            [
                "203.0.113.90",
                "203.0.113.88/29",
                "203.0.113.85-203.0.113.95",
            ],
        ),
        (
            "2001:db8:bad:5::1",
            [
                "2001:db8:bad:5::1",
                "2001:db8:bad:5::/64",
                "2001:db8:bad:4::/62",
            ],
        ),
    ] {
        for target in targets {
            let output = over_ssh(peer, &["block", target])?;
            says(&output, 1, &[peer, "your own SSH session", "--force"])?;
        }
        says(&over_ssh(peer, &["block", "192.0.2.77"])?, 0, &["blocked"])?;
        agent.cli_ok(&["unblock", "192.0.2.77"])?;
    }
    ensure!(agent.cli_json(&["list"])?["total"] == 0, "it was blocked");
    // Somebody else's session is no reason, and who insists gets it.
    agent.cli_ok(&["block", "203.0.113.88/29"])?;
    let output = over_ssh("203.0.113.90", &["mode", "block"])?;
    says(&output, 1, &["203.0.113.90", "--confirm-within"])?;
    agent.cli_ok(&["unblock", "203.0.113.88/29"])?;
    let output = over_ssh("203.0.113.90", &["block", "203.0.113.88/29", "--force"])?;
    says(&output, 0, &["blocked 203.0.113.88/29"])?;
    let careful = ["mode", "block", "--confirm-within", "5m"];
    says(&over_ssh("203.0.113.90", &careful)?, 0, &["mode confirm"])?;
    let mut tap = lab.edge_tap()?;
    ensure!(
        !passes(&lab, &mut tap, "203.0.113.90")?,
        "it is not blocked"
    );
    Ok(())
}

fn local() -> Result<()> {
    let lab = Lab::new("local")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    for target in [
        "192.0.2.10",
        "192.0.2.0/24",
        "::ffff:192.0.2.10",
        "2001:db8::10",
        "2001:db8::/32",
        "127.0.0.1",
        "0.0.0.0/0",
        "::/0",
    ] {
        let output = agent.cli(&["block", target])?;
        says(&output, 1, &["an address of this host", "--force"])?;
    }
    let output = agent.cli(&["block", "192.0.2.10", "--json"])?;
    let error: serde_json::Value = serde_json::from_str(&output.stderr)?;
    ensure!(
        output.code == 1 && error["error"]["kind"] == "protected",
        "{output:?}"
    );
    ensure!(agent.cli_json(&["list"])?["total"] == 0, "it was blocked");
    says(
        &agent.cli(&["block", "192.0.2.10", "--force"])?,
        0,
        &["blocked"],
    )
}

fn proxy() -> Result<()> {
    let lab = Lab::new("proxy")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    let mut tap = lab.edge_tap()?;
    for target in [
        "198.51.100.70",
        "198.51.100.0/24",
        "198.51.100.64/26",
        "2001:db8:9::70",
        "2001:db8:8::/45",
    ] {
        says(
            &agent.cli(&["block", target])?,
            1,
            &["trusted-proxy", "cdn", "--force"],
        )?;
        // Forced, it holds for the rest: the proxy itself is never dropped.
        agent.cli_ok(&["block", target, "--force"])?;
    }
    for source in ["198.51.100.70", "2001:db8:9::70", "198.51.100.130"] {
        ensure!(passes(&lab, &mut tap, source)?, "{source} does not pass");
    }
    ensure!(!passes(&lab, &mut tap, "198.51.100.10")?, "the rest passes");
    says(&agent.cli(&["verify"])?, 0, &[])
}
