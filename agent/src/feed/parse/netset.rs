//! One network a line, as list files of zones and lists have them.

use std::io::BufRead;

use super::{Harvest, Unfit};
use crate::config::{Networks, list_file};

pub(super) fn read(source: impl BufRead, harvest: &mut Harvest<'_>) -> Result<(), Unfit> {
    let mut networks = Networks::default();
    let room = harvest.draft.room();
    let scan = list_file::scan_up_to(source, &mut networks, room).map_err(Unfit::Content)?;
    harvest.report.seen = scan.lines;
    harvest.report.bad = scan.bad_total;
    harvest
        .report
        .bad_kept
        .extend(scan.bad.into_iter().map(|bad| super::Bad {
            place: format!("line {}", bad.line),
            what: bad.what,
        }));
    let networks_read = networks.len();
    for network in networks.iter() {
        harvest.entry(network, None, None, None)?;
    }
    // A range is one line and several networks.
    harvest.report.read = u64::try_from(networks_read).unwrap_or(u64::MAX);
    Ok(())
}
