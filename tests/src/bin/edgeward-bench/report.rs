//! The figures of one run as Markdown: what is printed is what `--write` puts into the documentation.

use std::fmt::Write;

use crate::block::Block;
use crate::chain::{self, Chain};
use crate::contenders::{Floor, Peer};
use crate::detection::Detection;
use crate::load::Load;
use crate::log::Log;
use crate::proxied::Proxied;
use crate::stats::{entries, median, megabytes, quantile};
use crate::targets::{self, percent, share_of_parse};
use crate::throughput::{Case, Subject};
use crate::traffic::Family;
use crate::verdict::Cost;

/// Everything one run measured; parts that were not run are empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Processor, kernel and load of the machine.
    pub(crate) machine: String,
    pub(crate) rounds: usize,
    /// Entries of the largest list, of each family.
    pub(crate) largest: usize,
    pub(crate) cases: Vec<Case>,
    pub(crate) costs: Vec<Cost>,
    pub(crate) load: Option<Load>,
    pub(crate) block: Option<Block>,
    pub(crate) proxied: Proxied,
    pub(crate) chains: Vec<Chain>,
    pub(crate) detection: Detection,
    pub(crate) log: Log,
    /// Peers that could not be measured, and why.
    pub(crate) missing: Vec<String>,
}

impl Figures {
    /// A case; floors do not ask for a number of entries.
    pub(crate) fn case(
        &self,
        subject: Subject,
        family: Family,
        entries: Option<usize>,
        blocked: bool,
    ) -> Option<&Case> {
        self.cases.iter().find(|case| {
            case.subject == subject
                && case.family == family
                && case.blocked == blocked
                && entries.is_none_or(|entries| case.entries == entries)
        })
    }

    /// All tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        self.write_targets(&mut text);
        if !self.cases.is_empty() {
            self.write_throughput(&mut text);
        }
        if !self.costs.is_empty() {
            self.write_verdicts(&mut text);
        }
        if let Some(load) = &self.load {
            write_load(&mut text, load);
        }
        if let Some(block) = &self.block {
            write_block(&mut text, block);
        }
        self.proxied.markdown(&mut text);
        chain::markdown(&mut text, &self.chains);
        self.detection.markdown(&mut text);
        self.log.markdown(&mut text);
        for missing in &self.missing {
            line(&mut text, &format!("\nNot measured: {missing}"));
        }
        text
    }

    fn write_targets(&self, text: &mut String) {
        line(
            text,
            &format!(
                "## Targets\n\nWith {} entries of each family.\n",
                entries(self.largest)
            ),
        );
        line(text, "| What | Target | Measured | |\n|---|---|---|---|");
        for target in targets::all(self) {
            let reached = if target.reached {
                "reached"
            } else {
                "**not reached**"
            };
            let (what, aim, figure) = (target.what, target.aim, target.figure);
            line(text, &format!("| {what} | {aim} | {figure} | {reached} |"));
        }
    }

    fn write_throughput(&self, text: &mut String) {
        line(text, THROUGHPUT);
        line(
            text,
            "| Family | Program | Entries | Sources | Mpps | lowest–highest | ns a packet | of parse-and-DROP | of bare XDP_DROP |\n\
             |---|---|---|---|---|---|---|---|---|",
        );
        for case in &self.cases {
            let bare = self.case(Subject::Floor(Floor::Bare), case.family, None, true);
            let of_bare = bare.map_or_else(String::new, |bare| percent(case.rate() / bare.rate()));
            let of_parse = share_of_parse(self, case).map_or_else(String::new, percent);
            let mark = if case.blocked { "" } else { "¹" };
            let count = match case.subject {
                Subject::Floor(_) => "–".to_owned(),
                _ => entries(case.entries),
            };
            line(
                text,
                &format!(
                    "| {} | {} | {count} | {} | {:.2} | {:.2}–{:.2} | {:.0} | {of_parse}{mark} | {of_bare} |",
                    case.family.name(),
                    subject(case.subject),
                    if case.blocked {
                        "listed, dropped"
                    } else {
                        "unlisted, passed"
                    },
                    case.rate() / 1e6,
                    quantile(&case.rates, 0.0) / 1e6,
                    quantile(&case.rates, 1.0) / 1e6,
                    case.nanoseconds(),
                ),
            );
        }
        line(text, FOOTNOTE);
    }

    fn write_verdicts(&self, text: &mut String) {
        line(text, VERDICTS);
        line(
            text,
            "| Family | Entries | Source | one source over and over | above parsing | each source once | above parsing |\n\
             |---|---|---|---|---|---|---|",
        );
        for cost in &self.costs {
            line(
                text,
                &format!(
                    "| {} | {} | {} | {:.0} ns | {:.0} ns | {:.0} ns | {:.0} ns |",
                    cost.family.name(),
                    entries(cost.entries),
                    if cost.hit { "listed" } else { "unlisted" },
                    cost.hot,
                    cost.above(),
                    cost.once,
                    cost.above_once(),
                ),
            );
        }
    }
}

/// How a subject is called in tables.
pub(crate) fn subject(subject: Subject) -> &'static str {
    match subject {
        Subject::Floor(Floor::Bare) => "bare XDP_DROP",
        Subject::Floor(Floor::ParseDrop) => "parse and DROP",
        Subject::Floor(Floor::ParsePass) => "parse and PASS",
        Subject::Floor(Floor::Touch) => "parse, read one line of an array, DROP²",
        Subject::Floor(Floor::Count) => "the same, and count in it²",
        Subject::Edgeward => "**Edgeward**",
        Subject::Beside => "Edgeward, other build",
        Subject::Peer(peer) => peer.name(),
    }
}

fn write_load(text: &mut String, load: &Load) {
    let count = entries(load.lines);
    line(text, &format!("\n## Loading {count} IPv4 addresses\n"));
    line(text, "| What | |\n|---|---|");
    let mut row = |what: &str, value: String| line(text, &format!("| {what} | {value} |"));
    let seconds = |values: &[f64]| format!("{:.2} s", median(values));
    row(
        "`edgeward reload`, nothing listed before",
        seconds(&load.fresh),
    );
    row(
        "`edgeward reload`, half of another list replaced",
        seconds(&load.replaced),
    );
    for (peer, taken) in &load.peers {
        let command = match peer {
            Peer::Nft => "`nft -f`",
            Peer::Ipset => "`ipset restore`",
            Peer::XdpFilter => "map updates",
        };
        row(
            &format!("{}: {command}", peer.name()),
            format!("{taken:.2} s"),
        );
    }
    row("agent: VmRSS", megabytes(load.resident));
    row(
        "agent: of that, memory of its own (RssAnon)",
        megabytes(load.anonymous),
    );
    row(
        "agent: VmHWM, the highest over all reloads",
        megabytes(load.peak),
    );
    row("kernel: all maps", megabytes(load.kernel()));
    let mut maps = load.maps.clone();
    maps.sort_by_key(|map| std::cmp::Reverse(map.memory));
    for map in maps.iter().take(MAPS_SHOWN) {
        row(
            &format!("kernel: of that, `{}`", map.name),
            megabytes(map.memory),
        );
    }
    line(text, LOADING);
}

fn write_block(text: &mut String, block: &Block) {
    let count = entries(block.entries);
    line(
        text,
        &format!("\n## One `block` with {count} entries of each family listed\n"),
    );
    line(
        text,
        "From the request on the control socket on; the answer comes when it is on disk too.\n",
    );
    line(
        text,
        "| | median | 99th percentile | slowest |\n|---|---|---|---|",
    );
    for (what, values) in [
        ("a frame of the source is refused", &block.enforced),
        ("answered", &block.answered),
        ("for comparison: `mode` answered", &block.asked),
    ] {
        line(
            text,
            &format!(
                "| {what} ({} commands) | {:.2} ms | {:.2} ms | {:.2} ms |",
                values.len(),
                median(values),
                quantile(values, 0.99),
                quantile(values, 1.0),
            ),
        );
    }
}

/// Appends a line; a String takes every write.
fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}

const MAPS_SHOWN: usize = 5;

const THROUGHPUT: &str = "
## Packets a second

A generator (an XDP program run on live frames, `BPF_F_TEST_XDP_LIVE_FRAMES`) writes the next source of a shuffled
list into a TCP SYN of 60 bytes (74 with IPv6), mends the IPv4 checksum and redirects the frame into a veth pair; at the
other end, in another network namespace, the program under test runs. Both share one CPU. Frames are counted by the
receiving interface, time by the generator. Listed sources go through the whole list, each as often as any other.
Every round visits every line; the figure is the median.
";

const FOOTNOTE: &str = "
¹ What passes goes on into the network stack, which costs more than any verdict. So that the stack does not hide the
program, the time beyond parse-and-PASS is added to parse-and-DROP's, and the share is that sum's. A rule of the raw
table behind all contenders drops what they let through. The last column compares the raw rates.

² What this machine's memory alone costs: a program that reads the headers, hashes the source and visits one random
cache line of an array as large as Edgeward's of exact entries. Whoever keeps a million entries pays at least that.";

const VERDICTS: &str = "
## Cost of a verdict

By `BPF_PROG_TEST_RUN`, which reports whole nanoseconds. *One source over and over*: mean over some sources of the
fastest of several short loops, everything in the first cache. *Each source once*: median of single runs, one for each
of thousands of sources, caches and predictors cold from the system call between. *Above parsing*: less the same figure
of the program that only parses.
";

const LOADING: &str = "
`reload` is the whole command: start of the client, reading and checking the file, building, switching over, answer.
Afterwards 2,000 listed sources are refused and 2,000 others pass, and `edgeward verify` finds no difference. Kernel
memory is what the kernel itself counts for each map (`memlock` in fdinfo), arrays and hashes to the byte; LPM tries,
empty here, would show less than they take. VmRSS includes the pages of the kernel's arrays that the agent maps.";
