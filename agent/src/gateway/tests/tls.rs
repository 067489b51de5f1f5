//! TLS on both sides, certificates by name and their renewal, and the PROXY protocol.

use std::{path::PathBuf, process::Command};

use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
};

use super::*;
use crate::config::Certificate;

type Tls = StreamOwned<ClientConnection, TcpStream>;

struct Pki(tempfile::TempDir);

impl Pki {
    fn new(names: &[&str]) -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        names.iter().for_each(|name| pki.issue(name));
        pki
    }

    /// A self-signed certificate for a name, in place of the one that it has.
    fn issue(&self, name: &str) {
        let run = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ])
            .args([
                "-subj",
                &format!("/CN={name}"),
                "-addext",
                &format!("subjectAltName=DNS:{name}"),
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .arg("-keyout")
            .arg(self.key(name))
            .arg("-out")
            .arg(self.certificate(name))
            .output()
            .expect("openssl must be installed");
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.pem"))
    }

    fn key(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.key"))
    }

    fn der(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.certificate(name)).unwrap()
    }

    fn setting(&self, names: &[&str]) -> String {
        let listed: Vec<String> = names
            .iter()
            .map(|name| {
                format!(
                    "{{ certificate = \"{}\", key = \"{}\" }}",
                    self.certificate(name).display(),
                    self.key(name).display()
                )
            })
            .collect();
        format!("certificates = [{}]\n", listed.join(", "))
    }

    /// Connects as a client that trusts these certificates.
    fn connect(
        &self,
        to: SocketAddr,
        name: &str,
        trusted: &[&str],
        alpn: &[&[u8]],
    ) -> std::io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        for name in trusted {
            roots.add(self.der(name)).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tcp = TcpStream::connect(to).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(tls)
    }
}

/// A request over TLS, and the status of its answer.
fn status(tls: &mut Tls, client: &str) -> u16 {
    write!(
        tls,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = field(&head.to_lowercase(), "content-length")
        .unwrap()
        .parse()
        .unwrap();
    tls.read_exact(&mut vec![0; length]).unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn certificates_are_chosen_by_name_and_renewed_without_touching_connections() {
    let pki = Pki::new(&["one.example", "two.example"]);
    let upstream = Upstream::plain();
    let gateway = format!(
        "upstream = \"{}\"\n{}",
        upstream.address,
        pki.setting(&["one.example", "two.example"])
    );
    let fixture = Fixture::new("", &gateway);
    let old = pki.der("two.example");
    let mut kept = pki
        .connect(fixture.v4, "two.example", &["two.example"], &[b"http/1.1"])
        .unwrap();
    assert_eq!(kept.conn.peer_certificates().unwrap()[0], old);
    assert_eq!(status(&mut kept, "198.51.100.7"), 200);
    assert_eq!(status(&mut kept, "203.0.113.9"), 403);
    let one = pki
        .connect(fixture.v4, "one.example", &["one.example"], &[])
        .unwrap();
    assert_eq!(
        one.conn.peer_certificates().unwrap()[0],
        pki.der("one.example")
    );
    // A name that none has gets the first certificate, which this client does not accept for it.
    assert!(
        pki.connect(fixture.v4, "three.example", &["one.example"], &[])
            .is_err()
    );

    pki.issue("two.example");
    fixture.reconfigure("", &gateway);
    assert_eq!(status(&mut kept, "198.51.100.7"), 200);
    let new = pki
        .connect(fixture.v4, "two.example", &["two.example"], &[])
        .unwrap();
    assert_eq!(
        new.conn.peer_certificates().unwrap()[0],
        pki.der("two.example")
    );
    assert_ne!(pki.der("two.example"), old);
}

#[test]
fn http_2_is_agreed_on_by_alpn() {
    let pki = Pki::new(&["one.example"]);
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, &pki.setting(&["one.example"]));
    for (alpn, agreed) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[&b"http/1.1"[..]][..], Some(&b"http/1.1"[..])),
        (&[][..], None),
    ] {
        let mut tls = pki
            .connect(fixture.v4, "one.example", &["one.example"], alpn)
            .unwrap();
        assert_eq!(tls.conn.alpn_protocol(), agreed);
        if agreed == Some(b"h2") {
            tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .unwrap();
            let mut frame = [0; 9];
            tls.read_exact(&mut frame).unwrap();
            assert_eq!(frame[3], 4, "a SETTINGS frame");
        } else {
            assert_eq!(status(&mut tls, "198.51.100.7"), 200);
        }
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_a_mistake_of_the_configuration() {
    let pki = Pki::new(&["one.example", "two.example"]);
    let good = config(
        1,
        2,
        "",
        &format!(
            "upstream = \"127.0.0.1:9\"\n{}",
            pki.setting(&["one.example"])
        ),
    )
    .services;
    let swapped = Certificate {
        certificate: pki.certificate("one.example"),
        key: pki.key("two.example"),
    };
    let missing = Certificate {
        certificate: "/nowhere.pem".into(),
        key: "/nowhere.key".into(),
    };
    for (certificate, says) in [(swapped, "does not belong"), (missing, "/nowhere.pem")] {
        let mut services = good.clone();
        services[0].gateway.as_mut().unwrap().certificates = vec![certificate];
        let errors = Material::read(&services).unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<String>();
        assert!(
            text.contains("service login") && text.contains(says),
            "{text}"
        );
    }
}

#[test]
fn garbage_instead_of_a_handshake_is_counted() {
    let pki = Pki::new(&["one.example"]);
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, &pki.setting(&["one.example"]));
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    while client.more() {}
    until("counted", || fixture.cause("tls_handshake") == 1);
    assert!(upstream.heads().is_empty());
}

#[test]
fn the_upstream_must_present_one_of_the_certificates() {
    let pki = Pki::new(&["one.example", "two.example"]);
    let upstream = Upstream::plain();
    // A gateway is as good a TLS server as any.
    let application = Fixture::before(upstream.address, &pki.setting(&["one.example"]));
    let ours = format!("upstream = \"{}\"\nupstream_tls = true\n", application.v4);
    let right = Fixture::new(
        "",
        &format!("{ours}{}", pki.setting(&["two.example", "one.example"])),
    );
    let mut tls = pki
        .connect(right.v4, "one.example", &["one.example"], &[])
        .unwrap();
    assert_eq!(status(&mut tls, "198.51.100.7"), 200);
    assert_eq!(status(&mut tls, "198.51.100.7"), 200);

    let wrong = Fixture::new("", &format!("{ours}{}", pki.setting(&["two.example"])));
    let mut tls = pki
        .connect(wrong.v4, "two.example", &["two.example"], &[])
        .unwrap();
    assert_eq!(status(&mut tls, "198.51.100.7"), 502);
    assert_eq!(wrong.cause("upstream_tls"), 1);

    let ca = format!(
        "upstream_ca = \"{}\"\n",
        pki.certificate("one.example").display()
    );
    let by_ca = Fixture::new("", &format!("{ours}{ca}"));
    let mut client = by_ca.connect();
    client.send("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 200);
    client.send("GET / HTTP/1.1\r\nHost: two.example\r\n\r\n");
    assert_eq!(
        client.answer().unwrap().status,
        502,
        "a name that its certificate has not"
    );
}

#[test]
fn the_proxy_protocol_says_who_the_client_is() {
    let upstream = Upstream::plain();
    let fixture = Fixture::new(
        "header = \"proxy-protocol\"",
        &format!("upstream = \"{}\"", upstream.address),
    );
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\0\x07\x01\xbb";
    for (ahead, status) in [
        (&b"PROXY TCP4 198.51.100.7 192.0.2.1 7 443\r\n"[..], 200),
        (b"PROXY TCP4 203.0.113.9 192.0.2.1 7 443\r\n", 403),
        (b"PROXY UNKNOWN\r\n", 200),
        (v2, 403),
    ] {
        for pieces in [usize::MAX, 1] {
            let mut client = fixture.connect();
            let bytes = [ahead, request.as_bytes()].concat();
            for piece in bytes.chunks(pieces.min(bytes.len())) {
                client.send(piece);
            }
            assert_eq!(client.answer().unwrap().status, status, "{ahead:?}");
        }
    }
    let mut client = fixture.connect();
    client.send(request);
    while client.more() {}
    until("counted", || fixture.cause("proxy_header") == 1);
}

#[test]
fn the_upstream_is_told_by_the_proxy_protocol_over_a_connection_for_each_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fixture = Fixture::before(
        listener.local_addr().unwrap(),
        "upstream_proxy_protocol = true",
    );
    let told = Arc::<Mutex<Vec<(Vec<u8>, usize)>>>::default();
    let kept = Arc::clone(&told);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, kept) = (stream.unwrap(), Arc::clone(&kept));
            thread::spawn(move || {
                let mut header = vec![0; 28];
                stream.read_exact(&mut header).unwrap();
                let mut requests = 0;
                while read_head(&mut stream).is_some() {
                    requests += 1;
                    let mut told = kept.lock().unwrap();
                    told.retain(|(known, _)| *known != header);
                    told.push((header.clone(), requests));
                    drop(told);
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .unwrap();
                }
            });
        }
    });
    let mut client = fixture.connect();
    for address in ["198.51.100.7", "198.51.100.8", "198.51.100.7"] {
        assert_eq!(client.get("/", address).status, 200);
    }
    let told = told.lock().unwrap();
    let mut by_client: Vec<(&[u8], usize)> = told
        .iter()
        .map(|(header, requests)| (&header[16..20], *requests))
        .collect();
    by_client.sort_unstable();
    assert_eq!(
        by_client,
        [(&[198, 51, 100, 7][..], 2), (&[198, 51, 100, 8][..], 1)]
    );
    assert!(
        told.iter()
            .all(|(header, _)| header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"))
    );
}
