//! Asks the kernel for the socket that would take a connection, and how full its accept queue is (sock_diag), without
//! making one. The server sees nothing of it.
//!
//! It is the kernel's own look-up, of one socket: addresses, IPv6 sockets that take IPv4 too and sockets that share a
//! port are weighed as for a real connection. What only a packet would meet (filters, routes) is not: who asks here is
//! told that somebody listens and has room, and nothing more.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use std::io;
use std::net::SocketAddrV4;
use thiserror::Error;

/// SOCK_DIAG_BY_FAMILY of the kernel's `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`, or `struct inet_diag_msg`.
const HEADER: usize = 16;
const QUESTION: usize = HEADER + 56;
const ANSWER: usize = HEADER + 72;
/// In an `inet_diag_msg`.
const STATE_AT: usize = HEADER + 1;
const WAITING_AT: usize = HEADER + 56;
const ROOM_AT: usize = HEADER + 60;
/// The kernel's TCP_LISTEN.
const LISTEN: u8 = 10;

/// What a connection would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Nobody listens.
    Nobody,
    /// A server listens.
    Server {
        /// Connections that wait in its queue.
        waiting: u32,
        /// How many may wait before the kernel drops new ones; it lets one more in.
        room: u32,
    },
}

impl Backlog {
    /// Whether a new connection would find a place.
    pub fn has_room(self) -> bool {
        matches!(self, Backlog::Server { waiting, room } if waiting <= room)
    }
}

/// Why the kernel did not say.
#[derive(Debug, Error)]
pub enum BacklogError {
    /// The socket itself.
    #[error("asking for sockets by netlink failed")]
    Socket(#[from] io::Error),
    /// It answered otherwise than its interface says.
    #[error("the kernel's answer about a socket was not understood")]
    Answer,
}

/// Asks within one network namespace: that of the thread which opened it.
pub struct Asker(Socket);

impl Asker {
    /// Opens a socket in the calling thread's network namespace. It keeps the namespace alive.
    pub fn open() -> io::Result<Asker> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Asker(socket))
    }

    /// What a connection from `client` to `server` would meet. The kernel answers before the question is sent off, so
    /// this never waits.
    pub fn ask(&self, client: SocketAddrV4, server: SocketAddrV4) -> Result<Backlog, BacklogError> {
        self.0.send(&question(client, server), 0)?;
        let mut answer = Vec::with_capacity(1024);
        let length = self.0.recv(&mut answer, libc::MSG_DONTWAIT)?;
        read(answer.get(..length).unwrap_or_default())
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

/// The socket that is there for this connection: the server's end is the local one, as the kernel looks from inside.
fn question(client: SocketAddrV4, server: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(QUESTION);
    bytes.extend((QUESTION as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence and sender: there is one question at a time.
    bytes.extend([0; 8]);
    bytes.extend([libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    // Any state: an exact look-up knows one socket.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes.extend(client.port().to_be_bytes());
    for address in [server.ip(), client.ip()] {
        bytes.extend(address.octets());
        bytes.extend([0; 12]);
    }
    // Whichever link it came by, and whichever socket it is.
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([0xff; 8]);
    bytes
}

fn read(answer: &[u8]) -> Result<Backlog, BacklogError> {
    let word = |at: usize| {
        let bytes = answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or(BacklogError::Answer)
    };
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind {
        Some(NLMSG_ERROR) => match (word(HEADER)? as i32).wrapping_neg() {
            libc::ENOENT => Ok(Backlog::Nobody),
            error => Err(io::Error::from_raw_os_error(error).into()),
        },
        Some(BY_FAMILY) if answer.len() >= ANSWER => match answer[STATE_AT] {
            LISTEN => Ok(Backlog::Server { waiting: word(WAITING_AT)?, room: word(ROOM_AT)? }),
            // The same two ends are connected already: whether somebody listens is another question.
            _ => Err(BacklogError::Answer),
        },
        _ => Err(BacklogError::Answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    fn local(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    fn whatever_the_kernel_says_is_taken_or_refused() {
        assert_eq!(question(local(1), local(2)).len(), QUESTION);
        for length in 0..ANSWER {
            assert!(read(&vec![0; length]).is_err(), "{length}");
        }
        let mut error = vec![0; 36];
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        error[HEADER..HEADER + 4].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(read(&error).unwrap(), Backlog::Nobody);
        error[HEADER..HEADER + 4].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert!(matches!(read(&error), Err(BacklogError::Socket(_))));
        error[HEADER..HEADER + 4].copy_from_slice(&i32::MIN.to_ne_bytes());
        assert!(read(&error).is_err());
    }

    #[test]
    fn a_queue_is_asked_for_without_being_joined() {
        let Ok(asker) = Asker::open() else { return };
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let ask = || asker.ask(local(1), local(port)).unwrap();
        let Backlog::Server { waiting: 0, room } = ask() else { panic!("{:?}", ask()) };
        let client = TcpStream::connect(local(port)).unwrap();
        // The last of the handshake may be another thread's work.
        while ask() != (Backlog::Server { waiting: 1, room }) {
            std::thread::yield_now();
        }
        assert!(ask().has_room());
        // Another address's port is another one.
        let elsewhere = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), port);
        assert_eq!(asker.ask(local(1), elsewhere).unwrap(), Backlog::Nobody);
        drop((client, server));
        // A process that another test is about to start may have it for a moment.
        while ask() != Backlog::Nobody {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_server_for_both_families_takes_ipv4_too() {
        let Ok(asker) = Asker::open() else { return };
        // Where there is no IPv6 there is nothing to see.
        let Ok(server) = TcpListener::bind("[::]:0") else { return };
        let port = server.local_addr().unwrap().port();
        assert!(asker.ask(local(1), local(port)).unwrap().has_room());
    }

    #[test]
    fn a_full_queue_has_no_room() {
        assert!(Backlog::Server { waiting: 5, room: 5 }.has_room());
        assert!(!Backlog::Server { waiting: 6, room: 5 }.has_room());
        assert!(!Backlog::Nobody.has_room());
    }
}
