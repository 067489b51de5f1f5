//! Tables for `list_file`: spellings, bad lines, limits, and agreement of the quick with the general parser.

use std::fmt::Write as _;

use super::*;

fn scanned(bytes: &[u8]) -> (Scan, Vec<String>) {
    let mut networks = Networks::default();
    let scan = scan(bytes, &mut networks).unwrap();
    networks.finish();
    (
        scan,
        networks.iter().map(|network| network.to_string()).collect(),
    )
}

#[test]
fn every_spelling_is_read() {
    let text = b"\xef\xbb\xbf192.0.2.1\r\n\
        # a comment\n\
        ; another, in Latin-1: \xe9\n\
        \r\n\
        \t 192.0.2.2 \t# trailing\n\
        192.0.2.3;SBL123\n\
        198.51.100.0/24 ; SBL1\n\
        192.0.2.4/32\n\
        2001:db8::/32 # six\n\
        2001:db8::1\n\
        ::ffff:192.0.2.5\n\
        203.0.113.0-203.0.113.2\n\
        0.0.0.0/1\n\
        192.0.2.1";
    let (scan, networks) = scanned(text);
    assert_eq!(scan.bad, [], "no line is bad");
    assert_eq!(scan.lines, 14);
    let expected = [
        "192.0.2.1/32",
        "192.0.2.2/32",
        "192.0.2.3/32",
        "192.0.2.4/32",
        "192.0.2.5/32",
        "203.0.113.2/32",
        "2001:db8::1/128",
        "0.0.0.0/1",
        "198.51.100.0/24",
        "203.0.113.0/31",
        "2001:db8::/32",
    ];
    assert_eq!(networks, expected);
}

#[test]
fn bad_lines_are_named_and_the_rest_is_read() {
    let mut text = b"192.0.2.1\n192.0.2.1/24\nnonsense\n\xff\xfe\n1\x002\n".to_vec();
    text.extend(std::iter::repeat_n(b'1', LINE_BYTES_MAX + 1));
    text.extend(b"\n010.0.0.1\n192.0.2.1,evil\n10.0.0.300\n1.2.3.4/33\n1.2.3.4.5\n192.0.2.2\n");
    let (scan, networks) = scanned(&text);
    assert_eq!(networks, ["192.0.2.1/32", "192.0.2.2/32"]);
    let lines: Vec<(u64, &str)> = scan
        .bad
        .iter()
        .map(|bad| (bad.line, bad.what.as_str()))
        .collect();
    let expected = [
        (2, "192.0.2.1/24 has host bits set"),
        (3, "`nonsense` is not an IP address; names are not resolved"),
        (4, "is not UTF-8"),
        (5, "holds a NUL byte; the file is binary or UTF-16"),
        (6, "is longer than 4096 bytes"),
        (
            7,
            "`010.0.0.1` has a leading zero, which some programs read as octal",
        ),
        (
            8,
            "`192.0.2.1,evil` is not an IP address; names are not resolved",
        ),
        (9, "`10.0.0.300` has a number above 255"),
        (
            10,
            "`1.2.3.4/33` needs a prefix length of 0 to 32 after the slash, without leading zeros",
        ),
        (11, "`1.2.3.4.5` is not four numbers with dots between them"),
    ];
    assert_eq!(lines, expected);
    assert_eq!(
        scan.bad.first().unwrap().suggestion.as_deref(),
        Some("write 192.0.2.0/24")
    );
}

#[test]
fn only_the_first_bad_lines_are_kept_and_all_are_counted() {
    let (scan, networks) = scanned("x\n".repeat(54).as_bytes());
    assert_eq!(
        (scan.bad.len(), scan.bad_total, scan.lines),
        (BAD_LINES_KEPT_MAX, 54, 54)
    );
    assert!(networks.is_empty());
}

/// Hands out a few bytes at a time, so that every line is cut somewhere.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(self.0.len()).min(buffer.len());
        let (now, later) = self.0.split_at(n);
        buffer.split_at_mut(n).0.copy_from_slice(now);
        self.0 = later;
        Ok(n)
    }
}

#[test]
fn lines_cut_anywhere_read_the_same() {
    let mut text = String::new();
    for n in 0..200_u32 {
        writeln!(text, "10.0.{}.{} # {n}\n\n2001:db8::{n:x}", n / 7, n).unwrap();
    }
    text.push_str(&"9".repeat(3 * LINE_BYTES_MAX));
    let whole = scanned(text.as_bytes());
    for step in [1, 2, 3, 7, 64, 4_095] {
        let mut networks = Networks::default();
        let scan = scan(Dribble(text.as_bytes(), step), &mut networks).unwrap();
        networks.finish();
        let listed: Vec<String> = networks.iter().map(|network| network.to_string()).collect();
        assert_eq!((scan, listed), whole, "{step} bytes at a time");
    }
}

#[test]
fn the_quick_reading_agrees_with_the_general_parser() {
    let alphabet = b"0123456789.../ 25#";
    let mut state: u64 = 88_172_645_463_325_252;
    let mut taken = 0;
    let mut line = Vec::new();
    for round in 0..200_000_u32 {
        if round % 4 == 0 {
            line = b"192.0.2.128/25".to_vec();
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state % u64::try_from(line.len().max(1)).unwrap()).unwrap();
        let pick = usize::try_from((state >> 32) % u64::try_from(alphabet.len()).unwrap()).unwrap();
        if let (Some(byte), Some(new)) = (line.get_mut(at), alphabet.get(pick)) {
            *byte = *new;
        }
        let text = str::from_utf8(&line).unwrap().split('#').next().unwrap();
        let found = match quick(&line) {
            Some(Quick::Host(host)) => IpNet::V4(Ipv4Net::new(host.into(), 32).unwrap()),
            Some(Quick::Prefix(prefix)) => IpNet::V4(prefix),
            None => continue,
        };
        taken += 1;
        assert_eq!(parse_network(text).unwrap(), vec![found], "{text}");
    }
    assert!(taken > 10_000, "the quick path took {taken} lines");
}

#[test]
fn what_is_no_readable_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut networks = Networks::default();
    let missing = read(&dir.path().join("missing.txt"), &mut networks).unwrap_err();
    assert_eq!(missing, "does not exist");
    assert_eq!(
        read(dir.path(), &mut networks).unwrap_err(),
        "is a directory; name a file"
    );
    assert_eq!(
        read(Path::new("/dev/zero"), &mut networks).unwrap_err(),
        "is not a regular file"
    );
    let huge = dir.path().join("huge.txt");
    File::create(&huge)
        .unwrap()
        .set_len(FILE_BYTES_MAX + 1)
        .unwrap();
    let error = read(&huge, &mut networks).unwrap_err();
    assert!(error.contains("1 GiB"), "{error}");
    let file = dir.path().join("good.txt");
    fs::write(&file, "192.0.2.1\n").unwrap();
    assert_eq!(read(&file, &mut networks).unwrap().lines, 1);
    assert_eq!(networks.len(), 1);
}

#[test]
fn a_million_lines_are_read_whole() {
    let mut text = String::new();
    for n in 0..1_000_000_u32 {
        // An odd factor is a bijection: a million different addresses in no order.
        let [a, b, c, d] = n.wrapping_mul(2_654_435_761).to_be_bytes();
        writeln!(text, "{a}.{b}.{c}.{d}").unwrap();
    }
    let mut networks = Networks::default();
    let scan = scan(text.as_bytes(), &mut networks).unwrap();
    networks.finish();
    assert_eq!(
        (scan.lines, scan.bad_total, networks.hosts_v4.len()),
        (1_000_000, 0, 1_000_000)
    );
}
