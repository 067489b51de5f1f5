//! Where reading has got to, in a form that finds its place again: after a rotation, a restart, or in a copy.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
};

use crate::policy::signal::siphash;

/// How much of a file's beginning tells it from another one, bytes: several lines.
pub(super) const HEAD_BYTES_MAX: usize = 1_024;
/// How much of what was read last is looked at again when a place is found, bytes.
pub(super) const TAIL_BYTES_MAX: usize = 64;
/// Files that are read or watched at a time.
pub(super) const SPOTS_MAX: usize = 8;
/// Files that are done with, and remembered so that they are not read again.
pub(super) const DONE_MAX: usize = 32;

/// A stretch of bytes as its length and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    length: u32,
    hash: u64,
}

/// How far one file was read.
///
/// What the file holds decides whether it is the same, since inodes are used again, and files are copied and
/// compressed. The inode says where to look first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) inode: u64,
    /// Up to the end of the last line that was read.
    pub(super) offset: u64,
    /// The file's beginning, as far as it was read.
    pub(super) head: Mark,
    /// What stands right before the offset.
    pub(super) tail: Mark,
}

/// How far a log was read: the cursor that is kept with its signals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The hash of the log's path: a source may get another file under the same name.
    pub(super) path: u64,
    /// Everything that was written up to then had been read, ms since the Unix epoch.
    pub(super) read_ms: u64,
    /// Oldest file first; the last is the one that was being read.
    pub(super) spots: Vec<Spot>,
    /// Beginnings of files that were read to their end.
    pub(super) done: Vec<Mark>,
}

impl Mark {
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        Self {
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            hash: siphash(HASH_LOW, HASH_HIGH, bytes),
        }
    }

    /// Of a file that holds these bytes and nothing else: too little to tell it by its beginning.
    pub(super) fn whole(bytes: &[u8]) -> Self {
        let mut mark = Self::of(bytes);
        mark.length |= WHOLE;
        mark
    }

    pub(super) const fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Whether these bytes begin with it.
    pub(super) fn begins(self, bytes: &[u8]) -> bool {
        if self.length & WHOLE != 0 {
            return Self::whole(bytes) == self;
        }
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        bytes
            .get(..length)
            .is_some_and(|head| Self::of(head) == self)
    }
}

impl Spot {
    /// The place behind `offset` bytes of a file that begins with `head`, with `tail` right before it.
    pub(super) fn new(inode: u64, head: &[u8], tail: &[u8], offset: u64) -> Self {
        let known = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(head.len());
        Self {
            inode,
            offset,
            head: Mark::of(head.get(..known).unwrap_or_default()),
            tail: Mark::of(last(tail, TAIL_BYTES_MAX)),
        }
    }

    /// Whether the file holds what was read, so that reading can go on in it at the offset.
    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        if file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        let head = beginning(file)?;
        let tail = before(
            file,
            self.offset,
            usize::try_from(self.tail.length).unwrap_or(0),
        )?;
        Ok(self.head.begins(&head) && Mark::of(&tail) == self.tail)
    }

    /// The same for a stream, which is then read up to the offset.
    pub(super) fn is_in_stream(&self, stream: &mut impl Read) -> io::Result<bool> {
        let mut head = Vec::new();
        let first = (HEAD_BYTES_MAX as u64).min(self.offset);
        stream.by_ref().take(first).read_to_end(&mut head)?;
        if head.len() as u64 != first || !self.head.begins(&head) {
            return Ok(false);
        }
        // The end of what was read may lie within the head.
        let mut tail = head;
        let end = u64::from(self.tail.length).min(self.offset.saturating_sub(first));
        let between = self.offset.saturating_sub(first).saturating_sub(end);
        let skipped = io::copy(&mut stream.by_ref().take(between), &mut io::sink())?;
        let read = stream.by_ref().take(end).read_to_end(&mut tail)? as u64;
        let length = usize::try_from(self.tail.length).unwrap_or(usize::MAX);
        Ok(skipped == between && read == end && Mark::of(last(&tail, length)) == self.tail)
    }
}

impl Cursor {
    /// As bytes, at most 1 KiB.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let mark = |out: &mut Vec<u8>, mark: &Mark| {
            out.extend(mark.length.to_le_bytes());
            out.extend(mark.hash.to_le_bytes());
        };
        out.extend(self.path.to_le_bytes());
        out.extend(self.read_ms.to_le_bytes());
        // The latest are what matters, should there ever be more.
        let spots = last(&self.spots, SPOTS_MAX);
        let done = last(&self.done, DONE_MAX);
        out.push(u8::try_from(spots.len()).unwrap_or_default());
        for spot in spots {
            out.extend(spot.inode.to_le_bytes());
            out.extend(spot.offset.to_le_bytes());
            mark(&mut out, &spot.head);
            mark(&mut out, &spot.tail);
        }
        out.push(u8::try_from(done.len()).unwrap_or_default());
        done.iter().for_each(|done| mark(&mut out, done));
        out
    }

    /// From bytes; `None` if they are not of this version, or not whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return None;
        }
        let mark = |rest: &mut &[u8]| {
            Some(Mark {
                length: u32::from_le_bytes(take(rest)?),
                hash: u64::from_le_bytes(take(rest)?),
            })
        };
        let mut cursor = Self {
            path: u64::from_le_bytes(take(&mut rest)?),
            read_ms: u64::from_le_bytes(take(&mut rest)?),
            ..Self::default()
        };
        let [spots] = take(&mut rest)?;
        for _ in 0..spots {
            cursor.spots.push(Spot {
                inode: u64::from_le_bytes(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
                head: mark(&mut rest)?,
                tail: mark(&mut rest)?,
            });
        }
        let [done] = take(&mut rest)?;
        for _ in 0..done {
            cursor.done.push(mark(&mut rest)?);
        }
        rest.is_empty().then_some(cursor)
    }
}

/// A file's first bytes.
pub(super) fn beginning(file: &File) -> io::Result<Vec<u8>> {
    stretch(file, 0, HEAD_BYTES_MAX)
}

/// At most `most` bytes right before `offset`.
pub(super) fn before(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let length = offset.min(most as u64);
    stretch(
        file,
        offset.saturating_sub(length),
        usize::try_from(length).unwrap_or_default(),
    )
}

fn stretch(file: &File, mut at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0_usize;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, at) {
            Ok(0) => break,
            Ok(count) => {
                filled = filled.saturating_add(count);
                at = at.saturating_add(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

fn last<T>(all: &[T], most: usize) -> &[T] {
    all.get(all.len().saturating_sub(most)..).unwrap_or(all)
}

/// In a mark's length: there is nothing behind it.
const WHOLE: u32 = 1 << 31;
/// Of the form of a cursor.
const VERSION: u8 = 1;
/// Marks tell files apart for the agent itself; nobody gains by making two alike.
const HASH_LOW: u64 = 0x6564_6765_7761_7264;
const HASH_HIGH: u64 = 0x666f_6c6c_6f77_6564;

#[cfg(test)]
mod tests {
    use std::io::Cursor as Bytes;

    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let spot = |number: u64| Spot {
            inode: number,
            offset: number << 40,
            head: Mark::of(b"first line"),
            tail: Mark::of(&number.to_le_bytes()),
        };
        let cursor = Cursor {
            path: 1,
            read_ms: 1_795_334_400_000,
            spots: (0..SPOTS_MAX as u64).map(spot).collect(),
            done: vec![Mark::of(b"done"); DONE_MAX],
        };
        let bytes = cursor.encode();
        assert!(bytes.len() <= 1_024, "{}", bytes.len());
        assert_eq!(Cursor::decode(&bytes), Some(cursor));
        for length in 0..bytes.len() {
            assert_eq!(Cursor::decode(&bytes[..length]), None, "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Cursor::decode(&longer), None);
        assert_eq!(Cursor::decode(&[9; 200]), None, "another version");
    }

    #[test]
    fn a_beginning_without_a_whole_line_stands_for_itself_only() {
        assert!(Mark::of(b"one\n").begins(b"one\ntwo\n"));
        assert!(!Mark::of(b"one\n").begins(b"one"));
        let part = Mark::whole(b"{\"time\":");
        assert!(part.begins(b"{\"time\":") && !part.begins(b"{\"time\":1}\n"));
        assert!(!part.is_empty());
    }

    #[test]
    fn a_place_is_known_again_by_what_stands_before_it() {
        let file = |text: &str| {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(text.as_bytes(), 0).unwrap();
            file
        };
        let spot = Spot::new(1, b"one\ntwo\nthree\n", b"two\n", 8);
        for (text, same) in [
            ("one\ntwo\n", true),
            ("one\ntwo\nother\n", true),
            ("one\ntw", false),
            ("one\nTWO\nthree\n", false),
            ("", false),
        ] {
            assert_eq!(spot.is_in(&file(text)).unwrap(), same, "{text}");
            let mut stream = Bytes::new(text.as_bytes());
            assert_eq!(spot.is_in_stream(&mut stream).unwrap(), same, "{text}");
            assert!(
                !same || stream.position() == 8,
                "the stream is at the place"
            );
        }
    }
}
