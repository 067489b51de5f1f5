//! Scores against thresholds, and thresholds that change while packets are judged.

use anyhow::ensure;
use lab::frames::Frame;
use lab::xdp::Action;
use lab::{AgentConfig, Result};

use crate::edge::{Edge, ends, of, without_events};

const SCORES: [u8; 10] = [1, 29, 30, 31, 69, 70, 71, 79, 80, 100];

fn config(block: i64, limit: i64) -> AgentConfig {
    let lists = AgentConfig::new("block")
        .set("reputation.block_threshold", block)
        .set("reputation.limit_threshold", limit)
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0);
    SCORES.into_iter().fold(lists, |config, score| {
        let networks = [
            format!("203.0.113.{score}"),
            format!("198.18.{score}.0/24"),
            format!("198.19.{score}.0/25"),
            format!("2001:db8:bad:{score}::1"),
            format!("2001:db8:{score}::/60"),
        ];
        config.list(
            &format!("score-{score}"),
            score,
            &networks.each_ref().map(String::as_str),
        )
    })
}

pub(crate) fn thresholds() -> Result<()> {
    let edge = Edge::quiet("thresholds", &config(70, 30))?;
    check(&edge, 70, 30)?;
    for (block, limit) in [(71, 31), (100, 1), (1, 1), (100, 100), (80, 40)] {
        edge.agent.reconfigure(&config(block, limit))?;
        edge.agent.cli_ok(&["reload"])?;
        check(&edge, block, limit)?;
    }
    Ok(())
}

fn check(edge: &Edge, block: i64, limit: i64) -> Result<()> {
    for score in SCORES {
        let found = i64::from(score);
        let (action, counter) = if found >= block {
            (Action::Drop, "packets.refused")
        } else if found >= limit {
            (Action::Pass, "packets.limited")
        } else {
            (Action::Pass, "packets.pass")
        };
        let sources = [
            format!("203.0.113.{score}"),
            format!("198.18.{score}.7"),
            format!("198.19.{score}.7"),
            format!("2001:db8:bad:{score}::1"),
            format!("2001:db8:{score}:f::7"),
        ];
        let counted = edge.counted(|| {
            for source in &sources {
                let ends = ends(source.parse()?, 443);
                let frame = Frame::between(ends.source, ends.target).echo().build();
                edge.expect(
                    &format!("{source} with {block} and {limit}"),
                    &frame,
                    action,
                )?;
            }
            Ok(())
        })?;
        let refused = if found >= block { 5 } else { 0 };
        let expected = of(&[(counter, 5), ("reasons.reputation", refused)]);
        let counted = without_events(counted);
        ensure!(
            counted == expected,
            "score {score} with {block} and {limit}: {counted:?}"
        );
    }
    Ok(())
}
