//! Whose connections go to the gateway.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::ensure;
use edgeward::datapath::SteeringCounts;
use edgeward_ebpf::abi::{mode, port, steer};
use lab::{Result, Site, TestFn};

use super::world::{Answer, World, ZONES, policy};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("a_proxys_connections_reach_the_gateway", proxies),
        ("everybody_reaches_it_where_paths_decide", everybody),
        ("an_exempt_proxy_is_still_a_proxy", exempt_proxies),
        ("the_gateways_own_connections_pass", loop_guard),
        ("zones_change_while_it_runs", zones_change),
        ("mode_off_steers_nothing", modes),
        ("other_protocols_and_ports_are_left_alone", others),
    ]
}

fn proxies() -> Result<()> {
    let world = World::served("steer", port::STEER)?;
    let lab = &world.lab;
    for _ in 0..3 {
        world.expect(&lab.proxy, "gateway")?;
        world.expect(&lab.innocent, "application")?;
        world.expect(&lab.exempt, "application")?;
    }
    // Any address of a zone, not only one.
    let neighbour: IpAddr = "198.51.100.99".parse()?;
    let found = world.answer(&lab.proxy, neighbour)?;
    ensure!(
        matches!(found, Answer::Gateway { peer, .. } if peer == neighbour),
        "{found:?}"
    );
    let counts = world.counts()?;
    let wanted = SteeringCounts {
        steered: 7,
        ..SteeringCounts::default()
    };
    ensure!(counts == wanted, "{counts:?}");
    Ok(())
}

fn everybody() -> Result<()> {
    let world = World::served("steer-all", port::STEER | port::STEER_ALL)?;
    let lab = &world.lab;
    for host in [&lab.proxy, &lab.innocent, &lab.attacker] {
        world.expect(host, "gateway")?;
    }
    world.expect(&lab.exempt, "application")
}

fn exempt_proxies() -> Result<()> {
    let mut world = World::served("steer-exempt", port::STEER)?;
    let both = ZONES.replace("\"exempt\"", "\"exempt\", \"trusted-proxy\"");
    world.set_zones(&both)?;
    world.expect(&world.lab.exempt, "gateway")
}

/// Whatever the zones say: the reserved addresses are in a proxy's network here.
fn loop_guard() -> Result<()> {
    let mut world = World::served("steer-loop", port::STEER | port::STEER_ALL)?;
    let zones = ZONES
        .replace("198.51.100.64/26", "198.51.100.64/26\", \"127.0.0.0/8")
        .replace("2001:db8:9::/48", "2001:db8:9::/48\", \"fd65::/16");
    world.set_zones(&zones)?;
    let login = world.lab.login.clone();
    let reserved: [IpAddr; 2] = [
        steer::UPSTREAM_SOURCE_V4.into(),
        steer::UPSTREAM_SOURCE_V6.into(),
    ];
    for source in reserved {
        for target in [source, world.site.address(source).ip()] {
            let found = world.answer_on(&login, source, SocketAddr::new(target, Site::HTTP))?;
            ensure!(
                found == Answer::Application,
                "{source} to {target}: {found:?}"
            );
        }
    }
    let counts = world.counts()?;
    ensure!(
        counts.passed_reserved == 4 && counts.steered == 0,
        "{counts:?}"
    );
    // The next address of the loopback is as good a proxy as any.
    let other = IpAddr::from(Ipv4Addr::new(127, 0, 0, 3));
    let found = world.answer(&login, other)?;
    ensure!(
        matches!(found, Answer::Gateway { peer, .. } if peer == other),
        "{found:?}"
    );
    Ok(())
}

fn zones_change() -> Result<()> {
    let mut world = World::served("steer-zones", port::STEER)?;
    let wider = ZONES
        .replace("198.51.100.64/26", "198.51.100.0/24")
        .replace("2001:db8:9::/48", "2001:db8::/32");
    for _ in 0..2 {
        world.expect(&world.lab.innocent, "application")?;
        world.set_zones(&wider)?;
        world.expect(&world.lab.innocent, "gateway")?;
        world.expect(&world.lab.exempt, "gateway")?;
        world.set_zones("")?;
        world.expect(&world.lab.proxy, "application")?;
        world.set_zones(ZONES)?;
        world.expect(&world.lab.proxy, "gateway")?;
    }
    Ok(())
}

fn modes() -> Result<()> {
    // Fail closed: off must not refuse either.
    let mut world = World::served("steer-modes", port::STEER | port::FAIL_CLOSED)?;
    for (mode, proxies) in [
        (mode::LOG, "gateway"),
        (mode::OFF, "application"),
        (mode::BLOCK, "gateway"),
    ] {
        world.datapath().set_policy(policy(mode));
        world.expect(&world.lab.proxy, proxies)?;
        world.expect(&world.lab.innocent, "application")?;
    }
    world.datapath().set_policy(policy(mode::OFF));
    world.gateway = None;
    world.expect(&world.lab.proxy, "application")
}

fn others() -> Result<()> {
    let world = World::served(
        "steer-others",
        port::STEER | port::STEER_ALL | port::FAIL_CLOSED,
    )?;
    let proxy = &world.lab.proxy;
    for source in proxy.addresses() {
        let site = world.site.address(source);
        for other in [Site::HTTPS, Site::OTHER] {
            let target = SocketAddr::new(site.ip(), other);
            let found = world.answer_on(proxy, source, target)?;
            ensure!(
                found == Answer::Application,
                "{source} to {target}: {found:?}"
            );
        }
        let receiver = world.lab.login.udp(site)?;
        receiver.set_read_timeout(Some(Duration::from_secs(10)))?;
        let sender = proxy.udp(SocketAddr::new(source, 0))?;
        sender.send_to(b"datagram", site)?;
        let mut buffer = [0; 16];
        let (length, from) = receiver.recv_from(&mut buffer)?;
        ensure!(
            length == 8 && from.ip() == source,
            "{length} bytes from {from}"
        );
    }
    let counts = world.counts()?;
    ensure!(counts == SteeringCounts::default(), "{counts:?}");
    Ok(())
}
