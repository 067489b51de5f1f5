//! Dead letters: events that a receiver will never take, in a file beside the stream's place. Bounded: a full file takes
//! the place of the one before it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde_json::json;

use super::{
    cursor,
    sink::{Item, Piece},
};

/// The size at which a file is put aside, in bytes; there are at most two.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// What is kept of one event, in bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Appends dead letters, each with what was said of it, as lines of JSON.
///
/// # Errors
/// The disk refuses.
pub(super) fn append(
    dir: &Path,
    name: &str,
    now_ms: u64,
    dead: &[(Item<Piece>, String)],
) -> io::Result<()> {
    cursor::prepare(dir)?;
    let path = cursor::path(dir, name, "dead");
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() >= FILE_BYTES_MAX) {
        fs::rename(&path, cursor::path(dir, name, "dead-old"))?;
    }
    let mut lines = Vec::new();
    for (item, why) in dead {
        let bytes = &item.payload.bytes;
        let kept = bytes.get(..EVENT_BYTES_MAX).unwrap_or(bytes);
        let line = json!({
            "time": now_ms,
            "stream": name,
            "seq": item.seq,
            "id": item.payload.id,
            "why": why,
            "sent": String::from_utf8_lossy(kept),
        });
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&lines)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn letters_are_kept_and_the_file_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let dead = |seq: u64, bytes: usize| {
            let payload = Piece {
                id: format!("id-{seq}").into(),
                published_ms: 7,
                bytes: Bytes::from(vec![b'x'; bytes]),
            };
            let item = Item {
                seq,
                bytes,
                payload,
            };
            vec![(item, "answers 400".to_owned())]
        };
        append(folder.path(), "siem", 5, &dead(1, 10)).unwrap();
        let path = cursor::path(folder.path(), "siem", "dead");
        let text = fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["seq"], 1);
        assert_eq!(line["why"], "answers 400");
        assert_eq!(line["sent"], "x".repeat(10));
        for seq in 2..60 {
            append(folder.path(), "siem", 5, &dead(seq, 3 << 20)).unwrap();
        }
        let sizes: Vec<u64> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(
            sizes.iter().all(|size| *size < FILE_BYTES_MAX + (2 << 20)),
            "{sizes:?}"
        );
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .contains("\"id\":\"id-59\"")
        );
    }
}
