//! The keeper's loop: one poll set, one thread, no waiting anywhere else.

mod outgoing;

use super::KeeperError;
use super::connection::Connection;
use super::process::{Child, Kind, Phase};
use super::spawn::{SpawnError, Spawner};
use crate::sandbox::launch::{ExecLaunch, Launch, Pause, Pids};
use crate::sandbox::message::{Answer, Body, Failure, FromKeeper, Held, Request, VERSION};
use crate::sandbox::sys;
use crate::sandbox::wire::WireError;
use crate::{clock, limits};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::rlim_t;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a key of the poll set stands for.
#[derive(Clone, Debug)]
enum Source {
    Listener,
    Connection,
    /// The report pipe of a process that starts.
    Report(String),
    /// The pidfd of a process.
    Process(String),
}

/// The keeper's state: everything it holds.
#[derive(Debug)]
pub struct Keeper {
    epoll: Epoll,
    listener: OwnedFd,
    /// By key in the poll set; keys are never used twice, so an event for a source that went meanwhile
    /// finds nothing.
    sources: BTreeMap<u64, Source>,
    next_key: u64,
    connections: BTreeMap<u64, Connection>,
    children: BTreeMap<String, Child>,
    spawner: Spawner,
    /// Who waits until nothing is between clone and exec: connection and serial number.
    settling: Vec<(u64, u64)>,
    /// Pause processes that are to follow others, or are being started, and who asked for them.
    pausing: Vec<(Pause, (u64, u64))>,
}

/// What a request came to: an answer now, or none until a process has reported.
type Outcome = Result<Option<Answer>, SpawnError>;

impl Keeper {
    /// With nothing in it yet.
    pub fn new(listener: OwnedFd, nofile: (rlim_t, rlim_t)) -> Result<Keeper, KeeperError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(KeeperError::Wait)?;
        let spawner = Spawner::new(nofile)?;
        let (sources, connections, children) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (settling, pausing) = (Vec::new(), Vec::new());
        let mut keeper = Keeper {
            epoll,
            listener,
            sources,
            next_key: 0,
            connections,
            children,
            spawner,
            settling,
            pausing,
        };
        let key = keeper.key(Source::Listener);
        poll(&keeper.epoll, keeper.listener.as_fd(), key).map_err(KeeperError::Wait)?;
        Ok(keeper)
    }

    /// Serves until a daemon ends it while it holds nothing.
    pub fn run(mut self) -> Result<(), KeeperError> {
        loop {
            let mut events = [EpollEvent::empty(); 64];
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => 0,
                Err(error) => return Err(KeeperError::Wait(error)),
            };
            for event in &events[..count] {
                if self.apply(event.data())?.is_break() {
                    return Ok(());
                }
                self.pause_again()?;
                self.settle();
            }
        }
    }

    fn apply(&mut self, key: u64) -> Result<ControlFlow<()>, KeeperError> {
        match self.sources.get(&key).cloned() {
            None => {}
            Some(Source::Listener) => self.accept(),
            Some(Source::Connection) => return self.requested(key),
            Some(Source::Report(id)) => self.reported(&id),
            Some(Source::Process(id)) => self.ended(&id),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn key(&mut self, source: Source) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.sources.insert(key, source);
        key
    }

    fn accept(&mut self) {
        let Some(connection) = Connection::accept(self.listener.as_fd()) else { return };
        if self.connections.len() >= limits::KEEPER_CONNECTIONS {
            return;
        }
        let key = self.key(Source::Connection);
        match poll(&self.epoll, connection.fd(), key) {
            Ok(()) => drop(self.connections.insert(key, connection)),
            Err(_) => drop(self.sources.remove(&key)),
        }
    }

    fn requested(&mut self, key: u64) -> Result<ControlFlow<()>, KeeperError> {
        self.flush(key);
        let Some(connection) = self.connections.get_mut(&key) else { return Ok(ControlFlow::Continue(())) };
        let (request, fds) = match connection.receive() {
            Ok(received) => received,
            Err(WireError::WouldBlock) => return Ok(ControlFlow::Continue(())),
            Err(error) => {
                self.give_up(key, &error);
                return Ok(ControlFlow::Continue(()));
            }
        };
        let serial = request.serial;
        let last = matches!(request.body, Body::Shutdown) && self.children.is_empty();
        match self.handle(key, request, fds) {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer((key, serial), answer, None),
            Err(SpawnError::Refused(failure)) => self.answer((key, serial), Answer::Failed(failure), None),
            Err(SpawnError::Fatal(error)) => return Err(error),
        }
        Ok(if last && self.connections.contains_key(&key) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn handle(&mut self, key: u64, request: Request, fds: Vec<OwnedFd>) -> Outcome {
        let greeted = self.connections.get(&key).is_some_and(|connection| connection.greeted);
        if !greeted && !matches!(request.body, Body::Hello { .. }) {
            return Err(Failure::text("serve", "a daemon", "it has not said hello").into());
        }
        match request.body {
            Body::Hello { version } => self.hello(key, version),
            Body::Start(launch) => self.start(*launch, (key, request.serial)),
            Body::Pause(pause) => self.pause(*pause, (key, request.serial)),
            Body::Exec(launch) => self.exec(&launch, &fds, (key, request.serial)),
            Body::Signal { id, signal } => self.signal(&id, signal),
            Body::Settle => {
                self.settling.push((key, request.serial));
                Ok(None)
            }
            Body::List { pod } => Ok(Some(Answer::List(self.list(pod.as_deref())))),
            Body::Streams { id } => {
                self.child(&id)?;
                self.answer((key, request.serial), Answer::Done, Some(&id));
                Ok(None)
            }
            Body::CloseStdin { id } => self.close_stdin(&id),
            Body::Forget { id } => self.forget(&id),
            Body::Shutdown if self.children.is_empty() => Ok(Some(Answer::Done)),
            Body::Shutdown => {
                let held = format!("it holds {} containers", self.children.len());
                Err(Failure::text("end", "the keeper", held).into())
            }
        }
    }

    fn hello(&mut self, key: u64, version: u32) -> Outcome {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.greeted = version == VERSION;
        }
        // Also to a daemon of another version, so that it can say what is wrong.
        Ok(Some(Answer::Hello { version: VERSION, pid: std::process::id() }))
    }

    fn start(&mut self, launch: Launch, asked: (u64, u64)) -> Outcome {
        self.admit(&launch.id)?;
        let id = launch.id.clone();
        let beside = match &launch.pids {
            Pids::Of(other) => Some(self.children.get(other).ok_or_else(|| unknown(other))?),
            Pids::New | Pids::Host => None,
        };
        let child = self.spawner.container(launch, beside, asked)?;
        self.hold(id, child)?;
        Ok(None)
    }

    /// One that runs is left alone. One that was killed takes all containers of its pod along, which ask for another: it
    /// comes once nothing is left in the namespace of the first.
    fn pause(&mut self, pause: Pause, asked: (u64, u64)) -> Outcome {
        match self.children.get(&pause.id).map(|child| (&child.phase, child.is_exiting())) {
            None => {}
            Some((Phase::Ended(_), _)) => drop(self.drop_child(&pause.id)),
            Some((Phase::Running, false)) => return Ok(Some(Answer::Done)),
            Some((Phase::Running | Phase::Starting { .. }, _)) => {
                self.pausing.push((pause, asked));
                return Ok(None);
            }
        }
        self.admit(&pause.id)?;
        let child = self.spawner.pause(&pause, asked)?;
        self.hold(pause.id, child)?;
        Ok(None)
    }

    /// Looks again at pause processes that could not be started yet.
    fn pause_again(&mut self) -> Result<(), KeeperError> {
        for (pause, asked) in std::mem::take(&mut self.pausing) {
            match self.pause(pause, asked) {
                Ok(None) => {}
                Ok(Some(answer)) => self.answer(asked, answer, None),
                Err(SpawnError::Refused(failure)) => self.answer(asked, Answer::Failed(failure), None),
                Err(SpawnError::Fatal(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn exec(&mut self, launch: &ExecLaunch, fds: &[OwnedFd], asked: (u64, u64)) -> Outcome {
        self.admit(&launch.id)?;
        let Some(container) = self.children.get(&launch.container) else {
            return Err(unknown(&launch.container).into());
        };
        if !matches!(container.phase, Phase::Running) {
            return Err(Failure::text("exec in", launch.container.clone(), "it is not running").into());
        }
        let child = self.spawner.command(launch, container, fds, asked)?;
        self.hold(launch.id.clone(), child)?;
        Ok(None)
    }

    fn admit(&self, id: &str) -> Result<(), Failure> {
        if self.children.contains_key(id) {
            return Err(Failure::text("start", id, "the keeper already holds one of this name"));
        }
        if self.children.len() >= limits::CONTAINERS {
            let full = format!("the keeper already holds {} processes", limits::CONTAINERS);
            return Err(Failure::text("start", id, full));
        }
        Ok(())
    }

    /// Watches a new process. One that cannot be watched is ended: the keeper never holds what it cannot see.
    fn hold(&mut self, id: String, mut child: Child) -> Result<(), Failure> {
        let process = self.key(Source::Process(id.clone()));
        let report = self.key(Source::Report(id.clone()));
        child.polled = vec![process, report];
        let Phase::Starting { report: pipe, .. } = &child.phase else { return Ok(()) };
        let watched = poll(&self.epoll, child.pidfd.as_fd(), process)
            .and_then(|()| poll(&self.epoll, pipe.as_fd(), report));
        if let Err(error) = watched {
            eprintln!("podbox: keeper: cannot watch {id}: {error}");
            child.polled.iter().for_each(|key| drop(self.sources.remove(key)));
            let _ = self.epoll.delete(&child.pidfd);
            child.kill();
            return Err(Failure::text("watch", id, error));
        }
        self.children.insert(id, child);
        Ok(())
    }

    /// A process that starts has exec'd, or told why it cannot.
    fn reported(&mut self, id: &str) {
        let Some(child) = self.children.get_mut(id) else { return };
        if let Some(None) = child.read_report() {
            self.running(id);
        }
        // One that failed is answered when it is gone: nothing must be left of it then.
    }

    fn running(&mut self, id: &str) {
        let Some(child) = self.children.get_mut(id) else { return };
        if !matches!(child.phase, Phase::Starting { .. }) {
            return;
        }
        if let Err(failure) = child.settle() {
            // Nobody could reach it without its terminal.
            eprintln!("podbox: keeper: {id}: {failure}");
            let _ = sys::pidfd_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
        let Phase::Starting { asked, .. } = std::mem::replace(&mut child.phase, Phase::Running) else {
            return;
        };
        child.started = clock::wall();
        child.polled.drain(1..).for_each(|key| drop(self.sources.remove(&key)));
        let (pid, at, user) = (child.pid.as_raw().cast_unsigned(), child.started, child.user.clone());
        let started = Answer::Started { pid, at, user };
        self.answer(asked, started, Some(id));
    }

    fn ended(&mut self, id: &str) {
        let Some(end) = self.children.get(id).and_then(|child| child.reap(clock::wall())) else { return };
        // It may have reported, and be seen as ended first.
        let failure = self.children.get_mut(id).and_then(Child::read_report).flatten();
        if let Some(failure) = failure {
            let Some(child) = self.drop_child(id) else { return };
            if let Phase::Starting { asked, .. } = child.phase {
                self.answer(asked, Answer::Failed(failure), None);
            }
            return;
        }
        self.running(id);
        let Some(child) = self.children.get_mut(id) else { return };
        child.phase = Phase::Ended(end);
        child.polled.drain(..).for_each(|key| drop(self.sources.remove(&key)));
        // Ended, the pidfd stays readable: out of the poll set, or it would wake the keeper for ever.
        let _ = self.epoll.delete(&child.pidfd);
        if let Kind::Command = child.kind {
            self.drop_child(id);
        }
        self.push(&FromKeeper::Exited { id: id.to_owned(), end });
    }

    fn drop_child(&mut self, id: &str) -> Option<Child> {
        let child = self.children.remove(id)?;
        child.polled.iter().for_each(|key| drop(self.sources.remove(key)));
        Some(child)
    }

    fn settle(&mut self) {
        let starts = |child: &Child| matches!(child.phase, Phase::Starting { .. });
        if !self.settling.is_empty() && !self.children.values().any(starts) {
            for asked in std::mem::take(&mut self.settling) {
                self.answer(asked, Answer::Done, None);
            }
        }
    }

    fn signal(&mut self, id: &str, signal: i32) -> Outcome {
        match sys::pidfd_signal(self.child(id)?.pidfd.as_fd(), signal) {
            // It is gone already: nothing to signal, nothing wrong.
            Ok(()) | Err(nix::Error::ESRCH) => Ok(Some(Answer::Done)),
            Err(error) => Err(Failure::errno("signal", id, error as i32).into()),
        }
    }

    fn list(&self, pod: Option<&str>) -> Vec<Held> {
        // An id begins with the uid of the pod.
        let prefix = pod.map(|pod| format!("{pod}/")).unwrap_or_default();
        let those = self.children.range::<str, _>((Bound::Included(&*prefix), Bound::Unbounded));
        let those = those.take_while(|(id, _)| id.starts_with(&prefix));
        those.filter_map(|(id, child)| child.held(id)).collect()
    }

    fn close_stdin(&mut self, id: &str) -> Outcome {
        match self.children.get_mut(id).map(|child| &mut child.kind) {
            None => Err(unknown(id).into()),
            Some(Kind::Container { stdio, .. }) => {
                stdio.stdin = None;
                Ok(Some(Answer::Done))
            }
            Some(Kind::Pause | Kind::Command) => {
                Err(Failure::text("close stdin of", id, "it is not a container").into())
            }
        }
    }

    fn forget(&mut self, id: &str) -> Outcome {
        match self.children.get(id).map(|child| &child.phase) {
            None => {}
            Some(Phase::Ended(_)) => drop(self.drop_child(id)),
            Some(_) => return Err(Failure::text("forget", id, "it has not ended").into()),
        }
        Ok(Some(Answer::Done))
    }

    fn child(&self, id: &str) -> Result<&Child, Failure> {
        self.children.get(id).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: &str) -> Failure {
    Failure::text("find", id, "the keeper holds nothing of this name")
}

fn poll(epoll: &Epoll, fd: BorrowedFd<'_>, key: u64) -> nix::Result<()> {
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, key))
}
