//! `run`: the agent itself, in the foreground.

use std::{io, path::Path};

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{Context, Outcome, Trouble};
use crate::config::{Config, Mistakes};

/// `edgeward run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Attach here instead of where the configuration says; may be repeated
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
}

impl Run {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let filter = EnvFilter::try_from_env("EDGEWARD_LOG").unwrap_or_else(|_| "info".into());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .init();
        let mut config = self.configuration(context).map_err(|mistakes| {
            Trouble::Configuration(format!(
                "{mistakes}\nthe agent does not start with mistakes"
            ))
        })?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(socket) = &context.socket {
            config.socket.clone_from(socket);
        }
        crate::allocator::give_back();
        crate::run(config, &self.interfaces).map_err(|error| Trouble::Failed(format!("{error:#}")))
    }

    /// Without a file the defaults will do, if the interfaces are named.
    fn configuration(&self, context: &Context<'_>) -> Result<Config, Mistakes> {
        let path = context.config_path();
        if context.config.is_none() && !self.interfaces.is_empty() && !path.exists() {
            return Config::parse("", Path::new("/etc/edgeward"), "(defaults)");
        }
        Config::load(path)
    }
}
