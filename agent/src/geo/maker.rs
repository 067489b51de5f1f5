//! Makes small MaxMind DB files for tests, after the published format (MaxMind DB File Format 2.0).

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

/// Records of 24 bits: a test needs few.
const RECORD_BITS: u16 = 24;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const UINT64: u8 = 9;
const SEPARATOR: [u8; 16] = [0; 16];

/// A database of these networks, most general first.
pub(super) fn database(name: &str, ip_version: u16, entries: &[(&str, Value)]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut tree: Vec<[Option<Next>; 2]> = vec![[None; 2]];
    for (network, value) in entries {
        let at = data.len();
        encode(value, &mut data);
        let network: IpNet = network.parse().unwrap();
        put(&mut tree, &bits(&network, ip_version), at);
    }
    let nodes = tree.len();
    let mut file = Vec::new();
    for record in tree.iter().flatten() {
        let number = match record {
            None => nodes,
            Some(Next::Node(node)) => *node,
            Some(Next::Data(at)) => nodes + SEPARATOR.len() + at,
        };
        file.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend(SEPARATOR);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    // Each number of the metadata has its own type.
    let (count, version) = (u64::try_from(nodes).unwrap(), u64::from(ip_version));
    let numbers = [
        ("node_count", UINT32, count),
        ("record_size", UINT16, RECORD_BITS.into()),
        ("ip_version", UINT16, version),
        ("binary_format_major_version", UINT16, 2),
        ("binary_format_minor_version", UINT16, 0),
        ("build_epoch", UINT64, 1_790_000_000),
    ];
    control(7, numbers.len() + 3, &mut file);
    for (name, kind, value) in numbers {
        encode(&json!(name), &mut file);
        number(kind, value, &mut file);
    }
    for (key, value) in [
        ("database_type", json!(name)),
        ("languages", json!(["en"])),
        ("description", json!({"en": "for a test"})),
    ] {
        encode(&json!(key), &mut file);
        encode(&value, &mut file);
    }
    file
}

#[derive(Clone, Copy)]
enum Next {
    Node(usize),
    Data(usize),
}

fn bits(network: &IpNet, ip_version: u16) -> Vec<usize> {
    let (address, length) = match (network.addr(), ip_version) {
        (IpAddr::V4(v4), 6) => (
            u128::from(u32::from(v4)),
            96 + usize::from(network.prefix_len()),
        ),
        (IpAddr::V4(v4), _) => (u128::from(u32::from(v4)) << 96, network.prefix_len().into()),
        (IpAddr::V6(v6), _) => (v6.into(), network.prefix_len().into()),
    };
    (0..length)
        .map(|bit| usize::from(address >> (127 - bit) & 1 == 1))
        .collect()
}

fn put(tree: &mut Vec<[Option<Next>; 2]>, bits: &[usize], data: usize) {
    let (last, path) = bits.split_last().unwrap();
    let mut node = 0;
    for bit in path {
        node = match tree[node][*bit] {
            Some(Next::Node(next)) => next,
            // A more special network inherits what the general one says of the rest.
            other => {
                tree.push([other; 2]);
                let next = tree.len() - 1;
                tree[node][*bit] = Some(Next::Node(next));
                next
            }
        };
    }
    tree[node][*last] = Some(Next::Data(data));
}

/// Types 2 (text), 3 (double), 6 (unsigned), 7 (map), 11 (array) and 14 (boolean).
fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Number(value) => match value.as_u64() {
            Some(value) => number(UINT32, value, out),
            None => {
                control(3, 8, out);
                out.extend(value.as_f64().unwrap().to_be_bytes());
            }
        },
        Value::Bool(is) => control(14, usize::from(*is), out),
        Value::Array(values) => {
            control(11, values.len(), out);
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Object(fields) => {
            control(7, fields.len(), out);
            for (name, value) in fields {
                encode(&Value::String(name.clone()), out);
                encode(value, out);
            }
        }
        Value::Null => unreachable!("there is no such type"),
    }
}

fn number(kind: u8, value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let skipped = bytes.iter().take_while(|byte| **byte == 0).count();
    control(kind, 8 - skipped, out);
    out.extend(&bytes[skipped..]);
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (size, more) = match u8::try_from(size).unwrap() {
        size @ 0..29 => (size, None),
        size => (29, Some(size - 29)),
    };
    match kind {
        0..8 => out.push(kind << 5 | size),
        _ => out.extend([size, kind - 7]),
    }
    out.extend(more);
}
