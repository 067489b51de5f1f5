//! The lab tested by itself: before it says anything about the agent, it has to be right.

use std::time::Duration;

use anyhow::{Context, ensure};
use lab::frames::{Ends, Frame, catalogue, flags, strange};
use lab::xdp::{Action, Foreign, Hook, attached_id, attached_program, load, test_run};
use lab::{EDGE, Lab, Probe, Prober, Request, Result, Site};
use std::os::fd::AsFd;

fn main() {
    lab::run_tests(vec![
        ("sign_in_works_in_both_families_from_any_source", sign_in),
        ("every_kind_of_frame_arrives_as_it_was_sent", frames_arrive),
        ("a_foreign_program_attaches_and_detaches", foreign_program),
        ("a_test_run_returns_action_and_frame", test_runs),
        ("probes_count_what_passes_and_what_does_not", probes),
        ("a_process_is_started_in_its_host_and_waited_for", processes),
        ("cleanup_leaves_nothing_behind", cleanup),
        ("cleanup_happens_after_a_panic", cleanup_after_panic),
        ("a_sweep_takes_what_dead_runs_left_and_nothing_else", sweep),
    ]);
}

const WITHIN: Duration = Duration::from_secs(5);

fn sign_in() -> Result<()> {
    let lab = Lab::new("sign-in")?;
    let site = lab.site()?;
    for client in lab.clients() {
        for source in client.addresses() {
            let answer = client.http_get(site.address(source), "/login", &[], WITHIN)?;
            ensure!(
                (answer.status, answer.body.as_str()) == (200, Site::ANSWER),
                "{answer:?}"
            );
            site.wait_for_requests(source, 1)?;
        }
    }
    for source in ["203.0.113.7", "2001:db8:bad:7::7"] {
        let source = source.parse()?;
        let request =
            Request::post("/login", "user=a&password=b").header("X-Forwarded-For: 192.0.2.99");
        let answer = lab
            .attacker
            .http(source, site.address(source), &request, WITHIN)?;
        ensure!(answer.status == 200, "{answer:?}");
        site.wait_for_requests(source, 1)?;
        ensure!(site.requests_from(source) == 1, "{:?}", site.requests());
    }
    let line = site.requests().pop().context("an access log")?;
    ensure!(
        line.contains("192.0.2.99") && line.contains("POST /login"),
        "{line}"
    );
    for address in lab.login.addresses() {
        let refused = lab
            .innocent
            .connect(address, 9, WITHIN)
            .map(drop)
            .map_err(|error| error.kind());
        ensure!(
            refused == Err(std::io::ErrorKind::ConnectionRefused),
            "{refused:?}"
        );
    }
    Ok(())
}

fn frames_arrive() -> Result<()> {
    let lab = Lab::new("frames")?;
    let mut tap = lab.edge_tap()?;
    let mut sent = 0;
    for (source, target) in lab
        .attacker
        .addresses()
        .into_iter()
        .zip(lab.login.addresses())
    {
        let ends = Ends {
            source,
            target,
            source_port: 50_000,
            target_port: 443,
        };
        for kind in catalogue(ends) {
            ensure!(tap.passes(&kind.bytes)?, "{} did not arrive", kind.name);
            sent += 1;
        }
        for (name, bytes) in strange(ends) {
            ensure!(tap.passes(&bytes)?, "{name} did not arrive");
            sent += 1;
        }
        // A closed port answers: checksums are right, and replies are seen outside.
        let syn = Frame::between(source, target)
            .tcp(50_000, 9, flags::SYN)
            .build();
        let outcome = tap.exchange(&syn, WITHIN)?;
        ensure!(outcome.passed && outcome.replies.len() == 1, "{outcome:?}");
    }
    ensure!(sent > 500, "only {sent} frames");
    Ok(())
}

fn foreign_program() -> Result<()> {
    let lab = Lab::new("foreign")?;
    let mut tap = lab.edge_tap()?;
    let frame = Frame::between(lab.attacker.v4().into(), lab.login.v4().into())
        .echo()
        .build();
    for hook in [Hook::NetlinkNative, Hook::NetlinkGeneric, Hook::Link] {
        ensure!(
            attached_id(&lab.login, EDGE)?.is_none(),
            "{hook:?}: the hook is not free"
        );
        let foreign = Foreign::attach(&lab, &lab.login, EDGE, "somebody_else", hook)?;
        ensure!(
            attached_id(&lab.login, EDGE)?.is_some(),
            "{hook:?}: nothing attached"
        );
        ensure!(
            tap.passes(&frame)?,
            "{hook:?}: the program passes everything"
        );
        let second = Foreign::attach(&lab, &lab.login, EDGE, "too_late", Hook::Link);
        ensure!(second.is_err(), "{hook:?}: two programs on one hook");
        foreign.detach()?;
    }
    ensure!(attached_id(&lab.login, EDGE)?.is_none(), "not detached");
    Ok(())
}

fn test_runs() -> Result<()> {
    let lab = Lab::new("test-run")?;
    let frame = Frame::between(lab.attacker.v6().into(), lab.login.v6().into())
        .quic(50_000, 443)
        .build();
    for (number, action) in [(1, Action::Drop), (2, Action::Pass), (3, Action::Tx)] {
        let run = test_run(load("constant", number)?.as_fd(), &frame, 1)?;
        ensure!(run.action == action && run.frame == frame, "{run:?}");
    }
    let _foreign = Foreign::attach(&lab, &lab.login, EDGE, "attached", Hook::Link)?;
    let run = test_run(attached_program(&lab.login, EDGE)?.as_fd(), &frame, 10)?;
    ensure!(run.action == Action::Pass, "{run:?}");
    // Live frames that a program passes come out of the interface.
    let mut tap = lab.edge_tap()?;
    ensure!(tap.passes(&frame)?, "the tap works");
    lab::xdp::run_live(load("live", 2)?.as_fd(), &frame, 3, &lab.login, EDGE)?;
    for number in 0..3 {
        let seen = tap.inside().receive_where(WITHIN, |seen| seen == frame)?;
        ensure!(seen.is_some(), "live frame {number} did not arrive");
    }
    Ok(())
}

fn probes() -> Result<()> {
    let lab = Lab::new("probes")?;
    let _site = lab.site()?;
    let mut probes = Vec::new();
    for source in lab.exempt.addresses() {
        probes.push(Probe::udp(
            &format!("udp {source}"),
            &lab.exempt,
            source,
            443,
        ));
        probes.push(Probe::tcp(
            &format!("tcp {source}"),
            &lab.exempt,
            source,
            80,
        ));
    }
    let prober = Prober::start(&lab, &probes)?;
    prober.wait_for(20)?;
    let up = prober.mark();
    let program = load("drop", lab::xdp::XDP_DROP)?;
    let down = Foreign::attach_program(&lab, &lab.login, EDGE, &program, Hook::Link)?;
    let from = prober.mark();
    prober.wait_for(3)?;
    let to = prober.mark();
    down.detach()?;
    let tally = prober.stop();
    for source in lab.exempt.addresses() {
        for kind in ["udp", "tcp"] {
            let name = format!("{kind} {source}");
            let before = tally.until(&name, &up)?;
            ensure!(before.lost == 0, "{name} before: {before:?}");
            let dropped = tally.between(&name, &from, &to)?;
            ensure!(dropped.arrived == 0, "{name} while dropped: {dropped:?}");
        }
    }
    Ok(())
}

fn processes() -> Result<()> {
    let lab = Lab::new("processes")?;
    let script = "ip -o link; echo ready; exec sleep 60";
    let mut process = lab.login.spawn(&["sh", "-c", script])?;
    process.wait_for_line("ready", WITHIN)?;
    ensure!(process.stdout().contains(EDGE), "{}", process.stdout());
    let missing = process.wait_for_line("never", Duration::from_millis(1));
    ensure!(missing.is_err(), "{missing:?}");
    process.kill9();
    ensure!(!process.running() && process.wait(WITHIN)? == 137, "killed");
    let output = lab
        .login
        .run(&["sh", "-c", "echo out; echo err >&2; exit 78"])?;
    ensure!(
        (output.code, &*output.stdout, &*output.stderr) == (78, "out\n", "err\n"),
        "{output:?}"
    );
    ensure!(output.success().is_err(), "78 is no success");
    let nobody = lab
        .login
        .command(&["id", "-u"])
        .user(65_534, 65_534)
        .run()?
        .success()?;
    ensure!(nobody == "65534\n", "{nobody}");
    ensure!(
        lab.login.run(&["/no/such/program"]).is_err(),
        "a program that does not exist"
    );
    Ok(())
}

fn cleanup() -> Result<()> {
    let lab = Lab::new("cleanup")?;
    let names = lab.namespaces();
    ensure!(names.len() == 6, "{names:?}");
    let directory = lab.directory().to_owned();
    // Escapes its process group, as a daemon does.
    let process = lab
        .login
        .spawn(&["sh", "-c", "setsid sleep 1000 & echo $!; wait"])?;
    let mut process = process;
    let sleeper: u32 = process.wait_for_line("", WITHIN)?.parse()?;
    ensure!(
        std::path::Path::new(&format!("/proc/{sleeper}")).exists(),
        "the daemon runs"
    );
    drop(lab);
    process.wait(WITHIN)?;
    gone(&names, &directory)?;
    let alive = std::fs::read_to_string(format!("/proc/{sleeper}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z "));
    ensure!(!alive, "the daemon {sleeper} was left behind");
    Ok(())
}

fn cleanup_after_panic() -> Result<()> {
    let left = std::sync::Mutex::new(None);
    let outcome = std::panic::catch_unwind(|| {
        let lab = Lab::new("panic").map_err(|error| error.to_string())?;
        if let Ok(mut slot) = left.lock() {
            *slot = Some((lab.namespaces(), lab.directory().to_owned()));
        }
        std::panic::resume_unwind(Box::new("on purpose"));
        #[expect(unreachable_code, reason = "gives the closure its type")]
        Ok::<(), String>(())
    });
    ensure!(outcome.is_err(), "{outcome:?}");
    let (names, directory) = left
        .into_inner()
        .ok()
        .flatten()
        .context("the lab was not built")?;
    gone(&names, &directory)
}

fn sweep() -> Result<()> {
    let lab = Lab::new("sweep")?;
    // No process has had this id and start time: ids end at 4,194,304.
    let dead = format!("ew4194999x1n{}", std::process::id());
    let namespace = format!("{dead}-login");
    let directory = std::env::temp_dir().join(format!("edgeward-{dead}"));
    std::fs::create_dir_all(directory.join("bpf"))?;
    let added = std::process::Command::new("ip")
        .args(["netns", "add", &namespace])
        .status()?;
    ensure!(added.success(), "ip netns add {namespace}: {added}");
    Lab::sweep();
    gone(&[namespace], &directory)?;
    ensure!(
        lab.namespaces().len() == 6,
        "a living lab was swept: {:?}",
        lab.namespaces()
    );
    ensure!(
        lab.login.run(&["ip", "link", "show", EDGE])?.code == 0,
        "its interfaces are there"
    );
    Ok(())
}

fn gone(names: &[String], directory: &std::path::Path) -> Result<()> {
    for name in names {
        let path = std::path::Path::new("/run/netns").join(name);
        ensure!(!path.exists(), "{name} was left behind");
    }
    ensure!(
        !directory.exists(),
        "{} was left behind",
        directory.display()
    );
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    ensure!(
        !mounts.contains(&directory.display().to_string()),
        "a mount was left behind"
    );
    Ok(())
}
