//! Short commands outside of any namespace: `ip` and its kin, with an error that says what they said.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::Result;

/// Runs a command in the machine's own namespaces; its standard output, or an error with its standard error.
pub(crate) fn run(argv: &[&str]) -> Result<String> {
    feed(argv, "")
}

/// As [`run`], with text on standard input.
pub(crate) fn feed(argv: &[&str], input: &str) -> Result<String> {
    let Some((program, arguments)) = argv.split_first() else {
        bail!("empty command")
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading is judged by its exit code below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {program}"))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}{}",
            argv.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim(),
            if input.is_empty() {
                String::new()
            } else {
                format!("\ninput was:\n{input}")
            },
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
