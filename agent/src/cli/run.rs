//! `run`: the agent itself, in the foreground.

use clap::Args;

use super::{Context, Outcome, Trouble};

/// `edgeward run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Attach here instead of where the configuration says; may be repeated
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
}

impl Run {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        Err(Trouble::Failed(format!(
            "this build cannot run the agent with {} on {:?}",
            context.config_path().display(),
            self.interfaces
        )))
    }
}
