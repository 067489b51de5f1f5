//! rsyslog over TCP and mutual TLS, and the agent killed again and again.

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use lab::{Agent, Lab, Result};

use super::rsyslog::Rsyslog;
use super::world::{accounted, config, settled, sign_ins, stream, told, until};

const PORT: u16 = Rsyslog::PORT;

fn plain(settle: &str) -> String {
    format!(
        "[[stream]]\nname = \"siem\"\nkind = \"syslog\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:{PORT}\"\n\
         from = \"oldest\"\nsettle = \"{settle}\"\n"
    )
}

/// Killed, stalled and away in the middle: everything arrives. A message of more than 20,000 bytes arrives whole.
pub(crate) fn tcp() -> Result<()> {
    let lab = Lab::new("streams-tcp")?;
    let mut server = Rsyslog::tcp(&lab, Rsyslog::PLAIN)?;
    let agent = Agent::start(&lab, &config(&plain("1s")))?;
    sign_ins(&lab, 0, 2_000)?;
    server.has(1_000)?;
    server.process.kill9();
    sign_ins(&lab, 2_000, 2_000)?;
    // Somebody is told of the third failure in a row.
    until(&agent, "siem", |state| {
        state["failures"].as_u64() >= Some(3)
    })?;
    server.launch(&lab)?;
    server.process.signal(libc::SIGSTOP)?;
    sign_ins(&lab, 4_000, 2_000)?;
    server.process.signal(libc::SIGCONT)?;
    sign_ins(&lab, 6_000, 2_000)?;
    let tested = agent.cli_json(&["stream", "test", "siem"])?;
    ensure!(tested["outcome"] == "arrived", "{tested}");

    // A reload that says much about itself.
    let zones: String = (0..500)
        .map(|n| {
            format!(
                "[[zone]]\nname = \"a zone with a name that takes its place {n}\"\nuses = [\"allowed-origin\"]\n\
                 networks = [\"10.200.{}.{}\"]\n",
                n / 250,
                n % 250
            )
        })
        .collect();
    agent.reconfigure(&config(&(plain("1s") + &zones)))?;
    agent.cli_ok(&["reload"])?;
    let state = settled(&agent, "siem", 8_000)?;
    ensure!(state["dead"] == 0 && state["gap"] == 0, "{state}");

    // The test is not in the log, and the last event may still be on its way into the file.
    server.has(8_000)?;
    let text = std::fs::read_to_string(&server.received)?;
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    ensure!(longest > 20_000, "the longest message had {longest} bytes");
    let id = tested["id"].as_str().unwrap_or_default().to_owned();
    let tests = text.lines().filter(|line| line.contains(&id)).count();
    ensure!(tests == 1, "the test event arrived {tests} times");
    let without: String = text
        .lines()
        .filter(|line| !line.contains(&id))
        .flat_map(|line| [line, "\n"])
        .collect();
    std::fs::write(&server.received, without)?;
    let events = accounted(&agent, &server.received, 8_000)?;
    ensure!(events > 8_000, "{events} events");
    let told = told(&agent)?;
    for event in ["lifecycle.create", "fail", "recover"] {
        let event = format!("system.log_stream.{event}");
        ensure!(told.contains(&event), "no {event} among {told:?}");
    }
    Ok(())
}

/// Both sides show a certificate; without the agent's rsyslog takes nothing.
pub(crate) fn tls() -> Result<()> {
    let lab = Lab::new("streams-tls")?;
    certificates(&lab)?;
    let pem = |name: &str| lab.directory().join(name).display().to_string();
    let input = format!(
        "defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"x509/name\" \
         permittedPeer=[\"edgeward.lab\"])",
        pem("ca.pem"),
        pem("siem.pem"),
        pem("siem.key"),
    );
    let server = Rsyslog::tcp(&lab, &input)?;
    let common = format!(
        "kind = \"syslog\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{PORT}\"\nserver_name = \"siem.lab\"\n\
         from = \"oldest\"\nca_file = \"ca.pem\"\n"
    );
    let streams = format!(
        "[[stream]]\nname = \"siem\"\n{common}certificate = \"edgeward.pem\"\nkey = \"edgeward.key\"\n\
         [[stream]]\nname = \"nobody\"\n{common}"
    );
    let agent = Agent::start(&lab, &config(&streams))?;
    sign_ins(&lab, 0, 2_000)?;
    settled(&agent, "siem", 2_000)?;
    server.has(2_000)?;
    until(&agent, "nobody", |state| state["health"] == "failing")?;
    settled(&agent, "siem", 2_000)?;
    thread::sleep(Duration::from_millis(500));
    accounted(&agent, &server.received, 0)?;
    let nobody = stream(&agent, "nobody")?;
    ensure!(nobody["settled"] == 0, "{nobody}");
    Ok(())
}

/// The agent is killed in the middle of sending to a file: no event is missing, and none is cut in half.
pub(crate) fn killed() -> Result<()> {
    let lab = Lab::new("streams-killed")?;
    let streams = "[[stream]]\nname = \"archive\"\nkind = \"file\"\npath = \"{lab}/events.log\"\nfrom = \"oldest\"\n";
    let mut agent = Agent::start(&lab, &config(streams))?;
    for round in 0..8 {
        sign_ins(&lab, round * 1_000, 1_000)?;
        thread::sleep(Duration::from_millis(u64::from(37 * round)));
        agent.kill9();
        agent.launch()?;
    }
    let state = settled(&agent, "archive", 7_000)?;
    ensure!(state["dead"] == 0 && state["gap"] == 0, "{state}");
    let file = lab.directory().join("events.log");
    let events = accounted(&agent, &file, 8_000)?;
    ensure!(events > 7_000, "{events} events");
    Ok(())
}

/// A CA, and a certificate for each side.
fn certificates(lab: &Lab) -> Result<()> {
    let openssl = |arguments: &[&str]| -> Result<()> {
        let command = lab.login.command(&[&["openssl"], arguments].concat());
        command
            .directory(lab.directory())
            .run()?
            .success()
            .map(drop)
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    openssl(
        &[
            &["req", "-x509"][..],
            &key,
            &[
                "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=lab",
            ],
        ]
        .concat(),
    )?;
    for name in ["siem", "edgeward"] {
        let (file, request) = (format!("{name}.key"), format!("{name}.csr"));
        let subject = format!("/CN={name}.lab");
        openssl(
            &[
                &["req", "-new"][..],
                &key,
                &["-keyout", &file, "-out", &request, "-subj", &subject],
            ]
            .concat(),
        )?;
        let extensions = format!("{name}.ext");
        lab.write(&extensions, &format!("subjectAltName = DNS:{name}.lab\n"))?;
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            &extensions,
            "-out",
            &format!("{name}.pem"),
        ])?;
    }
    Ok(())
}
