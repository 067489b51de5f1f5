//! `health`: what is wrong with the set-up, and which of it is left alone on purpose.

use clap::{Args, Subcommand};

use super::{Context, Outcome, Trouble, output, read};
use crate::{
    control::Request,
    policy::posture::{Posture, Severity, State, Task},
};

/// `edgeward health`.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// Shows what is complete and what was dismissed too
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Leave a task alone, with a reason
    Dismiss {
        /// Its name
        task: String,
        /// Why nothing is to be done
        #[arg(long, value_parser = reason)]
        reason: String,
    },
    /// Take a task up again that was dismissed
    Restore {
        /// Its name
        task: String,
    },
}

impl Health {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        match self.what {
            None => show(context, self.all),
            Some(What::Dismiss { task, reason }) => change(context, task, Some(reason)),
            Some(What::Restore { task }) => change(context, task, None),
        }
    }
}

fn change(context: &mut Context<'_>, task: String, reason: Option<String>) -> Outcome {
    let data = context.ask(Request::HealthDismiss { task, reason })?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let word = |key: &str| data.get(key).and_then(serde_json::Value::as_str);
    let (task, state) = (word("task").unwrap_or("?"), word("state").unwrap_or("?"));
    context.line(format_args!("{task}: {state}"))
}

fn show(context: &mut Context<'_>, all: bool) -> Outcome {
    let data = context.ask_patiently(Request::Health, super::LONG_PATIENCE)?;
    let printed = context.printed_json(&data)?;
    let posture: Posture = read(data)?;
    if !printed {
        for task in &posture.tasks {
            if all || task.state == State::Incomplete {
                context.text(&sheet(task))?;
            }
        }
        let count = |state: State| {
            posture
                .tasks
                .iter()
                .filter(|task| task.state == state)
                .count()
        };
        context.line(format_args!(
            "score {} of 100: {} open, {} dismissed, {} complete",
            posture.score,
            count(State::Incomplete),
            count(State::Dismissed),
            count(State::Complete)
        ))?;
    }
    match posture.worst {
        None => Ok(()),
        Some(worst) => Err(Trouble::Posture(worst)),
    }
}

fn sheet(task: &Task) -> String {
    let mark = match task.state {
        State::Complete => "ok",
        State::Dismissed => "dismissed",
        State::Incomplete => task.severity.name(),
    };
    let mut sheet = output::Sheet::default();
    sheet.add(mark, format!("{} ({})", task.title, task.id));
    if task.state != State::Complete {
        for (label, text) in [("  seen", &task.evidence), ("  mend", &task.fix)] {
            sheet.add(label, text);
        }
        if let Some(filter) = &task.filter {
            sheet.add("  look", format!("edgeward log --filter '{filter}'"));
        }
    }
    if let Some(dismissed) = &task.dismissed {
        let when = output::utc(dismissed.at);
        let text = format!("{} ({}, {when})", dismissed.reason, dismissed.actor);
        sheet.add("  left", text);
    }
    sheet.render()
}

/// Exit codes by the gravest task that is open: none of those that say something else.
pub(super) const fn code(worst: Severity) -> u8 {
    match worst {
        Severity::Low => 10,
        Severity::Moderate => 11,
        Severity::High => 12,
        Severity::Critical => 13,
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > REASON_BYTES_MAX {
        return Err(format!("must have 1 to {REASON_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("holds control characters".to_owned());
    }
    Ok(text.to_owned())
}

const REASON_BYTES_MAX: usize = 255;
