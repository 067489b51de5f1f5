//! XDP programs around the agent's: a foreign one that holds the hook, and runs of a loaded one on single frames.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, bail};

use crate::Result;
use crate::host::Host;
use crate::network::Lab;
use crate::sys::{self, bpf};

/// What an XDP program returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `XDP_ABORTED`: an error inside the program; the frame is dropped.
    Aborted,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`: on to the network stack.
    Pass,
    /// `XDP_TX`: back out of the same interface.
    Tx,
    /// `XDP_REDIRECT`: to another interface, socket or CPU.
    Redirect,
    /// A number that no action has.
    Other(u32),
}

/// How a foreign program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// By netlink, in the driver.
    NetlinkNative,
    /// By netlink, in the generic path.
    NetlinkGeneric,
    /// By bpf_link, in the driver.
    Link,
}

/// A program of somebody else on a lab interface. Dropping it takes it off.
#[derive(Debug)]
pub struct Foreign {
    host: Host,
    interface: String,
    hook: Hook,
    /// By netlink; a link says so by being there.
    attached: bool,
    // Held only to be dropped: closing the descriptor detaches the link.
    link: Option<OwnedFd>,
}

/// What one test run returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The program's action.
    pub action: Action,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// Mean duration of a run in whole nanoseconds, the kernel's own loop included.
    pub nanoseconds: u32,
}

impl From<u32> for Action {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}

impl Foreign {
    /// Attaches a program named `name` (up to 15 bytes) that passes everything.
    ///
    /// # Errors
    /// When it cannot be loaded or the hook is taken.
    pub fn attach(lab: &Lab, host: &Host, interface: &str, name: &str, hook: Hook) -> Result<Self> {
        Self::attach_program(lab, host, interface, &load(name, XDP_PASS)?, hook)
    }

    /// Attaches a loaded program.
    ///
    /// # Errors
    /// When the hook is taken.
    pub fn attach_program(
        lab: &Lab,
        host: &Host,
        interface: &str,
        program: &OwnedFd,
        hook: Hook,
    ) -> Result<Self> {
        let mut foreign = Self {
            host: host.clone(),
            interface: interface.to_owned(),
            hook,
            attached: false,
            link: None,
        };
        match hook {
            Hook::NetlinkNative | Hook::NetlinkGeneric => foreign.attach_netlink(lab, program)?,
            Hook::Link => {
                let link = host.in_ns(|| {
                    let index = sys::packet::interface_index(interface)?;
                    bpf::link_xdp(program.as_fd(), index, false)
                })?;
                foreign.link = Some(link.with_context(|| format!("cannot link to {interface}"))?);
            }
        }
        Ok(foreign)
    }

    /// Takes the program off.
    ///
    /// # Errors
    /// When the interface does not let go of it.
    pub fn detach(mut self) -> Result<()> {
        self.release()
    }

    /// `ip` takes a pinned program; the pin goes at once, the interface holds the program from then on.
    fn attach_netlink(&mut self, lab: &Lab, program: &OwnedFd) -> Result<()> {
        let pin = lab
            .bpffs()
            .join(format!("foreign_{}_{}", self.host.name(), self.interface));
        bpf::pin(program.as_fd(), &pin).context("cannot pin the foreign program")?;
        let path = pin.display().to_string();
        let outcome = self.ip_link(&["pinned", &path]);
        std::fs::remove_file(&pin)?;
        self.attached = outcome.is_ok();
        outcome
    }

    fn release(&mut self) -> Result<()> {
        self.link = None;
        if std::mem::take(&mut self.attached) {
            self.ip_link(&["off"])?;
        }
        Ok(())
    }

    fn ip_link(&self, what: &[&str]) -> Result<()> {
        let flavour = if self.hook == Hook::NetlinkGeneric {
            "xdpgeneric"
        } else {
            "xdpdrv"
        };
        let argv = [
            &["ip", "link", "set", "dev", &self.interface, flavour],
            what,
        ]
        .concat();
        self.host
            .run(&argv)?
            .success()
            .map(drop)
            .with_context(|| argv.join(" "))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // The lab may have gone first, and the interface with it.
        let _ = self.release();
    }
}

/// Loads a program that returns `action` for every frame: the floor that figures are compared with.
///
/// # Errors
/// When the kernel refuses it.
pub fn load(name: &str, action: i32) -> Result<OwnedFd> {
    bpf::load_constant(name, action).context("cannot load a two-instruction XDP program")
}

/// Opens the program behind a pinned link.
///
/// # Errors
/// When nothing, or no link, is pinned there.
pub fn program_of_pinned_link(path: &Path) -> Result<OwnedFd> {
    let link = bpf::open_pinned(path).with_context(|| format!("cannot open {}", path.display()))?;
    let id = bpf::program_of_link(link.as_fd())
        .with_context(|| format!("{} is no link", path.display()))?;
    Ok(bpf::program_by_id(id)?)
}

/// Opens a pinned program.
///
/// # Errors
/// When nothing is pinned there.
pub fn pinned_program(path: &Path) -> Result<OwnedFd> {
    bpf::open_pinned(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Opens the program that is attached to an interface.
///
/// # Errors
/// When there is none.
pub fn attached_program(host: &Host, interface: &str) -> Result<OwnedFd> {
    match attached_id(host, interface)? {
        Some(id) => Ok(bpf::program_by_id(id)?),
        None => bail!("no XDP program on {interface} in {}", host.name()),
    }
}

/// The id of the program that is attached to an interface, `None` when there is none.
///
/// # Errors
/// When there is no such interface.
pub fn attached_id(host: &Host, interface: &str) -> Result<Option<u32>> {
    let text = host
        .run(&["ip", "-json", "link", "show", "dev", interface])?
        .success()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    let id = links
        .pointer("/0/xdp/prog/id")
        .and_then(serde_json::Value::as_u64);
    Ok(id.map(u32::try_from).transpose()?)
}

/// Runs a program on one frame, `repeat` times (0 means once). Frames under 14 bytes the kernel refuses.
///
/// # Errors
/// When the kernel refuses the frame or the program.
pub fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> Result<Run> {
    let run = bpf::test_run(program, frame, repeat)
        .with_context(|| format!("test run on {} bytes", frame.len()))?;
    Ok(Run {
        action: run.action.into(),
        frame: run.frame,
        nanoseconds: run.nanoseconds,
    })
}

/// Does something on a thread that stays on one CPU: what a program remembers by CPU is the same for all test runs.
///
/// # Errors
/// When the kernel refuses, or the work fails.
pub fn on_one_cpu<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::stay_here().context("cannot stay on one CPU")?;
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a program on live frames that seem to come in on a host's interface, and really go where it sends them.
///
/// Count at the receiver: frames that nobody takes are reported by nobody.
///
/// # Errors
/// When the interface has neither GRO nor XDP on, or the kernel is older than 5.18.
pub fn run_live(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
    host: &Host,
    interface: &str,
) -> Result<()> {
    host.in_ns(|| {
        let index = sys::packet::interface_index(interface)?;
        bpf::test_run_live(program, frame, repeat, index)
    })?
    .with_context(|| format!("live run on {interface}"))
}

/// `XDP_DROP`, for [`load`].
pub const XDP_DROP: i32 = 1;
/// `XDP_PASS`, for [`load`].
pub const XDP_PASS: i32 = 2;
