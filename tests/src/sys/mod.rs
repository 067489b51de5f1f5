//! Every system call of the lab that std does not offer, and with `packet` and `bpf` the only `unsafe` code in it.
//!
//! Each function takes and returns owned, checked values; nothing outside this folder sees a raw descriptor.

pub(crate) mod bpf;
pub(crate) mod packet;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Turns the `-1` of a system call into the error that `errno` names.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The size of a C type as the kernel wants it said.
fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

/// A path as a C string; a NUL byte in it is an invalid-input error.
fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// The effective user id of this process.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory and cannot fail.
    unsafe { libc::geteuid() }
}

/// Moves the calling thread, and no other, into a network namespace.
pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the borrow lasts; setns touches no memory of ours.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Keeps the calling thread, and what it starts, on the CPU that it is on.
pub(crate) fn stay_here() -> io::Result<()> {
    // SAFETY: sched_getcpu takes nothing and touches no memory of ours.
    let cpu = checked(unsafe { libc::sched_getcpu() })?;
    // SAFETY: a zeroed set is an empty one; the number is the kernel's own and kept in range.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(usize::try_from(cpu).unwrap_or(0).min(1023), &mut set);
        set
    };
    // SAFETY: the set outlives the call and its true size is given; 0 is the calling thread.
    checked(unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) }).map(drop)
}

/// Mounts a new bpffs instance on an existing directory, in the caller's mount namespace.
pub(crate) fn mount_bpffs(path: &Path) -> io::Result<()> {
    let target = c_path(path)?;
    // SAFETY: all four strings are NUL-terminated and live until the call returns; the data pointer may be null.
    checked(unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            target.as_ptr(),
            c"bpf".as_ptr(),
            0,
            std::ptr::null(),
        )
    })
    .map(drop)
}

/// Detaches whatever is mounted at the path, also while it is busy.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    let target = c_path(path)?;
    // SAFETY: the string is NUL-terminated and lives until the call returns.
    checked(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Sends a signal to one process. Ids below 2 are refused: 0, -1 and 1 mean everybody or init.
pub(crate) fn signal(pid: i32, signal: i32) -> io::Result<()> {
    if pid < 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill touches no memory; the id was checked not to mean a group.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends a signal to a whole process group. Ids below 2 are refused, as in [`signal`].
pub(crate) fn signal_group(group: i32, signal: i32) -> io::Result<()> {
    if group < 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill touches no memory; the id was checked to name one group.
    checked(unsafe { libc::kill(-group, signal) }).map(drop)
}

/// Makes a command start inside `namespace`, as `(uid, gid)` if given, and die with the thread that starts it.
///
/// The mount namespace stays the caller's: `ip netns exec` would mount a fresh `/sys` and hide bpffs.
/// The user changes after setns, which needs privilege, and before the death signal, which a change of user clears.
pub(crate) fn prepare(command: &mut Command, namespace: File, user: Option<(u32, u32)>) {
    let parent = std::process::id();
    let hook = move || -> io::Result<()> {
        enter(&namespace)?;
        if let Some((uid, gid)) = user {
            // SAFETY: plain system calls on values; an empty group list may have a null pointer.
            unsafe {
                checked(libc::setgroups(0, std::ptr::null()))?;
                checked(libc::setgid(gid))?;
                checked(libc::setuid(uid))?;
            }
        }
        // SAFETY: prctl with PR_SET_PDEATHSIG takes one integer; getppid takes nothing.
        let still_there = unsafe {
            checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            u32::try_from(libc::getppid()).is_ok_and(|id| id == parent)
        };
        // A parent that died before the prctl would never send the signal.
        if still_there {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec the hook makes only async-signal-safe system calls and allocates nothing.
    unsafe { command.pre_exec(hook) };
}

/// A socket address in the kernel's layout.
enum RawAddress {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl RawAddress {
    fn new(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(libc::sockaddr_in {
                sin_family: family_of(libc::AF_INET),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(libc::sockaddr_in6 {
                sin6_family: family_of(libc::AF_INET6),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        match self {
            Self::V4(raw) => (
                std::ptr::from_ref(raw).cast(),
                length_of::<libc::sockaddr_in>(),
            ),
            Self::V6(raw) => (
                std::ptr::from_ref(raw).cast(),
                length_of::<libc::sockaddr_in6>(),
            ),
        }
    }
}

/// An address family as the field of a socket address wants it.
fn family_of(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or_default()
}

/// Sets one integer option of a socket.
fn set_option(socket: &OwnedFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value outlives the call and its true length is given.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            length_of::<libc::c_int>(),
        )
    })
    .map(drop)
}

/// Opens a socket of a family and type in the calling thread's network namespace.
fn open_socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket touches no memory.
    let fd = checked(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens an IP socket that may bind any address that is routed to its host, not only configured ones.
fn open_ip(address: SocketAddr, kind: i32) -> io::Result<OwnedFd> {
    if address.is_ipv4() {
        let socket = open_socket(libc::AF_INET, kind, 0)?;
        set_option(&socket, libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?;
        Ok(socket)
    } else {
        let socket = open_socket(libc::AF_INET6, kind, 0)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        Ok(socket)
    }
}

/// Binds a socket to an address.
fn bind(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let raw = RawAddress::new(address);
    let (pointer, length) = raw.parts();
    // SAFETY: pointer and length describe `raw`, which lives until the call returns.
    checked(unsafe { libc::bind(socket.as_raw_fd(), pointer, length) }).map(drop)
}

/// Waits until the socket is ready for `events`; false when the time is over first.
fn wait_ready(socket: &OwnedFd, events: libc::c_short, timeout: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events,
        revents: 0,
    };
    let milliseconds = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // A signal to the test is no answer; what stops and continues the machine comes as one. A few at most.
    for _ in 0..8 {
        // SAFETY: the entry is ours, exclusive, and one in number.
        match checked(unsafe { libc::poll(&raw mut entry, 1, milliseconds) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome.map(|ready| ready > 0),
        }
    }
    Ok(false)
}

/// Connects by TCP from a chosen source address, in the calling thread's network namespace.
///
/// A dropped SYN is `TimedOut`, an RST `ConnectionRefused`: tests tell the two forms of a refusal by that.
pub(crate) fn tcp_connect(
    source: Option<IpAddr>,
    target: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let socket = open_ip(target, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
    if let Some(source) = source {
        bind(&socket, SocketAddr::new(source, 0))?;
    }
    let raw = RawAddress::new(target);
    let (pointer, length) = raw.parts();
    // SAFETY: pointer and length describe `raw`, which lives until the call returns.
    let started = checked(unsafe { libc::connect(socket.as_raw_fd(), pointer, length) });
    if let Err(error) = started {
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
        if !wait_ready(&socket, libc::POLLOUT, timeout)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    let stream = TcpStream::from(socket);
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Binds a UDP socket in the calling thread's network namespace, with room for a burst.
pub(crate) fn udp_bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open_ip(address, libc::SOCK_DGRAM)?;
    set_option(
        &socket,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        RECEIVE_BYTES,
    )?;
    bind(&socket, address)?;
    Ok(UdpSocket::from(socket))
}

/// Receive buffer of the lab's sockets in bytes: a second of probes fits, so that a busy machine loses none.
const RECEIVE_BYTES: libc::c_int = 16 * 1024 * 1024;
