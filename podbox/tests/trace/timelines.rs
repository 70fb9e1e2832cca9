//! A connection's timeline, against a server that does one thing at a time, when it is told to.

use super::cgroup::{Container, Tree};
use super::watch::{Watch, run};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use podbox::api::timeline::{Followed, Timelines};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// Says its port, then `done` after each line of its input: accepts, and then sends a byte for each further one.
const SERVER: &str = "
import socket, sys
server = socket.socket(socket.AF_INET6 if sys.argv[1] == '6' else socket.AF_INET)
server.bind(('', 0)); server.listen(5)
print(server.getsockname()[1], flush=True)
sys.stdin.readline(); connection, _ = server.accept(); print('done', flush=True)
for line in sys.stdin:
    connection.send(b'x'); print('done', flush=True)
";

struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(container: &Container, family: &str) -> Result<Server, String> {
        let mut command = container.command("python3", &["-c", SERVER, family]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else { return Err("needs python3".into()) };
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut server = Server { child, input, output: BufReader::new(output), port: 0 };
        server.port = server.line().parse().unwrap();
        Ok(server)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
        assert_eq!(self.line(), "done");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects a socket that is followed from before.
fn probe(watch: &Watch, port: u16) -> std::io::Result<(TcpStream, Box<dyn Followed>)> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let followed = watch.tracer.follow(socket.as_fd()).expect("sockets can be followed");
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    connect(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    Ok((socket.into(), followed))
}

#[test]
fn each_step_of_a_connection_is_marked_when_it_is_done() {
    run("each_step_of_a_connection_is_marked_when_it_is_done", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let watch = Watch::start(&[&container])?;
        for family in ["4", "6"] {
            let mut server = Server::start(&container, family)?;
            let before = podbox::clock::boot();
            let (mut connection, followed) = probe(&watch, server.port).unwrap();
            let seen = followed.timeline();
            let connected = seen.connected.unwrap();
            assert!(before <= connected && connected <= podbox::clock::boot(), "{before:?} {seen:?}");
            assert_eq!((seen.accepted, seen.first, seen.last), (None, None, None));
            assert!(seen.is_queued());

            server.go_on();
            let accepted = followed.timeline().accepted;
            assert_eq!(accepted.is_some(), watch.tracer.sees_accepts());
            assert!(accepted.is_none_or(|accepted| accepted >= connected));

            server.go_on();
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            let first = followed.timeline().first.unwrap();
            assert!(first >= accepted.unwrap_or(connected));
            assert_eq!(followed.timeline().last, Some(first));

            server.go_on();
            connection.read_exact(&mut byte).unwrap();
            let seen = followed.timeline();
            assert_eq!(seen.first, Some(first));
            assert!(seen.last > Some(first), "{seen:?}");
        }
        Ok(())
    });
}

#[test]
fn a_connection_that_is_refused_was_never_made() {
    run("a_connection_that_is_refused_was_never_made", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let watch = Watch::start(&[&container])?;
        let port = Server::start(&container, "4")?.port;
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let followed = watch.tracer.follow(socket.as_fd()).unwrap();
        let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        connect(socket.as_raw_fd(), &address).unwrap_err();
        assert_eq!(followed.timeline(), Default::default());
        Ok(())
    });
}
