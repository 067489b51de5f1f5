//! Restarts, upgrades, reloads and the way out.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use edgeward::datapath::detach_pinned;
use edgeward_ebpf::abi::{port, steer};
use lab::{ForeignLookup, Request, Result, Site, TestFn, WIRE};

use super::world::{World, ZONES, until};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        (
            "a_restarted_agent_adopts_without_a_refused_connection",
            restart,
        ),
        ("the_last_gateways_end_leaves_nothing", last_gateway),
        ("detach_leaves_nothing", detach),
        ("verify_sees_what_is_missing", verify),
        ("a_link_of_another_namespace_is_not_ours", namespaces),
        ("programs_of_others_in_the_namespace_stay", foreign),
        ("a_host_without_ipv6_steers_ipv4", without_v6),
    ]
}

const CLOSED: u64 = port::STEER | port::FAIL_CLOSED;

/// Fail closed, so that a moment without program or listener would be a refused connection.
fn restart() -> Result<()> {
    let mut world = World::served("steer-restart", CLOSED)?;
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let prober = thread::spawn({
        let (stop, answered) = (stop.clone(), answered.clone());
        let (proxy, target) = (
            world.lab.proxy.clone(),
            world.site.address(world.lab.proxy.v4().into()),
        );
        move || -> Result<()> {
            while !stop.load(Ordering::Acquire) {
                let source = proxy.v4().into();
                let found =
                    proxy.http(source, target, &Request::get("/"), Duration::from_secs(10))?;
                ensure!(found.body.starts_with("gateway "), "{found:?}");
                answered.fetch_add(1, Ordering::AcqRel);
            }
            Ok(())
        }
    });
    let further = |count: u64| {
        let wanted = answered.load(Ordering::Acquire) + count;
        until("more answers", || {
            Ok(answered.load(Ordering::Acquire) >= wanted || prober.is_finished())
        })
    };
    for _ in 0..4 {
        further(10)?;
        world.lose_agent();
        further(10)?;
        world.launch()?;
        further(10)?;
        let differences = world.differences()?;
        ensure!(differences.is_empty(), "{differences:?}");
    }
    stop.store(true, Ordering::Release);
    match prober.join() {
        Ok(outcome) => outcome?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    world.expect(&world.lab.proxy, "gateway")
}

fn last_gateway() -> Result<()> {
    let mut world = World::served("steer-last", CLOSED)?;
    ensure!(has_reserved(&world)?, "the reserved address is missing");
    world.reload(0, ZONES)?;
    world.expect(&world.lab.proxy, "application")?;
    nothing_left(&world)?;
    // The listeners went with it: the next gateway says again that it is there.
    world.reload(CLOSED, ZONES)?;
    world.expect(&world.lab.proxy, "refused")?;
    world.serve()?;
    world.expect(&world.lab.proxy, "gateway")?;
    ensure!(has_reserved(&world)?, "the reserved address is missing");
    Ok(())
}

fn detach() -> Result<()> {
    for running in [true, false] {
        let mut world = World::served("steer-detach", CLOSED)?;
        world.expect(&world.lab.proxy, "gateway")?;
        if running {
            world.inside(|datapath| datapath.detach())??;
        } else {
            world.lose_agent();
            world.expect(&world.lab.proxy, "gateway")?;
            let root = world.root();
            world.lab.login.in_ns(|| detach_pinned(&root))??;
        }
        world.expect(&world.lab.proxy, "application")?;
        nothing_left(&world)?;
        ensure!(!world.root().exists(), "pins are left");
    }
    Ok(())
}

fn verify() -> Result<()> {
    let mut world = World::served("steer-verify", port::STEER)?;
    ensure!(
        world.differences()?.is_empty(),
        "{:?}",
        world.differences()?
    );
    let reserved = format!("{}/128", steer::UPSTREAM_SOURCE_V6);
    world
        .lab
        .login
        .run(&["ip", "addr", "del", &reserved, "dev", "lo"])?
        .success()?;
    expect_difference(&mut world, "the loopback interface lacks")?;
    std::fs::remove_file(world.pins().join("steering_link"))?;
    expect_difference(&mut world, "the link is missing")?;
    // A reload puts both right.
    world.reload(port::STEER, ZONES)?;
    ensure!(
        world.differences()?.is_empty(),
        "{:?}",
        world.differences()?
    );
    world.expect(&world.lab.proxy, "gateway")?;
    // Another program with another set of flags.
    world.reload(0, ZONES)?;
    ensure!(
        world.differences()?.is_empty(),
        "{:?}",
        world.differences()?
    );
    Ok(())
}

/// An agent that is started in another network namespace must not take the pinned link for its own.
fn namespaces() -> Result<()> {
    let mut world = World::served("steer-namespaces", CLOSED)?;
    world.expect(&world.lab.proxy, "gateway")?;
    world.lose_agent();
    let net = world.lab.net.clone();
    world.launch_in(&net, WIRE)?;
    let differences = world.differences()?;
    ensure!(differences.is_empty(), "{differences:?}");
    // Nobody is left who would steer here.
    world.expect(&world.lab.proxy, "application")
}

/// A namespace takes several programs that look up sockets: ours is no different beside them, and theirs stay.
fn foreign() -> Result<()> {
    let mut world = World::new("steer-foreign", port::STEER)?;
    world.inside(|datapath| datapath.detach())??;
    world.lose_agent();
    let before = ForeignLookup::attach(&world.lab.login)?;
    world.launch()?;
    world.serve()?;
    let after = ForeignLookup::attach(&world.lab.login)?;
    world.expect(&world.lab.proxy, "gateway")?;
    world.expect(&world.lab.innocent, "application")?;
    world.inside(|datapath| datapath.detach())??;
    world.expect(&world.lab.proxy, "application")?;
    ensure!(
        before.is_attached()? && after.is_attached()?,
        "a program of somebody else is gone"
    );
    Ok(())
}

/// There is no address to be added then, which is said and nothing else.
fn without_v6() -> Result<()> {
    let mut world = World::new("steer-no-v6", port::STEER)?;
    ensure!(
        world.datapath().steering()?.no_v6.is_none(),
        "IPv6 is there"
    );
    world.inside(|datapath| datapath.detach())??;
    world.lose_agent();
    let disable = ["sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=1"];
    world.lab.login.run(&disable)?.success()?;
    world.launch()?;
    let report = world.datapath().steering()?;
    ensure!(report.attached, "{report:?}");
    let why = report.no_v6.unwrap_or_default();
    ensure!(why.contains("IPv6"), "{why:?}");
    let gateway = world
        .lab
        .login
        .in_ns(|| TcpListener::bind("127.0.0.1:0"))??;
    world
        .datapath()
        .set_listeners(Some(gateway.as_fd()), None)?;
    let (proxy, target) = (&world.lab.proxy, world.lab.login.v4().into());
    let connected = proxy.connect(target, Site::HTTP, Duration::from_secs(10))?;
    let (accepted, peer) = gateway.accept()?;
    ensure!(
        peer == connected.local_addr()? && accepted.local_addr()? == connected.peer_addr()?,
        "{accepted:?} of {connected:?}"
    );
    ensure!(
        world.differences()?.is_empty(),
        "{:?}",
        world.differences()?
    );
    world.inside(|datapath| datapath.detach())??;
    nothing_left(&world)
}

fn expect_difference(world: &mut World, text: &str) -> Result<()> {
    let differences = world.differences()?;
    ensure!(
        differences
            .iter()
            .any(|difference| difference.contains(text)),
        "{text:?} is not among {differences:?}"
    );
    Ok(())
}

/// No link, no address, nothing steered.
fn nothing_left(world: &World) -> Result<()> {
    ensure!(
        !world.pins().join("steering_link").exists(),
        "the link is left"
    );
    ensure!(!has_reserved(world)?, "the reserved address is left");
    Ok(())
}

fn has_reserved(world: &World) -> Result<bool> {
    let shown = world
        .lab
        .login
        .run(&["ip", "-6", "addr", "show", "dev", "lo"])?
        .success()?;
    Ok(shown.contains(&steer::UPSTREAM_SOURCE_V6.to_string()))
}
