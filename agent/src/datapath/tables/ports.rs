//! Rules by port and the limits of rates.

use anyhow::Context as _;
use edgeward_ebpf::abi::{Limits, profile};

use super::Tables;

impl Tables {
    /// Port rules as the kernel holds them.
    pub(in crate::datapath) fn installed_ports(&self) -> anyhow::Result<Vec<(u16, u64)>> {
        let mut found = Vec::new();
        for port in 0..=u16::MAX {
            match self.ports.get(&u32::from(port))? {
                Some(rules) if rules != 0 => found.push((port, rules)),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Rate limits as the kernel holds them.
    pub(in crate::datapath) fn installed_limits(
        &self,
    ) -> anyhow::Result<[Limits; profile::COUNT as usize]> {
        let mut found = [Limits::default(); profile::COUNT as usize];
        for (index, limit) in (0..).zip(&mut found) {
            *limit = self.limits.get(&index)?.unwrap_or_default();
        }
        Ok(found)
    }

    pub(super) fn set_ports(
        &mut self,
        ports: &[(u16, u64)],
        limits: &[Limits; profile::COUNT as usize],
    ) -> anyhow::Result<()> {
        for (index, limit) in (0..).zip(limits) {
            self.limits
                .set(&index, limit)
                .context("cannot set a rate limit")?;
        }
        self.limits_live = *limits;
        for (port, rules) in ports {
            self.ports
                .set(&u32::from(*port), rules)
                .context("cannot set a port's rules")?;
        }
        for (port, _) in &self.ports_live {
            if !ports.iter().any(|(kept, _)| kept == port) {
                self.ports
                    .set(&u32::from(*port), &0)
                    .context("cannot clear a port's rules")?;
            }
        }
        self.ports_live = ports.to_vec();
        Ok(())
    }

    pub(super) fn read_ports(&mut self) -> anyhow::Result<()> {
        self.ports_live = self.installed_ports()?;
        self.limits_live = self.installed_limits()?;
        Ok(())
    }
}
