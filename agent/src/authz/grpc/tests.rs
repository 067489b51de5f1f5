//! Messages by hand: what Envoy puts on the wire, and what it must not be able to break.

use bytes::{BufMut as _, BytesMut};

use super::*;

/// A field of length-delimited type.
pub(in crate::authz) fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(tag << 3 | 2), &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

pub(in crate::authz) fn header(name: &str, value: &[u8]) -> Vec<u8> {
    entry(name, value)
}

/// What Envoy reads out of an answer: status, headers and page.
pub(in crate::authz) fn read_answer<T>(
    message: &[u8],
    read: impl FnOnce(u16, &dyn Fn(&str) -> Option<String>, String) -> T,
) -> T {
    let answer = CheckResponse::decode(message).unwrap();
    let code = answer.status.unwrap().code;
    let (status, headers, page) = match (answer.ok, answer.denied) {
        (Some(passed), None) => {
            assert_eq!(code, 0);
            (200, passed.headers, Bytes::new())
        }
        (None, Some(denied)) => {
            assert_ne!(code, 0);
            (denied.status.unwrap().code, denied.headers, denied.body)
        }
        other => panic!("{other:?}"),
    };
    let header = |name: &str| {
        headers
            .iter()
            .filter_map(|option| option.header.as_ref())
            .find(|header| &header.key[..] == name.as_bytes())
            .map(|header| String::from_utf8(header.value.to_vec()).unwrap())
    };
    let page = String::from_utf8(page.to_vec()).unwrap();
    read(u16::try_from(status).unwrap(), &header, page)
}

fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    field(3, &[field(1, name.as_bytes()), field(2, value)].concat())
}

fn raw_line(name: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(3, value)].concat())
}

/// A CheckRequest with these parts of `attributes.request.http` besides method, path and host.
pub(in crate::authz) fn check_request(peer: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    check_request_for(peer, "/login?next=%2F", parts)
}

pub(in crate::authz) fn check_request_for(peer: &str, path: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let port = [0x18, 0xbb, 0x03];
    let socket = [field(2, peer.as_bytes()), port.to_vec()].concat();
    let source = field(1, &field(1, &field(1, &socket)));
    let mut http = [
        field(1, b"17"),
        field(2, b"POST"),
        field(4, path.as_bytes()),
        field(5, b"login.example"),
        field(6, b"https"),
        field(10, b"HTTP/2"),
    ]
    .concat();
    http.extend(parts.concat());
    let request = field(4, &field(2, &http));
    // Something that is not known here, as context_extensions would be.
    let other = field(10, &[field(1, b"a"), field(2, b"b")].concat());
    field(1, &[source, request, other].concat())
}

pub(in crate::authz) fn xff(value: &str) -> Vec<u8> {
    entry("x-forwarded-for", value.as_bytes())
}

pub(in crate::authz) fn forged(name: &str) -> Vec<u8> {
    entry(name, b"forged")
}

#[test]
fn a_check_request_is_read_as_published() {
    let bytes = check_request(
        "192.0.2.1",
        &[
            entry("user-agent", b"curl"),
            entry("x-forwarded-for", b"a,b"),
        ],
    );
    let request = CheckRequest::decode(&bytes[..]).unwrap();
    let attributes = request.attributes.unwrap();
    let socket = attributes.source.unwrap().address.unwrap().socket_address;
    assert_eq!(&socket.unwrap().address[..], b"192.0.2.1");
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!(&http.method[..], b"POST");
    assert_eq!(&http.path[..], b"/login?next=%2F");
    assert_eq!(&http.host[..], b"login.example");
    let lines = Lines::of(&http);
    assert!(lines.lines("x-forwarded-for").eq([&b"a,b"[..]]));
    assert!(lines.lines("user-agent").eq([&b"curl"[..]]));
}

#[test]
fn raw_lines_stay_lines_and_may_hold_any_byte() {
    let lines = [
        raw_line("x-forwarded-for", b"a"),
        raw_line("x-forwarded-for", b"\xff\xfe"),
    ];
    let bytes = check_request("192.0.2.1", &[field(13, &lines.concat())]);
    let request = CheckRequest::decode(&bytes[..]).unwrap();
    let http = request.attributes.unwrap().request.unwrap().http.unwrap();
    let lines = Lines::of(&http);
    assert!(lines.lines("x-forwarded-for").eq([&b"a"[..], b"\xff\xfe"]));
}

#[test]
fn bodies_are_one_plain_message() {
    let framed = |compressed: u8, length: u32, message: &[u8]| {
        let mut bytes = BytesMut::new();
        bytes.put_u8(compressed);
        bytes.put_u32(length);
        bytes.put_slice(message);
        bytes.freeze()
    };
    assert_eq!(frame::message(&framed(0, 3, b"abc")), Ok("abc".into()));
    assert_eq!(frame::message(&framed(0, 0, b"")), Ok(Bytes::new()));
    let cases = [
        (Bytes::new(), Code::InvalidArgument),
        (Bytes::from_static(&[0, 0, 0]), Code::InvalidArgument),
        (framed(0, 4, b"abc"), Code::InvalidArgument),
        (framed(0, 2, b"abc"), Code::InvalidArgument),
        (framed(0, u32::MAX, b"abc"), Code::InvalidArgument),
        (framed(1, 3, b"abc"), Code::Unimplemented),
    ];
    for (body, code) in cases {
        assert_eq!(frame::message(&body).unwrap_err().code, code, "{body:?}");
    }
}

#[test]
fn our_names_are_known_in_every_spelling() {
    for name in [
        "x-edgeward-client",
        "X-Edgeward-Any",
        "x_edgeward_client",
        "x.edgeward-",
    ] {
        assert!(is_ours(name.as_bytes()), "{name}");
    }
    for name in [
        "x-edgewar",
        "x-edgeward",
        "edgeward-client",
        "x-forwarded-for",
        "",
    ] {
        assert!(!is_ours(name.as_bytes()), "{name}");
    }
}

#[test]
fn messages_that_were_tampered_with_are_survived() {
    let good = check_request("192.0.2.1", &[xff("a, b"), forged("x-edgeward-client")]);
    for cut in 0..good.len() {
        let _ = CheckRequest::decode(&good[..cut]);
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=next() % 4 {
            let place = usize::try_from(next()).unwrap() % bytes.len();
            bytes[place] = next().to_le_bytes()[0];
        }
        if let Ok(request) = CheckRequest::decode(&bytes[..]) {
            read += 1;
            let http = request.attributes.unwrap_or_default().request;
            let http = http.unwrap_or_default().http.unwrap_or_default();
            assert!(Lines::of(&http).lines("x-forwarded-for").count() <= bytes.len());
        }
    }
    assert!(
        read > 1_000,
        "{read}: the mutations hit nothing but lengths"
    );
}
