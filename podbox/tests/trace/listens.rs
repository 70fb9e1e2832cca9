//! Sockets that listen: when they begin and end it, whose they are, and which ones nobody asked about.

use super::cgroup::{Container, Tree};
use super::watch::{Watch, run, sent};
use podbox::api::event::{Detail, KernelEvent, Listen};
use podbox::trace::Kind;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

/// Prints a port, listens on it, and ends that at the end of its input; then ends with code 4.
const SERVER: &str = "
import socket, sys
family = socket.AF_INET6 if sys.argv[1] == '6' else socket.AF_INET
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagrams.bind(('127.0.0.1', 0))
server = socket.socket(family); server.bind(('', 0))
print(server.getsockname()[1], flush=True)
server.listen()
sys.stdin.read(); server.close(); sys.exit(4)
";

/// A server, and its port.
fn serve(container: &Container, family: &str) -> Result<(Child, u16), String> {
    let mut command = container.command("python3", &["-c", SERVER, family]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return Err("needs python3".into()) };
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap().by_ref()).read_line(&mut line).unwrap();
    Ok((child, line.trim().parse().unwrap()))
}

#[test]
fn a_socket_is_told_when_it_listens_and_when_no_more() {
    run("a_socket_is_told_when_it_listens_and_when_no_more", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        for family in ["4", "6"] {
            let (mut server, port) = serve(&container, family)?;
            let (event, listen) = watch.listen(server.id()).await;
            assert_eq!(listen, Listen { port, ended: false });
            assert_eq!(event.subject.unwrap().container, "app");
            assert_eq!((event.command.as_str(), event.cgroup), ("python3", container.id));
            drop(server.stdin.take());
            let (_, listen) = watch.listen(server.id()).await;
            assert_eq!(listen, Listen { port, ended: true });
            server.wait().unwrap();
        }
        assert_eq!(sent(&watch.tracer, Kind::Listen), 4);
        Ok(())
    });
}

#[test]
fn a_server_that_is_killed_listens_no_more() {
    run("a_server_that_is_killed_listens_no_more", async {
        let tree = Tree::new()?;
        let container = tree.container("app");
        let mut watch = Watch::start(&[&container])?;
        let (mut server, port) = serve(&container, "4")?;
        watch.listen(server.id()).await;
        server.kill().unwrap();
        let (_, listen) = watch.listen(server.id()).await;
        assert_eq!(listen, Listen { port, ended: true });
        server.wait().unwrap();
        Ok(())
    });
}

#[test]
fn a_socket_outside_of_containers_is_nobodys_business() {
    run("a_socket_outside_of_containers_is_nobodys_business", async {
        let tree = Tree::new()?;
        let (container, stranger) = (tree.container("app"), tree.container("stranger"));
        let mut watch = Watch::start(&[&container])?;
        let (mut outside, _) = serve(&stranger, "4")?;
        drop(outside.stdin.take());
        outside.wait().unwrap();
        let (mut inside, port) = serve(&container, "4")?;
        let listens =
            |event: &KernelEvent| matches!(event.detail, Detail::Listen(_)).then(|| event.detail.clone());
        let first = watch.next(listens).await;
        assert_eq!(first, Detail::Listen(Listen { port, ended: false }));
        inside.kill().unwrap();
        inside.wait().unwrap();
        Ok(())
    });
}
