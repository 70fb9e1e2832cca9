//! The keeper outlives its daemons, and what they send it.

use crate::host::{ask, isolated};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use podbox::sandbox::runtime::{ExitStatus, Runtime};
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;

#[test]
fn a_later_engine_finds_containers_exit_codes_and_logs() {
    isolated("a_later_engine", |host| async move {
        let pod = host.pod("kept");
        let (long, short) = {
            let engine = host.engine().await;
            engine.create_sandbox(&pod).await.unwrap();
            let long = host.script(&pod, "long", "echo first; read x < /tmp/fifo; echo second; exit 4");
            // Waits for the later engine's word before it writes again.
            let mut long = long;
            long.args[2] = format!("{} || {}", "mkdir /w", "true")
                + "; echo first; while ! test -e /w/go; do sleep 0.05; done; echo second; exit 4";
            let short = host.script(&pod, "short", "echo short; exit 5");
            engine.start(&long).await.unwrap();
            engine.start(&short).await.unwrap();
            (long, short)
        };
        // The first engine is dropped without having waited for anything.
        let engine = host.engine().await;
        let listed = engine.list().await.unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(engine.wait(&short.container).await.unwrap().status, ExitStatus::Code(5));
        assert_eq!(ask(&engine, &long, "touch /w/go").await, "");
        assert_eq!(engine.wait(&long.container).await.unwrap().status, ExitStatus::Code(4));
        assert_eq!(host.log(&long), "first\nsecond\n");
        assert_eq!(host.log(&short), "short\n");
        engine.sweep(&BTreeSet::new()).await.unwrap();
        assert_eq!(host.left(), Vec::<String>::new());
        engine.close().await.unwrap();
    });
}

#[test]
fn garbage_on_the_socket_ends_that_connection_and_nothing_else() {
    isolated("garbage", |host| async move {
        let engine = host.engine().await;
        let pod = host.pod("sturdy");
        engine.create_sandbox(&pod).await.unwrap();
        let spec = host.script(&pod, "app", "exec sleep 1000");
        engine.start(&spec).await.unwrap();
        let path = host.config.run_dir.join("keeper.sock");
        let rude: [&[u8]; 6] = [
            b"x",
            b"p{}",
            b"m",
            b"p{\"serial\":1,\"body\":\"List\"}",
            b"p{\"serial\":1,\"body\":{\"Signal\":{\"id\":\"uid-sturdy/app-0\",\"signal\":9}}}",
            &[b'p'; 40_000],
        ];
        for bytes in rude {
            let socket =
                socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
            connect(socket.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
            send(socket.as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
            // It answers with an error, or closes.
            let mut answer = [0; 1024];
            let count = nix::unistd::read(&socket, &mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
            assert!(answer.is_empty() || answer.contains("hello"), "{answer}");
        }
        assert_eq!(engine.list().await.unwrap()[0].exited, None);
        assert!(engine.close().await.is_err(), "a keeper that holds a container must not end");
        engine.signal(&spec.container, 9).await.unwrap();
        assert_eq!(engine.wait(&spec.container).await.unwrap().status, ExitStatus::Signal(9));
        engine.remove_sandbox(&pod.pod).await.unwrap();
        engine.close().await.unwrap();
    });
}
