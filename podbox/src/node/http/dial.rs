//! Connections to servers in pods, and what keeps them from coming to be, in Go's words.

use nix::errno::Errno;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout_at;

/// Hears of sockets, and where to, before they connect.
pub type Sockets<'a> = dyn Fn(BorrowedFd<'_>, SocketAddr) + Send + Sync + 'a;

/// `HOST:PORT`, an IPv6 address in brackets.
pub fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Connects, to the first of a name's addresses that lets it.
pub async fn dial(host: &str, port: u16, until: Instant, sockets: &Sockets<'_>) -> Result<TcpStream, String> {
    let to = authority(host, port);
    let connecting = async {
        let addresses = match host.parse() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => match lookup_host((host, port)).await {
                Ok(addresses) => addresses.collect(),
                Err(error) => return Err(format!("dial tcp: lookup {host}: {error}")),
            },
        };
        let mut failed = format!("dial tcp: lookup {host}: no such host");
        for address in addresses {
            match connect(address, sockets).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = format!("dial tcp {address}: connect: {}", words(&error)),
            }
        }
        Err(failed)
    };
    timeout_at(until.into(), connecting).await.unwrap_or_else(|_| Err(format!("dial tcp {to}: i/o timeout")))
}

async fn connect(address: SocketAddr, sockets: &Sockets<'_>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    sockets(socket.as_fd(), address);
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An error as Go says it: the system's words, and nothing else.
pub(super) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}
