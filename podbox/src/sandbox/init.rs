//! What a new process does between clone and exec. It starts as a copy of the keeper, in its cgroup and
//! namespaces, and gives up everything else step by step; a failure is told through a pipe that a
//! successful exec closes.
//!
//! **Invariant:** before anything that an image or a volume names is looked at, every descriptor of the keeper's is closed but the pipe and
//! the console: a link to `/proc/self/fd` leads nowhere. The keeper cannot be looked into (it is not dumpable), and neither
//! can its copies before they exec.
//!
//! Seccomp comes last where `no_new_privs` allows it. Without, installing a filter needs CAP_SYS_ADMIN, so it
//! comes before the capabilities go; the few calls after it are in every profile.

use super::launch::{Launch, Pause, Process};
use super::message::{CHDIR, Context, EXEC, Failure, Told};
use super::reap::{self, Leaf};
use super::runtime::ProcessUser;
use super::user::{self, Identity};
use super::{mount, pause, sys, terminal};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

type Result<T> = std::result::Result<T, Failure>;

/// Programs are looked for here when the environment has no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Of `/etc/passwd` and `/etc/group`, which the image's author wrote.
const ACCOUNTS_BYTES: u64 = 1 << 20;

/// What a new process inherits from the keeper on purpose.
#[derive(Debug)]
pub struct Inherited<'a> {
    /// Becomes descriptors 0, 1 and 2.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Takes why it failed.
    pub told: BorrowedFd<'a>,
    /// And before, as whom it is executed.
    pub tells_user: bool,
    /// It gets a terminal in their place, whose other end goes through this socket.
    pub console: Option<BorrowedFd<'a>>,
    /// The seccomp filter, compiled.
    pub filter: Option<&'a [libc::sock_filter]>,
    /// How the kernel installs it.
    pub filter_flags: u32,
    /// The highest capability that this kernel knows.
    pub last_cap: u32,
    /// The capabilities that podbox itself has; a host may withhold some.
    pub permitted: u64,
    /// The limit of open files from before the keeper raised its own.
    pub nofile: (rlim_t, rlim_t),
}

/// Becomes a container's first process. Returns only why it could not.
pub fn container(launch: &Launch, inherited: &Inherited<'_>) -> Failure {
    let built = ordinary(launch.process.oom_score_adj, inherited)
        .and_then(|()| launch.join.iter().try_for_each(|namespace| join(namespace)))
        // Not by a flag of clone: it would take the keeper's cgroup for its root.
        .and_then(|()| unshare(CloneFlags::CLONE_NEWCGROUP).at("unshare", "cgroup namespace"))
        .and_then(|()| alone(inherited))
        .and_then(|()| mount::enter(launch));
    match built {
        Ok(()) => program(&launch.process, &launch.process.args, &launch.cwd, inherited),
        Err(failure) => failure,
    }
}

/// Becomes a pod's pause process: this program anew, so that nothing of the keeper's memory is left in it. It tells by the
/// same pipe once it has given up the rest. Returns only why it could not.
pub fn pause(pause: &Pause, program: BorrowedFd<'_>, inherited: &Inherited<'_>) -> Failure {
    /// Upstream's, of what the pod is lost with.
    const OOM_SCORE_ADJ: i32 = -998;
    let prepared = ordinary(OOM_SCORE_ADJ, inherited)
        .and_then(|()| pause.join.iter().try_for_each(|namespace| join(namespace)))
        .and_then(|()| unshare(CloneFlags::CLONE_NEWCGROUP).at("unshare", "cgroup namespace"));
    if let Err(failure) = prepared {
        return failure;
    }
    let string =
        |path: &Path| CString::new(path.as_os_str().as_bytes()).at("pass", path.display().to_string());
    let (target, empty) = match (string(&pause.target), string(&pause.empty)) {
        (Ok(target), Ok(empty)) => (target, empty),
        (Err(failure), _) | (_, Err(failure)) => return failure,
    };
    let mut args = vec![c"podbox".to_owned(), pause::COMMAND.to_owned(), target, empty];
    if pause.forwards {
        args.push(pause::FORWARD.to_owned());
    }
    // It comes first: closing what is above must spare the pipe.
    let kept = sys::cloexec_from(3).and_then(|()| sys::dup_onto(inherited.told, pause::REPORT));
    if let Err(errno) = kept {
        return Failure::errno("keep", "the report pipe", errno as i32);
    }
    Failure::errno("exec", "podbox's own program", sys::execve_fd(program, &args, &[]) as i32)
}

/// Becomes a command in a running container; with a leaf, as the child of one that reaps. Returns only why it could not.
pub fn exec(
    container: BorrowedFd<'_>,
    leaf: Option<&Leaf>,
    process: &Process,
    args: &[String],
    cwd: &str,
    inherited: &Inherited<'_>,
) -> Failure {
    let most = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let join = |namespaces| setns(container, namespaces).at("join", "the container's namespaces");
    let joined = ordinary(process.oom_score_adj, inherited)
        .and_then(|()| join(most))
        .and_then(|()| leaf.map_or(Ok(()), reap::attend))
        .and_then(|()| join(CloneFlags::CLONE_NEWCGROUP))
        .and_then(|()| alone(inherited));
    match joined {
        Ok(()) => program(process, args, cwd, inherited),
        Err(failure) => failure,
    }
}

/// Sheds what makes the keeper special.
fn ordinary(oom_score_adj: i32, inherited: &Inherited<'_>) -> Result<()> {
    for (number, fd) in (0..).zip(inherited.stdio) {
        sys::dup_onto(fd, number).at("dup", format!("descriptor {number}"))?;
    }
    for signal in super::keeper::IGNORED {
        sys::default_signal(signal);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).at("set", "signal mask")?;
    nix::unistd::setsid().at("start", "session")?;
    // Node devices and mount points are made with exactly the mode they are given.
    umask(Mode::empty());
    match fs::write("/proc/self/oom_score_adj", oom_score_adj.to_string()) {
        // A host that withholds CAP_SYS_RESOURCE lets nobody lower it, as the doctor tells: what is inherited is the
        // least there is.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && oom_score_adj < 0 => Ok(()),
        written => written.at("write", format!("{oom_score_adj} to oom_score_adj")),
    }?;
    let (soft, hard) = inherited.nofile;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).at("set", "limit of open files")?;
    match sys::new_session_keyring() {
        // A kernel without keyrings has none to share.
        Err(nix::Error::ENOSYS) => Ok(()),
        done => done.at("join", "session keyring"),
    }
}

/// Lets go of every descriptor of the keeper's that is not needed any more.
fn alone(inherited: &Inherited<'_>) -> Result<()> {
    let kept = [Some(inherited.told), inherited.console];
    // SAFETY: this process ends by exec or by `report`, so no owner of what is closed is dropped, and none is used.
    unsafe { sys::close_others(kept.into_iter().flatten()) }.at("close", "the keeper's descriptors")
}

fn join(namespace: &Path) -> Result<()> {
    let subject = namespace.display().to_string();
    let pin = File::open(namespace).at("open namespace", subject.clone())?;
    setns(pin, CloneFlags::empty()).at("join namespace", subject)
}

/// In the container's root: becomes the user and executes.
fn program(process: &Process, args: &[String], cwd: &str, inherited: &Inherited<'_>) -> Failure {
    match prepare(process, cwd, inherited) {
        Ok(home) => run(args, &process.env, &home, inherited.console.is_some()),
        Err(failure) => failure,
    }
}

fn prepare(process: &Process, cwd: &str, inherited: &Inherited<'_>) -> Result<String> {
    let who = user::resolve(&process.user, &accounts("/etc/passwd")?, &accounts("/etc/group")?)
        .map_err(|error| Failure::text("find user", process.user.image_user.clone(), error))?;
    if inherited.tells_user {
        tell_user(&who, inherited.told);
    }
    if let Err(nix::Error::ENOENT) = nix::unistd::chdir(cwd) {
        mount::make_directories(Path::new(cwd))?;
    }
    nix::unistd::chdir(cwd).at(CHDIR, cwd)?;
    // It has no path from this root if it lies outside.
    nix::unistd::getcwd().at(CHDIR, cwd)?;
    umask(Mode::from_bits_truncate(0o022));
    if let Some(console) = inherited.console {
        terminal::open_for(who.uid, console)?;
    }
    if process.no_new_privs {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).at("set", "no_new_privs")?;
        become_user(process, &who, inherited)?;
        confine(inherited)?;
    } else {
        confine(inherited)?;
        become_user(process, &who, inherited)?;
    }
    Ok(who.home)
}

/// Tells the keeper as whom it is executed, in one write; of one with hundreds of groups nothing is told.
fn tell_user(who: &Identity, told: BorrowedFd<'_>) {
    let user = ProcessUser { uid: who.uid, gid: who.gid, groups: who.groups.clone() };
    match serde_json::to_vec(&Told::User(user)) {
        // Without it the container runs as well.
        Ok(text) if text.len() <= libc::PIPE_BUF => drop(nix::unistd::write(told, &text)),
        _ => {}
    }
}

fn accounts(path: &str) -> Result<String> {
    let mut text = Vec::new();
    // Whatever else than a file lies there is not waited for.
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened.at("open", path)?,
    };
    if !file.metadata().at("stat", path)?.is_file() {
        return Err(Failure::text("read", path, "it is not a regular file"));
    }
    file.take(ACCOUNTS_BYTES).read_to_end(&mut text).at("read", path)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn confine(inherited: &Inherited<'_>) -> Result<()> {
    let install = |filter| sys::seccomp(filter, inherited.filter_flags).at("install", "seccomp filter");
    inherited.filter.map_or(Ok(()), install)
}

fn become_user(process: &Process, who: &Identity, inherited: &Inherited<'_>) -> Result<()> {
    let last_cap = inherited.last_cap;
    for capability in process.caps.missing(last_cap) {
        sys::prctl(libc::PR_CAPBSET_DROP, capability.into())
            .at("drop from the bounding set", format!("capability {capability}"))?;
    }
    let groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
    nix::unistd::setgroups(&groups).at("set groups of", format!("uid {}", who.uid))?;
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    nix::unistd::setresgid(gid, gid, gid).at("become", format!("gid {gid}"))?;
    // For any uid but 0 this clears the capabilities, as exec would.
    nix::unistd::setresuid(uid, uid, uid).at("become", format!("uid {uid}"))?;
    let known = u64::MAX >> (63 - last_cap.min(63));
    let kept = match process.caps.0 & known {
        _ if !uid.is_root() => 0,
        // All are all that there are.
        all if all == known => all & inherited.permitted,
        some => some,
    };
    sys::capset(kept).at("set", "capabilities")
}

fn run(args: &[String], env: &[String], home: &str, terminal: bool) -> Failure {
    let Some(name) = args.first() else {
        return Failure::text(EXEC, "", "no command is given");
    };
    // What they say may be a secret, and is not told.
    let number = |index: usize, _: &str| format!("argument {index}");
    let key = |_: usize, line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let (argv, mut environment) = match (strings(args, number), strings(env, key)) {
        (Ok(argv), Ok(environment)) => (argv, environment),
        (Err(failure), _) | (_, Err(failure)) => return failure,
    };
    if !env.iter().any(|pair| pair.starts_with("HOME=")) {
        environment.extend(CString::new(format!("HOME={home}")));
    }
    if terminal && !env.iter().any(|pair| pair.starts_with("TERM=")) {
        environment.push(c"TERM=xterm".to_owned());
    }
    if let Err(failure) = sys::cloexec_from(3).at("close", "descriptors") {
        return failure;
    }
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(PATH);
    let mut found = libc::ENOENT;
    for candidate in candidates(name, path) {
        let Ok(file) = CString::new(candidate) else { continue };
        match sys::execve(&file, &argv, &environment) as i32 {
            // Look on; but if nothing better comes, this is what to tell.
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => found = libc::EACCES,
            errno => return Failure::errno(EXEC, name, errno),
        }
    }
    Failure::errno(EXEC, name, found)
}

/// As the kernel takes them; `what` says which one it does not take.
fn strings(list: &[String], what: impl Fn(usize, &str) -> String) -> Result<Vec<CString>> {
    let string = |(index, text): (usize, &String)| CString::new(text.as_str()).at("pass", what(index, text));
    list.iter().enumerate().map(string).collect()
}

/// Where a command may be: as execvp(3) looks for it.
fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.is_empty() || name.contains('/') {
        return vec![name.to_owned()];
    }
    path.split(':').map(|dir| format!("{}/{name}", if dir.is_empty() { "." } else { dir })).collect()
}

/// Tells the keeper why, and ends.
pub fn report(failure: &Failure, pipe: OwnedFd) -> ! {
    if let Ok(text) = serde_json::to_vec(failure) {
        // Nobody is left to tell when this fails too; the keeper sees an empty pipe and an exit code.
        let _ = nix::unistd::write(pipe.as_fd(), &text);
    }
    sys::exit_now(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_looked_for_as_execvp_does() {
        let check = |name: &str, path: &str, expected: &[&str]| {
            assert_eq!(candidates(name, path), expected, "{name} in {path}");
        };
        check("sh", "/bin:/usr/bin", &["/bin/sh", "/usr/bin/sh"]);
        check("sh", "/bin::", &["/bin/sh", "./sh", "./sh"]);
        check("./sh", "/bin", &["./sh"]);
        check("/x/sh", "/bin", &["/x/sh"]);
        check("", "/bin", &[""]);
    }
}
