//! A web server that checks every signature with the reference implementation, and misbehaves request by request.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::{Agent, Lab, PYTHON, Process, Result};

use super::world::{accounted, config, settled, sign_ins, stream, told, until};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_d2hlbiBhIHNlY3JldCBjaGFuZ2VzLCBib3RoIHNpZ24=";

/// The server in Python.
struct Web {
    process: Process,
    folder: PathBuf,
}

impl Web {
    fn start(lab: &Lab) -> Result<Self> {
        let folder = lab.directory().join("web");
        lab.write("web/script", "")?;
        lab.write("web/secret", OLD)?;
        let script = lab.write("web/receive.py", include_str!("receive.py"))?;
        let mut web = Self {
            process: lab.login.spawn(&["true"])?,
            folder,
        };
        web.launch(lab, &script)?;
        Ok(web)
    }

    fn launch(&mut self, lab: &Lab, script: &Path) -> Result<()> {
        let argv = [PYTHON, text(script)?, "8090", text(&self.folder)?];
        let modules = tools();
        self.process = lab
            .login
            .command(&argv)
            .env("PYTHONPATH", text(&modules)?)
            .spawn()?;
        self.process
            .wait_for_line("ready", Duration::from_secs(30))?;
        Ok(())
    }

    /// What the next requests get, a word each; then everything is taken.
    fn does(&self, words: &[&str]) -> Result<()> {
        let aside = self.folder.join("script.new");
        std::fs::write(&aside, words.join("\n"))?;
        Ok(std::fs::rename(aside, self.folder.join("script"))?)
    }

    fn is_done(&self) -> bool {
        std::fs::read_to_string(self.folder.join("script")).is_ok_and(|text| text.trim().is_empty())
    }
}

/// 400, 401, 413, 429, 503, garbage, silence and a kill: everything arrives, with signatures that hold, also while the
/// secret changes.
pub(crate) fn signed() -> Result<()> {
    let lab = Lab::new("streams-webhook")?;
    let mut web = Web::start(&lab)?;
    for (name, secret) in [("old.secret", OLD), ("new.secret", NEW)] {
        let path = lab.write(name, &format!("{secret}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    }
    let hook = |secrets: &str| {
        config(&format!(
            "[[stream]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:8090/hook\"\nfrom = \"oldest\"\n\
             secret_files = [{secrets}]\nbatch_events_max = 100\nflush = \"50ms\"\ntimeout = \"2s\"\n"
        ))
    };
    web.does(&[
        "take", "503", "take", "429", "garbage", "take", "400", "take", "hang", "413", "take",
        "lost", "take", "401",
    ])?;
    let agent = Agent::start(&lab, &hook("\"old.secret\""))?;
    sign_ins(&lab, 0, 3_000)?;
    until(&agent, "hook", |_| web.is_done())?;
    web.process.kill9();
    sign_ins(&lab, 3_000, 1_000)?;
    until(&agent, "hook", |state| state["health"] == "failing")?;
    let script = web.folder.join("receive.py");
    web.launch(&lab, &script)?;
    settled(&agent, "hook", 4_000)?;

    // The receiver goes over to the new secret while requests are signed with both.
    agent.reconfigure(&hook("\"old.secret\", \"new.secret\""))?;
    agent.cli_ok(&["reload"])?;
    sign_ins(&lab, 4_000, 500)?;
    settled(&agent, "hook", 4_500)?;
    lab.write("web/secret", NEW)?;
    sign_ins(&lab, 4_500, 500)?;
    settled(&agent, "hook", 5_000)?;
    agent.reconfigure(&hook("\"new.secret\""))?;
    agent.cli_ok(&["reload"])?;
    sign_ins(&lab, 5_000, 500)?;
    let state = settled(&agent, "hook", 5_500)?;
    ensure!(state["dead"] == 0 && state["gap"] == 0, "{state}");
    // Taken and not answered: one request "lost", and what the kill caught.
    accounted(&agent, &web.folder.join("received"), 200)?;
    let told = told(&agent)?;
    for event in ["pause", "recover", "lifecycle.update"] {
        let event = format!("system.log_stream.{event}");
        ensure!(told.contains(&event), "no {event} among {told:?}");
    }

    // A secret that the receiver does not know: paused, and well again once the file has the right one.
    lab.write("web/secret", OLD)?;
    sign_ins(&lab, 6_000, 100)?;
    until(&agent, "hook", |state| state["health"] == "paused")?;
    lab.write("new.secret", &format!("{OLD}\n"))?;
    settled(&agent, "hook", 5_600)?;
    let shown = stream(&agent, "hook")?.to_string()
        + &agent.log()
        + &agent.cli_ok(&["status", "--json"])?;
    ensure!(
        !shown.contains("MfKQ9r8G") && !shown.contains("d2hlbiBh"),
        "a secret is shown"
    );
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

/// Where `cargo xtask setup` unpacks the reference implementation.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/streams")
}

pub(crate) fn needed() -> std::result::Result<(), String> {
    if tools().join("standardwebhooks").is_dir() {
        Ok(())
    } else {
        Err("standardwebhooks is not there: run `cargo xtask setup test`".to_owned())
    }
}
