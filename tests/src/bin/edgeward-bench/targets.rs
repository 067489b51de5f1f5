//! What was to be reached, beside what was.

use crate::chain;
use crate::contenders::{Floor, Peer};
use crate::load::Load;
use crate::report::Figures;
use crate::stats::{median, megabytes, quantile};
use crate::throughput::{Case, Subject};
use crate::traffic::Family;
use crate::verdict::Cost;

/// One aim with its figure.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) aim: String,
    pub(crate) figure: String,
    pub(crate) reached: bool,
}

impl Target {
    pub(crate) fn at_least(
        what: String,
        aim: f64,
        figure: f64,
        show: impl Fn(f64) -> String,
    ) -> Self {
        let reached = figure >= aim;
        Self {
            what,
            aim: format!("≥ {}", show(aim)),
            figure: show(figure),
            reached,
        }
    }

    pub(crate) fn at_most(
        what: String,
        aim: f64,
        figure: f64,
        show: impl Fn(f64) -> String,
    ) -> Self {
        let reached = figure <= aim;
        Self {
            what,
            aim: format!("≤ {}", show(aim)),
            figure: show(figure),
            reached,
        }
    }
}

/// All aims of which the run has figures.
pub(crate) fn all(figures: &Figures) -> Vec<Target> {
    let mut targets = Vec::new();
    throughput(figures, &mut targets);
    verdict(figures, &mut targets);
    if let Some(load) = &figures.load {
        loading(load, &mut targets);
    }
    if let Some(block) = &figures.block {
        targets.push(Target::at_most(
            "one `block` to enforcement, 99th percentile".to_owned(),
            5.0,
            quantile(&block.enforced, 0.99),
            |ms| format!("{ms:.2} ms"),
        ));
    }
    targets.extend(figures.proxied.targets());
    targets.extend(chain::targets(&figures.chains));
    targets.extend(figures.detection.targets());
    targets.extend(figures.log.targets());
    targets
}

fn throughput(figures: &Figures, targets: &mut Vec<Target>) {
    for family in Family::ALL {
        // IPv6 may stay a fifth behind.
        let allowance = if family == Family::V4 { 1.0 } else { 0.8 };
        for (blocked, aim) in [(true, 0.5), (false, 0.6)] {
            let share = figures
                .case(Subject::Edgeward, family, Some(figures.largest), blocked)
                .and_then(|case| share_of_parse(figures, case));
            if let Some(share) = share {
                let sources = if blocked { "blocked" } else { "random" };
                let what = format!("{}, {sources} sources, of parse-and-DROP", family.name());
                targets.push(Target::at_least(what, aim * allowance, share, percent));
            }
        }
    }
    for (peer, blocked) in [
        (Peer::Nft, true),
        (Peer::Ipset, true),
        (Peer::Nft, false),
        (Peer::Ipset, false),
    ] {
        let find = |subject| figures.case(subject, Family::V4, Some(figures.largest), blocked);
        let (Some(edgeward), Some(other)) = (find(Subject::Edgeward), find(Subject::Peer(peer)))
        else {
            continue;
        };
        // As shares of parse-and-DROP: where frames pass, what the stack does with them is taken out of both.
        let shares = (
            share_of_parse(figures, edgeward),
            share_of_parse(figures, other),
        );
        if let (Some(ours), Some(theirs)) = shares {
            let sources = if blocked { "blocked" } else { "random" };
            let what = format!("IPv4, {sources} sources, against {}", peer.name());
            let raw = edgeward.rate() / other.rate().max(1.0);
            let mut target =
                Target::at_least(what, 3.0, ours / theirs, |times| format!("{times:.2} ×"));
            if !blocked {
                // A program that only parses is what the shares are shares of: nothing could do more.
                target.figure = format!(
                    "{} (only parsing {:.2} ×, raw rates {raw:.2} ×)",
                    target.figure,
                    1.0 / theirs
                );
            }
            targets.push(target);
        }
    }
    for family in Family::ALL {
        let case = figures.case(Subject::Edgeward, family, Some(figures.largest), true);
        let floor = figures.case(Subject::Floor(Floor::ParseDrop), family, None, true);
        if let (Some(case), Some(floor)) = (case, floor) {
            let what = format!(
                "{}, blocked: verdict under live load, all in",
                family.name()
            );
            let cost = case.nanoseconds() - floor.nanoseconds();
            targets.push(Target::at_most(what, 120.0, cost, nanoseconds));
        }
    }
}

fn verdict(figures: &Figures, targets: &mut Vec<Target>) {
    let name = |cost: &Cost| {
        format!(
            "{}, {} source",
            cost.family.name(),
            if cost.hit { "listed" } else { "unlisted" }
        )
    };
    for cost in figures
        .costs
        .iter()
        .filter(|cost| cost.entries == figures.largest)
    {
        let what = format!("{}: verdict by test run, one source", name(cost));
        targets.push(Target::at_most(what, 120.0, cost.above(), nanoseconds));
    }
    for cost in figures.costs.iter().filter(|cost| cost.entries == 0) {
        let what = format!(
            "{}: nothing listed, above a program that parses",
            cost.family.name()
        );
        targets.push(Target::at_most(what, 15.0, cost.above(), nanoseconds));
    }
}

fn loading(load: &Load, targets: &mut Vec<Target>) {
    let lines = crate::stats::entries(load.lines);
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes of memory, shown in megabytes"
    )]
    let mut memory = |what: &str, aim: u64, bytes: u64| {
        targets.push(Target::at_most(
            what.to_owned(),
            aim as f64,
            bytes as f64,
            |bytes| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "were bytes"
                )]
                let bytes = bytes as u64;
                megabytes(bytes)
            },
        ));
    };
    memory("kernel memory of all maps", 64_000_000, load.kernel());
    memory(
        "agent memory (VmRSS) with the list in force",
        150_000_000,
        load.resident,
    );
    targets.push(Target::at_most(
        format!("a file of {lines} lines enforced"),
        1.0,
        median(&load.fresh),
        |seconds| format!("{seconds:.2} s"),
    ));
}

/// The throughput as a share of parse-and-DROP.
///
/// What passes goes on into the network stack, which costs more than anything here. So the stack is taken out: the
/// time a passed packet takes beyond parse-and-PASS is added to parse-and-DROP's.
pub(crate) fn share_of_parse(figures: &Figures, case: &Case) -> Option<f64> {
    let drop = figures.case(Subject::Floor(Floor::ParseDrop), case.family, None, true)?;
    if case.blocked {
        return Some(case.rate() / drop.rate().max(1.0));
    }
    let pass = figures.case(Subject::Floor(Floor::ParsePass), case.family, None, false)?;
    let above = (case.nanoseconds() - pass.nanoseconds()).max(0.0);
    Some(drop.nanoseconds() / (drop.nanoseconds() + above))
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn nanoseconds(ns: f64) -> String {
    format!("{ns:.0} ns")
}
