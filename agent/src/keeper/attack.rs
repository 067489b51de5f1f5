//! Services under attack: what the kernel and the snapshot are told.

use edgeward_ebpf::abi::PolicyWord;

use super::{Keeper, wanted};

impl Keeper {
    /// The policy word that should hold. The kernel knows no services: an attack on one tightens for all.
    pub(super) fn policy(&self) -> PolicyWord {
        // A host without services in its configuration has one without a name.
        let attacked = self.attacked.contains("") || self.attacked_by_service().contains(&true);
        wanted::policy(&self.config, self.mode.mode, attacked)
    }

    /// For each service of the configuration, whether it is under attack.
    pub(super) fn attacked_by_service(&self) -> Vec<bool> {
        let services = self.config.services.iter();
        services
            .map(|service| self.attacked.contains(&service.name))
            .collect()
    }
}
