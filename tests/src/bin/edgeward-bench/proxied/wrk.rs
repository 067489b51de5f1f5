//! Load by `wrk`: keep-alive connections from one host, requests one after the other on each.

use anyhow::{Context, ensure};
use lab::{Host, Result};

/// What one run of `wrk` says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Requests in all.
    pub(crate) requests: f64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Median latency, ms.
    pub(crate) p50_ms: f64,
    /// 99th percentile of the latency, ms.
    pub(crate) p99_ms: f64,
}

/// Runs from `host` against `url`, with a client behind the caller's proxy. Anything but 2xx is an error.
pub(crate) fn run(host: &Host, url: &str, connections: usize, seconds: u32) -> Result<Load> {
    let connections = format!("-c{connections}");
    let duration = format!("-d{seconds}s");
    let output = host
        .command(&[
            "wrk",
            "-t1",
            &connections,
            &duration,
            "--latency",
            "-H",
            "X-Forwarded-For: 198.51.100.10",
            url,
        ])
        .run()?
        .success()?;
    ensure!(
        !output.contains("Non-2xx") && !output.contains("Socket errors"),
        "{url}: {output}"
    );
    parse(&output).with_context(|| format!("cannot read wrk's report: {output}"))
}

fn parse(report: &str) -> Option<Load> {
    let field = |name: &str| {
        let line = report
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)
    };
    let requests = report
        .lines()
        .find_map(|line| line.split_once(" requests in "))?
        .0;
    Some(Load {
        requests: requests.trim().parse().ok()?,
        rate: field("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(field("50%")?)?,
        p99_ms: milliseconds(field("99%")?)?,
    })
}

/// `812.00us`, `1.20ms`, `2.01s`.
fn milliseconds(text: &str) -> Option<f64> {
    for (unit, factor) in [("us", 1e-3), ("ms", 1.0), ("s", 1e3)] {
        if let Some(number) = text.strip_suffix(unit)
            && let Ok(number) = number.parse::<f64>()
        {
            return Some(number * factor);
        }
    }
    None
}
