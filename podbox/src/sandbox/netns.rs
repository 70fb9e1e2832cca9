//! A pod's network, IPC and UTS namespaces, kept alive by bind mounts instead of a process.
//!
//! The namespaces are made by a thread of its own, which ends with them: no thread of the runtime ever leaves the
//! host's namespaces, so none can come back to them wrongly. What keeps them is `RUN_DIR/ns/POD/{net,ipc,uts}`.
//!
//! `RUN_DIR/ns` is a tmpfs of its own, private and unbindable: otherwise a container that mounts a host directory
//! recursively would copy the pins, and with them hold the namespaces of every other pod.
//!
//! It does not make links (`link`), and it never joins a namespace on a thread that lives on.

use super::netlink::{CHANGE, Netlink, NetlinkError};
use super::spec::Sysctl;
use super::sysctl;
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use rtnetlink::LinkUnspec;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::net::TcpSocket;

/// The loopback link's index: the first of every namespace.
const LOOPBACK: u32 = 1;

/// What a container in a pod may do without capabilities, as containerd has it: ping, and bind any port. No IPv6
/// on links to come (`::1` stays): pods have no such address yet, and must not believe each other's router
/// advertisements.
const POD_SYSCTLS: [(&str, &str); 3] = [
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
];

/// Namespaces to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinSpec {
    /// The UTS namespace's host name.
    pub hostname: String,
    /// Make a network namespace; not for `hostNetwork: true`.
    pub network: bool,
    /// Make an IPC namespace; not for `hostIPC: true`.
    pub ipc: bool,
}

/// Namespaces that were made and pinned. Dropping this leaves them pinned.
#[derive(Debug)]
pub struct Pinned {
    /// The network, unless it is the host's.
    pub net: Option<PodNet>,
    /// System V IPC and message queues, unless they are the host's.
    pub ipc: Option<OwnedFd>,
    /// The host name.
    pub uts: OwnedFd,
}

/// A pod's network namespace. Keeps it alive, as its pin does: drop it once the link is made.
#[derive(Debug)]
pub struct PodNet {
    namespace: OwnedFd,
    /// Opened inside, so that nobody has to enter the namespace again to configure it.
    netlink: Netlink,
}

impl PodNet {
    /// The namespace, for `setns`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    pub(super) fn netlink(&self) -> &Netlink {
        &self.netlink
    }
}

/// Why namespaces were not made, or not taken away.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// No thread to make them on.
    #[error("starting a thread to make namespaces on failed")]
    Thread(#[source] io::Error),
    /// The thread died.
    #[error("the thread that makes namespaces panicked")]
    Panicked,
    /// The kernel made none.
    #[error("making namespaces failed (it needs CAP_SYS_ADMIN; see user.max_net_namespaces)")]
    Unshare(#[source] Errno),
    /// The host name was not taken.
    #[error("setting the host name {name:?} failed")]
    Hostname {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The loopback link stayed down.
    #[error("bringing the pod's loopback up failed")]
    Loopback(#[source] NetlinkError),
    /// A setting of the namespace was not taken.
    #[error("writing {value:?} to {} failed", .path.display())]
    Sysctl {
        /// The setting's file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory operation failed.
    #[error("{action} {} failed", .path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pin's directory is there already.
    #[error("{} is there already: namespaces of this name are pinned", .0.display())]
    Exists(PathBuf),
}

fn path_error(action: &'static str, path: &Path, source: impl Into<io::Error>) -> NetnsError {
    NetnsError::Path { action, path: path.to_owned(), source: source.into() }
}

/// Makes `RUN_DIR/ns`, where pins live, and returns it. Safe to repeat, and after a crash at any point.
pub fn ensure_dir(run_dir: &Path) -> Result<PathBuf, NetnsError> {
    let dir = run_dir.join("ns");
    fs::create_dir_all(&dir).map_err(|source| path_error("making the directory", &dir, source))?;
    if !is_own_tmpfs(&dir)? {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("podbox-ns"), &dir, Some("tmpfs"), flags, Some("mode=0700"))
            .map_err(|source| path_error("mounting a tmpfs on", &dir, source))?;
    }
    // Unbindable is private too. Repeated, for an earlier run may have ended between the two.
    mount(None::<&str>, &dir, None::<&str>, MsFlags::MS_UNBINDABLE, None::<&str>)
        .map_err(|source| path_error("making unbindable", &dir, source))?;
    Ok(dir)
}

/// Takes `RUN_DIR/ns` away. Fails while a pod's namespaces are pinned in it.
pub fn remove_dir(run_dir: &Path) -> Result<(), NetnsError> {
    let dir = run_dir.join("ns");
    match umount2(&dir, MntFlags::UMOUNT_NOFOLLOW) {
        // Not a mount point, or not there.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(source) => return Err(path_error("unmounting", &dir, source)),
    }
    absent_is_done(fs::remove_dir(&dir)).map_err(|source| path_error("removing", &dir, source))
}

fn is_own_tmpfs(dir: &Path) -> Result<bool, NetnsError> {
    let examine = |source: io::Error| path_error("examining", dir, source);
    let here = fs::metadata(dir).map_err(examine)?.dev();
    let above = fs::metadata(dir.join("..")).map_err(examine)?.dev();
    let kind = statfs(dir).map_err(|errno| examine(errno.into()))?.filesystem_type();
    Ok(here != above && kind == TMPFS_MAGIC)
}

/// Makes namespaces and pins them in `dir`, which must not exist. Blocking. A failure leaves nothing.
pub fn pin(dir: &Path, spec: &PinSpec) -> Result<Pinned, NetnsError> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NetnsError::Exists(dir.to_owned()));
        }
        other => other.map_err(|source| path_error("making the directory", dir, source))?,
    }
    on_a_thread_of_its_own(|| make(dir, spec)).inspect_err(|_| {
        // The first error is the one to tell; a directory that stays is found at the next start.
        let _ = unpin(dir);
    })
}

/// Takes pins away, and with the last user of them the namespaces. What is not there is done already.
///
/// Each unmount waits for an RCU grace period, so this takes milliseconds; the kernel takes the network namespace
/// itself apart later, on a thread of its own.
pub fn unpin(dir: &Path) -> Result<(), NetnsError> {
    let mut first = Ok(());
    for name in ["net", "ipc", "uts"] {
        first = first.and(unpin_one(&dir.join(name)));
    }
    first.and(absent_is_done(fs::remove_dir(dir)).map_err(|source| path_error("removing", dir, source)))
}

fn unpin_one(pin: &Path) -> Result<(), NetnsError> {
    match umount2(pin, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(source) => return Err(path_error("unmounting", pin, source)),
    }
    absent_is_done(fs::remove_file(pin)).map_err(|source| path_error("removing", pin, source))
}

/// Writes kernel settings in pinned namespaces. Blocking.
pub fn configure(dir: &Path, settings: &[Sysctl]) -> Result<(), NetnsError> {
    on_a_thread_of_its_own(|| {
        for name in ["net", "ipc", "uts"] {
            let pin = dir.join(name);
            match File::open(&pin) {
                // The host's own, in which the pod has nothing to set.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => {
                    let opened = opened.map_err(|source| path_error("opening", &pin, source))?;
                    setns(opened, CloneFlags::empty()).map_err(NetnsError::Unshare)?;
                }
            }
        }
        settings.iter().try_for_each(|setting| {
            let path = sysctl::path(&setting.name);
            fs::write(&path, &setting.value).map_err(sysctl_error(path, &setting.value))
        })
    })
}

fn sysctl_error(path: PathBuf, value: &str) -> impl FnOnce(io::Error) -> NetnsError {
    move |source| NetnsError::Sysctl { path, value: value.to_owned(), source }
}

fn absent_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Connects to a port of the loopback address in a pinned network namespace, or in the host's, by IPv4 and then by
/// IPv6. The connection does not block.
pub async fn connect(pin: Option<&Path>, port: u16) -> io::Result<TcpStream> {
    let addresses =
        [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    let mut first = None;
    for address in addresses {
        let made = socket_in(pin.map(Path::to_owned), address.is_ipv4()).await;
        let connected = match made {
            Ok(socket) => TcpSocket::from_std_stream(socket).connect(address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return stream.into_std(),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// A socket stays in the namespace that it was made in, whoever uses it.
async fn socket_in(pin: Option<PathBuf>, v4: bool) -> io::Result<TcpStream> {
    let made = open_in(pin, move || {
        let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(socket(family, SockType::Stream, flags, None)?)
    });
    made.await.map(TcpStream::from)
}

/// Opens something in a pinned network namespace, or in the host's, where it stays.
pub async fn open_in<T: Send + 'static>(
    pin: Option<PathBuf>,
    make: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let Some(pin) = pin else { return make() };
    let made = tokio::task::spawn_blocking(move || {
        // A thread of its own: one that lives on would stay in the pod.
        let thread = std::thread::Builder::new().name("podbox-netns".into());
        let thread = thread.spawn(move || {
            setns(File::open(pin)?, CloneFlags::CLONE_NEWNET)?;
            make()
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes a socket panicked")))
    });
    made.await.map_err(io::Error::other)?
}

fn on_a_thread_of_its_own<T: Send>(
    work: impl FnOnce() -> Result<T, NetnsError> + Send,
) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("podbox-netns".into());
        let thread = thread.spawn_scoped(scope, work).map_err(NetnsError::Thread)?;
        thread.join().map_err(|_| NetnsError::Panicked)?
    })
}

fn make(dir: &Path, spec: &PinSpec) -> Result<Pinned, NetnsError> {
    let mut flags = CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWNET, spec.network);
    flags.set(CloneFlags::CLONE_NEWIPC, spec.ipc);
    unshare(flags).map_err(NetnsError::Unshare)?;
    nix::unistd::sethostname(&spec.hostname)
        .map_err(|source| NetnsError::Hostname { name: spec.hostname.clone(), source })?;
    let net = if spec.network { Some(make_network(dir)?) } else { None };
    let ipc = if spec.ipc { Some(keep(dir, "ipc")?) } else { None };
    Ok(Pinned { net, ipc, uts: keep(dir, "uts")? })
}

fn make_network(dir: &Path) -> Result<PodNet, NetnsError> {
    let netlink = Netlink::open().map_err(NetnsError::Loopback)?;
    let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
    netlink.change([(RouteNetlinkMessage::SetLink(up), CHANGE)]).map_err(NetnsError::Loopback)?;
    for (path, value) in POD_SYSCTLS {
        // Absent: the kernel has no IPv6.
        absent_is_done(fs::write(path, value)).map_err(sysctl_error(path.into(), value))?;
    }
    Ok(PodNet { namespace: keep(dir, "net")?, netlink })
}

/// Pins one namespace of this thread, and opens it.
fn keep(dir: &Path, name: &str) -> Result<OwnedFd, NetnsError> {
    let namespace = Path::new("/proc/thread-self/ns").join(name);
    let pin = dir.join(name);
    File::create_new(&pin).map_err(|source| path_error("making", &pin, source))?;
    mount(Some(&namespace), &pin, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|source| path_error("pinning a namespace on", &pin, source))?;
    let opened = File::open(&pin).map_err(|source| path_error("opening", &pin, source))?;
    Ok(opened.into())
}
