//! System calls that neither std nor the lab offers: small maps and programs, map facts, scheduling. All `unsafe`
//! code of the bench is here; each function takes and returns owned, checked values.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use crate::asm::Instruction;

#[repr(C)]
#[derive(Default)]
struct MapAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
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
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
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

/// The first fields of `bpf_prog_info`; the kernel fills as much as the length given.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: u64,
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
}

/// The first fields of `bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
}

/// A BPF array whose elements are mapped into this process, so that a million of them are one copy.
pub(crate) struct MappedArray {
    fd: OwnedFd,
    words: NonNull<u64>,
    length: usize,
}

// SAFETY: every access is one volatile load or store of memory that the kernel shares anyway.
unsafe impl Sync for MappedArray {}
// SAFETY: the mapping belongs to the process, not to the thread that made it.
unsafe impl Send for MappedArray {}

/// What a map says about itself.
#[derive(Debug, Clone)]
pub(crate) struct MapFacts {
    /// Its name, cut to 15 bytes by the kernel.
    pub(crate) name: String,
    /// `BPF_MAP_TYPE_…`.
    pub(crate) kind: u32,
    /// Bytes of kernel memory, as the kernel counts them.
    pub(crate) memory: u64,
}

/// Calls bpf(2). Pointers in the attribute must be alive; every caller below keeps what they point at borrowed.
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

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}

impl MappedArray {
    /// Makes an array of `elements` values of `words_each` 64-bit words.
    pub(crate) fn new(elements: u32, words_each: u32) -> io::Result<Self> {
        let mut attr = MapAttr {
            map_type: TYPE_ARRAY,
            key_size: 4,
            value_size: words_each * 8,
            max_entries: elements,
            map_flags: FLAG_MMAPABLE,
        };
        let fd = bpf(MAP_CREATE, &mut attr).map(owned)?;
        let length = usize::try_from(u64::from(elements) * u64::from(words_each))
            .map_err(io::Error::other)?;
        // SAFETY: a new shared mapping at an address of the kernel's choice; length and result are checked.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { fd, words, length })
    }

    /// A word as it is now; 0 outside.
    pub(crate) fn get(&self, index: u32) -> u64 {
        match usize::try_from(index) {
            // SAFETY: within what was mapped; volatile, since a program may write it.
            Ok(index) if index < self.length => unsafe { self.words.add(index).read_volatile() },
            _ => 0,
        }
    }

    /// Sets a word; nothing outside. The program under measurement does not run at that time.
    pub(crate) fn set(&self, index: u32, value: u64) {
        match usize::try_from(index) {
            // SAFETY: within what was mapped, and shared memory of the kernel's, not an object of ours.
            Ok(index) if index < self.length => unsafe {
                self.words.add(index).write_volatile(value);
            },
            _ => {}
        }
    }

    /// Writes words from the first on; what has no room is left out.
    pub(crate) fn fill(&mut self, values: impl IntoIterator<Item = u64>) {
        for (index, value) in values.into_iter().take(self.length).enumerate() {
            // SAFETY: `index` is below `length`, which is what was mapped; only we write.
            unsafe { self.words.add(index).write_volatile(value) };
        }
    }
}

impl AsFd for MappedArray {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; no reference into it outlives us.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.length * 8) };
    }
}

/// Loads an XDP program; the error holds the verifier's last words.
pub(crate) fn load_xdp(name: &str, code: &[Instruction]) -> io::Result<OwnedFd> {
    let mut log = vec![0_u8; 1 << 16];
    let mut attr = LoadAttr {
        prog_type: TYPE_XDP,
        insn_cnt: u32::try_from(code.len()).map_err(io::Error::other)?,
        insns: address(code.as_ptr()),
        license: address(c"GPL".as_ptr()),
        log_level: 1,
        log_size: u32::try_from(log.len()).map_err(io::Error::other)?,
        log_buf: address(log.as_mut_ptr()),
        expected_attach_type: ATTACH_TYPE_XDP,
        ..LoadAttr::default()
    };
    for (to, from) in attr.prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bpf(PROG_LOAD, &mut attr).map(owned).map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let text = String::from_utf8_lossy(log.get(..end).unwrap_or_default());
        io::Error::other(format!("the kernel refuses {name}: {error}\n{text}"))
    })
}

/// Sets one element of a map by value.
pub(crate) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: number(map),
        padding: 0,
        key: address(key.as_ptr()),
        value: address(value.as_ptr()),
        flags: 0,
    };
    bpf(MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// The maps of a program, with the inner maps of arrays of maps.
pub(crate) fn maps_of(program: BorrowedFd<'_>) -> io::Result<Vec<(OwnedFd, MapFacts)>> {
    let mut ids = [0_u32; 64];
    let mut info = ProgramInfo {
        nr_map_ids: 64,
        map_ids: address(ids.as_mut_ptr()),
        ..ProgramInfo::default()
    };
    info_of(program, &mut info)?;
    let count = usize::try_from(info.nr_map_ids).map_err(io::Error::other)?;
    let mut maps = Vec::new();
    for id in ids.iter().take(count) {
        let map = map_by_id(*id)?;
        let (facts, entries) = facts_of(&map)?;
        if facts.kind == TYPE_ARRAY_OF_MAPS {
            for index in 0..entries {
                let Some(id) = inner_id(map.as_fd(), index)? else {
                    continue;
                };
                let inner = map_by_id(id)?;
                let (mut facts, _) = facts_of(&inner)?;
                facts.name = format!("inner map {index}");
                maps.push((inner, facts));
            }
        }
        maps.push((map, facts));
    }
    Ok(maps)
}

fn info_of<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = InfoAttr {
        bpf_fd: number(object),
        info_len: u32::try_from(mem::size_of::<T>()).map_err(io::Error::other)?,
        info: address(std::ptr::from_mut(info)),
    };
    bpf(OBJ_GET_INFO, &mut attr).map(drop)
}

fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = IdAttr {
        id,
        next_id: 0,
        open_flags: 0,
    };
    bpf(MAP_GET_FD_BY_ID, &mut attr).map(owned)
}

/// Facts and number of elements of a map.
fn facts_of(map: &OwnedFd) -> io::Result<(MapFacts, u32)> {
    let mut info = MapInfo::default();
    info_of(map.as_fd(), &mut info)?;
    let name = info
        .name
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    let memory = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .unwrap_or(0);
    let name = String::from_utf8_lossy(name).into_owned();
    Ok((
        MapFacts {
            name,
            kind: info.kind,
            memory,
        },
        info.max_entries,
    ))
}

/// The id of the map in an element of an array of maps.
fn inner_id(map: BorrowedFd<'_>, index: u32) -> io::Result<Option<u32>> {
    let mut id = 0_u32;
    let mut attr = ElementAttr {
        map_fd: number(map),
        padding: 0,
        key: address(std::ptr::from_ref(&index)),
        value: address(std::ptr::from_mut(&mut id)),
        flags: 0,
    };
    match bpf(MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(Some(id)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps the calling thread, and the threads it starts, on one CPU and before other work there.
///
/// Real-time priority so that a busy machine shares the CPU between runs, not within one; without the right to it
/// the figures are noisier, not wrong.
pub(crate) fn settle_on(cpu: usize) -> io::Result<()> {
    // SAFETY: a zeroed set is an empty one; CPU_SET checks nothing, so the number is kept in range.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu.min(1023), &mut set);
        set
    };
    // SAFETY: the set outlives the call and its true size is given; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    Ok(())
}

/// The last CPU that this process may run on: the first one takes most interrupts.
pub(crate) fn last_cpu() -> io::Result<usize> {
    // SAFETY: the set is ours, exclusive, and its true size is given.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        if libc::sched_getaffinity(0, mem::size_of_val(&set), &raw mut set) < 0 {
            return Err(io::Error::last_os_error());
        }
        set
    };
    // SAFETY: the numbers are within the set.
    let allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..1024)
        .rev()
        .find(allowed)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

// Commands, types and flags from linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const MAP_GET_FD_BY_ID: libc::c_long = 14;
const OBJ_GET_INFO: libc::c_long = 15;
const TYPE_ARRAY: u32 = 2;
const TYPE_ARRAY_OF_MAPS: u32 = 12;
const FLAG_MMAPABLE: u32 = 1 << 10;
const TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// Raises the limit of open descriptors, which servers inherit, to the hard limit; that limit.
pub(crate) fn raise_descriptors() -> io::Result<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live value of the right type.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(limit.rlim_max).unwrap_or(usize::MAX))
}
