//! From when until when an X.509 certificate holds: the one field of it that an operator has to be told about.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The validity period of a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    from: u64,
    until: u64,
}

/// How long before its end a certificate is worth a warning: whoever renews by hand has a fortnight.
const SOON: Duration = Duration::from_secs(14 * 86_400);

impl Validity {
    /// What to say about it, behind the name of its file.
    pub(super) fn doubt(self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        if now > self.until {
            return Some("holds a certificate that has expired; renew it".to_owned());
        }
        if now < self.from {
            return Some("holds a certificate that is not valid yet; look at the clock".to_owned());
        }
        let left = self.until.saturating_sub(now);
        (left < SOON.as_secs()).then(|| {
            let days = left.div_ceil(86_400);
            format!("holds a certificate that expires within {days} days; renew it")
        })
    }
}

/// Reads the period out of a certificate in DER; `None` if there is none where it belongs.
pub(super) fn read(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (signed, _) = element(certificate, SEQUENCE)?;
    // The version is absent from certificates of version 1.
    let rest = element(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_, rest) = element(rest, INTEGER)?; // serial number
    let (_, rest) = element(rest, SEQUENCE)?; // signature algorithm
    let (_, rest) = element(rest, SEQUENCE)?; // issuer
    let (validity, _) = element(rest, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some(Validity { from, until })
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The content of one element of this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if *first >= 0x80 {
        let (bytes, after) = rest.split_at_checked(usize::from(*first & 0x7f))?;
        // A certificate of 16 MiB is none.
        if bytes.is_empty() || bytes.len() > 3 {
            return None;
        }
        length = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after;
    }
    (*found == tag).then(|| rest.split_at_checked(length))?
}

/// A time as RFC 5280 has it, to the second and in UTC.
fn time(der: &[u8]) -> Option<(u64, &[u8])> {
    let (text, rest, year_digits) = match element(der, UTC_TIME) {
        Some((text, rest)) => (text, rest, 2),
        None => element(der, GENERALIZED_TIME).map(|(text, rest)| (text, rest, 4))?,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, fields) = text.split_at_checked(year_digits)?;
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok())?
    };
    let year = match (number(year)?, year_digits) {
        (year, 2) if year < 50 => year + 2_000,
        (year, 2) => year + 1_900,
        (year, _) => year,
    };
    let field = |at: usize, range: std::ops::RangeInclusive<u64>| {
        number(fields.get(at..at + 2)?).filter(|value| range.contains(value))
    };
    let (month, day) = (field(0, 1..=12)?, field(2, 1..=31)?);
    let (hour, minute, second) = (field(4, 0..=23)?, field(6, 0..=59)?, field(8, 0..=60)?);
    if fields.len() != 10 || year < 1970 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds, rest))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar that is not before it.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    let within = (153 * month + 2) / 5 + day - 1;
    // Days from 0000-03-01 to 1970-01-01.
    before + within - 719_468
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    use super::*;
    use crate::config::test_pems;

    fn validity(pem: &str) -> Validity {
        read(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn both_spellings_of_a_time_are_read() {
        // What `openssl x509 -dates` and `date +%s` say.
        let (from, until) = (1_577_836_800, 4_733_510_400);
        assert_eq!(validity(test_pems::CERTIFICATE), Validity { from, until });
        let (from, until) = (946_684_799, 1_709_208_000);
        assert_eq!(validity(test_pems::EXPIRED), Validity { from, until });
    }

    #[test]
    fn an_end_is_told_a_fortnight_before() {
        let day = 86_400;
        let period = Validity {
            from: 100 * day,
            until: 200 * day,
        };
        let table = [
            (99, Some("is not valid yet")),
            (100, None),
            (186, None),
            (187, Some("expires within 13 days")),
            (200, Some("expires within 0 days")),
            (201, Some("has expired")),
        ];
        for (at, expected) in table {
            let doubt = period.doubt(UNIX_EPOCH + Duration::from_secs(at * day));
            match expected {
                None => assert_eq!(doubt, None, "{at}"),
                Some(words) => assert!(doubt.unwrap().contains(words), "{at}"),
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_none_of_them_pass() {
        let der = CertificateDer::from_pem_slice(test_pems::CERTIFICATE.as_bytes()).unwrap();
        for end in 0..der.len() {
            assert_eq!(read(&der[..end]), None, "{end}");
        }
        for at in 0..der.len() {
            for value in [0x00, 0x7f, 0x80, 0x84, 0xff] {
                let mut bytes = der.to_vec();
                bytes[at] = value;
                // Whatever comes of it, the times are within the range of four digits.
                if let Some(Validity { from, until }) = read(&bytes) {
                    assert!(from.max(until) < 253_402_300_801, "{at} {value}");
                }
            }
        }
    }
}
