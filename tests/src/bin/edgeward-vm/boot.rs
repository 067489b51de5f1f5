//! One boot: qemu without a screen, its serial line read to the end, and an end to it in any case.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::report::Report;

/// What to boot, and for how long.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Receives everything from the serial line.
    pub(crate) log: &'a Path,
    pub(crate) limit: Duration,
    pub(crate) verbose: bool,
}

/// How the guest's processor is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Processor {
    /// By the host's own.
    Kvm,
    /// By emulation, which works everywhere.
    Emulated,
}

/// Boots and reads until the guest powers off or the time is over.
///
/// # Errors
/// qemu cannot be started or the log not be written.
pub(crate) fn run(machine: &Machine<'_>) -> Result<Report> {
    if kvm_opens() {
        let report = attempt(machine, Processor::Kvm)?;
        if report.has_booted() {
            return Ok(report);
        }
        // Inside of another virtual machine the device may be there and not work.
        println!("note: /dev/kvm does not boot a guest here; emulating the processor instead");
    }
    attempt(machine, Processor::Emulated)
}

fn kvm_opens() -> bool {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

fn attempt(machine: &Machine<'_>, processor: Processor) -> Result<Report> {
    let mut log = File::create(machine.log)
        .with_context(|| format!("cannot write {}", machine.log.display()))?;
    let mut guest = Guest(start(machine, processor)?);
    let lines = read_lines(guest.0.stdout.take().context("the serial line")?);
    let errors = read_lines(guest.0.stderr.take().context("qemu's errors")?);
    let started = Instant::now();
    let mut report = Report::default();
    let end = loop {
        let limit = match processor {
            Processor::Kvm if !report.has_booted() => KVM_BOOT_MAX.min(machine.limit),
            _ => machine.limit,
        };
        match lines.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(line) => {
                writeln!(log, "{line}").context("cannot write the console's log")?;
                if report.read(&line) || machine.verbose {
                    println!("    {line}");
                }
            }
            Err(RecvTimeoutError::Timeout) => break format!("{} s were over", limit.as_secs()),
            Err(RecvTimeoutError::Disconnected) => break "qemu ended".to_owned(),
        }
        if report.is_done() {
            break "done".to_owned();
        }
    };
    drop(guest);
    let said: Vec<String> = errors
        .into_iter()
        .filter(|line| !line.contains("TCG doesn't support"))
        .collect();
    let end = if said.is_empty() {
        end
    } else {
        format!("{end} ({})", said.join("; "))
    };
    report.close(&format!("{end}; see {}", machine.log.display()));
    println!(
        "    {} s from power-on to power-off",
        started.elapsed().as_secs()
    );
    Ok(report)
}

fn start(machine: &Machine<'_>, processor: Processor) -> Result<Child> {
    let mut command = Command::new("qemu-system-x86_64");
    match processor {
        Processor::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        Processor::Emulated => command.args(["-accel", "tcg", "-cpu", "max"]),
    };
    command
        // Two processors: what is kept for each of them is tested too.
        .args([
            "-smp", "2", "-m", MEMORY_MIB, "-display", "none", "-monitor", "none",
        ])
        .args(["-serial", "stdio", "-nic", "none", "-no-reboot", "-kernel"])
        .arg(machine.kernel)
        .arg("-initrd")
        .arg(machine.initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
        .spawn()
        .context("cannot start qemu-system-x86_64 (package qemu-system-x86)")
}

/// Lines of a stream as they come; the channel closes at its end.
fn read_lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(LINES_MAX);
    thread::spawn(move || {
        // Bytes, not text: a crashing kernel may write anything.
        for line in BufReader::new(stream)
            .split(b'\n')
            .map_while(|line| line.ok())
        {
            let line = String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A running qemu; dropping it ends it.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory of the guest: its files live there, and a million host entries.
const MEMORY_MIB: &str = "2048";
/// A guest on a real processor says that it has booted within seconds, or never.
const KVM_BOOT_MAX: Duration = Duration::from_secs(30);
/// Lines read and not yet looked at.
const LINES_MAX: usize = 1024;
