//! Frames written by another implementation, by hand, and at random.

use std::net::{Ipv4Addr, Ipv6Addr};

use spop::{
    SpopFrame as _, TypedData, VarScope, frame::FrameType, frames::ack::Ack, parser::parse_frame,
    varint::encode_varint_into,
};

use super::{
    frame::read,
    wire::{Reader, put_varint},
    *,
};

/// A frame of HAProxy's; the other implementation, which only reads those, must find no fault with it.
fn sent(kind: FrameType, stream: u64, frame: u64, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![kind.to_u8(), 0, 0, 0, 1];
    encode_varint_into(stream, &mut body);
    encode_varint_into(frame, &mut body);
    body.extend_from_slice(payload);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], &body].concat()
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(&str, TypedData)]) {
    for (name, value) in pairs {
        encode_varint_into(name.len() as u64, out);
        out.extend_from_slice(name.as_bytes());
        value.to_bytes(out);
    }
}

pub(in crate::authz) fn hello(pairs: &[(&str, TypedData)]) -> Vec<u8> {
    let mut payload = Vec::new();
    put_pairs(&mut payload, pairs);
    sent(FrameType::HaproxyHello, 0, 0, &payload)
}

pub(in crate::authz) fn usual_hello() -> Vec<u8> {
    let frame = hello(&[
        ("supported-versions", "2.0".into()),
        ("max-frame-size", 16_380u32.into()),
        ("capabilities", "pipelining,async".into()),
    ]);
    assert!(parse_frame(&frame).is_ok());
    frame
}

pub(in crate::authz) fn notify(
    stream: u64,
    frame: u64,
    arguments: &[(&str, TypedData)],
) -> Vec<u8> {
    let name = "edgeward-request";
    let mut payload = vec![u8::try_from(name.len()).unwrap()];
    payload.extend_from_slice(name.as_bytes());
    payload.push(u8::try_from(arguments.len()).unwrap());
    put_pairs(&mut payload, arguments);
    let frame = sent(FrameType::Notify, stream, frame, &payload);
    assert!(parse_frame(&frame).is_ok());
    frame
}

/// Type, stream, frame and payload of every whole frame that was answered.
pub(in crate::authz) fn answered(mut bytes: &[u8]) -> Vec<(u8, u64, u64, &[u8])> {
    let mut frames = Vec::new();
    while let Cut::Frame(frame, length) = frame::cut(bytes, u32::MAX) {
        let mut reader = Reader(frame);
        let kind = reader.byte().unwrap();
        assert_eq!(reader.u32(), Some(1), "FIN and nothing else");
        let stream = reader.varint().unwrap();
        let frame = reader.varint().unwrap();
        frames.push((kind, stream, frame, reader.0));
        bytes = &bytes[length..];
    }
    frames
}

/// The variables that an ACK sets, as text.
pub(in crate::authz) fn variables(payload: &[u8]) -> Vec<(String, String)> {
    let mut reader = Reader(payload);
    let mut set = Vec::new();
    while !reader.is_empty() {
        let head = [(); 3].map(|()| reader.byte().unwrap());
        assert_eq!(head, [1, 3, 2], "set-var, three arguments, txn");
        let name = String::from_utf8(reader.string().unwrap().to_vec()).unwrap();
        let value = match reader.value().unwrap() {
            Value::Bytes(text) => String::from_utf8(text.to_vec()).unwrap(),
            Value::Integer(number) => number.to_string(),
            other => panic!("{other:?}"),
        };
        set.push((name, value));
    }
    set
}

pub(in crate::authz) fn status(payload: &[u8]) -> Option<u64> {
    let mut reader = Reader(payload);
    while !reader.is_empty() {
        if let (b"status-code", Value::Integer(status)) = reader.pair()? {
            return Some(status);
        }
    }
    None
}

#[test]
fn integers_are_those_of_the_other_implementation() {
    let mut edges = vec![
        0,
        1,
        239,
        240,
        241,
        2_287,
        2_288,
        264_431,
        264_432,
        u64::MAX,
    ];
    edges.extend((0..64).flat_map(|shift| [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1]));
    for value in edges {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        put_varint(&mut ours, value);
        encode_varint_into(value, &mut theirs);
        assert_eq!(ours, theirs, "{value}");
        let mut reader = Reader(&ours);
        assert_eq!(reader.varint(), Some(value));
        assert!(reader.is_empty());
        for cut in 0..ours.len() {
            assert_eq!(Reader(&ours[..cut]).varint(), None, "{value} cut at {cut}");
        }
    }
    let endless = [0xff; 64];
    assert_eq!(Reader(&endless).varint(), None);
}

#[test]
fn values_are_those_of_the_other_implementation() {
    let text = TypedData::String("a".repeat(300));
    let cases = [
        (TypedData::Null, Value::Null),
        (TypedData::Bool(true), Value::Bool(true)),
        (TypedData::Bool(false), Value::Bool(false)),
        (TypedData::UInt32(7), Value::Integer(7)),
        (TypedData::Int64(-1), Value::Integer(u64::MAX)),
        (
            TypedData::IPv4(Ipv4Addr::new(192, 0, 2, 1)),
            Value::Address("192.0.2.1".parse().unwrap()),
        ),
        (
            TypedData::IPv6(Ipv6Addr::LOCALHOST),
            Value::Address("::1".parse().unwrap()),
        ),
        (text, Value::Bytes(&[b'a'; 300])),
        (TypedData::Binary(vec![0, 255]), Value::Bytes(&[0, 255])),
    ];
    for (theirs, ours) in cases {
        let mut bytes = Vec::new();
        theirs.to_bytes(&mut bytes);
        let mut reader = Reader(&bytes);
        assert_eq!(reader.value(), Some(ours));
        assert!(reader.is_empty());
    }
    for kind in 10..=15 {
        assert_eq!(Reader(&[kind, 0]).value(), None, "reserved type {kind}");
    }
}

#[test]
fn a_hello_is_read_or_refused_by_number() {
    let versions = ("supported-versions", TypedData::from("1.0, 2.0"));
    let size = ("max-frame-size", TypedData::from(16_380u32));
    let capabilities = ("capabilities", TypedData::from("async, pipelining"));
    let read_it = |pairs: &[(&str, TypedData)]| {
        let bytes = hello(pairs);
        match read(&bytes[4..]) {
            Ok(Frame::Hello(hello)) => Ok(hello),
            Err(status) => Err(status),
            other => panic!("{other:?}"),
        }
    };
    let whole = [versions.clone(), size.clone(), capabilities.clone()];
    let expected = Hello {
        frame_bytes_max: 16_380,
        pipelining: true,
        health_check: false,
    };
    assert_eq!(read_it(&whole), Ok(expected));
    let check = [&whole[..], &[("healthcheck", TypedData::from(true))]].concat();
    assert!(read_it(&check).unwrap().health_check);
    let none = ("capabilities", TypedData::from(""));
    let plain = [versions.clone(), size.clone(), none];
    assert!(!read_it(&plain).unwrap().pipelining);
    let old = ("supported-versions", TypedData::from("1.0"));
    let small = ("max-frame-size", TypedData::from(255u32));
    let cases = [
        (vec![size.clone(), capabilities.clone()], Status::NoVersion),
        (
            vec![versions.clone(), capabilities.clone()],
            Status::NoFrameSize,
        ),
        (vec![versions.clone(), size.clone()], Status::NoCapabilities),
        (vec![old, size, capabilities.clone()], Status::BadVersion),
        (vec![versions, small, capabilities], Status::BadFrameSize),
    ];
    for (pairs, status) in cases {
        assert_eq!(read_it(&pairs), Err(status), "{pairs:?}");
    }
}

#[test]
fn an_ack_is_byte_for_byte_that_of_the_other_implementation() {
    let theirs = Ack::new(70_000, 3)
        .set_var(VarScope::Transaction, "verdict", "pass")
        .set_var(VarScope::Transaction, "status", 429u32)
        .serialize()
        .unwrap();
    let question = notify(70_000, 3, &[]);
    let Ok(Frame::Notify(notify)) = read(&question[4..]) else {
        panic!("no NOTIFY")
    };
    let mut ours = Vec::new();
    frame::put_ack(&mut ours, &notify, |out| {
        variable(out, "verdict", "pass");
        put_number(out, "status", 429);
    });
    assert_eq!(ours, theirs);
}

#[test]
fn fragments_and_odd_flags_are_refused() {
    let whole = notify(1, 1, &[("src", Ipv4Addr::LOCALHOST.into())]);
    let flagged = |flags: u32| {
        let mut frame = whole[4..].to_vec();
        frame[1..5].copy_from_slice(&flags.to_be_bytes());
        frame
    };
    assert!(matches!(read(&flagged(1)), Ok(Frame::Notify(_))));
    assert!(matches!(read(&flagged(0)), Err(Status::Fragmented)));
    assert!(matches!(read(&flagged(3)), Err(Status::Invalid)));
    let mut piece = flagged(1);
    piece[0] = 0;
    assert!(matches!(read(&piece), Err(Status::Fragmented)));
    piece[0] = 77;
    assert!(matches!(read(&piece), Ok(Frame::Unknown)));
}

#[test]
fn header_lines_are_found_whatever_ends_them() {
    let lines = Lines(
        b"host: login.example\r\nX-Forwarded-For: a, b\r\nx-forwarded-for:c\r\nx-forwarded-for-x: d\r\n\
          no colon\nuser-agent:  curl \n\r\n",
    );
    assert!(lines.lines("x-forwarded-for").eq([&b"a, b"[..], b"c"]));
    assert_eq!(lines.first("user-agent"), Some(&b"curl"[..]));
    assert_eq!(lines.first("host"), Some(&b"login.example"[..]));
    assert_eq!(lines.first("x-forwarded-fo"), None);
    assert_eq!(Lines(b"").first("a"), None);
}

/// Every truncation of a good frame and many mutations of it: an answer or a refusal, never a panic, and
/// never a read beyond the frame.
#[test]
fn frames_that_were_tampered_with_are_survived() {
    let good = notify(
        3,
        1,
        &[
            ("src", Ipv4Addr::LOCALHOST.into()),
            ("method", "GET".into()),
            ("path", "/login".into()),
            ("headers", "x-forwarded-for: 192.0.2.1\r\n".into()),
        ],
    );
    let walk = |frame: &[u8]| {
        if let Ok(Frame::Notify(notify)) = read(frame) {
            for message in notify.messages().take(MESSAGES_MAX) {
                let Ok(arguments) = message else { break };
                for name in ["src", "method", "path", "headers"] {
                    if let Some(Value::Bytes(bytes)) = arguments.get(name) {
                        assert!(bytes.len() <= frame.len());
                    }
                }
            }
        }
    };
    for cut in 0..good.len() - 4 {
        walk(&good[4..4 + cut]);
    }
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..20_000 {
        let mut frame = good[4..].to_vec();
        for _ in 0..=next() % 4 {
            let place = usize::try_from(next()).unwrap() % frame.len();
            frame[place] = next().to_le_bytes()[0];
        }
        walk(&frame);
        let random: Vec<u8> = (0..next() % 64).map(|_| next().to_le_bytes()[0]).collect();
        walk(&random);
    }
}
