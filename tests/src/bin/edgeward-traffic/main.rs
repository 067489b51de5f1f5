//! `cargo xtask traffic`: writes labelled sign-in traffic, or measures detection on it.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use edgeward::policy::{defence::Decides, model::Model};
use lab::traffic::{
    Format, Parameters,
    attacked::{self, tightening},
    compare::{Source, behind, compare, table},
    generate,
    measure::{SEEDS, View, measure},
    systems,
    train::{TRAINING_SEEDS, TUNING_SEEDS, train},
    write, write_labels,
};

/// Labelled sign-in traffic: people with their rhythm and mistakes, and attacks on them
#[derive(Parser)]
#[command(name = "cargo xtask traffic", bin_name = "cargo xtask traffic")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write traffic as a log
    Write {
        /// The same seed, the same traffic
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// People with an account
        #[arg(long, default_value_t = Parameters::default().people)]
        people: u32,
        /// Days, beginning on a Monday
        #[arg(long, default_value_t = Parameters::default().days)]
        days: u32,
        /// People alone
        #[arg(long)]
        no_attacks: bool,
        /// The form of the log; json has the labels
        #[arg(long, default_value = "json")]
        format: Form,
        /// Where to [default: standard output]
        #[arg(long)]
        out: Option<PathBuf>,
        /// Write the label of each line there, for `edgeward train`
        #[arg(long, value_name = "FILE")]
        labels: Option<PathBuf>,
    },
    /// Measure the state under attack alone, on one seed; exit 1 if a goal is missed
    Attacked {
        /// The same seed, the same traffic
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Measure what tightening adds while a service is under attack
    Tightening,
    /// Train the model that is shipped, on seeds of its own
    Train {
        /// Where to [default: standard output]
        #[arg(long, value_name = "agent/src/policy/model/shipped.txt")]
        out: Option<PathBuf>,
    },
    /// Compare rules, model, both, CrowdSec and fail2ban on seeds that nothing was tuned on. CrowdSec takes minutes for
    /// each log
    Peers {
        /// Put the tables into this page, between its marks
        #[arg(long, value_name = "docs/detection.md")]
        into: Option<PathBuf>,
    },
    /// Measure rules, model and both on seeds to tune by
    Tune {
        /// The model [default: the one that is shipped]
        model: Option<PathBuf>,
    },
    /// Measure detection on seeds that nothing was tuned on; exit 1 if a goal is missed
    Measure {
        /// Put the tables into this page, between its marks
        #[arg(long, value_name = "docs/detection.md")]
        into: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// JSON lines with labels
    Json,
    /// nginx, combined format
    Nginx,
    /// sshd in syslog, ISO times
    Sshd,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Write {
            seed,
            people,
            days,
            no_attacks,
            format,
            out,
            labels,
        } => {
            let attempts = generate(&Parameters {
                seed,
                people,
                days,
                attacks: !no_attacks,
            });
            let format = match format {
                Form::Json => Format::Json,
                Form::Nginx => Format::Nginx,
                Form::Sshd => Format::Sshd,
            };
            let mut sink: Box<dyn Write> = match out {
                Some(path) => {
                    Box::new(File::create(&path).with_context(|| path.display().to_string())?)
                }
                None => Box::new(io::stdout().lock()),
            };
            let mut buffered = BufWriter::new(&mut sink);
            write(&attempts, format, &mut buffered)?;
            buffered.flush()?;
            if let Some(path) = labels {
                let file = File::create(&path).with_context(|| path.display().to_string())?;
                let mut file = BufWriter::new(file);
                write_labels(&attempts, format, &mut file)?;
                file.flush()?;
            }
            Ok(())
        }
        Task::Attacked { seed } => {
            let measured = attacked::measure(&[seed]);
            print!("{}", measured.tables());
            complain(&measured.missed())
        }
        Task::Tightening => {
            print!("{}", tightening::measure(&SEEDS).table());
            Ok(())
        }
        Task::Measure { into } => measure_all(into),
        Task::Train { out } => train_shipped(out),
        Task::Peers { into } => peers(into),
        Task::Tune { model } => tune(model),
    }
}

fn train_shipped(out: Option<PathBuf>) -> Result<()> {
    let trained = train(&TRAINING_SEEDS)?;
    eprintln!(
        "named: {:?}; nameless: {:?}",
        trained.named, trained.nameless
    );
    let text = format!(
        "# Trained on the project's generator: cargo xtask traffic train --out agent/src/policy/model/shipped.txt\n{}",
        trained.model
    );
    match out {
        None => print!("{text}"),
        Some(path) => fs::write(&path, text).with_context(|| path.display().to_string())?,
    }
    Ok(())
}

fn peers(into: Option<PathBuf>) -> Result<()> {
    let mut text = String::new();
    for source in Source::ALL {
        eprintln!("{}", source.title());
        let compared = compare(source)?;
        text.push_str(&format!("### {}\n\n{}\n", source.title(), table(&compared)));
        if source == Source::Requests {
            continue;
        }
        let behind = behind(&compared);
        if behind.is_empty() {
            text.push_str("Rules and model together are ahead of both peers, or level with them, on every row.\n\n");
        } else {
            text.push_str(&format!(
                "Where a peer is ahead of rules and model together, and at what price:\n\n{}\n\n",
                behind.join("\n")
            ));
        }
    }
    match into {
        None => print!("{text}"),
        Some(path) => {
            let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            fs::write(&path, between(&page, &text, PEERS, PEERS_END)?)?;
        }
    }
    Ok(())
}

fn tune(model: Option<PathBuf>) -> Result<()> {
    let model = match model {
        None => Model::shipped()?,
        Some(path) => Model::parse(&fs::read_to_string(path)?)?,
    };
    for view in [View::Requests, View::Direct, View::AccessLog] {
        for decides in [Decides::Rules, Decides::Model, Decides::Both] {
            let measured = measure(
                &TUNING_SEEDS,
                &Parameters::default(),
                view,
                decides,
                Some(model),
            );
            let who = format!("{decides:?}").to_lowercase();
            println!("{view:?} {who}\n{}", measured.table());
        }
    }
    println!("{}", systems::table(&TUNING_SEEDS));
    Ok(())
}

fn measure_all(into: Option<PathBuf>) -> Result<()> {
    let mut text = String::new();
    let mut missed = Vec::new();
    let ordinary = Parameters::default();
    // Four attempts of attackers for one of people, and nothing learned before the first attack.
    let small = Parameters {
        people: 2_000,
        days: 3,
        ..ordinary
    };
    for (view, parameters, title) in [
        (
            View::Requests,
            ordinary,
            "Names, unknown users and user agents are seen, requests can be refused",
        ),
        (
            View::Direct,
            ordinary,
            "Only sources can be refused (sshd, clients that connect directly)",
        ),
        (View::AccessLog, ordinary, "An access log: no names"),
        (
            View::Requests,
            small,
            "The first, for 2,000 people over three days: four attempts of five are attacks",
        ),
    ] {
        let measured = measure(&SEEDS, &parameters, view, Decides::Rules, None);
        text.push_str(&format!("### {title}\n\n{}\n", measured.table()));
        let goals: Vec<String> = measured.missed().into_iter().collect();
        if goals.is_empty() {
            text.push_str("Every goal is reached.\n\n");
        } else {
            text.push_str(&format!("Missed: {}.\n\n", goals.join("; ")));
        }
        if view == View::Requests && parameters == ordinary {
            missed = goals;
        }
    }
    text.push_str(&format!(
        "### With a database of autonomous systems\n\n{}\n",
        systems::table(&SEEDS)
    ));
    let attacked = attacked::measure(&SEEDS);
    text.push_str(&format!("### Under attack\n\n{}\n", attacked.tables()));
    missed.extend(attacked.missed());
    let effect = tightening::measure(&SEEDS);
    text.push_str(&format!("### What tightening adds\n\n{}\n", effect.table()));
    match into {
        None => print!("{text}"),
        Some(path) => {
            let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            fs::write(&path, between(&page, &text, BEGIN, END)?)?;
        }
    }
    complain(&missed)
}

fn complain(missed: &[String]) -> Result<()> {
    if !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

/// The page with what is between its marks replaced.
fn between(page: &str, text: &str, begin: &str, end: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(begin)
        .with_context(|| format!("the page has no {begin}"))?;
    let (_, after) = rest
        .split_once(end)
        .with_context(|| format!("the page has no {end}"))?;
    Ok(format!(
        "{before}{begin}\n\n{}\n\n{end}{after}",
        text.trim_end()
    ))
}

const BEGIN: &str = "<!-- measured: cargo xtask traffic measure --into docs/detection.md -->";
const END: &str = "<!-- end of what was measured -->";
const PEERS: &str = "<!-- compared: cargo xtask traffic peers --into docs/detection.md -->";
const PEERS_END: &str = "<!-- end of what was compared -->";
