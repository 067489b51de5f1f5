//! Rules, model, both, CrowdSec and fail2ban on the same traffic, kind by kind.
//!
//! Each kind of attack is looked at alone among the same people, so that innocent sign-ins are counted against the kind
//! they were hit for.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use edgeward::{
    policy::{defence::Decides, model::Model},
    replay::Replay,
};

use super::{
    Attack, Attempt, Flow, Format, Parameters, Truth, generate,
    measure::{Measured, SEEDS, View, percent, seen, settings},
    peers::{Log, Peer, Run},
    write,
};

/// Who refuses, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// Edgeward.
    Edgeward(Decides),
    /// Somebody else.
    Peer(Peer),
}

/// What everybody refuses, by kind of attack and contender.
pub type Compared = BTreeMap<(Attack, Contender), Measured>;

/// One of the three tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Requests, with names; Edgeward alone.
    Requests,
    /// An nginx log.
    Nginx,
    /// An sshd log.
    Sshd,
}

impl Source {
    /// All.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Nginx, Self::Sshd];

    const fn view(self) -> View {
        match self {
            Self::Requests => View::Requests,
            Self::Nginx => View::AccessLog,
            Self::Sshd => View::Direct,
        }
    }

    /// The log that peers read.
    const fn log(self) -> Option<(Log, Format)> {
        match self {
            Self::Requests => None,
            Self::Nginx => Some((Log::Nginx, Format::Nginx)),
            Self::Sshd => Some((Log::Sshd, Format::Sshd)),
        }
    }

    /// What it is called in the page.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Requests => {
                "In the path: names, unknown users and user agents are seen, requests are refused"
            }
            Self::Nginx => "The same nginx log for everybody",
            Self::Sshd => "The same sshd log for everybody",
        }
    }
}

/// Measures everybody on the seeds that nothing was tuned on.
///
/// # Errors
/// A peer is not there or failed.
pub fn compare(source: Source) -> Result<Compared> {
    let model = Model::shipped()?;
    let mut compared = Compared::new();
    for seed in SEEDS {
        let mut attempts = generate(&Parameters {
            seed,
            ..Parameters::default()
        });
        if source == Source::Sshd {
            attempts.retain(|attempt| attempt.flow == Flow::SignIn);
        }
        let runs = match source.log() {
            None => Vec::new(),
            Some((log, format)) => peers(&attempts, log, format)?,
        };
        for attack in Attack::ALL {
            let alone: Vec<Attempt> = attempts
                .iter()
                .filter(|attempt| match attempt.truth {
                    Truth::Attack(kind) => kind == attack,
                    Truth::Person | Truth::StaleDevice => true,
                })
                .cloned()
                .collect();
            if !alone.iter().any(|one| one.truth == Truth::Attack(attack)) {
                continue;
            }
            for decides in [Decides::Rules, Decides::Model, Decides::Both] {
                let settings = settings(source.view(), decides, Some(model));
                let mut replay = Replay::new(settings, |_| false);
                let measured = compared.entry((attack, Contender::Edgeward(decides)));
                let refuses = |one: &Attempt| replay.take(&seen(one, source.view()));
                measured.or_default().add(&alone, refuses);
            }
            for (peer, run) in &runs {
                let measured = compared.entry((attack, Contender::Peer(*peer)));
                let refuses = |one: &Attempt| run.refuses(one.client, one.time_ms);
                measured.or_default().add(&alone, refuses);
            }
        }
    }
    Ok(compared)
}

/// The comparison as a Markdown table, and where a peer does better than rules and model together.
#[must_use]
pub fn table(compared: &Compared) -> String {
    let mut text = String::from(
        "| attack | refuses | sources refused | attempts refused | precision | attempts before refusal, median | time to refusal, median | innocent sign-ins hit |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((attack, contender), measured) in compared {
        let Some(kind) = measured.kinds.get(attack) else {
            continue;
        };
        // Writing into a String cannot fail.
        let _infallible = writeln!(
            text,
            "| {} | {} | {:.1} % | {:.1} % | {} | {} | {} of {} |",
            attack.label(),
            contender.name(),
            kind.sources_percent(),
            kind.attempts_percent(),
            precision(measured),
            kind.soonest(),
            measured.sign_ins_hit,
            measured.sign_ins,
        );
    }
    text
}

/// Where a peer refuses more sources or attempts of a kind, or hits fewer people, than rules and model together.
#[must_use]
pub fn behind(compared: &Compared) -> Vec<String> {
    let mut behind = Vec::new();
    for ((attack, contender), theirs) in compared {
        let Contender::Peer(peer) = contender else {
            continue;
        };
        let ours = compared.get(&(*attack, Contender::Edgeward(Decides::Both)));
        let Some((ours, ours_kind, their_kind)) =
            ours.and_then(|ours| Some((ours, ours.kinds.get(attack)?, theirs.kinds.get(attack)?)))
        else {
            continue;
        };
        let more: Vec<&str> = [
            (
                their_kind.detected > ours_kind.detected,
                "refuses more sources",
            ),
            (
                their_kind.refused > ours_kind.refused,
                "refuses more attempts",
            ),
            (theirs.sign_ins_hit < ours.sign_ins_hit, "hits fewer people"),
        ]
        .into_iter()
        .filter_map(|(is, what)| is.then_some(what))
        .collect();
        if more.is_empty() {
            continue;
        }
        // What it costs: nobody is better who refuses more and hits more people for it, or the other way round.
        let price = format!(
            "({:.1} % of the attempts and {} sign-ins of people, against {:.1} % and {})",
            their_kind.attempts_percent(),
            theirs.sign_ins_hit,
            ours_kind.attempts_percent(),
            ours.sign_ins_hit
        );
        let (peer, more) = (peer.name(), more.join(" and "));
        behind.push(format!("- {}: {peer} {more} {price}", attack.label()));
    }
    behind
}

impl Contender {
    fn name(self) -> String {
        match self {
            Self::Edgeward(decides) => {
                let who = match decides {
                    Decides::Rules => "rules",
                    Decides::Model => "model",
                    Decides::Both => "both",
                };
                format!("Edgeward, {who}")
            }
            Self::Peer(peer) => peer.name().to_owned(),
        }
    }
}

fn precision(measured: &Measured) -> String {
    let refused: u64 = measured.kinds.values().map(|kind| kind.refused).sum();
    if refused + measured.attempts_hit == 0 {
        return "-".to_owned();
    }
    format!("{:.2} %", percent(refused, refused + measured.attempts_hit))
}

/// Both peers on the log of these attempts, side by side.
fn peers(attempts: &[Attempt], log: Log, format: Format) -> Result<Vec<(Peer, Run)>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("traffic.log");
    let mut file = BufWriter::new(File::create(&path)?);
    write(attempts, format, &mut file)?;
    file.flush()?;
    let read =
        |peer: Peer, path: &Path| -> Result<(Peer, Run)> { Ok((peer, peer.read(path, log)?)) };
    thread::scope(|scope| {
        let running = Peer::ALL.map(|peer| {
            scope.spawn({
                let path = &path;
                move || read(peer, path)
            })
        });
        let joined = running.into_iter().map(|one| {
            one.join()
                .map_err(|_| anyhow!("a peer's thread panicked"))?
        });
        joined.collect::<Result<Vec<_>>>().context("peers")
    })
}
