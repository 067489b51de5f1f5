//! Syslog over datagrams, a message in each: UDP, where nobody ever hears what becomes of them, and a Unix socket, which
//! holds its sender back instead.

use std::{future::ready, io, os::fd::AsFd as _, path::Path, time::Duration};

use tokio::net::{UdpSocket, UnixDatagram, lookup_host};

use super::{
    super::super::sink::{Answer, Confirmed, Item, Pending, Piece, Sink},
    tail::Tail,
};
use crate::{
    config::stream::{Place, Syslog, Transport},
    outbound::Failure,
};

/// A receiver of datagrams.
pub(super) struct Datagrams {
    transport: Transport,
    settle: Duration,
    socket: Option<Socket>,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram, Tail, u64),
}

impl Datagrams {
    pub(super) fn new(settings: &Syslog) -> Self {
        Self {
            transport: settings.transport.clone(),
            settle: settings.settle,
            socket: None,
        }
    }

    async fn write(&mut self, flight: &[Item<Piece>]) -> Answer {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => match open(&self.transport).await {
                Ok(socket) => none.insert(socket),
                Err(failure) => return failure.into(),
            },
        };
        for (index, item) in flight.iter().enumerate() {
            let bytes = &item.payload.bytes;
            let sent = match socket {
                Socket::Udp(socket) => socket.send(bytes).await,
                Socket::Unix(socket, _, written) => {
                    *written = written.saturating_add(bytes.len() as u64);
                    socket.send(bytes).await
                }
            };
            match sent {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    return Answer::Poison {
                        index,
                        earlier_taken: true,
                        what: format!("is {} bytes long, too long for a datagram", bytes.len()),
                    };
                }
                Err(error) => {
                    let what = format!("takes no datagrams: {error}");
                    return Answer::Broken { what };
                }
            }
        }
        match (socket, flight.last()) {
            (Socket::Unix(_, tail, written), Some(last)) => {
                tail.wrote(*written, last.seq);
                Answer::Handed
            }
            _ => Answer::Accepted,
        }
    }

    fn confirmed(&mut self) -> Confirmed {
        let upto = match &mut self.socket {
            Some(Socket::Unix(_, tail, written)) => tail.settled(*written, self.settle),
            _ => None,
        };
        Confirmed { upto, lost: None }
    }
}

impl Sink for Datagrams {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.write(flight))
    }

    fn confirm(&mut self) -> Pending<'_, Confirmed> {
        Box::pin(ready(self.confirmed()))
    }
}

async fn open(transport: &Transport) -> Result<Socket, Failure> {
    match transport {
        Transport::Udp(place) | Transport::Tcp(place) | Transport::Tls(place, _) => {
            udp(place).await
        }
        Transport::UnixDatagram(path) | Transport::Unix(path) => unix(path).map_err(unreached),
    }
}

async fn udp(place: &Place) -> Result<Socket, Failure> {
    let (host, port) = (place.host.as_str(), place.port);
    let mut found = lookup_host((host, port))
        .await
        .map_err(|error| Failure::new(format!("its host {host} is not found: {error}")))?;
    let address = found
        .next()
        .ok_or_else(|| Failure::new(format!("its host {host} has no address")))?;
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await.map_err(unreached)?;
    // Connected, so that a receiver that is not there shows.
    socket.connect(address).await.map_err(unreached)?;
    Ok(Socket::Udp(socket))
}

fn unix(path: &Path) -> io::Result<Socket> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    let tail = Tail::new(socket.as_fd().try_clone_to_owned()?);
    Ok(Socket::Unix(socket, tail, 0))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreached(error: io::Error) -> Failure {
    Failure::new(format!("cannot be reached: {error}"))
}
