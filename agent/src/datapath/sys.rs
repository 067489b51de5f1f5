//! The system calls that aya does not offer: arrays mapped into memory, batch operations on maps, what
//! a link is attached to, and which XDP program an interface runs. The only unsafe code of the agent's
//! data path; everything above it is safe.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

/// An mmap-able BPF array as a slice of words shared with the kernel.
#[derive(Debug)]
pub(super) struct Words {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to this value alone and is accessed through atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps the first `count` words of the array behind `map`.
    pub(super) fn map(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; the result is checked.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave null"))?;
        Ok(Self { start, count })
    }

    /// The words.
    pub(super) fn get(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has `count` words, page-aligned, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl AsRef<[AtomicU64]> for Words {
    fn as_ref(&self) -> &[AtomicU64] {
        self.get()
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `map` got, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<u64>()) };
    }
}

/// A map with keys and values of fixed size, changed in batches where the kernel can.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    fd: OwnedFd,
    _types: PhantomData<(K, V)>,
}

impl<K: aya::Pod, V: aya::Pod + Default> Table<K, V> {
    /// Takes a map whose key and value sizes the caller has checked.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            _types: PhantomData,
        }
    }

    /// Sets one element.
    pub(super) fn set(&self, key: &K, value: &V) -> io::Result<()> {
        self.element(
            BPF_MAP_UPDATE_ELEM,
            key,
            std::ptr::from_ref(value).cast_mut(),
        )
        .map(|_| ())
    }

    /// Reads one element.
    pub(super) fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::default();
        match self.element(BPF_MAP_LOOKUP_ELEM, key, &raw mut value) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes one element; an absent one is no error.
    pub(super) fn remove(&self, key: &K) -> io::Result<()> {
        match self.element(BPF_MAP_DELETE_ELEM, key, std::ptr::null_mut()) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// Sets many elements; says how many were set before an error.
    pub(super) fn set_all(&self, keys: &[K], values: &[V]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while let (Some(keys @ [_, ..]), Some(values)) = (keys.get(done..), values.get(done..)) {
            let wanted = keys.len().min(values.len()).min(BATCH_MAX);
            let (count, result) = self.batch(
                BPF_MAP_UPDATE_BATCH,
                keys.as_ptr().cast_mut(),
                values.as_ptr().cast_mut(),
                wanted,
            );
            done += count;
            match result {
                Ok(_) => {}
                Err(error) if is_no_batch(&error) && count == 0 => {
                    for (key, value) in keys.iter().zip(values) {
                        self.set(key, value).map_err(|error| (done, error))?;
                        done += 1;
                    }
                }
                // The kernel ran out of preallocated elements for a moment.
                Err(error) if count > 0 && is_transient(&error) => {}
                Err(error) => return Err((done, error)),
            }
        }
        Ok(())
    }

    /// Every element, in no order. Elements that change meanwhile may appear in either state.
    pub(super) fn entries(&self) -> io::Result<Vec<(K, V)>> {
        let mut found = Vec::new();
        let mut previous: Option<K> = None;
        loop {
            // SAFETY: K is plain data, for which all zeroes is a value.
            let mut key: K = unsafe { std::mem::zeroed() };
            let attributes = Element {
                map_fd: self.raw(),
                key: previous
                    .as_ref()
                    .map_or(0, |key| std::ptr::from_ref(key) as u64),
                value: &raw mut key as u64,
                ..Element::default()
            };
            match bpf(BPF_MAP_GET_NEXT_KEY, &attributes) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
                Err(error) => return Err(error),
            }
            if let Some(value) = self.get(&key)? {
                found.push((key, value));
            }
            previous = Some(key);
        }
    }

    fn element(&self, command: libc::c_long, key: &K, value: *mut V) -> io::Result<i64> {
        let attributes = Element {
            map_fd: self.raw(),
            key: std::ptr::from_ref(key) as u64,
            value: value as u64,
            ..Element::default()
        };
        bpf(command, &attributes)
    }

    fn batch(
        &self,
        command: libc::c_long,
        keys: *mut K,
        values: *mut V,
        count: usize,
    ) -> (usize, io::Result<i64>) {
        let mut attributes = Batch {
            keys: keys as u64,
            values: values as u64,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            map_fd: self.raw(),
            ..Batch::default()
        };
        let result = bpf_mut(command, &mut attributes);
        let done = match &result {
            // Unsupported commands leave the count as it was given.
            Err(error) if is_no_batch(error) || error.raw_os_error() == Some(libc::EFAULT) => 0,
            _ => (attributes.count as usize).min(count),
        };
        (done, result)
    }

    fn raw(&self) -> u32 {
        u32::try_from(self.fd.as_raw_fd()).unwrap_or(u32::MAX)
    }
}

/// What the kernel says of an XDP link.
#[derive(Clone, Copy, Debug)]
pub(super) struct XdpLinkInfo {
    /// Interface index; 0 once the interface is gone.
    pub(super) interface: u32,
}

/// Asks the kernel about the link behind `link`.
pub(super) fn xdp_link_info(link: BorrowedFd<'_>) -> io::Result<XdpLinkInfo> {
    let mut info = LinkInfo::default();
    let attributes = Info {
        fd: u32::try_from(link.as_raw_fd()).unwrap_or(u32::MAX),
        info_bytes: u32::try_from(size_of::<LinkInfo>()).unwrap_or(0),
        info: &raw mut info as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
    Ok(XdpLinkInfo {
        interface: info.interface,
    })
}

/// Takes a link's program off its interface at once. Without it the kernel does so some time after the last
/// pin and descriptor are gone, and whoever was told "detached" would still find the program there.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    // The only field of the command.
    let fd = u32::try_from(link.as_raw_fd()).unwrap_or(u32::MAX);
    bpf(BPF_LINK_DETACH, &fd).map(drop)
}

/// What the kernel says of a link to a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespaceLinkInfo {
    /// Kernel id of the program.
    pub(super) program: u32,
    /// Inode of the namespace; 0 once it is gone or the link was detached.
    pub(super) namespace: u32,
}

/// Asks the kernel about the link behind `link`; `None` for another sort of link.
pub(super) fn namespace_link_info(link: BorrowedFd<'_>) -> io::Result<Option<NamespaceLinkInfo>> {
    let mut info = LinkInfo::default();
    let attributes = Info {
        fd: u32::try_from(link.as_raw_fd()).unwrap_or(u32::MAX),
        info_bytes: u32::try_from(size_of::<LinkInfo>()).unwrap_or(0),
        info: &raw mut info as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
    Ok(
        (info.kind == BPF_LINK_TYPE_NETNS).then_some(NamespaceLinkInfo {
            program: info.program,
            namespace: info.interface,
        }),
    )
}

/// Gives a link another program, in one step.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = Update {
        link: u32::try_from(link.as_raw_fd()).unwrap_or(u32::MAX),
        program: u32::try_from(program.as_raw_fd()).unwrap_or(u32::MAX),
        ..Update::default()
    };
    bpf(BPF_LINK_UPDATE, &attributes).map(drop)
}

/// Makes an array of `elements` values of `value_bytes` each.
pub(super) fn create_array(value_bytes: usize, elements: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = Create {
        kind: BPF_MAP_TYPE_ARRAY,
        key_bytes: 4,
        value_bytes: u32::try_from(value_bytes).map_err(io::Error::other)?,
        elements,
        flags,
        inner_fd: 0,
        numa_node: 0,
        name: *b"edgeward_hosts\0\0",
    };
    descriptor(bpf(BPF_MAP_CREATE, &attributes)?)
}

/// Opens a pinned object.
pub(super) fn open_pin(path: &std::path::Path) -> io::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let attributes = Pin {
        path: path.as_ptr() as u64,
        ..Pin::default()
    };
    descriptor(bpf(BPF_OBJ_GET, &attributes)?)
}

fn descriptor(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: only called with what bpf(2) has just opened for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers the event ring with the reactor of the runtime that calls.
///
/// # Errors
/// What epoll refused.
pub fn watch_ring(ring: RingBuf<MapData>) -> io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring owns its descriptor, gives no access to replace it, and moves into the AsyncFd.
    unsafe { AsyncFd::register(ring) }.map_err(io::Error::from)
}

/// Registers a descriptor that can be waited for with the reactor of the runtime that calls.
///
/// # Errors
/// What epoll refused.
pub(crate) fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is the descriptor itself, and nobody takes it out of the AsyncFd or puts another in.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}

/// A socket to rtnetlink(7).
#[derive(Debug)]
pub(super) struct RouteSocket(OwnedFd);

impl RouteSocket {
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: plain arguments; the result is checked.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_ROUTE,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        // SAFETY: the buffer outlives the call and its length is its own.
        let sent = unsafe {
            libc::send(
                self.0.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the kernel writes at most the buffer's length.
        let length = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        usize::try_from(length).map_err(|_| io::Error::last_os_error())
    }
}

/// Bytes that were written to a socket and that the other end has not acknowledged (TCP) or taken (Unix): `SIOCOUTQ`,
/// see tcp(7) and unix(7).
pub(crate) fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut held: libc::c_int = 0;
    // SAFETY: the request writes one int, which is there for the time of the call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut held) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(held).unwrap_or(0))
}

/// Whether `path` lies on a bpf file system.
pub(super) fn is_bpffs(path: &std::path::Path) -> io::Result<bool> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: zeroes are a value of this plain struct.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut info) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.f_type == BPF_FS_MAGIC)
}

/// The sockets that the service manager passed on, by the names it keeps them under. The first call has
/// them; every other has none.
pub(crate) fn inherited_sockets() -> Vec<(String, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let Ok(inherited) = sd_notify::listen_fds_with_names() else {
        return Vec::new();
    };
    inherited
        // SAFETY: the variables of the environment name these descriptors for this very process, and the
        // swap above makes this value their only owner.
        .map(|(fd, name)| (name, unsafe { OwnedFd::from_raw_fd(fd) }))
        .collect()
}

/// `CLOCK_BOOTTIME` in ns.
pub fn boot_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local of the right type. The clock exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Whether the kernel's clock follows another one (adjtimex(2), read only); none where that cannot be asked.
pub fn clock_synchronised() -> Option<bool> {
    // SAFETY: all of it are numbers, for which zero is a value; no mode is set, so nothing is changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local of the right type.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    (result >= 0).then_some(result != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i64> {
    // SAFETY: each caller passes the attribute struct of its command with pointers to live values of
    // the map's own sizes; the kernel reads no more than the size given.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn bpf_mut<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: as above; the kernel writes the count back into the struct.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn is_no_batch(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | ENOTSUPP | libc::EOPNOTSUPP)
    )
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM)
    )
}

/// Attributes of the element commands (`union bpf_attr`, linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
struct Info {
    fd: u32,
    info_bytes: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct Create {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    elements: u32,
    flags: u32,
    inner_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// `struct bpf_link_info` up to what a link to an interface or to a network namespace fills in.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _padding: u32,
    /// Or the namespace's inode.
    interface: u32,
    _rest: [u32; 11],
}

#[repr(C)]
#[derive(Default)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_LINK_TYPE_NETNS: u32 = 5;
/// Elements of one batch: the kernel holds a buffer for a single one, but no signal interrupts it.
const BATCH_MAX: usize = 4096;
/// The kernel's own, not in libc.
const ENOTSUPP: i32 = 524;
/// `BPF_FS_MAGIC`, linux/magic.h.
const BPF_FS_MAGIC: libc::__fsword_t = 0xcafe_4a11;
