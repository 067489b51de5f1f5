//! The beginning of an answer's body as text: as it is, or out of gzip, which applications that compress use most.

use std::{borrow::Cow, io::Read as _};

use flate2::bufread::GzDecoder;
use http::{HeaderMap, header};

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    /// In a way that is not read.
    Other,
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Plain,
            (Some(value), None) => match value.as_bytes().trim_ascii() {
                value if value.eq_ignore_ascii_case(b"identity") => Self::Plain,
                value
                    if value.eq_ignore_ascii_case(b"gzip")
                        || value.eq_ignore_ascii_case(b"x-gzip") =>
                {
                    Self::Gzip
                }
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// The text, as far as it can be read, of at most so many bytes.
    pub(super) fn text(self, body: &[u8], bytes_max: usize) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Plain => Some(Cow::Borrowed(body)),
            Self::Gzip => Some(Cow::Owned(unzipped(body, bytes_max))),
            Self::Other => None,
        }
    }
}

/// What comes out until the limit, the end or a mistake: a body that was cut always ends with one.
fn unzipped(body: &[u8], bytes_max: usize) -> Vec<u8> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let mut decoder = GzDecoder::new(body).take(limit);
    let mut out = Vec::new();
    let mut piece = [0; 1_024];
    while let Ok(read @ 1..) = decoder.read(&mut piece) {
        out.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn answers_are_read_as_far_as_they_go() {
        let text = b"{\"error\":\"no\"}".repeat(3_000);
        let body = zipped(&text);
        assert_eq!(Encoding::Gzip.text(&body, 5_000).unwrap(), &text[..5_000]);
        assert_eq!(Encoding::Gzip.text(&body, 1 << 20).unwrap(), &text[..]);
        let cut = Encoding::Gzip.text(&body[..body.len() - 20], 1 << 20);
        assert!(text.starts_with(&cut.unwrap()));
        assert_eq!(Encoding::Gzip.text(b"no gzip", 100).unwrap(), &b""[..]);
        assert_eq!(Encoding::Plain.text(b"{}", 1).unwrap(), &b"{}"[..]);
        assert_eq!(Encoding::Other.text(b"{}", 100), None);
    }

    #[test]
    fn a_bomb_is_read_up_to_the_limit() {
        let body = zipped(&vec![b' '; 50 << 20]);
        assert!(body.len() < 100_000);
        assert_eq!(Encoding::Gzip.text(&body, 16_384).unwrap().len(), 16_384);
    }

    #[test]
    fn encodings_are_told_apart() {
        for (values, expected) in [
            (&[][..], Encoding::Plain),
            (&["identity"], Encoding::Plain),
            (&[" GZIP"], Encoding::Gzip),
            (&["x-gzip"], Encoding::Gzip),
            (&["br"], Encoding::Other),
            (&["gzip, br"], Encoding::Other),
            (&["gzip", "gzip"], Encoding::Other),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(Encoding::of(&headers), expected, "{values:?}");
        }
    }
}
