//! `[metrics]`: where Prometheus finds the agent's numbers.

use super::{
    Listen,
    endpoints::{self, Reach},
    raw::Table,
};

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// A Unix socket, or an address: a loopback one unless the operator said `public = true`.
    pub listen: Listen,
}

const KEYS: [&str; 3] = ["listen", "listen_mode", "public"];

/// `[metrics]` of a file; none is served without it.
pub(super) fn metrics(top: &Table<'_>) -> Option<Metrics> {
    let table = top.get("metrics")?.table(&KEYS)?;
    let reach = if table.flag("public", false) {
        Reach::Anywhere
    } else {
        Reach::Loopback("metrics tell who is refused where; set public = true to say that they may")
    };
    let listen = endpoints::listen_within(&table, "\"127.0.0.1:9464\"", reach)?;
    Some(Metrics { listen })
}

/// What differs, in a sentence.
pub(super) fn changes(out: &mut Vec<String>, old: Option<&Metrics>, new: Option<&Metrics>) {
    match (old, new) {
        (None, Some(_)) => out.push("metrics on".to_owned()),
        (Some(_), None) => out.push("metrics off".to_owned()),
        (Some(old), Some(new)) if old != new => out.push("metrics: another place".to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, diff};

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new(""), "test.toml").map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn metrics_are_off_and_on_loopback_unless_told_otherwise() {
        assert_eq!(parse("").unwrap().metrics, None);
        let config = parse("[metrics]\nlisten = \"127.0.0.1:9464\"\n").unwrap();
        assert_eq!(
            config.metrics.as_ref().unwrap().listen,
            Listen::Tcp("127.0.0.1:9464".parse().unwrap())
        );
        assert_eq!(diff::changes(&Config::default(), &config), ["metrics on"]);
        assert_eq!(diff::changes(&config, &Config::default()), ["metrics off"]);
        let public = parse("[metrics]\nlisten = \"0.0.0.0:9464\"\npublic = true\n").unwrap();
        assert_eq!(
            public.metrics.as_ref().unwrap().listen,
            Listen::Tcp("0.0.0.0:9464".parse().unwrap())
        );
        assert_eq!(diff::changes(&config, &public), ["metrics: another place"]);
        let unix = parse("[metrics]\nlisten = \"unix:/run/m.sock\"\nlisten_mode = \"0600\"\n");
        assert_eq!(
            unix.unwrap().metrics.unwrap().listen,
            Listen::Unix("/run/m.sock".into(), 0o600)
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, what) in [
            ("[metrics]\n", "metrics: `listen` is missing"),
            (
                "[metrics]\nlisten = \"0.0.0.0:9464\"",
                "metrics.listen: 0.0.0.0 is no loopback address",
            ),
            ("[metrics]\nlisten = \"127.0.0.1:0\"", "has no port"),
            (
                "[metrics]\nlisten = \"9464\"",
                "metrics.listen: \"9464\" is neither",
            ),
            ("[metrics]\nport = 9464", "metrics.port"),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(what), "{text}: {told}");
        }
    }
}
