//! The text format of Prometheus (version 0.0.4), as far as the agent needs it.

use std::fmt::{self, Write as _};

use crate::histogram::Buckets;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, but for a restart; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// One metric: every one is named exactly once, in [`super::families::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// A sentence for people.
    pub(super) help: &'static str,
}

/// An answer in the making.
#[derive(Default)]
pub(super) struct Text {
    out: String,
    /// Series that were left out.
    left_out: u64,
}

/// The series of one metric.
pub(super) struct Family<'a> {
    text: &'a mut Text,
    metric: Metric,
    series: usize,
}

/// A label with its value.
pub(super) type Label<'a> = (&'static str, &'a str);

impl Text {
    /// Begins a metric. One without series is not there.
    pub(super) fn family(&mut self, metric: Metric) -> Family<'_> {
        Family {
            text: self,
            metric,
            series: 0,
        }
    }

    /// A metric with one series and no labels.
    pub(super) fn single(&mut self, metric: Metric, value: impl Into<Value>) {
        self.family(metric).add(&[], value);
    }

    /// Series that were left out because their metric had too many.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

impl Family<'_> {
    pub(super) fn add(&mut self, labels: &[Label<'_>], value: impl Into<Value>) {
        if self.begins() {
            self.line("", labels, None, value.into());
        }
    }

    pub(super) fn histogram(&mut self, labels: &[Label<'_>], buckets: &Buckets) {
        if !self.begins() {
            return;
        }
        for (end_us, count) in &buckets.upto {
            let end = seconds(*end_us).to_string();
            self.line("_bucket", labels, Some(("le", &end)), (*count).into());
        }
        self.line(
            "_bucket",
            labels,
            Some(("le", "+Inf")),
            buckets.count.into(),
        );
        self.line("_sum", labels, None, seconds(buckets.sum_us).into());
        self.line("_count", labels, None, buckets.count.into());
    }

    /// Whether there is room for another series; the first one says what the metric is.
    fn begins(&mut self) -> bool {
        if self.series >= SERIES_MAX {
            self.text.left_out += 1;
            return false;
        }
        if self.series == 0 {
            let Metric { name, kind, help } = self.metric;
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            // Writing to a String cannot fail.
            let _ = writeln!(self.text.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        self.series += 1;
        true
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], more: Option<Label<'_>>, value: Value) {
        let out = &mut self.text.out;
        out.push_str(self.metric.name);
        out.push_str(suffix);
        let mut before = '{';
        for (name, text) in labels.iter().copied().chain(more) {
            out.push(before);
            before = ',';
            out.push_str(name);
            out.push_str("=\"");
            for letter in text.chars() {
                match letter {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    other => out.push(other),
                }
            }
            out.push('"');
        }
        if before == ',' {
            out.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, " {value}");
    }
}

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
        }
    }
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "metrics are floats by nature")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// A moment, milliseconds since the Unix epoch, in seconds.
#[expect(clippy::cast_precision_loss, reason = "metrics are floats by nature")]
pub(super) fn moment(ms: u64) -> f64 {
    ms as f64 / 1e3
}

/// Series of one metric. Labels are names of the configuration and words of closed sets; a configuration with more
/// names than that has metrics of the first ones.
pub(super) const SERIES_MAX: usize = 1_000;
