//! `edgeward train` as a person types it.

use std::{fs, path::Path};

use clap::Parser;

use super::super::{Cli, Trouble, execute};
use crate::policy::model::Model;

fn run(words: &[&str]) -> Result<String, Trouble> {
    let line = ["edgeward", "train", "--format", "json"]
        .iter()
        .chain(words);
    let mut out = Vec::new();
    execute(Cli::try_parse_from(line).unwrap(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// Homes where somebody mistypes, and machines that try one user after the other; a label for each line.
fn lesson() -> (String, String) {
    let (mut log, mut labels) = (String::new(), String::new());
    for n in 0..70 {
        for (seconds, client, user, outcome, label) in [
            (0, 10, n, "failure", "person"),
            (9, 10, n, "success", "person"),
            (10, 203, n * 10, "unknown-user", "spray"),
            (15, 203, n * 10 + 1, "unknown-user", "spray"),
            (20, 203, n * 10 + 2, "failure", "attack"),
            (25, 11, n, "failure", "-"),
        ] {
            let time = 1_790_000_000 + n * 30 + seconds;
            log.push_str(&format!(
                "{{\"time\":{time},\"client\":\"{client}.0.{n}.1\",\"user\":\"u{user}\",\"outcome\":\"{outcome}\"}}\n"
            ));
            labels.push_str(&format!("{label}\n"));
        }
    }
    (log, labels)
}

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn a_model_comes_of_labelled_logs() {
    let dir = tempfile::tempdir().unwrap();
    let (log, labels) = lesson();
    let log = file(dir.path(), "log", &log);
    let labels = file(dir.path(), "labels", &labels);
    let out = dir.path().join("model").display().to_string();
    let said = run(&[&log, "--labels", &labels, "--out", &out]).unwrap();
    assert!(
        said.contains("examples of attacks") && said.contains("no examples"),
        "{said}"
    );
    let model = Model::parse(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_ne!(model, Model::shipped().unwrap());
    let again = dir.path().join("again").display().to_string();
    run(&[&log, "--labels", &labels, "--out", &again]).unwrap();
    assert_eq!(fs::read(&out).unwrap(), fs::read(&again).unwrap());
}

#[test]
fn mistakes_are_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (log, labels) = lesson();
    let short = file(dir.path(), "short", labels.split_once("spray").unwrap().0);
    let people = file(
        dir.path(),
        "people",
        &labels.replace("spray", "-").replace("attack", "-"),
    );
    let empty = file(dir.path(), "empty", "");
    let log = file(dir.path(), "log", &log);
    let out = dir.path().join("model");
    let out_text = out.display().to_string();
    for (log, labels, expected) in [
        (&log, &short, "has no label for line 3"),
        (&log, &people, "too few"),
        (&empty, &empty, "holds no sign-in"),
        (&log, &out_text, "cannot be read"),
    ] {
        let error = run(&[log, "--labels", labels, "--out", &out_text]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = run(&[&log, &log, "--labels", &people, "--out", &out_text]).unwrap_err();
    assert!(matches!(error, Trouble::Usage(_)));
    assert!(!out.exists());
}
