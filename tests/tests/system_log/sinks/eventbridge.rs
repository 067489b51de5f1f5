//! EventBridge as moto has it: signatures are checked, and events are looked for in the queue behind the bus.

use std::{path::Path, time::Duration};

use anyhow::ensure;
use lab::{Agent, Lab, PYTHON, Process, Result};
use serde_json::Value;

use super::{
    super::streams::world::{config, settled, sign_ins, until},
    Folder, secret, text, tools,
};

const PORT: &str = "8090";
const MOTO: &str = "8091";
const STREAM: &str = "[[stream]]\nname = \"siem\"\nkind = \"eventbridge\"\nurl = \"http://127.0.0.1:8090\"\nfrom = \"oldest\"\n\
    region = \"eu-central-1\"\nbus = \"security\"\ncredentials_file = \"credentials\"\nflush = \"50ms\"\ntimeout = \"2s\"\n";

/// 400, 429, 503, garbage, silence, half a batch and a kill: every event reaches the queue behind the bus.
pub(crate) fn signed() -> Result<()> {
    let lab = Lab::new("sinks-eventbridge")?;
    let folder = Folder::new(&lab)?;
    let _moto = moto(&lab)?;
    let aws = lab.write("receiver/aws.py", include_str!("aws.py"))?;
    python(&lab, &[text(&aws)?, "setup", MOTO, text(&folder.0)?])?;
    let bus = lab.write("receiver/bus.py", include_str!("bus.py"))?;
    let mut front = launch(&lab, &folder, &bus)?;
    folder.does(&[
        "take", "partial", "throttle", "take", "503", "429", "garbage", "lost", "partial", "400",
        "hang", "413", "slow", "403", "take",
    ])?;
    secret(&lab, "credentials", &credentials(&folder, None)?)?;
    let agent = Agent::start(&lab, &config(STREAM))?;
    sign_ins(&lab, 0, 600)?;
    until(&agent, "siem", |_| folder.is_done())?;

    sign_ins(&lab, 600, 100)?;
    front.kill9();
    sign_ins(&lab, 700, 100)?;
    until(&agent, "siem", |state| state["health"] == "failing")?;
    drop(front);
    let _front = launch(&lab, &folder, &bus)?;
    settled(&agent, "siem", 800)?;

    // An event that the bus never takes.
    folder.poison("\"10.0.4.7\"")?;
    sign_ins(&lab, 1_024, 100)?;
    let state = settled(&agent, "siem", 900)?;
    ensure!(state["dead"] == 1 && state["gap"] == 0, "{state}");

    // A key that ends, and one that signs wrongly: paused until the file has the right one.
    secret(&lab, "credentials", &credentials(&folder, Some("wrong"))?)?;
    folder.does(&["403"])?;
    sign_ins(&lab, 2_000, 50)?;
    until(&agent, "siem", |state| {
        let error = state["error"].as_str().unwrap_or_default();
        state["health"] == "paused" && error.contains("moto refuses it")
    })?;
    secret(&lab, "credentials", &credentials(&folder, None)?)?;
    settled(&agent, "siem", 950)?;

    python(&lab, &[text(&aws)?, "drain", MOTO, text(&folder.0)?])?;
    // One batch "lost", and one that the kill caught.
    folder.accounted(&agent, 1, 20)?;
    Ok(())
}

fn moto(lab: &Lab) -> Result<Process> {
    let mut process = lab
        .login
        .command(&[PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", MOTO])
        .env("PYTHONPATH", text(&tools())?)
        // Then signatures are checked.
        .env("INITIAL_NO_AUTH_ACTION_COUNT", "3")
        .spawn()?;
    process.wait_for_line("Running on", Duration::from_secs(60))?;
    Ok(process)
}

fn launch(lab: &Lab, folder: &Folder, script: &Path) -> Result<Process> {
    let argv = [PYTHON, text(script)?, PORT, MOTO, text(&folder.0)?];
    let mut process = lab
        .login
        .command(&argv)
        .env("PYTHONPATH", text(&tools())?)
        .spawn()?;
    process.wait_for_line("ready", Duration::from_secs(60))?;
    Ok(process)
}

fn python(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let argv = [&[PYTHON], arguments].concat();
    let mut process = lab
        .login
        .command(&argv)
        .env("PYTHONPATH", text(&tools())?)
        .spawn()?;
    let code = process.wait(Duration::from_secs(120))?;
    ensure!(code == 0, "{arguments:?} ended with {code}");
    Ok(())
}

/// The keys that moto gave, in the form of `~/.aws/credentials`.
fn credentials(folder: &Folder, wrong: Option<&str>) -> Result<String> {
    let keys: Value = serde_json::from_str(&std::fs::read_to_string(folder.0.join("keys"))?)?;
    let word = |key: &str| keys[key].as_str().unwrap_or_default().to_owned();
    let secret = wrong.map_or_else(|| word("SecretAccessKey"), str::to_owned);
    Ok(format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {secret}\n",
        word("AccessKeyId")
    ))
}
