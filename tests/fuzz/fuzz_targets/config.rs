//! The configuration on any text: a configuration or mistakes with their place, never a panic.
#![no_main]

use std::path::Path;

use edgeward::config::{Config, Listen, Profile, Service, SignalPlace};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // A folder that does not exist: no file of this machine is read.
    let base = Path::new("/nonexistent/edgeward-fuzz");
    match Config::parse(text, base, "fuzz.toml") {
        Ok(config) => {
            assert!((1..=100).contains(&config.reputation.block));
            assert!(config.reputation.limit <= config.reputation.block);
            assert!(
                config
                    .lists
                    .iter()
                    .all(|list| (1..=100).contains(&list.score))
            );
            config.services.iter().for_each(service);
            for endpoint in &config.endpoints {
                let named = |service: &Service| service.name == endpoint.service;
                let left = endpoint.profile == Profile::Signals && endpoint.service.is_empty();
                assert!(left || config.services.iter().any(named));
                match &endpoint.listen {
                    Listen::Unix(path, mode) => assert!(path.is_absolute() && *mode <= 0o777),
                    Listen::Tcp(address) => assert!(address.ip().to_canonical().is_loopback()),
                }
            }
            for source in &config.signals {
                assert!(!source.name.is_empty());
                match &source.place {
                    SignalPlace::File(path) => assert!(path.is_absolute()),
                    SignalPlace::Journal(units) => assert!(!units.is_empty()),
                }
            }
        }
        Err(mistakes) => assert!(mistakes.to_string().contains("fuzz.toml")),
    }
});

/// What a service promises to whoever reads it.
fn service(service: &Service) {
    assert!(!service.ports.is_empty());
    assert!((1..=64).contains(&service.hops_max));
    assert!((256..=65_536).contains(&service.header_bytes_max));
    assert!(service.restricted || service.restricted_except.is_empty());
    assert!(!(service.observe && service.gateway.is_some()));
    for limit in &service.limits {
        assert!(limit.requests.is_some() || limit.concurrent.is_some());
        assert!(!limit.window.is_zero());
    }
    if let Some(gateway) = &service.gateway {
        assert!(gateway.limits.connections_max > 0 && gateway.limits.requests_max > 0);
        assert!(gateway.upstream.is_none_or(|upstream| upstream.port() > 0));
    }
}
