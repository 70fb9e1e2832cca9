//! Connections to servers in pods, and what keeps them from coming to be, in Go's words.
//!
//! Who closes first keeps the connection for a minute more, lest packets of it that are still on their way meet a later one of the
//! same ports: a node that probes often would run out of ports. Upstream sets `SO_LINGER` to a second against that, which on Linux
//! lets close(2) wait and shortens nothing. Here the kernel forgets a connection as soon as the server has agreed to its end
//! (`TCP_LINGER2`); the server sees an ordinary one.

use crate::limits;
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
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
            Err(_) => match look_up(host, port).await {
                Ok(addresses) => addresses,
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

/// Names that are being looked up. Each takes a thread, for as long as a resolver does not answer; others need threads, too.
static LOOKUPS: Semaphore = Semaphore::const_new(limits::LOOKUPS);

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = host.to_owned();
    held(&LOOKUPS, move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect)).await
}

/// Does it on a thread, once one of these is free; the thread keeps it until the end, also if nobody waits any more.
async fn held<T: Send + 'static>(
    some: &'static Semaphore,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permit = some.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        let done = work();
        drop(permit);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// How many seconds a connection that was closed here is kept; below zero, none.
#[derive(Clone)]
struct Kept;

nix::setsockopt_impl!(Kept, libc::IPPROTO_TCP, libc::TCP_LINGER2, i32, SetStruct<'_, i32>);

async fn connect(address: SocketAddr, sockets: &Sockets<'_>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    setsockopt(&socket, Kept, &-1)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_connection_that_was_closed_is_forgotten_and_the_server_sees_an_ordinary_end() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let patience = Duration::from_secs(30);
        let stream = dial("127.0.0.1", port, clock::instant() + patience, &|_, _| {}).await.unwrap();
        let own = stream.local_addr().unwrap().port();
        let (mut accepted, _) = server.accept().await.unwrap();
        drop(stream);
        assert_eq!(accepted.read(&mut [0; 16]).await.unwrap(), 0);
        drop(accepted);
        // Of either end; they would stay for a minute.
        let [own, port] = [own, port].map(|port| format!("0100007F:{port:04X}"));
        let left = || {
            let all = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            all.lines().any(|line| line.contains(&own) && line.contains(&port))
        };
        let forgotten = async {
            while left() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(patience, forgotten).await.is_ok(), "it is kept");
    }

    #[tokio::test]
    async fn names_that_nobody_answers_for_take_so_many_threads_and_no_more() {
        static FEW: Semaphore = Semaphore::const_new(2);
        let (release, blocks) = std::sync::mpsc::channel::<()>();
        let blocks = std::sync::Arc::new(std::sync::Mutex::new(blocks));
        let asked = (0..100).map(|_| {
            let blocks = std::sync::Arc::clone(&blocks);
            timeout(
                Duration::from_millis(20),
                held(&FEW, move || {
                    // Until the sender goes.
                    drop(blocks.lock().map(|blocks| blocks.recv()));
                    Ok(())
                }),
            )
        });
        let asked = futures_util::future::join_all(asked).await;
        assert!(asked.iter().all(Result::is_err), "nobody waits for longer than it may");
        assert_eq!(FEW.available_permits(), 0, "and two threads still do");
        drop(release);
        held(&FEW, || Ok(())).await.unwrap();
    }
}
