//! A replay as a picture: attempts over time, and what of them would have been refused.

use std::fmt::Write as _;

use super::{
    Ledger,
    ledger::{SLICE_MS, Slice},
    report::Report,
};

/// Draws it as SVG, readable by itself.
#[must_use]
pub fn svg(ledger: &Ledger, report: &Report, title: &str, utc: impl Fn(u64) -> String) -> String {
    let bars = bars(ledger);
    let highest = bars.iter().map(Slice::sum).max().unwrap_or(0).max(1);
    let mut svg = String::new();
    // Writing into a String cannot fail.
    let _infallible = draw(&mut svg, &bars, highest, report, title, utc);
    svg
}

fn draw(
    svg: &mut String,
    bars: &[Slice],
    highest: u64,
    report: &Report,
    title: &str,
    utc: impl Fn(u64) -> String,
) -> std::fmt::Result {
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\" role=\"img\">"
    )?;
    writeln!(svg, "<title>{}</title>", escaped(title))?;
    writeln!(
        svg,
        "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>"
    )?;
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>",
        escaped(title)
    )?;
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"44\" fill=\"#555\">{} attempts; refused {}; of {} successful sign-ins {} hit</text>",
        report.signals, report.attempts_refused, report.successes, report.successes_hit
    )?;
    legend(svg)?;
    let bottom = HEIGHT - BOTTOM;
    let tall = bottom - TOP;
    for (number, bar) in (0_u64..).zip(bars) {
        let mut y = bottom;
        for (count, (colour, _)) in bar.parts().into_iter().zip(PARTS) {
            if count == 0 {
                continue;
            }
            // At least half a pixel of what is there: a single innocent must be seen.
            let tenths = (count * tall * 10 / highest).max(5);
            y = y.saturating_sub(tenths.div_ceil(10));
            writeln!(
                svg,
                "<rect x=\"{}\" y=\"{y}\" width=\"{BAR}\" height=\"{}.{}\" fill=\"{colour}\"/>",
                LEFT + number * BAR,
                tenths / 10,
                tenths % 10
            )?;
        }
    }
    let right = LEFT + BARS * BAR;
    writeln!(
        svg,
        "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#333\"/>"
    )?;
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{highest}</text>",
        LEFT - 6,
        TOP + 10
    )?;
    for (x, anchor, moment) in [(LEFT, "start", report.first), (right, "end", report.last)] {
        let Some(moment) = moment else { continue };
        writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            bottom + 20,
            utc(moment)
        )?;
    }
    writeln!(svg, "</svg>")
}

fn legend(svg: &mut String) -> std::fmt::Result {
    for (number, (colour, label)) in (0_u64..).zip(PARTS) {
        let x = LEFT + number * 190;
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"56\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"67\">{label}</text>",
            x + 18
        )?;
    }
    Ok(())
}

/// The slices of the ledger, gathered into as many bars as fit.
fn bars(ledger: &Ledger) -> Vec<Slice> {
    let slices = ledger.slices();
    let (Some((first, _)), Some((last, _))) = (slices.first_key_value(), slices.last_key_value())
    else {
        return Vec::new();
    };
    let minutes = (last - first) / SLICE_MS + 1;
    let mut bars = vec![Slice::default(); usize::try_from(BARS).unwrap_or(0)];
    for (start, slice) in slices {
        let at = (start - first) / SLICE_MS * BARS / minutes.max(BARS);
        if let Some(bar) = usize::try_from(at).ok().and_then(|at| bars.get_mut(at)) {
            bar.add(*slice);
        }
    }
    bars
}

impl Slice {
    const fn parts(&self) -> [u64; 4] {
        [self.successes, self.failures, self.refused, self.hit]
    }

    fn sum(&self) -> u64 {
        self.parts().iter().sum()
    }

    const fn add(&mut self, other: Self) {
        self.successes += other.successes;
        self.failures += other.failures;
        self.refused += other.refused;
        self.hit += other.hit;
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Colours that a colour-blind person can tell apart (Okabe and Ito).
const PARTS: [(&str, &str); 4] = [
    ("#56b4e9", "signed in"),
    ("#999999", "failed"),
    ("#d55e00", "failed, refused"),
    ("#000000", "signed in, refused (hit)"),
];
const WIDTH: u64 = 960;
const HEIGHT: u64 = 360;
const LEFT: u64 = 70;
const TOP: u64 = 84;
const BOTTOM: u64 = 36;
/// Bars, and the width of each.
const BARS: u64 = 280;
const BAR: u64 = 3;
