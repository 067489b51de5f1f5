//! `edgeward replay` as a person types it, on logs as programs write them.

use std::{fs, io::Write, path::Path};

use clap::Parser;
use serde_json::Value;

use super::super::{Cli, Trouble, execute};

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

fn run(words: &[&str]) -> Result<String, Trouble> {
    let line = ["edgeward", "replay"].iter().chain(words);
    let mut out = Vec::new();
    execute(Cli::try_parse_from(line).unwrap(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn json(words: &[&str]) -> Value {
    let words = [words, &["--json"]].concat();
    serde_json::from_str(&run(&words).unwrap()).unwrap()
}

/// Two sprayers with 30 users each, and a person who mistypes once.
fn sshd_log() -> String {
    let mut log = String::new();
    for n in 0..30 {
        for (host, minute) in [(9, 0), (10, 30)] {
            log.push_str(&format!(
                "2026-05-01T10:{:02}:{:02}+00:00 h sshd[{n}{host}]: Failed password for user{n} from 203.0.113.{host} port 4 ssh2\n",
                minute + n / 6,
                n % 6 * 10,
            ));
        }
    }
    log.push_str("2026-05-01T10:40:00+00:00 h sshd[1]: Failed password for alice from 198.51.100.7 port 4 ssh2\n");
    log.push_str("2026-05-01T10:40:09+00:00 h sshd[1]: Accepted password for alice from 198.51.100.7 port 4 ssh2\n");
    log.push_str("\u{0}\u{1}\n");
    log
}

#[test]
fn a_spray_is_refused_and_a_person_is_not() {
    let world = World::new();
    let log = world.file("auth.log", sshd_log());
    let report = json(&[&log, "--format", "sshd"]);
    assert_eq!(report["lines"], 63);
    assert_eq!(report["signals"], 62);
    assert_eq!(
        (&report["failures"], &report["successes"]),
        (&61.into(), &1.into())
    );
    assert_eq!(report["sources"], 3);
    assert_eq!(report["rejected"][0]["line"], 63);
    assert_eq!(report["rejected_total"], 1);
    assert_eq!(report["successes_hit"], 0);
    let refused = report["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 2, "{report}");
    assert_eq!(refused[0]["prefix"], "203.0.113.9/32");
    assert_eq!(refused[0]["detections"]["Password Spray"], "HIGH");
    assert_eq!(refused[0]["attempts"], 30);
    // Each run has a key of its own, and where two of the users share a bit of the sketch, it takes one more.
    let before = refused[0]["attempts_before"].as_u64().unwrap();
    assert!((8..=11).contains(&before), "{report}");
    assert_eq!(refused[0]["attempts_refused"], 30 - before);
    assert_eq!(refused[0]["first_seen"], 1_777_629_600_000_u64);
    let first = 1_777_629_600_000 + (before - 1) * 10_000;
    assert_eq!(refused[0]["first_refused"], first);
    let text = run(&[&log, "--format", "sshd"]).unwrap();
    for words in [
        "63 lines",
        "1 line\n",
        "attempts of 2 prefixes",
        "0 of 1 successful sign-in",
        "203.0.113.10/32",
        "Password Spray",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for name in ["user", "alice"] {
        assert!(
            !text.contains(&format!("{name}1")) && !text.contains("alice"),
            "no names: {text}"
        );
    }
}

#[test]
fn exempt_networks_and_proxies_never_get_a_reputation() {
    let world = World::new();
    let log = world.file("auth.log", sshd_log());
    let config = world.file(
        "edgeward.toml",
        "[[zone]]\nname = \"lab\"\nuses = [\"exempt\"]\nnetworks = [\"203.0.113.9\"]\n\
         [[zone]]\nname = \"cdn\"\nuses = [\"trusted-proxy\"]\nnetworks = [\"203.0.113.10\"]\n",
    );
    let report = json(&[&log, "--format", "sshd", "--config", &config]);
    assert_eq!(report["refused"], Value::Array(Vec::new()));
    assert_eq!(report["exempt"], 60);
    let strict = world.file(
        "strict.toml",
        "[reputation]\nblock_threshold = 100\nlimit_threshold = 100\n",
    );
    let report = json(&[&log, "--format", "sshd", "--config", &strict]);
    let refused = report["attempts_refused"].as_u64().unwrap();
    assert!(
        refused < 38,
        "thresholds are the configuration's: {refused}"
    );
    let broken = world.file("broken.toml", "mode = 5\n");
    let trouble = run(&[&log, "--format", "sshd", "--config", &broken]).unwrap_err();
    assert_eq!(trouble.code(), 78);
}

#[test]
fn gzip_and_plot() {
    let world = World::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(sshd_log().as_bytes()).unwrap();
    let log = world.file("auth.log.gz", packed.finish().unwrap());
    let plot = world.dir.path().join("plot.svg").display().to_string();
    let report = json(&[&log, "--format", "sshd", "--plot", &plot]);
    assert_eq!(report["signals"], 62);
    let svg = fs::read_to_string(Path::new(&plot)).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("62 attempts; refused "), "{svg}");
    assert!(svg.contains("2026-05-01T10:00:00Z"));
}

#[test]
fn what_cannot_be_is_said_in_a_sentence() {
    let world = World::new();
    let log = world.file("log", "x\n");
    let directory = world.dir.path().display().to_string();
    let zstd = world.file("log.zst", [0x28, 0xb5, 0x2f, 0xfd, 0]);
    for (words, code, expected) in [
        (
            &["/no/such/log", "--format", "sshd"][..],
            1,
            "/no/such/log cannot be read",
        ),
        (&[&directory, "--format", "sshd"], 1, "cannot be read"),
        (
            &[&zstd, "--format", "sshd"],
            1,
            "ends in the middle of its zstd data",
        ),
        (
            &[&log, "--format", "sshd", "--route", "POST /x"],
            2,
            "--route",
        ),
        (
            &[&log, "--format", "nginx", "--route", "x"],
            2,
            "method and a path",
        ),
        (&[&log, "--format", "regex"], 2, "--pattern"),
        (
            &[&log, "--format", "regex", "--pattern", "("],
            2,
            "not understood",
        ),
        (
            &[&log, "--format", "json", "--fields", "a"],
            2,
            "FACT=FIELD",
        ),
        (
            &[&log, "--format", "json", "--outcome", "good=x"],
            2,
            "no outcome",
        ),
        (
            &[&log, "--format", "sshd", "--plot", "/no/such/dir/p.svg"],
            1,
            "cannot be written",
        ),
    ] {
        let trouble = run(words).unwrap_err();
        assert_eq!(trouble.code(), code, "{words:?}: {trouble}");
        assert!(
            trouble.to_string().contains(expected),
            "{words:?}: {trouble}"
        );
    }
    let text = run(&[&log, "--format", "nginx"]).unwrap();
    assert!(text.contains("Is this the right --format?"), "{text}");
    assert!(text.contains("first in line 1"), "{text}");
}

#[test]
fn routes_and_fields_of_one_s_own() {
    let world = World::new();
    let request = |n: u32, status: u16| {
        format!(
            "203.0.113.9 - - [01/May/2026:10:00:{n:02} +0000] \"POST /enter HTTP/1.1\" {status} 1 \"-\" \"x\"\n"
        )
    };
    let log: String = (0..40).map(|n| request(n, 418)).collect();
    let log = world.file("access.log", log);
    assert_eq!(json(&[&log, "--format", "nginx"])["signals"], 0);
    let report = json(&[
        &log,
        "--format",
        "apache",
        "--route",
        "POST /enter success=200",
    ]);
    assert_eq!(report["failures"], 40);
    assert_eq!(report["refused"][0]["attempts_before"], 16);
    let log: String = (0..40)
        .map(|n| {
            format!(
                "{{\"at\":{},\"ip\":\"203.0.113.9\",\"res\":\"NOPE\",\"login\":\"u{n}\"}}\n",
                1_777_629_600 + n
            )
        })
        .collect();
    let log = world.file("app.jsonl", log);
    let report = json(&[
        &log,
        "--format",
        "json",
        "--fields",
        "time=at,client=ip,outcome=res,user=login",
        "--outcome",
        "failure=NOPE",
    ]);
    let before = report["refused"][0]["attempts_before"].as_u64().unwrap();
    assert!((8..=11).contains(&before), "{report}");
    assert_eq!(report["rejected_total"], 0);
}

#[test]
fn rules_model_and_both_are_compared() {
    let world = World::new();
    let log = world.file("auth.log", sshd_log());
    let report = json(&[&log, "--format", "sshd", "--model", "shipped"]);
    let plain = json(&[&log, "--format", "sshd"]);
    assert!(plain["model"].is_null());
    assert_eq!(
        report["refused"].as_array().unwrap().len(),
        2,
        "what is refused stays what the rules say"
    );
    let of = |way: &str, what: &str| report["model"][way][what].as_u64().unwrap();
    assert_eq!(of("rules", "prefixes"), 2);
    assert!(of("both", "attempts_refused") >= of("rules", "attempts_refused"));
    assert_eq!(of("model", "successes_hit"), 0);
    let text = run(&[&log, "--format", "sshd", "--model", "shipped"]).unwrap();
    assert!(text.contains("model alone"), "{text}");
    let config = world.file("edgeward.toml", "[detection]\nmodel = \"on\"\n");
    let decided = json(&["--config", &config, &log, "--format", "sshd"]);
    assert_eq!(
        decided["attempts_refused"],
        report["model"]["both"]["attempts_refused"]
    );
}

#[test]
fn a_model_that_is_none_is_named() {
    let world = World::new();
    let log = world.file("auth.log", sshd_log());
    let bad = world.file("model.txt", "edgeward-model 1\nlevels 1 2\n");
    let error = run(&[&log, "--format", "sshd", "--model", &bad]).unwrap_err();
    assert!(error.to_string().contains("is no model: line 2"), "{error}");
    let config = format!("[detection]\nmodel_file = \"{bad}\"\nmodel = \"lgo\"\n");
    let config = world.file("edgeward.toml", config);
    let error = run(&["--config", &config, &log, "--format", "sshd"]).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("line 2") && said.contains("did you mean \"log\""),
        "{said}"
    );
}
