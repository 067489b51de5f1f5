//! The plot beside the tables: throughput over the number of entries, one panel a family, as plain SVG.

use std::fmt::Write;

use crate::contenders::{Floor, Peer};
use crate::report::Figures;
use crate::stats::entries;
use crate::targets::share_of_parse;
use crate::throughput::Subject;
use crate::traffic::Family;

/// One line or a few points.
struct Series {
    name: &'static str,
    colour: &'static str,
    dashed: bool,
    /// Entries and Mpps.
    points: Vec<(usize, f64)>,
}

/// Draws both families side by side.
pub(crate) fn svg(figures: &Figures) -> String {
    let mut sizes: Vec<usize> = figures.cases.iter().map(|case| case.entries).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let top = figures
        .cases
        .iter()
        .map(|case| case.rate() / 1e6)
        .fold(1.0, f64::max)
        .ceil();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        PANEL * 2.0 + LEGEND
    );
    for (family, left) in [(Family::V4, 0.0), (Family::V6, PANEL)] {
        panel(
            &mut text,
            &Panel {
                figures,
                family,
                left,
                sizes: &sizes,
                top,
            },
        );
    }
    legend(&mut text, &series(figures, Family::V4, &sizes));
    text.push_str("</svg>\n");
    text
}

struct Panel<'a> {
    figures: &'a Figures,
    family: Family,
    left: f64,
    sizes: &'a [usize],
    top: f64,
}

impl Panel<'_> {
    #[expect(clippy::cast_precision_loss, reason = "a handful of sizes")]
    fn x(&self, size: usize) -> f64 {
        let index = self
            .sizes
            .iter()
            .position(|other| *other == size)
            .unwrap_or(0);
        let steps = self.sizes.len().saturating_sub(1).max(1);
        self.left + MARGIN + (PANEL - MARGIN * 1.6) * index as f64 / steps as f64
    }

    fn y(&self, mpps: f64) -> f64 {
        HEIGHT - MARGIN - (HEIGHT - MARGIN * 2.0) * mpps / self.top
    }
}

fn panel(text: &mut String, panel: &Panel<'_>) {
    let (left, right) = (panel.left + MARGIN, panel.left + PANEL - MARGIN * 0.6);
    // A String takes every write, here and below.
    let _ = writeln!(
        text,
        "<text x=\"{left:.0}\" y=\"30\" font-size=\"14\" font-weight=\"bold\">{}, Mpps on one core</text>",
        panel.family.name()
    );
    let mut mpps = 0.0;
    while mpps <= panel.top {
        let y = panel.y(mpps);
        let _ = writeln!(
            text,
            "<line x1=\"{left:.0}\" y1=\"{y:.1}\" x2=\"{right:.0}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{mpps}</text>",
            left - 6.0,
            y + 4.0
        );
        mpps += 1.0;
    }
    for size in panel.sizes {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            panel.x(*size),
            HEIGHT - MARGIN + 18.0,
            entries(*size)
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">entries</text>",
        f64::midpoint(left, right),
        HEIGHT - 12.0
    );
    for series in series(panel.figures, panel.family, panel.sizes) {
        draw(text, panel, &series);
    }
}

fn draw(text: &mut String, panel: &Panel<'_>, series: &Series) {
    let dash = if series.dashed {
        " stroke-dasharray=\"6 4\""
    } else {
        ""
    };
    let places: Vec<String> = series
        .points
        .iter()
        .map(|(size, mpps)| format!("{:.1},{:.1}", panel.x(*size), panel.y(*mpps)))
        .collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dash}/>",
        places.join(" "),
        series.colour
    );
    if !series.dashed {
        for (size, mpps) in &series.points {
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{}\"/>",
                panel.x(*size),
                panel.y(*mpps),
                series.colour
            );
        }
    }
}

fn legend(text: &mut String, all: &[Series]) {
    let left = PANEL * 2.0;
    for (row, series) in (0_u16..).zip(all) {
        let y = 60.0 + f64::from(row) * 24.0;
        let dash = if series.dashed {
            " stroke-dasharray=\"6 4\""
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "<line x1=\"{left:.0}\" y1=\"{y:.0}\" x2=\"{:.0}\" y2=\"{y:.0}\" stroke=\"{}\" stroke-width=\"3\"{dash}/>\
             <text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            left + 24.0,
            series.colour,
            left + 32.0,
            y + 4.0,
            series.name
        );
    }
}

fn series(figures: &Figures, family: Family, sizes: &[usize]) -> Vec<Series> {
    let floor = |floor| {
        let case = figures.case(Subject::Floor(floor), family, None, true);
        let mpps = case.map_or(0.0, |case| case.rate() / 1e6);
        sizes.iter().map(|size| (*size, mpps)).collect()
    };
    let points = |subject| -> Vec<(usize, f64)> {
        let at = |size: &usize| {
            let case = figures.case(subject, family, Some(*size), true)?;
            Some((*size, case.rate() / 1e6))
        };
        sizes.iter().filter_map(at).collect()
    };
    let parse = figures.case(Subject::Floor(Floor::ParseDrop), family, None, true);
    let random = sizes.iter().filter_map(|size| {
        let case = figures.case(Subject::Edgeward, family, Some(*size), false)?;
        Some((*size, share_of_parse(figures, case)? * parse?.rate() / 1e6))
    });
    let of = |name, colour, dashed, points| Series {
        name,
        colour,
        dashed,
        points,
    };
    vec![
        of("bare XDP_DROP", "#999999", true, floor(Floor::Bare)),
        of("parse and DROP", "#333333", true, floor(Floor::ParseDrop)),
        of(
            "Edgeward, unlisted sources ¹",
            "#56b4e9",
            false,
            random.collect(),
        ),
        of(
            "Edgeward, listed sources",
            "#0072b2",
            false,
            points(Subject::Edgeward),
        ),
        of(
            "xdp-filter",
            "#009e73",
            false,
            points(Subject::Peer(Peer::XdpFilter)),
        ),
        of(
            "nftables set, netdev ingress",
            "#d55e00",
            false,
            points(Subject::Peer(Peer::Nft)),
        ),
        of(
            "ipset, iptables raw",
            "#e69f00",
            false,
            points(Subject::Peer(Peer::Ipset)),
        ),
    ]
}

const HEIGHT: f64 = 380.0;
const PANEL: f64 = 420.0;
const MARGIN: f64 = 50.0;
const LEGEND: f64 = 230.0;
