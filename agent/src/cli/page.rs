//! A page of HTML that stands alone: charts as inline SVG, styles within, nothing from elsewhere, no scripts.

use std::fmt::Write as _;

use super::output;

/// What is on it.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) lead: String,
    pub(super) charts: &'a [Chart],
    pub(super) header: &'a [&'a str],
    pub(super) rows: &'a [Vec<String>],
    /// Paragraphs; what follows the first line of one is shown as it would be typed.
    pub(super) notes: &'a [String],
}

/// Bars with their labels.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// Upright bars for times, lying ones for names.
    pub(super) upright: bool,
    pub(super) bars: Vec<(String, u64)>,
}

/// The page as text.
pub(super) fn html(page: &Page<'_>) -> String {
    let title = escaped(page.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>Edgeward: {title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1><p>{}</p>\n",
        escaped(&page.lead)
    );
    let charts = page.charts.iter();
    for chart in charts.filter(|chart| chart.bars.iter().any(|(_, count)| *count > 0)) {
        let drawn = if chart.upright {
            upright(chart)
        } else {
            lying(chart)
        };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(out, "<h2>{}</h2>{drawn}", escaped(chart.title));
    }
    out.push_str("<h2>Table</h2>\n");
    if page.rows.is_empty() {
        out.push_str("<p>Nothing.</p>\n");
    } else {
        table(&mut out, page);
    }
    for note in page.notes {
        let (first, rest) = note.split_once('\n').unwrap_or((note, ""));
        let _ = write!(out, "<p>{}</p>", escaped(first));
        if !rest.is_empty() {
            let _ = write!(out, "<pre>{}</pre>", escaped(rest));
        }
        out.push('\n');
    }
    out.push_str("</body></html>\n");
    out
}

fn table(out: &mut String, page: &Page<'_>) {
    out.push_str("<div class=\"wide\"><table><thead><tr>");
    for name in page.header {
        let _ = write!(out, "<th>{}</th>", escaped(name));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in page.rows {
        out.push_str("<tr>");
        for cell in row {
            let digits = |byte: u8| byte.is_ascii_digit() || byte == b',';
            let is_number = !cell.is_empty() && cell.bytes().all(digits);
            let class = if is_number { " class=\"n\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// One bar beside the other, the first and the last with their label.
fn upright(chart: &Chart) -> String {
    let most = most(chart);
    let count = chart.bars.len().max(1);
    let width = (WIDTH - LEFT) / count.min(WIDTH - LEFT);
    let height = |value: u64| scaled(value, most, HEIGHT);
    let mut out = svg(HEIGHT + 24, chart);
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"10\" text-anchor=\"end\">{}</text>\
         <text x=\"{}\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text>\
         <path d=\"M{LEFT} 0V{HEIGHT}H{WIDTH}\" class=\"axis\"/>",
        LEFT - 6,
        output::number(most),
        LEFT - 6
    );
    for (index, (label, value)) in chart.bars.iter().enumerate() {
        let (x, high) = (LEFT + index * width, height(*value));
        let _ = write!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"{}\" height=\"{high}\"><title>{}: {}</title></rect>",
            HEIGHT - high,
            width.saturating_sub(1).max(1),
            escaped(label),
            output::number(*value)
        );
    }
    let ends = [
        (chart.bars.first(), LEFT, "start"),
        (chart.bars.last(), WIDTH, "end"),
    ];
    for (bar, x, anchor) in ends {
        if let Some((label, _)) = bar {
            let y = HEIGHT + 18;
            let label = escaped(label);
            let _ = write!(
                out,
                "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// One bar under the other, each with its label and its number.
fn lying(chart: &Chart) -> String {
    let most = most(chart);
    let mut out = svg(chart.bars.len() * ROW, chart);
    for (index, (label, value)) in chart.bars.iter().enumerate() {
        let (y, long) = (index * ROW, scaled(*value, most, WIDTH - NAMES - NUMBERS));
        let shown: String = label.chars().take(LABEL_MAX).collect();
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}<title>{}</title></text>\
             <rect x=\"{NAMES}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            NAMES - 8,
            y + 15,
            escaped(&shown),
            escaped(label),
            y + 3,
            long.max(1),
            ROW - 6,
            NAMES + long + 6,
            y + 15,
            output::number(*value)
        );
    }
    out.push_str("</svg>");
    out
}

fn svg(height: usize, chart: &Chart) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(chart.title)
    )
}

fn most(chart: &Chart) -> u64 {
    let counts = chart.bars.iter().map(|(_, count)| *count);
    counts.max().unwrap_or(0).max(1)
}

/// A share of a length, rounded down but never to nothing.
fn scaled(value: u64, most: u64, length: usize) -> usize {
    let whole = u128::from(value) * (length as u128) / u128::from(most.max(1));
    let length = usize::try_from(whole).unwrap_or(length);
    if value > 0 { length.max(1) } else { 0 }
}

/// Text as HTML and as an attribute; what no page may hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}

const WIDTH: usize = 960;
const HEIGHT: usize = 180;
/// Room for the numbers of an axis.
const LEFT: usize = 80;
/// Room for names, and for the numbers behind bars.
const NAMES: usize = 280;
const NUMBERS: usize = 90;
const ROW: usize = 22;
const LABEL_MAX: usize = 38;
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;\
color:#1b2733;background:#fff}h1{margin:0 0 .3rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}svg{width:100%;height:auto;\
display:block}svg text{font-size:13px;fill:#42505f}rect{fill:#2f6db5}.axis{fill:none;stroke:#b8c2cc}.wide{overflow-x:auto}\
table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px \
solid #dde3e8;white-space:nowrap}th{color:#42505f;font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}\
pre{background:#f3f5f7;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#dce3ea;\
background:#14191f}svg text,th{fill:#a7b3bf;color:#a7b3bf}rect{fill:#6aa3e0}th,td{border-color:#2c3640}pre{background:\
#1d242c}}";

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cell: &str) -> String {
        let charts = [
            Chart {
                title: "Events a day",
                upright: true,
                bars: (0..30)
                    .map(|day| (format!("day {day}"), day * day))
                    .collect(),
            },
            Chart {
                title: "By name",
                upright: false,
                bars: vec![(cell.to_owned(), u64::MAX), ("less".to_owned(), 1)],
            },
        ];
        html(&Page {
            title: "Threats",
            lead: cell.to_owned(),
            charts: &charts,
            header: &["SOURCE", "EVENTS"],
            rows: &[vec![cell.to_owned(), "1,234".to_owned()]],
            notes: &[format!("note {cell}\nuses = [\"trusted-proxy\"]")],
        })
    }

    /// Every tag that is opened is closed again in order, as XML wants it.
    fn is_well_formed(text: &str) {
        let mut open = Vec::new();
        let body = text.strip_prefix("<!DOCTYPE html>").expect("a document");
        for part in body.split('<').skip(1) {
            let (tag, rest) = part.split_once('>').expect("a tag has an end");
            assert!(!rest.contains('>'), "{part}");
            let name = tag
                .split([' ', '/'])
                .find(|word| !word.is_empty())
                .expect("a name");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{part}");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        assert_eq!(open, Vec::<&str>::new());
    }

    #[test]
    fn it_is_well_formed_whatever_is_in_it_and_asks_nobody_for_anything() {
        for cell in [
            "192.0.2.1",
            "<script>alert(1)</script>",
            "\"'&<>\u{7}\\",
            "",
        ] {
            let text = page(cell);
            is_well_formed(&text);
            assert!(!text.contains("<script"), "{text}");
            for outside in ["http:", "https:", "src=", "href=", "url(", "@import"] {
                assert!(!text.contains(outside), "{outside}");
            }
            assert!(text.contains("default-src 'none'"), "{text}");
        }
        assert!(page("x").contains("<td class=\"n\">1,234</td>"));
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(scaled(0, 10, 100), 0);
        assert_eq!(scaled(5, 10, 100), 50);
        assert_eq!(scaled(1, u64::MAX, 100), 1, "something is never nothing");
        assert_eq!(scaled(u64::MAX, u64::MAX, 100), 100);
    }
}
