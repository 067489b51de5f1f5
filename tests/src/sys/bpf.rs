//! The bpf(2) system call, as far as the lab needs it: load two instructions, pin, attach, test run,
//! read and change an element of a map.
//!
//! Not through aya: what the tests check should not depend on the library that the agent stands on.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::c_path;

/// One instruction in the kernel's layout.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_BYTES],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct PathAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// An element's key and, where the command takes or gives one, its value or the key after it.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct LinkAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The first fields of `bpf_link_info`; the kernel fills as much as the length given.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    rest: [u64; 8],
}

#[repr(C)]
#[derive(Default)]
struct RunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md` as a test run takes it.
#[repr(C)]
#[derive(Default)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// What a test run returned: the XDP action, the frame afterwards, nanoseconds a run.
pub(crate) struct RunResult {
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) nanoseconds: u32,
}

/// Calls bpf(2). The attribute's pointers must be alive; every caller below keeps what they point at borrowed.
fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the attribute is exclusive, initialised and of the size given; its pointers are the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            mem::size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// Takes ownership of a descriptor that a bpf command returned.
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A descriptor as the attribute wants it.
fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

/// The length of a buffer as the attribute wants it.
fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

/// A pointer as the attribute wants it.
fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}

/// Loads `r0 = action; exit` as an XDP program. The name is cut to 15 bytes.
pub(crate) fn load_constant(name: &str, action: i32) -> io::Result<OwnedFd> {
    load_constant_as(PROG_TYPE_XDP, ATTACH_TYPE_XDP, name, action)
}

/// The same as a program that looks up sockets.
pub(crate) fn load_constant_lookup(name: &str, action: i32) -> io::Result<OwnedFd> {
    load_constant_as(PROG_TYPE_SK_LOOKUP, ATTACH_TYPE_SK_LOOKUP, name, action)
}

fn load_constant_as(
    prog_type: u32,
    expected_attach_type: u32,
    name: &str,
    action: i32,
) -> io::Result<OwnedFd> {
    let code = [
        Instruction {
            code: 0xb7,
            registers: 0,
            offset: 0,
            immediate: action,
        },
        Instruction {
            code: 0x95,
            registers: 0,
            offset: 0,
            immediate: 0,
        },
    ];
    let mut attr = LoadAttr {
        prog_type,
        insn_cnt: length(code.len())?,
        insns: address(code.as_ptr()),
        license: address(c"GPL".as_ptr()),
        expected_attach_type,
        ..LoadAttr::default()
    };
    for (to, from) in attr
        .prog_name
        .iter_mut()
        .take(NAME_BYTES - 1)
        .zip(name.bytes())
    {
        *to = from;
    }
    bpf(PROG_LOAD, &mut attr).map(owned)
}

/// Pins a program or link in a bpffs.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = c_path(path)?;
    let mut attr = PathAttr {
        pathname: address(name.as_ptr()),
        bpf_fd: number(object),
        file_flags: 0,
    };
    bpf(OBJ_PIN, &mut attr).map(drop)
}

/// Opens a pinned program, map or link.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = c_path(path)?;
    let mut attr = PathAttr {
        pathname: address(name.as_ptr()),
        bpf_fd: 0,
        file_flags: 0,
    };
    bpf(OBJ_GET, &mut attr).map(owned)
}

/// The key and value sizes of a map, in bytes.
pub(crate) fn map_sizes(map: BorrowedFd<'_>) -> io::Result<(usize, usize)> {
    // The first fields of `bpf_map_info`: type, id, key size, value size.
    let mut info = [0_u32; 4];
    let mut attr = InfoAttr {
        bpf_fd: number(map),
        info_len: length(mem::size_of_val(&info))?,
        info: address(info.as_mut_ptr()),
    };
    bpf(OBJ_GET_INFO, &mut attr)?;
    let [_, _, key, value] = info;
    let bytes = |size: u32| usize::try_from(size).map_err(io::Error::other);
    Ok((bytes(key)?, bytes(value)?))
}

/// Writes one element; the slices have the map's sizes.
pub(crate) fn map_set(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    element(MAP_UPDATE, map, key, address(value.as_ptr()))
}

/// Deletes one element; the key has the map's size.
pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    element(MAP_DELETE, map, key, 0)
}

/// Reads one element into `value`, which has the map's size.
pub(crate) fn map_get(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    element(MAP_LOOKUP, map, key, address(value.as_mut_ptr()))
}

/// The key after `key`, or the first one; `None` at the end.
pub(crate) fn map_next(
    map: BorrowedFd<'_>,
    key: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map_fd: number(map),
        padding: 0,
        key: key.map_or(0, |key| address(key.as_ptr())),
        value: address(next.as_mut_ptr()),
        flags: 0,
    };
    match bpf(MAP_NEXT_KEY, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn element(command: libc::c_long, map: BorrowedFd<'_>, key: &[u8], value: u64) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: number(map),
        padding: 0,
        key: address(key.as_ptr()),
        value,
        flags: 0,
    };
    bpf(command, &mut attr).map(drop)
}

/// Attaches an XDP program by bpf_link to an interface of the calling thread's network namespace.
pub(crate) fn link_xdp(
    program: BorrowedFd<'_>,
    interface: u32,
    generic: bool,
) -> io::Result<OwnedFd> {
    let mut attr = LinkAttr {
        prog_fd: number(program),
        target_ifindex: interface,
        attach_type: ATTACH_TYPE_XDP,
        flags: if generic { FLAG_GENERIC } else { FLAG_NATIVE },
    };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Attaches a program that looks up sockets to a network namespace by bpf_link.
pub(crate) fn link_lookup(
    program: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let mut attr = LinkAttr {
        prog_fd: number(program),
        target_ifindex: number(namespace),
        attach_type: ATTACH_TYPE_SK_LOOKUP,
        flags: 0,
    };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Whether a link to a network namespace still holds it.
pub(crate) fn holds_namespace(link: BorrowedFd<'_>) -> io::Result<bool> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: number(link),
        info_len: length(mem::size_of::<LinkInfo>())?,
        info: address(std::ptr::from_mut(&mut info)),
    };
    bpf(OBJ_GET_INFO, &mut attr)?;
    // The namespace's inode is the first number behind the common fields.
    let [first, ..] = info.rest;
    Ok(first & u64::from(u32::MAX).to_le() != 0)
}

/// Opens a program by its id.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = IdAttr {
        id,
        next_id: 0,
        open_flags: 0,
    };
    bpf(PROG_GET_FD_BY_ID, &mut attr).map(owned)
}

/// The id of the program behind a link.
pub(crate) fn program_of_link(link: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: number(link),
        info_len: length(mem::size_of::<LinkInfo>())?,
        info: address(std::ptr::from_mut(&mut info)),
    };
    bpf(OBJ_GET_INFO, &mut attr)?;
    Ok(info.prog_id)
}

/// Runs a program on one frame, `repeat` times. The kernel takes frames from 14 bytes (one Ethernet header) on.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
) -> io::Result<RunResult> {
    let mut out = vec![0_u8; frame.len() + GROWTH_BYTES];
    let mut attr = RunAttr {
        prog_fd: number(program),
        data_size_in: length(frame.len())?,
        data_size_out: length(out.len())?,
        data_in: address(frame.as_ptr()),
        data_out: address(out.as_mut_ptr()),
        repeat,
        ..RunAttr::default()
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    out.truncate(usize::try_from(attr.data_size_out).map_err(io::Error::other)?);
    Ok(RunResult {
        action: attr.retval,
        frame: out,
        nanoseconds: attr.duration,
    })
}

/// Runs a program on live frames: what it passes, sends back or redirects really goes there.
///
/// The frames seem to come in on `interface` (of the calling thread's network namespace), which needs GRO or XDP on.
pub(crate) fn test_run_live(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
    interface: u32,
) -> io::Result<()> {
    let context = XdpContext {
        data_end: length(frame.len())?,
        ingress_ifindex: interface,
        ..XdpContext::default()
    };
    let mut attr = RunAttr {
        prog_fd: number(program),
        data_size_in: length(frame.len())?,
        data_in: address(frame.as_ptr()),
        repeat,
        ctx_size_in: length(mem::size_of::<XdpContext>())?,
        ctx_in: address(std::ptr::from_ref(&context)),
        flags: FLAG_LIVE_FRAMES,
        batch_size: LIVE_BATCH,
        ..RunAttr::default()
    };
    bpf(PROG_TEST_RUN, &mut attr).map(drop)
}

// Commands, types and flags from linux/bpf.h and linux/if_link.h.
const MAP_LOOKUP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const MAP_DELETE: libc::c_long = 3;
const MAP_NEXT_KEY: libc::c_long = 4;
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_TEST_RUN: libc::c_long = 10;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO: libc::c_long = 15;
const LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
const PROG_TYPE_SK_LOOKUP: u32 = 30;
const ATTACH_TYPE_SK_LOOKUP: u32 = 36;
const FLAG_GENERIC: u32 = 1 << 1;
const FLAG_NATIVE: u32 = 1 << 2;
const FLAG_LIVE_FRAMES: u32 = 1 << 1;
/// Length of a program's name with its NUL.
const NAME_BYTES: usize = 16;
/// Room for what a program may put in front of a frame, in bytes.
const GROWTH_BYTES: usize = 256;
/// Frames the kernel hands over at a time in a live run; 64 is its own default.
const LIVE_BATCH: u32 = 64;
