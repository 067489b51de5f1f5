//! `train`: a learned model of labelled logs. Needs no agent.

use std::{
    fs::{self, File},
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    Context, Outcome, Trouble, output,
    past::{LogOptions, open, unreadable},
};
use crate::{
    policy::signal::Signal,
    signal::{
        lines::{Line, Lines},
        read_line,
    },
    training::{self, Label, Lesson, Trained},
};

/// `edgeward train`. Compare what comes of it by `replay --model` before it is switched on.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// Logs of the same format, plain or compressed by gzip, zstd, xz or bzip2; each is one lesson
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    log_is: LogOptions,
    /// For each log, in their order, a file with the label of each of its lines: `innocent`, `attack` or the attack's
    /// name, `-` where it is not known
    #[arg(long, value_name = "FILE", required = true)]
    labels: Vec<PathBuf>,
    /// Where the model goes
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
    /// Only sources can be refused: clients connect directly. Always so for sshd
    #[arg(long)]
    direct: bool,
}

/// Most labelled signals of all logs: some 800 MB while they are learned from.
const SIGNALS_MAX: usize = 8 << 20;

impl Train {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        self.log_is.check()?;
        if self.labels.len() != self.logs.len() {
            return Err(Trouble::Usage(format!(
                "{} and {}; give one --labels for each log",
                output::count(self.logs.len() as u64, "log"),
                output::count(self.labels.len() as u64, "file of labels"),
            )));
        }
        let mut lessons = Vec::new();
        let mut left = SIGNALS_MAX;
        for (log, labels) in self.logs.iter().zip(&self.labels) {
            let signals = self.signals(log, labels, context.now, left)?;
            left = left.saturating_sub(signals.len());
            lessons.push(signals);
        }
        let sees_requests = !self.direct && !self.log_is.is_direct();
        let lessons: Vec<Lesson<'_>> = lessons
            .iter()
            .map(|signals| Lesson {
                signals,
                sees_requests,
            })
            .collect();
        let trained = output::waiting("learning", || training::train(&lessons));
        let trained = trained.map_err(|error| Trouble::Failed(error.to_string()))?;
        write(&self.out, &trained)?;
        let signals = lessons.iter().map(|lesson| lesson.signals.len() as u64);
        let (signals, named, nameless) = (signals.sum(), trained.named, trained.nameless);
        if context.json {
            let data = serde_json::json!({
                "signals": signals,
                "named": { "innocent": named.innocent, "attack": named.attack },
                "nameless": { "innocent": nameless.innocent, "attack": nameless.attack },
                "model": self.out,
            });
            return context.line(format_args!("{data}"));
        }
        let mut sheet = output::Sheet::default();
        sheet.add("signals", output::number(signals));
        for (what, examples) in [("with names", named), ("without", nameless)] {
            let text = if examples == training::Examples::default() {
                "no examples; as in the model that is shipped".to_owned()
            } else {
                let attack = output::number(examples.attack as u64);
                let innocent = output::number(examples.innocent as u64);
                format!("{attack} examples of attacks, {innocent} of people")
            };
            sheet.add(what, text);
        }
        sheet.add("model", self.out.display().to_string());
        context.text(&sheet.render())
    }

    /// The signals of a log, each with the label of its line.
    fn signals(
        &self,
        log: &Path,
        labels: &Path,
        now: u64,
        signals_max: usize,
    ) -> Result<Vec<(Signal, Label)>, Trouble> {
        let (input, written_ms) = open(log, now)?;
        let mut format = self.log_is.reader(written_ms)?;
        let file = File::open(labels).map_err(|error| unreadable(labels, &error))?;
        let mut labels_in = Lines::new(BufReader::new(file));
        let mut lines = Lines::new(input);
        let (mut signals, mut found) = (Vec::new(), Vec::new());
        let mut label = Label::Unknown;
        while let Some((number, line)) =
            lines.next_line().map_err(|error| unreadable(log, &error))?
        {
            let labelled = labels_in
                .next_line()
                .map_err(|error| unreadable(labels, &error))?;
            let Some((_, word)) = labelled else {
                return Err(Trouble::Failed(format!(
                    "{} has no label for line {number} of {}",
                    labels.display(),
                    log.display()
                )));
            };
            label = read_label(&word);
            if let Line::Text(bytes) = line {
                // What cannot be read teaches nothing; `replay` names it.
                let _rejected = read_line(bytes, format.as_mut(), &mut found);
            }
            signals.extend(found.drain(..).map(|signal| (signal, label)));
            if signals.len() > signals_max {
                return Err(Trouble::Failed(format!(
                    "the logs hold more than {SIGNALS_MAX} signals; train on a part of them"
                )));
            }
        }
        format.finish(&mut found);
        signals.extend(found.drain(..).map(|signal| (signal, label)));
        if signals.is_empty() {
            return Err(Trouble::Failed(format!(
                "{} holds no sign-in. Is this the right --format?",
                log.display()
            )));
        }
        Ok(signals)
    }
}

fn read_label(line: &Line<'_>) -> Label {
    match line {
        Line::Text(bytes) => {
            std::str::from_utf8(bytes).map_or(Label::Unknown, |word| Label::read(word.trim()))
        }
        Line::TooLong => Label::Unknown,
    }
}

/// Written aside and renamed: a reader sees the old model or the new one.
fn write(path: &Path, trained: &Trained) -> Outcome {
    let failed = |error: std::io::Error| {
        Trouble::Failed(format!("{} cannot be written: {error}", path.display()))
    };
    let aside = path.with_extension("new");
    let mut file = File::create(&aside).map_err(failed)?;
    write!(file, "# Written by edgeward train\n{}", trained.model).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&aside, path).map_err(failed)
}

#[cfg(test)]
#[path = "train_tests.rs"]
mod tests;
