//! Compressed logs: fixtures are what the tools themselves make of two short lines.

use std::io::Write as _;

use super::*;
use crate::signal::lines::{Line, Lines};

const TEXT: &[u8] = b"one\ntwo\n";
/// `zstd --check`, `xz`, `bzip2`.
const ZSTD: &[u8] = b"(\xb5/\xfd\x04XA\x00\x00one\x0atwo\x0a\xe6\xa6\x0e@";
const XZ: &[u8] = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\
    \x01\x00\x07one\x0atwo\x0a\x00Q\xab\x9e\xafWupI\x00\x01 \x08\xbb\x19\xd9\xbb\x1f\xb6\xf3}\
    \x01\x00\x00\x00\x00\x04YZ";
const BZIP2: &[u8] = b"BZh91AY&SY\xa7\x14+w\x00\x00\x02\xc1\x80\x00\x10\x02\x01\x84\x80 \x00!\
    \x80\x0c\x028\xf5\x1b\x8b\xb9\x22\x9c(HS\x8a\x15\xbb\x80";
/// `xz --lzma2=dict=256MiB`.
const XZ_LARGE: &[u8] = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01 \x00\x00\x00\x09\x88\xa5v\
    \xe0\x00\x09\x00\x06]\x000\xeb|\x00\x00\x00\x00\x00\x00Fj\xe2\xaf$\x91Y\xbb\x00\x01\x22\x0a\
    \x15\x1a\xe1g\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ";
/// The head of a zstd frame that asks for a window of 256 MiB (exponent 18 above 1 KiB).
const ZSTD_LARGE: &[u8] = b"(\xb5/\xfd\x00\x90\x01\x00\x00";

fn gzip() -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(TEXT).unwrap();
    packed.finish().unwrap()
}

fn all() -> [(&'static str, Vec<u8>); 4] {
    [
        ("gzip", gzip()),
        ("zstd", ZSTD.to_vec()),
        ("xz", XZ.to_vec()),
        ("bzip2", BZIP2.to_vec()),
    ]
}

/// As a pipe gives it: one byte at a time.
struct Trickle(Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let one = buf.len().min(1);
        self.0.read(&mut buf[..one])
    }
}

fn read(packed: Vec<u8>) -> (Vec<u8>, Option<io::Error>) {
    let mut text = Vec::new();
    let mut input = decompressed(Trickle(Cursor::new(packed))).unwrap();
    let error = input.read_to_end(&mut text).err();
    (text, error)
}

#[test]
fn every_kind_is_read_through_also_when_concatenated() {
    for (name, packed) in all() {
        for times in [1, 3] {
            let (text, error) = read(packed.repeat(times));
            assert!(error.is_none(), "{name}: {error:?}");
            assert_eq!(text, TEXT.repeat(times), "{name}");
        }
    }
    let (text, error) = read(b"(\xb5".to_vec());
    assert_eq!((text.as_slice(), error.is_none()), (&b"(\xb5"[..], true));
    assert_eq!(read(Vec::new()).0, b"");
}

#[test]
fn a_file_that_was_cut_off_says_so_and_never_reads_as_whole() {
    for (name, packed) in all() {
        // The longest beginning that tells the kind has six bytes.
        for length in 6..packed.len() {
            let (text, error) = read(packed[..length].to_vec());
            let error = error.unwrap_or_else(|| panic!("{name} of {length} bytes"));
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{name}: {error}");
            assert!(error.to_string().contains(name), "{error}");
            assert!(TEXT.starts_with(&text));
        }
        // What came before in another member was read.
        let mut two = packed.clone();
        two.extend(&packed[..packed.len() - 2]);
        let (text, error) = read(two);
        assert!(text.starts_with(TEXT) && error.is_some(), "{name}");
    }
}

#[test]
fn damage_is_found_by_checksums_and_ends_the_reading() {
    for (name, mut packed) in all() {
        // A letter of the text, or of what stands for it.
        let at = packed.len() / 2;
        packed[at] ^= 0x11;
        let (_, error) = read(packed.clone());
        let error = error.unwrap_or_else(|| panic!("{name} is damaged at {at}"));
        assert!(error.to_string().contains(name), "{error}");
        let mut lines = Lines::new(decompressed(Cursor::new(packed)).unwrap());
        while let Ok(Some((_, Line::Text(_)))) = lines.next_line() {}
        assert!(lines.next_line().is_err(), "{name}: asked again");
    }
}

#[test]
fn memory_is_bounded() {
    for packed in [XZ_LARGE, ZSTD_LARGE] {
        let (text, error) = read(packed.to_vec());
        let error = error.unwrap();
        assert_eq!((text.len(), error.kind()), (0, ErrorKind::OutOfMemory));
        assert!(error.to_string().contains("128 MiB"), "{error}");
    }
}

#[test]
fn frames_to_be_skipped_are_skipped() {
    let skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00xyz";
    let packed = [ZSTD, skipped, ZSTD].concat();
    let (text, error) = read(packed);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(text, TEXT.repeat(2));
    let (_, error) = read([ZSTD, &skipped[..10]].concat());
    assert_eq!(error.unwrap().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_megabyte_in_many_blocks_is_the_same_again() {
    let text: Vec<u8> = (0..200_000_u32)
        .flat_map(|line| format!("{}\n", line.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&text).unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(text.as_slice(), level);
    for packed in [bzip2.finish().unwrap(), zstd] {
        let (read, error) = read(packed);
        assert!(error.is_none() && read == text, "{error:?}");
    }
}

#[test]
fn no_damage_makes_a_decoder_panic_or_go_on_for_ever() {
    let mut random = crate::policy::random::Random::new(17);
    for (name, packed) in all() {
        for _ in 0..3_000 {
            let mut damaged = packed.clone();
            for _ in 0..=random.below(4) {
                let at = usize::try_from(random.below(damaged.len() as u64)).unwrap();
                damaged[at] = random.next().to_le_bytes()[0];
            }
            let input = decompressed(Cursor::new(damaged)).unwrap();
            let mut text = Vec::new();
            // Whatever it says: a few bytes cannot hold more than this.
            let outcome = input.take(64 << 20).read_to_end(&mut text);
            assert!(text.len() < 64 << 20, "{name}: {outcome:?}");
        }
    }
}
