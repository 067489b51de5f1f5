//! `kind = "file"`.

use std::path::Path;

use super::super::{
    raw::Table,
    stream::{StreamFile, StreamKind},
};

pub(super) const KEYS: &[&str] = &["path", "size_bytes_max", "kept_max", "rotate"];

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let path = table
        .required("path", "\"/var/log/edgeward/events.log\"")
        .and_then(|node| node.file(base));
    let rotate = table.flag("rotate", true);
    for key in ["size_bytes_max", "kept_max"] {
        if let Some(node) = table.get(key).filter(|_| !rotate) {
            node.error(
                "has no effect with rotate = false",
                Some("remove it".to_owned()),
            );
        }
    }
    Some(StreamKind::File(StreamFile {
        path: path?,
        size_bytes_max: table.count("size_bytes_max", 65_536..=1_u64 << 40, 100 << 20),
        kept_max: table.count("kept_max", 0..=1_000_u32, 5),
        rotate,
    }))
}
