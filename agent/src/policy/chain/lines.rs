//! The elements of a forwarding header from the right: several lines are one list in order, and what lies
//! beyond the limit of bytes is not looked at.

use super::{element::trim, forwarded};

/// Elements without their commas and the spaces around, the last first; empty ones too.
pub(super) struct FromRight<'a, L> {
    lines: L,
    /// What is left of the line that is being read.
    rest: Option<&'a [u8]>,
    /// The line goes on to the left of `rest`, beyond the limit.
    partial: bool,
    /// What is beyond it ends with a comma: the element at the limit is whole.
    whole: bool,
    bytes_left: usize,
    quotes: bool,
    /// Something to the left was not looked at.
    cut: bool,
}

impl<'a, L: DoubleEndedIterator<Item = &'a [u8]>> FromRight<'a, L> {
    /// `quotes`: a comma within quotes separates nothing (`Forwarded`).
    pub(super) const fn new(lines: L, bytes_max: usize, quotes: bool) -> Self {
        Self {
            lines,
            rest: None,
            partial: false,
            whole: false,
            bytes_left: bytes_max,
            quotes,
            cut: false,
        }
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Half an element is another element: `12.0.2.1` is not what `212.0.2.1` says.
    const fn end_here(&mut self) {
        self.cut = true;
        self.bytes_left = 0;
    }

    fn next_line(&mut self) -> Option<&'a [u8]> {
        loop {
            let line = self.lines.next_back()?;
            if line.is_empty() {
                continue;
            }
            if self.bytes_left == 0 {
                self.cut = true;
                return None;
            }
            let start = line.len().saturating_sub(self.bytes_left);
            let (beyond, shown) = line.split_at_checked(start)?;
            self.partial = start > 0;
            self.whole = trim(beyond).ends_with(b",");
            self.bytes_left -= shown.len();
            return Some(shown);
        }
    }
}

impl<'a, L: DoubleEndedIterator<Item = &'a [u8]>> Iterator for FromRight<'a, L> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = match self.rest.take() {
            Some(rest) => rest,
            None => self.next_line()?,
        };
        let comma = if self.quotes {
            forwarded::last_comma(text)
        } else {
            text.iter().rposition(|byte| *byte == b',')
        };
        let Some((before, behind)) = comma.and_then(|at| text.split_at_checked(at)) else {
            if self.partial {
                self.end_here();
                return self.whole.then(|| trim(text));
            }
            return Some(trim(text));
        };
        self.rest = Some(before);
        Some(trim(behind.get(1..).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], bytes_max: usize) -> (Vec<String>, bool) {
        let lines = lines.iter().map(|line| line.as_bytes());
        let mut elements = FromRight::new(lines, bytes_max, false);
        let out = elements
            .by_ref()
            .map(|element| String::from_utf8(element.to_vec()).unwrap())
            .collect();
        (out, elements.is_cut())
    }

    #[test]
    fn several_lines_are_one_list() {
        let all = |lines: &[&str]| read(lines, 1_000).0;
        assert_eq!(all(&["a, b", "c"]), ["c", "b", "a"]);
        assert_eq!(all(&["a,,b,", "", " , c"]), ["c", "", "", "b", "", "a"]);
        assert_eq!(all(&[]), [""; 0]);
        assert_eq!(all(&["", ""]), [""; 0]);
        assert_eq!(all(&[" \t"]), [""]);
    }

    #[test]
    fn the_limit_cuts_whole_elements_on_the_left() {
        let lines = ["aaaa,bbbb", "cccc,dddd"];
        for (bytes_max, elements, cut) in [
            (0, &[][..], true),
            (3, &[], true),
            (4, &["dddd"], true),
            (5, &["dddd"], true),
            (8, &["dddd"], true),
            (9, &["dddd", "cccc"], true),
            (12, &["dddd", "cccc"], true),
            (13, &["dddd", "cccc", "bbbb"], true),
            (14, &["dddd", "cccc", "bbbb"], true),
            (17, &["dddd", "cccc", "bbbb"], true),
            (18, &["dddd", "cccc", "bbbb", "aaaa"], false),
        ] {
            let (read, was_cut) = read(&lines, bytes_max);
            assert_eq!(
                (read.as_slice(), was_cut),
                (
                    elements
                        .iter()
                        .map(|e| (*e).to_owned())
                        .collect::<Vec<_>>()
                        .as_slice(),
                    cut
                ),
                "{bytes_max}"
            );
        }
    }
}
