//! `verify`: what should be enforced against what the kernel holds.

use super::{Context, LONG_PATIENCE, Outcome, Trouble, output, read};
use crate::control::{Request, report::Verification};

pub(super) fn execute(context: &mut Context<'_>) -> Outcome {
    let data = output::waiting("comparing with the kernel", || {
        context.ask_patiently(Request::Verify, LONG_PATIENCE)
    })?;
    let report: Verification = read(data.clone())?;
    if !context.printed_json(&data)? {
        let checked = output::count(report.checked, "entry").replace("entrys", "entries");
        if report.matches {
            context.line(format_args!(
                "the kernel holds exactly what it should; {checked} compared"
            ))?;
        } else {
            for difference in &report.differences {
                context.line(format_args!("{difference}"))?;
            }
            let all = report
                .differences_total
                .max(report.differences.len() as u64);
            context.line(format_args!(
                "{}; {checked} compared. `edgeward reload` writes them again",
                output::count(all, "difference")
            ))?;
        }
    }
    if report.matches {
        Ok(())
    } else {
        Err(Trouble::Difference)
    }
}
