//! The configuration on any text: a configuration or mistakes with their place, never a panic.
#![no_main]

use std::path::Path;

use edgeward::config::Config;
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
            assert!(
                config
                    .services
                    .iter()
                    .all(|service| !service.ports.is_empty())
            );
        }
        Err(mistakes) => assert!(mistakes.to_string().contains("fuzz.toml")),
    }
});
