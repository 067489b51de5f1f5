//! Watching: what the kernel copies of requests from trusted proxies, and what the agent makes of it.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use aya::EbpfLoader;
use aya::maps::MapInfo;
use aya::programs::Xdp;
use edgeward_ebpf::abi::ABI_VERSION;
use lab::frames::{Extension, Frame, Transport, flags};
use lab::xdp::{Action, attached_program, test_run};
use lab::{Agent, AgentConfig, EDGE, Lab, Result, Site, TestFn};
use serde_json::Value;
use std::os::fd::AsFd;

use super::world::until;

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("heads_are_copied_out_of_every_form_of_frame", forms),
        ("the_program_of_older_kernels_copies_heads_too", linear),
        ("what_is_no_whole_head_is_counted", incomplete),
        ("only_proxies_and_watched_ports_are_read", others),
        ("a_real_request_is_judged_and_passes", real),
        ("a_flood_of_heads_is_bounded", flood),
    ]
}

/// Both families, tags, options, extension headers, several buffers.
fn forms() -> Result<()> {
    let watched = Watched::start("observe-forms", "")?;
    let mut sent = 0;
    for (source, client) in [
        ("198.51.100.70", "203.0.113.66"),
        ("2001:db8:9::70", "2001:db8:bad::66"),
    ] {
        let frame = || watched.frame(source, Site::HTTP, &get(client));
        let mut forms = vec![
            ("plain", frame()?),
            ("one tag", frame()?.tag(0x8100, 7)),
            ("two tags", frame()?.tag(0x88a8, 7).tag(0x8100, 8)),
            (
                "from a port of its own",
                watched.frame(source, Site::HTTP, &post(client, ""))?,
            ),
        ];
        if source.contains('.') {
            forms.push(("options", frame()?.options(&[1; 8])));
        } else {
            forms.push(("extension header", frame()?.extension(Extension::HopByHop)));
        }
        // More than the linear part of a packet, which then lies in several buffers.
        for body in [100, 1_900, 3_000, 9_000] {
            let request = post(client, &"x".repeat(body));
            forms.push((
                "a body behind it",
                watched.frame(source, Site::HTTP, &request)?,
            ));
        }
        for (form, frame) in forms {
            watched.passes(&frame.build()).context(form)?;
            sent += 1;
            // The attacker is listed and nobody is refused: each head counts, whatever its frame.
            watched
                .until_counts(&[("/would_refuse/reputation", sent)])
                .with_context(|| format!("{source}: {form}"))?;
        }
    }
    ensure!(watched.kernel("heads_copied")? == sent);
    ensure!(
        watched
            .service("/refused")?
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
    );
    let events = watched.agent.cli_ok(&["events", "--json"])?;
    for (client, peer) in [
        ("203.0.113.66", "198.51.100.70"),
        ("2001:db8:bad::66", "2001:db8:9::70"),
    ] {
        let told = events
            .lines()
            .filter(|line| line.contains("\"observe\""))
            .any(|line| line.contains(client) && line.contains(peer));
        ensure!(told, "no event about {client}: {events}");
    }
    Ok(())
}

/// Beside the agent's program, over the agent's maps: this kernel is too new for the agent to choose it.
fn linear() -> Result<()> {
    let watched = Watched::start("observe-linear", "")?;
    let pins = watched.agent.bpffs_dir().join(format!("v{ABI_VERSION}"));
    let object = OBJECTS
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .with_context(|| format!("none of {OBJECTS:?}"))?;
    let mut maps = Vec::new();
    for entry in std::fs::read_dir(&pins)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.context("a pin without a name")?.to_ascii_uppercase();
        // Links are pinned there as well.
        if let Ok(map) = MapInfo::from_pin(&path) {
            maps.push((name, path, map.max_entries()));
        }
    }
    let mut loader = EbpfLoader::new();
    for (name, path, size) in &maps {
        loader.map_pin_path(name, path).map_max_entries(name, *size);
    }
    let mut ebpf = loader.load(&object)?;
    let program = ebpf.program_mut("edgeward_linear").context("no program")?;
    let program: &mut Xdp = program.try_into()?;
    program.load()?;
    let mut sent = 0;
    for length in [0, 1, 7, 8, 9, 1_000, 1_300] {
        let request = post("203.0.113.66", &"x".repeat(length));
        for source in ["198.51.100.70", "2001:db8:9::70"] {
            let frame = watched.frame(source, Site::HTTP, &request)?.build();
            let run = test_run(program.fd()?.as_fd(), &frame, 1)?;
            ensure!(run.action == Action::Pass && run.frame == frame, "{run:?}");
            sent += 1;
        }
    }
    watched.until_counts(&[("/would_refuse/reputation", sent)])?;
    ensure!(watched.kernel("heads_copied")? == sent);
    Ok(())
}

/// A head that does not end within the copy, whether the segment or the copy is too short.
fn incomplete() -> Result<()> {
    let watched = Watched::start("observe-incomplete", "")?;
    let source = "198.51.100.70";
    let whole = get("203.0.113.66");
    let long = whole.replace(
        "\r\n\r\n",
        &format!("\r\nCookie: {}\r\n\r\n", "c".repeat(2_100)),
    );
    let cases = [
        (whole[..whole.len() - 2].to_owned(), "head_truncated", 1),
        (long, "head_truncated", 2),
        (
            "GET / HTTP/1.1\r\nnonsense\r\n\r\n".to_owned(),
            "head_unreadable",
            1,
        ),
        (
            format!("POST / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)),
            "too_many_headers",
            1,
        ),
    ];
    for (text, cause, count) in cases {
        watched.passes(&watched.frame(source, Site::HTTP, &text)?.build())?;
        let pointer = format!("/proxied/rejected/observe/{cause}");
        until(cause, || {
            Ok(watched.status()?.pointer(&pointer) == Some(&Value::from(count)))
        })?;
    }
    // Neither a client nor a proxy is judged by half a head.
    ensure!(
        watched
            .status()?
            .pointer("/proxied/services/0/would_refuse/reputation")
            .is_none()
    );
    Ok(())
}

fn others() -> Result<()> {
    let watched = Watched::start("observe-others", "")?;
    let request = get("203.0.113.66");
    let frames = [
        (
            "not a proxy",
            watched.frame("198.51.100.10", Site::HTTP, &request)?,
        ),
        (
            "a port that is not watched",
            watched.frame("198.51.100.70", Site::HTTPS, &request)?,
        ),
        (
            "a port of no service",
            watched.frame("198.51.100.70", Site::OTHER, &request)?,
        ),
        (
            "no request",
            watched.frame("198.51.100.70", Site::HTTP, "HTTP/1.1 200 OK\r\n\r\n")?,
        ),
        (
            "half a word",
            watched.frame("198.51.100.70", Site::HTTP, "GET / H")?,
        ),
        ("nothing", watched.frame("198.51.100.70", Site::HTTP, "")?),
        (
            "a small letter",
            watched.frame("198.51.100.70", Site::HTTP, "get / HTTP/1.1\r\n\r\n")?,
        ),
        (
            "a fragment",
            watched
                .frame("198.51.100.70", Site::HTTP, &request)?
                .first_fragment(),
        ),
        (
            "a datagram",
            Frame::between("198.51.100.70".parse()?, watched.lab.login.v4().into()).udp(
                50_000,
                Site::HTTP,
                request.as_bytes(),
            ),
        ),
    ];
    for (what, frame) in frames {
        watched.passes(&frame.build())?;
        ensure!(watched.kernel("heads_copied")? == 0, "{what} was copied");
    }
    for method in [
        "GET", "POST", "PUT", "HEAD", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ] {
        let before = watched.kernel("heads_copied")?;
        let text = request.replacen("GET", method, 1);
        watched.passes(&watched.frame("198.51.100.70", Site::HTTP, &text)?.build())?;
        ensure!(
            watched.kernel("heads_copied")? == before + 1,
            "{method} was not copied"
        );
    }
    Ok(())
}

/// Over the wire, with what TCP of this kernel puts into its headers; block mode refuses nothing here.
fn real() -> Result<()> {
    let watched = Watched::start("observe-real", "")?;
    let site = watched.lab.site()?;
    let mut sent = 0;
    for source in watched.lab.proxy.addresses() {
        for client in ["203.0.113.66", "198.51.100.10"] {
            let header = format!("X-Forwarded-For: {client}");
            let found = watched.lab.proxy.http_get(
                site.address(source),
                "/login?user=alice",
                &[&header],
                std::time::Duration::from_secs(10),
            )?;
            ensure!(
                found.status == 200 && found.body == Site::ANSWER,
                "{found:?}"
            );
        }
        sent += 1;
        // Both have passed.
        watched.until_counts(&[
            ("/would_refuse/reputation", sent),
            ("/passed/observe", 2 * sent),
        ])?;
    }
    let events = watched.agent.cli_ok(&["events", "--json"])?;
    ensure!(
        events.contains("/login") && !events.contains("alice"),
        "{events}"
    );
    Ok(())
}

/// A budget in the kernel, and what it held back is counted.
fn flood() -> Result<()> {
    let watched = Watched::start("observe-flood", "[events]\nper_second_max = 5\n")?;
    let program = attached_program(&watched.lab.login, EDGE)?;
    let frame = watched
        .frame("198.51.100.70", Site::HTTP, &get("203.0.113.66"))?
        .build();
    let sent = 4_000;
    for _ in 0..sent {
        test_run(program.as_fd(), &frame, 1)?;
    }
    let copied = watched.kernel("heads_copied")?;
    let held = watched.kernel("heads_suppressed")? + watched.kernel("heads_lost")?;
    ensure!(
        copied + held == sent && copied > 0 && held > 0,
        "{copied} copied, {held} held back"
    );
    Ok(())
}

/// An agent that watches port 80 and blocks the attacker's networks.
struct Watched {
    agent: Agent,
    // Dropped last: the agent must be gone before its namespace is.
    lab: Lab,
}

impl Watched {
    fn start(name: &str, more: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let config = AgentConfig::new("block")
            .zone(
                "cdn",
                &["trusted-proxy"],
                &["198.51.100.64/26", "2001:db8:9::/48"],
            )
            .list("bad", 100, &["203.0.113.0/24", "2001:db8:bad::/48"])
            .toml(&format!(
                "[[service]]\nname = \"login\"\nports = [{}]\nobserve = true\n\
                 [[service]]\nname = \"other\"\nports = [{}]\n{more}",
                Site::HTTP,
                Site::HTTPS
            ));
        let agent = Agent::start(&lab, &config)?;
        Ok(Self { agent, lab })
    }

    fn frame(&self, source: &str, port: u16, text: &str) -> Result<Frame> {
        let source: IpAddr = source.parse()?;
        let transport = Transport::Tcp {
            source: 50_000,
            target: port,
            flags: flags::PSH | flags::ACK,
            payload: text.as_bytes().to_vec(),
        };
        Ok(Frame::between(source, self.lab.login.address_like(source)).transport(transport))
    }

    fn passes(&self, frame: &[u8]) -> Result<()> {
        let program = attached_program(&self.lab.login, EDGE)?;
        let run = test_run(program.as_fd(), frame, 1)?;
        ensure!(run.action == Action::Pass && run.frame == frame, "{run:?}");
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        self.agent.cli_json(&["status"])
    }

    fn service(&self, pointer: &str) -> Result<Value> {
        let status = self.status()?;
        let found = status.pointer(&format!("/proxied/services/0{pointer}"));
        Ok(found.cloned().unwrap_or_default())
    }

    fn until_counts(&self, wanted: &[(&str, u64)]) -> Result<()> {
        until(&format!("{wanted:?}"), || {
            for (pointer, count) in wanted {
                if self.service(pointer)? != *count {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .with_context(|| format!("{:?}", self.status()))
    }

    fn kernel(&self, counter: &str) -> Result<u64> {
        let status = self.status()?;
        status
            .pointer(&format!("/events/{counter}"))
            .and_then(Value::as_u64)
            .with_context(|| format!("status has no {counter}: {status}"))
    }
}

/// The kernels' programs where they are built, and in the guest of `cargo xtask vm`.
const OBJECTS: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ebpf/edgeward-xdp"),
    "/edgeward/edgeward-xdp",
];

fn get(client: &str) -> String {
    format!("GET /login HTTP/1.1\r\nHost: login.example\r\nX-Forwarded-For: {client}\r\n\r\n")
}

fn post(client: &str, body: &str) -> String {
    format!(
        "POST /login HTTP/1.1\r\nHost: login.example\r\nX-Forwarded-For: {client}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
