//! AF_PACKET: whole Ethernet frames in and out of one interface, with the VLAN tag that the kernel strips put back.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::{RECEIVE_BYTES, checked, family_of, length_of, open_socket, set_option, wait_ready};

/// A raw socket bound to one interface.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: OwnedFd,
}

/// Control messages, aligned as the kernel wants them.
#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_BYTES]);

impl PacketSocket {
    /// Opens the socket in the calling thread's network namespace. Own outgoing frames are not seen.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        // Protocol 0 until the bind: otherwise frames of every interface arrive in between.
        let socket = open_socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        set_option(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            RECEIVE_BYTES,
        )?;
        let address = libc::sockaddr_ll {
            sll_family: family_of(libc::AF_PACKET),
            sll_protocol: ETH_P_ALL.to_be(),
            sll_ifindex: i32::try_from(interface_index(interface)?).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address lives until the call returns and its true length is given.
        checked(unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                length_of::<libc::sockaddr_ll>(),
            )
        })?;
        Ok(Self { socket })
    }

    /// Sends one frame, from its destination MAC to its last byte, as it is.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length describe the slice, which the kernel only reads.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
            )
        };
        match usize::try_from(sent) {
            Ok(count) if count == frame.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// Receives one frame, or `None` when the time is over.
    pub(crate) fn receive(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        if !wait_ready(&self.socket, libc::POLLIN, timeout)? {
            return Ok(None);
        }
        let mut frame = vec![0_u8; FRAME_BYTES_MAX];
        let mut control = ControlBuffer([0; CONTROL_BYTES]);
        let mut part = libc::iovec {
            iov_base: frame.as_mut_ptr().cast(),
            iov_len: frame.len(),
        };
        // SAFETY: msghdr is plain data for which all zeroes is the valid empty value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES;
        // SAFETY: the message points at `frame` and `control`, both exclusive, alive and of the lengths given.
        let got = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(got) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(None)
            } else {
                Err(error)
            };
        };
        frame.truncate(length);
        if let Some((tpid, tci)) = stripped_tag(&message) {
            let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
            let at = TAG_OFFSET.min(frame.len());
            frame.splice(at..at, tag);
        }
        Ok(Some(frame))
    }

    /// Frames that the kernel had to throw away here since the last call, because nobody read fast enough.
    pub(crate) fn overflowed(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = length_of::<libc::tpacket_stats>();
        // SAFETY: both out pointers are ours, exclusive, and of the length given.
        checked(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                std::ptr::from_mut(&mut statistics).cast(),
                &raw mut length,
            )
        })?;
        Ok(statistics.tp_drops)
    }
}

/// The index of an interface in the calling thread's network namespace.
pub(crate) fn interface_index(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: the string is NUL-terminated and lives until the call returns.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(index)
    }
}

/// The VLAN tag (TPID, TCI) that the kernel took out of the frame, from the message's auxiliary data.
fn stripped_tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: recvmsg filled the message; the CMSG macros stay within msg_controllen.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a non-null header lies within the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: a PACKET_AUXDATA message carries one tpacket_auxdata; the read need not be aligned.
            let data: libc::tpacket_auxdata =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                let known = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
                return Some((
                    if known { data.tp_vlan_tpid } else { 0x8100 },
                    data.tp_vlan_tci,
                ));
            }
        }
        // SAFETY: the header came from the same message; the macro stays within msg_controllen.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// `ETH_P_ALL`: frames of every protocol.
const ETH_P_ALL: u16 = 3;
/// From linux/if_packet.h; since Linux 4.20.
const PACKET_IGNORE_OUTGOING: i32 = 23;
/// Room for the largest frame that GRO may put together, in bytes.
const FRAME_BYTES_MAX: usize = 65_600;
/// Room for the auxiliary data, in bytes.
const CONTROL_BYTES: usize = 64;
/// A VLAN tag comes after the two MAC addresses.
const TAG_OFFSET: usize = 12;
