//! `feed`: reputation from outside, and how it is.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{Context, Outcome, output, read};
use crate::control::{
    Request,
    report::{FeedRows, FeedState, Health},
};

/// `edgeward feed`.
#[derive(Debug, Args)]
pub(super) struct Feed {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every feed with how it is
    List,
    /// One feed: what it brought, what was refused and what could not be read
    Show {
        /// The feed's name
        name: String,
    },
    /// Look at a feed now
    Refresh {
        /// The feed's name
        name: String,
        /// Take it over whatever it is: empty, or changed by more than is believed
        #[arg(long)]
        force: bool,
    },
}

/// The answer of `refresh`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refreshed {
    entries: u64,
    added: u64,
    removed: u64,
    altered: u64,
    refused: BTreeMap<String, u64>,
    bad: u64,
}

impl Feed {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        match self.what {
            What::List => list(context),
            What::Show { name } => show(context, name),
            What::Refresh { name, force } => refresh(context, name, force),
        }
    }
}

fn list(context: &mut Context<'_>) -> Outcome {
    let data = context.ask(Request::FeedList)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let report: FeedRows = read(data)?;
    if report.feeds.is_empty() {
        return context.line(format_args!(
            "no feeds; add [[feed]] tables to the configuration"
        ));
    }
    let mut table = output::Table::new(&[
        "FEED", "FORMAT", "STATE", "ENTRIES", "REFUSED", "BAD", "HEARD", "SOURCE",
    ]);
    for feed in &report.feeds {
        table.row([
            feed.name.clone(),
            feed.format.clone(),
            word(feed.health).to_owned(),
            output::number(feed.entries),
            output::number(feed.refused.values().sum()),
            output::number(feed.bad),
            ago(feed.heard, context.now),
            feed.source.clone(),
        ]);
    }
    context.text(&table.render())?;
    for feed in &report.feeds {
        if let Some(error) = &feed.error {
            context.line(format_args!("{} {error}", feed.name))?;
        }
    }
    Ok(())
}

fn show(context: &mut Context<'_>, name: String) -> Outcome {
    let data = context.ask(Request::FeedShow { name })?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let feed: FeedState = read(data)?;
    let mut sheet = output::Sheet::default();
    sheet.add("feed", format!("{} ({})", feed.name, feed.format));
    sheet.add("source", &feed.source);
    let state = match &feed.error {
        Some(error) => format!("{}: {error}", word(feed.health)),
        None => word(feed.health).to_owned(),
    };
    sheet.add("state", state);
    sheet.add("entries", output::number(feed.entries));
    sheet.add("refused", counts(&feed.refused));
    sheet.add("passed over", counts(&feed.skipped));
    sheet.add("heard", ago(feed.heard, context.now));
    sheet.add("asked", ago(feed.tried, context.now));
    if let Some(next) = feed.next {
        let wait = output::span(next.saturating_sub(context.now));
        sheet.add("next", format!("in {wait}"));
    }
    if feed.until.is_some() {
        sheet.add("ends", output::ends(feed.until, context.now));
    }
    sheet.add(
        "rounds",
        format!(
            "{} changed, {} unchanged, {} refused, {} failed",
            output::number(feed.fetched),
            output::number(feed.unchanged),
            output::number(feed.rejected),
            output::number(feed.failed)
        ),
    );
    sheet.add(
        "cannot be read",
        format!(
            "{} of {} lines or objects",
            output::number(feed.bad),
            output::number(feed.seen)
        ),
    );
    context.text(&sheet.render())?;
    for bad in &feed.bad_parts {
        context.line(format_args!("  {}: {}", bad.place, bad.what))?;
    }
    Ok(())
}

fn refresh(context: &mut Context<'_>, name: String, force: bool) -> Outcome {
    let data = context.ask_patiently(Request::FeedRefresh { name, force }, super::LONG_PATIENCE)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let done: Refreshed = read(data)?;
    context.line(format_args!(
        "{}: {} added, {} removed, {} changed; {} refused, {} that cannot be read",
        output::count(done.entries, "network"),
        output::number(done.added),
        output::number(done.removed),
        output::number(done.altered),
        counts(&done.refused),
        output::number(done.bad),
    ))
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::New => "new",
        Health::Ok => "ok",
        Health::Failing => "failing",
        Health::Refused => "refused",
    }
}

fn ago(at: Option<u64>, now: u64) -> String {
    at.map_or_else(
        || "never".to_owned(),
        |at| format!("{} ago", output::span(now.saturating_sub(at))),
    )
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(what, count)| format!("{} {what}", output::number(*count)))
        .collect();
    counts.join(", ")
}
