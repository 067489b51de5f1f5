//! aya-log lines of a debugging build (`cargo xtask build-ebpf --debug-log`); other builds have none.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tracing::{debug, warn};

/// The lines' way out: kept as long as the program, since dropping it closes the map under later loads.
pub(super) struct DebugLog(Option<EbpfLogger<ToTracing>>);

impl DebugLog {
    /// Takes the log map, if this build has one. The program must be loaded.
    pub(super) fn take(ebpf: &mut Ebpf) -> Self {
        if ebpf.map("AYA_LOGS").is_none() {
            return Self(None);
        }
        match EbpfLogger::init_with_logger(ebpf, ToTracing) {
            Ok(logger) => Self(Some(logger)),
            Err(error) => {
                warn!(%error, "the program's debug lines cannot be read");
                Self(None)
            }
        }
    }

    /// Writes out what has come.
    pub(super) fn flush(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

/// aya-log speaks `log`, the agent `tracing`.
pub(super) struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        debug!(target: "edgeward::kernel", level = %record.level(), "{}", record.args());
    }

    fn flush(&self) {}
}
