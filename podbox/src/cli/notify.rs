//! Tells a service manager what podbox is at, by systemd's protocol: a datagram to the socket in `NOTIFY_SOCKET`.
//!
//! Without that variable nobody wants to know. A message that does not arrive is told and otherwise without effect.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It serves, and its node is in the API.
pub const READY: &str = "READY=1\nSTATUS=Serving the Kubernetes API";
/// It ends; its pods go on.
pub const STOPPING: &str = "STOPPING=1\nSTATUS=Ending; pods go on";

/// Tells it.
pub fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, "telling the service manager at {} failed", socket.display());
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &OsStr, listener: &UnixDatagram) {
        send(name, READY).unwrap();
        let mut buffer = [0; 256];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], READY.as_bytes());
    }

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        check(path.as_os_str(), &UnixDatagram::bind(&path).unwrap());
        let name = format!("podbox-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        check(OsStr::new(&format!("@{name}")), &UnixDatagram::bind_addr(&address).unwrap());
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_no_end() {
        assert!(send(OsStr::new("/nowhere/notify"), READY).is_err());
    }
}
