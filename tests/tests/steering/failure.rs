//! What connections do while the gateway does not serve: none there, none yet, one that hangs, one that died.

use anyhow::ensure;
use edgeward_ebpf::abi::port;
use lab::{Result, TestFn};

use super::stand_in;
use super::world::{Answer, World, until};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("without_a_gateway_it_is_open_or_closed", empty),
        ("a_closed_listener_leaves_its_slot", closed_listener),
        ("a_gateway_without_a_sign_of_life_is_passed_by", stalled),
        ("a_sign_of_life_grows_old", ages),
        ("a_killed_gateway_is_gone_at_once", killed),
        ("a_listener_is_replaced_without_a_gap", replaced),
        ("what_does_not_listen_is_not_taken", unfit),
    ]
}

const CLOSED: u64 = port::STEER | port::FAIL_CLOSED;

fn empty() -> Result<()> {
    for (name, rules, without) in [
        ("steer-open", port::STEER, "application"),
        ("steer-closed", CLOSED, "refused"),
    ] {
        let mut world = World::new(name, rules)?;
        world.expect(&world.lab.proxy, without)?;
        world.expect(&world.lab.innocent, "application")?;
        world.serve()?;
        world.expect(&world.lab.proxy, "gateway")?;
        world.datapath().clear_listeners();
        world.datapath().clear_listeners();
        world.expect(&world.lab.proxy, without)?;
        world.expect(&world.lab.innocent, "application")?;
        let counts = world.counts()?;
        let by_cause = (counts.bypassed_empty, counts.refused_empty);
        let wanted = if rules == CLOSED { (0, 4) } else { (4, 0) };
        ensure!(by_cause == wanted && counts.steered == 2, "{counts:?}");
    }
    Ok(())
}

fn closed_listener() -> Result<()> {
    for (name, rules, without) in [
        ("steer-close-open", port::STEER, "application"),
        ("steer-close-closed", CLOSED, "refused"),
    ] {
        let mut world = World::served(name, rules)?;
        world.expect(&world.lab.proxy, "gateway")?;
        // Closed, and nobody tells the data path.
        world.gateway = None;
        world.expect(&world.lab.proxy, without)?;
        world.serve()?;
        world.expect(&world.lab.proxy, "gateway")?;
    }
    Ok(())
}

fn stalled() -> Result<()> {
    for (name, rules, without) in [
        ("steer-stall-open", port::STEER, "application"),
        ("steer-stall-closed", CLOSED, "refused"),
    ] {
        let world = World::served(name, rules)?;
        let Some(gateway) = &world.gateway else {
            unreachable!("it was just started");
        };
        for round in 1..=2 {
            gateway.set_alive(false);
            world.expect(&world.lab.proxy, without)?;
            world.expect(&world.lab.innocent, "application")?;
            gateway.set_alive(true);
            world.expect(&world.lab.proxy, "gateway")?;
            let counts = world.counts()?;
            let by_cause = (counts.bypassed_stalled, counts.refused_stalled);
            let wanted = if rules == CLOSED {
                (0, 2 * round)
            } else {
                (2 * round, 0)
            };
            ensure!(by_cause == wanted, "{counts:?}");
        }
    }
    Ok(())
}

/// It is not enough to have given one once.
fn ages() -> Result<()> {
    let world = World::served("steer-age", port::STEER)?;
    let Some(gateway) = &world.gateway else {
        unreachable!("it was just started");
    };
    let proxy = &world.lab.proxy;
    world.expect(proxy, "gateway")?;
    gateway.hang(true);
    until("a silent gateway is passed by", || {
        Ok(world.answer(proxy, proxy.v4().into())? == Answer::Application)
    })?;
    gateway.hang(false);
    until("it is back", || {
        Ok(world.answer(proxy, proxy.v4().into())? != Answer::Application)
    })
}

fn killed() -> Result<()> {
    for (name, rules, without) in [
        ("steer-kill-open", port::STEER, "application"),
        ("steer-kill-closed", CLOSED, "refused"),
    ] {
        let mut world = World::new(name, rules)?;
        for with_agent in [true, false] {
            if !with_agent {
                world.lose_agent();
            }
            let mut gateway = stand_in::spawn(&world.lab.login, &world.pins())?;
            world.expect(&world.lab.proxy, "gateway")?;
            gateway.kill9();
            world.expect(&world.lab.proxy, without)?;
            world.expect(&world.lab.innocent, "application")?;
        }
    }
    Ok(())
}

/// From one gateway to the next, while connections come in.
fn replaced() -> Result<()> {
    let mut world = World::served("steer-replace", CLOSED)?;
    for _ in 0..5 {
        let old = world.gateway.take();
        world.serve()?;
        world.expect(&world.lab.proxy, "gateway")?;
        // What was handed to the old one before is its own to serve.
        drop(old);
        world.expect(&world.lab.proxy, "gateway")?;
    }
    Ok(())
}

fn unfit() -> Result<()> {
    let world = World::new("steer-unfit", port::STEER)?;
    let datagrams = world.lab.login.udp("127.0.0.1:0".parse()?)?;
    let file = std::fs::File::open("/dev/null")?;
    use std::os::fd::AsFd as _;
    for socket in [datagrams.as_fd(), file.as_fd()] {
        let Err(error) = world.datapath().set_listeners(Some(socket), None) else {
            // A bound datagram socket fits the map, but no TCP connection: it must not be in the way.
            world.expect(&world.lab.proxy, "application")?;
            continue;
        };
        ensure!(error.to_string().contains("IPv4 listener"), "{error:#}");
    }
    world.expect(&world.lab.proxy, "application")
}
