//! The daemon's end of the keeper's socket.
//!
//! Requests block, for they are asked from threads that may; one thread of its own reads what the keeper says,
//! hands answers to who asked and ends of processes to who waits. It keeps no state of containers beyond
//! who waits for which.

use super::keeper::SOCKET;
use super::message::{Answer, Body, End, Failure, FromKeeper, Request, VERSION};
use super::wire::{self, WireError};
use crate::limits;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, shutdown, socket, sockopt,
};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// An answer with what came along.
pub type Reply = (Answer, Vec<OwnedFd>);
/// Becomes `Some` when the process ended; closed when the keeper is gone.
pub type Ending = watch::Receiver<Option<End>>;

/// Why the keeper could not be asked, or what it said.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It did not start.
    #[error("cannot start the keeper ({} keeper)", .0.display())]
    Spawn(PathBuf, #[source] io::Error),
    /// It started and gave up.
    #[error("the keeper did not start: see {}", .0.display())]
    Start(PathBuf),
    /// Its socket.
    #[error("cannot connect to the keeper at {}", .0.display())]
    Connect(PathBuf, #[source] nix::Error),
    /// Another podbox started it.
    #[error(
        "the keeper speaks version {theirs} of its protocol and this podbox {VERSION}: remove all pods with the podbox that started it, then start this one"
    )]
    Version {
        /// The keeper's.
        theirs: u32,
    },
    /// A message could not be sent.
    #[error("cannot ask the keeper")]
    Send(#[source] WireError),
    /// The connection ended while it was asked.
    #[error("the keeper is gone")]
    Gone,
    /// It did not answer in time.
    #[error("the keeper does not answer")]
    Silent,
    /// It could not do it.
    #[error("{0}")]
    Failed(Failure),
    /// It answered something else.
    #[error("the keeper gave an answer that does not fit the question")]
    Confused,
}

/// Where the keeper is, and how to start one.
#[derive(Clone, Debug)]
pub struct KeeperSpec {
    /// The podbox binary.
    pub program: PathBuf,
    /// Its run directory.
    pub run_dir: PathBuf,
    /// The cgroup it moves to.
    pub cgroup: PathBuf,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// Who waits for which answer; `None` once the connection ended.
    asked: Mutex<Option<HashMap<u64, SyncSender<Reply>>>>,
    /// Who waits for which end.
    ends: Mutex<HashMap<String, watch::Sender<Option<End>>>>,
    /// The connection ended.
    gone: watch::Sender<bool>,
}

/// A connection to the keeper.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    serial: AtomicU64,
    /// The keeper's process.
    pub pid: u32,
}

/// A poisoned lock only says that a thread panicked between two map operations; the map is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Connects to the keeper, and starts it first if none runs.
    pub fn open(spec: &KeeperSpec) -> Result<Client, ClientError> {
        let path = spec.run_dir.join(SOCKET);
        let socket = match dial(&path) {
            Err(nix::Error::ENOENT | nix::Error::ECONNREFUSED) => {
                start(spec)?;
                dial(&path)
            }
            dialled => dialled,
        };
        let socket = socket.map_err(|error| ClientError::Connect(path, error))?;
        let (asked, ends) = (Mutex::new(Some(HashMap::new())), Mutex::default());
        let shared = Arc::new(Shared { socket, asked, ends, gone: watch::Sender::new(false) });
        let reader = shared.clone();
        let thread = std::thread::Builder::new().name("podbox-keeper".into());
        thread
            .spawn(move || reader.read())
            .map_err(|error| ClientError::Spawn(spec.program.clone(), error))?;
        let mut client = Client { shared, serial: AtomicU64::new(0), pid: 0 };
        match client.request(Body::Hello { version: VERSION }, &[])? {
            (Answer::Hello { version: VERSION, pid }, _) => client.pid = pid,
            (Answer::Hello { version: theirs, .. }, _) => return Err(ClientError::Version { theirs }),
            _ => return Err(ClientError::Confused),
        }
        Ok(client)
    }

    /// Asks and waits for the answer. Blocking.
    pub fn request(&self, body: Body, fds: &[BorrowedFd<'_>]) -> Result<Reply, ClientError> {
        self.request_within(limits::KEEPER_ANSWER, body, fds)
    }

    /// The same where the answer may take so long: that of a command waits for its container, which may be frozen.
    pub fn request_within(
        &self,
        patience: Duration,
        body: Body,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Reply, ClientError> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = sync_channel(1);
        match lock(&self.shared.asked).as_mut() {
            Some(asked) => drop(asked.insert(serial, sender)),
            None => return Err(ClientError::Gone),
        }
        let sent = wire::send(self.shared.socket.as_fd(), &Request { serial, body }, fds);
        let answer = sent.map_err(ClientError::Send).and_then(|()| {
            receiver.recv_timeout(patience).map_err(|error| match error {
                std::sync::mpsc::RecvTimeoutError::Timeout => ClientError::Silent,
                std::sync::mpsc::RecvTimeoutError::Disconnected => ClientError::Gone,
            })
        });
        if let Some(asked) = lock(&self.shared.asked).as_mut() {
            asked.remove(&serial);
        }
        match answer? {
            (Answer::Failed(failure), _) => Err(ClientError::Failed(failure)),
            reply => Ok(reply),
        }
    }

    /// Asks for something that is only done.
    pub fn command(&self, body: Body) -> Result<(), ClientError> {
        match self.request(body, &[])? {
            (Answer::Done, _) => Ok(()),
            _ => Err(ClientError::Confused),
        }
    }

    /// Waits for the end of what has, or will have, this id: to be called before it is started.
    pub fn watch(&self, id: &str) -> Ending {
        let mut ends = lock(&self.shared.ends);
        let sender = ends.entry(id.to_owned()).or_insert_with(|| watch::Sender::new(None));
        sender.subscribe()
    }

    /// Says what is known from elsewhere: that this id has ended already.
    pub fn ended(&self, id: &str, end: End) {
        if let Some(sender) = lock(&self.shared.ends).get(id) {
            sender.send_replace(Some(end));
        }
    }

    /// Waits for nothing of this id any more.
    pub fn unwatch(&self, id: &str) {
        lock(&self.shared.ends).remove(id);
    }

    /// Whether the connection has ended.
    pub fn is_gone(&self) -> bool {
        *self.shared.gone.borrow()
    }

    /// Waits until the connection has ended.
    pub async fn gone(&self) {
        // The sender lives as long as this client.
        let _ = self.shared.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Waits until the keeper's process has ended: its connection ends before its lock is free.
    pub fn wait_end(&self) -> Result<(), ClientError> {
        match super::sys::pidfd_open(self.pid.cast_signed()) {
            Ok(pidfd) => wait_end(pidfd.as_fd()),
            Err(_) => Ok(()),
        }
    }

    /// Ends the keeper, which must be empty, and waits until it is gone.
    pub fn shut_down(&self) -> Result<(), ClientError> {
        let pidfd = super::sys::pidfd_open(self.pid.cast_signed());
        self.command(Body::Shutdown)?;
        pidfd.map_or(Ok(()), |pidfd| wait_end(pidfd.as_fd()))
    }
}

fn wait_end(pidfd: BorrowedFd<'_>) -> Result<(), ClientError> {
    let mut polled = [nix::poll::PollFd::new(pidfd, nix::poll::PollFlags::POLLIN)];
    let timeout = nix::poll::PollTimeout::try_from(limits::KEEPER_ANSWER);
    match nix::poll::poll(&mut polled, timeout.unwrap_or(nix::poll::PollTimeout::MAX)) {
        Ok(0) => Err(ClientError::Silent),
        _ => Ok(()),
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Wakes the reading thread, which then ends.
        let _ = shutdown(self.shared.socket.as_raw_fd(), Shutdown::Both);
    }
}

impl Shared {
    fn read(&self) {
        loop {
            match wire::receive(self.socket.as_fd()) {
                Ok((FromKeeper::Answer { serial, answer }, fds)) => {
                    let asked = lock(&self.asked).as_mut().and_then(|asked| asked.remove(&serial));
                    // Who asked may have given up.
                    asked.map(|sender| sender.try_send((answer, fds)));
                }
                Ok((FromKeeper::Exited { id, end }, _)) => {
                    if let Some(sender) = lock(&self.ends).get(&id) {
                        sender.send_replace(Some(end));
                    }
                }
                Err(WireError::Closed) => break,
                Err(error) => {
                    tracing::error!(%error, "the connection to the keeper broke");
                    break;
                }
            }
        }
        // Dropping the senders tells everybody who waits.
        lock(&self.asked).take();
        lock(&self.ends).clear();
        self.gone.send_replace(true);
    }
}

fn dial(path: &Path) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // A socket somebody else put there must not get descriptors of ours.
    match getsockopt(&socket, sockopt::PeerCredentials)?.uid() {
        0 => Ok(socket),
        _ => Err(nix::Error::EPERM),
    }
}

/// The keeper goes to the background by itself once it listens, so its start is over when this process is.
fn start(spec: &KeeperSpec) -> Result<(), ClientError> {
    let failed = |error| ClientError::Spawn(spec.program.clone(), error);
    let log = spec.run_dir.join("keeper.log");
    let stderr = File::options().create(true).append(true).open(&log).map_err(failed)?;
    let status = Command::new(&spec.program)
        .arg("keeper")
        .args([&spec.run_dir, &spec.cgroup])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .status()
        .map_err(failed)?;
    if status.success() { Ok(()) } else { Err(ClientError::Start(log)) }
}
