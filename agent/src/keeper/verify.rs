//! Intended against kernel.

use super::{Keeper, wanted};
use crate::{control::report::Verification, datapath::netlink};

/// Differences told in one answer; the rest is counted.
const DIFFERENCES_SHOWN_MAX: usize = 100;

impl Keeper {
    pub(super) fn verify(&mut self) -> anyhow::Result<Verification> {
        self.end_decisions()?;
        self.end_feed_entries();
        let now = self.clock.now();
        let (wanted, _) = wanted::wanted(
            &self.config,
            self.decisions.values(),
            &self.feeds,
            &mut self.classes,
            now,
        );
        self.datapath.reread()?;
        let mut found = self.datapath.verify(&wanted)?;
        let policy = self.policy();
        let live = self.datapath.policy().with_present(0);
        if live != policy {
            found.differences.push(format!(
                "the policy word is {:#x} and should be {:#x} (mode, thresholds, refusal)",
                live.0, policy.0
            ));
        }
        let present = netlink::interfaces()?;
        let program = self.datapath.program_id()?;
        for held in self.datapath.attached() {
            let there = present
                .iter()
                .find(|interface| interface.index == held.index);
            match there.map(|interface| interface.xdp) {
                Some(Some(xdp)) if xdp.program == program => {}
                Some(Some(xdp)) => found.differences.push(format!(
                    "{} runs program {} and should run {program}",
                    held.name, xdp.program
                )),
                Some(None) => found
                    .differences
                    .push(format!("{} runs no program", held.name)),
                None => found.differences.push(format!("{} is gone", held.name)),
            }
        }
        for (name, why) in &self.missing_interfaces {
            found
                .differences
                .push(format!("{name} is not guarded: {why}"));
        }
        let total = found.differences.len() as u64;
        found.differences.truncate(DIFFERENCES_SHOWN_MAX);
        let found = Verification {
            matches: total == 0,
            checked: found.checked,
            differences: found.differences,
            differences_total: total,
        };
        self.onlookers.verified = Some((now.wall_ms, found.clone()));
        Ok(found)
    }
}
