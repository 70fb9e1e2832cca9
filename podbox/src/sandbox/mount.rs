//! Builds a container's file system: runs in the new process, in its own mount namespace, so nothing here
//! can reach the host's mounts, and everything goes with the namespace.
//!
//! The order is the safety: what comes from the host is cloned as detached trees first, then the root is
//! switched and the host's is let go, and only then are the trees attached. A symbolic link in an
//! image or a volume is therefore resolved inside the container, wherever it points. What is masked is masked before a volume
//! can cover the way to it, in a `/proc` and a `/sys` that no image can have put elsewhere.

use super::launch::{Bind, Launch, Root};
use super::message::{Context, Failure, SUB_PATH};
use super::spec::{Propagation, ReadOnly};
use super::{dev, propagation, sys, usage};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

type Result<T> = std::result::Result<T, Failure>;

/// Covered, so that they cannot be read: the list that Docker and containerd use.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/sys/firmware",
];
/// Visible, but not writable.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `noexec,nosuid,nodev`: what holds no programs.
const INERT: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// A mount of the host, cloned and not attached anywhere yet.
struct Tree<'a> {
    fd: OwnedFd,
    bind: &'a Bind,
}

/// Makes the container's root the root of this process, with everything mounted in it.
pub fn enter(launch: &Launch) -> Result<()> {
    let shares = |bind: &&Bind| bind.propagation == Propagation::Bidirectional;
    launch.binds.iter().try_for_each(propagation::check)?;
    // While mounts are still the host's peers.
    let shared = launch.binds.iter().filter(shares).map(detach).collect::<Result<Vec<_>>>()?;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>).at("make slave", "/")?;
    overlay(&launch.root)?;
    let trees = in_order(&launch.binds, shared)?;
    let cover = cover_tree(&launch.root.empty)?;
    let devices = if launch.privileged { dev::of_host()? } else { Vec::new() };
    switch_root(&launch.root.target)?;
    kernel_mounts(launch.privileged)?;
    dev::fill(&devices)?;
    if !launch.privileged {
        mask(cover)?;
    }
    trees.iter().try_for_each(attach)?;
    if launch.root.read_only {
        // The last moment for it.
        make_directories(Path::new(&launch.cwd))?;
        remount_read_only("/", MsFlags::empty())?;
    }
    Ok(())
}

fn overlay(root: &Root) -> Result<()> {
    let target = root.target.display().to_string();
    // Descriptors stand in for paths where those would not fit the page that mount options may fill.
    let mut held = Vec::new();
    let mut options = overlay_options(root, &root.layers);
    if options.len() >= 4000 {
        let mut short = Vec::new();
        for layer in &root.layers {
            let dir = File::open(layer).at("open layer", layer.display().to_string())?;
            short.push(PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())));
            held.push(dir);
        }
        options = overlay_options(root, &short);
        // Descriptors say nothing to whoever wants to know which layers are in use.
        let note = root.upper.with_file_name(usage::NOTE);
        fs::write(&note, usage::note(&root.layers)).at("write", note.display().to_string())?;
    }
    mount(Some("overlay"), &root.target, Some("overlay"), MsFlags::empty(), Some(options.as_os_str()))
        .at("mount overlay on", target)
}

/// `volatile`: the upper layer is never used again after a crash, so syncing it at unmount is wasted.
fn overlay_options(root: &Root, layers: &[PathBuf]) -> std::ffi::OsString {
    let mut options = b"volatile,lowerdir=".to_vec();
    for (index, layer) in layers.iter().enumerate() {
        if index > 0 {
            options.push(b':');
        }
        escape(layer, &mut options);
    }
    for (name, path) in [(&b",upperdir="[..], &root.upper), (b",workdir=", &root.work)] {
        options.extend_from_slice(name);
        escape(path, &mut options);
    }
    std::os::unix::ffi::OsStringExt::from_vec(options)
}

/// overlayfs separates layers by colons and options by commas; both may be part of a path.
fn escape(path: &Path, into: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            into.push(b'\\');
        }
        into.push(*byte);
    }
}

/// Every tree in the order of `binds`, of which `shared` are there already.
fn in_order<'a>(binds: &'a [Bind], shared: Vec<Tree<'a>>) -> Result<Vec<Tree<'a>>> {
    let mut shared = shared.into_iter().peekable();
    let next = |bind: &'a Bind| match shared.next_if(|tree| std::ptr::eq(tree.bind, bind)) {
        Some(tree) => Ok(tree),
        None => detach(bind),
    };
    binds.iter().map(next).collect()
}

fn detach(bind: &Bind) -> Result<Tree<'_>> {
    let subject = || bind.source.join(&bind.sub_path).display().to_string();
    let source = CString::new(bind.source.as_os_str().as_bytes()).at("bind", subject())?;
    let tree = if bind.sub_path.is_empty() {
        sys::open_tree(AT_FDCWD, &source, true)
    } else {
        // A container may have written the volume: no link in it may lead out.
        let beneath = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
        let volume = openat2(AT_FDCWD, source.as_c_str(), beneath).at("open volume", subject())?;
        let beneath = beneath.resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let part = match openat2(&volume, bind.sub_path.as_str(), beneath) {
            Err(nix::Error::ENOENT) => make_sub_path(&volume, &bind.sub_path, beneath),
            opened => opened,
        };
        sys::open_tree(part.at(SUB_PATH, &bind.target)?.as_fd(), c"", true)
    };
    let fd = tree.at("bind", subject())?;
    let (attributes, propagation) = (libc::MOUNT_ATTR_RDONLY, passing(bind.propagation));
    let set = |attributes, propagation, recursive| {
        sys::mount_setattr(fd.as_fd(), attributes, propagation, recursive).at("set attributes of", subject())
    };
    set(0, propagation, true)?;
    match bind.read_only {
        ReadOnly::No => {}
        ReadOnly::Top => set(attributes, 0, false)?,
        ReadOnly::Recursive => set(attributes, 0, true)?,
    }
    Ok(Tree { fd, bind })
}

fn passing(wanted: Propagation) -> u64 {
    match wanted {
        Propagation::None => libc::MS_PRIVATE,
        Propagation::HostToContainer => libc::MS_SLAVE,
        Propagation::Bidirectional => libc::MS_SHARED,
    }
}

/// Makes the directories of a subPath that are missing, as open to others as the volume is. No link leads out of it.
fn make_sub_path(volume: &OwnedFd, path: &str, how: OpenHow) -> nix::Result<OwnedFd> {
    let mode = fstat(volume)?.st_mode & 0o777;
    let mut at = openat2(volume, ".", how)?;
    for part in Path::new(path).components() {
        let Component::Normal(name) = part else { continue };
        at = match openat2(&at, name, how) {
            Err(nix::Error::ENOENT) => {
                // The umask is clear here.
                match mkdirat(&at, name, Mode::from_bits_truncate(mode)) {
                    Err(error) if error != nix::Error::EEXIST => return Err(error),
                    _ => openat2(&at, name, how)?,
                }
            }
            opened => opened?,
        };
    }
    Ok(at)
}

fn cover_tree(empty: &Path) -> Result<OwnedFd> {
    let subject = empty.display().to_string();
    let path = CString::new(empty.as_os_str().as_bytes()).at("bind", subject.clone())?;
    let tree = sys::open_tree(AT_FDCWD, &path, false).at("bind", subject.clone())?;
    let inert =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    sys::mount_setattr(tree.as_fd(), inert, libc::MS_PRIVATE, false).at("set attributes of", subject)?;
    Ok(tree)
}

fn switch_root(target: &Path) -> Result<()> {
    let subject = target.display().to_string();
    nix::unistd::chdir(target).at("chdir", subject.clone())?;
    sys::pivot_here().at("pivot_root", subject.clone())?;
    // The host's root lies on top of ours now; let it go.
    umount2(".", MntFlags::MNT_DETACH).at("detach the host's root from", subject)?;
    nix::unistd::chdir("/").at("chdir", "/")
}

fn kernel_mounts(privileged: bool) -> Result<()> {
    ["/proc", "/dev", "/sys"].iter().try_for_each(|path| no_link(path))?;
    let sys_flags = if privileged { INERT } else { INERT | MsFlags::MS_RDONLY };
    fresh("proc", "/proc", INERT, "")?;
    fresh("tmpfs", "/dev", MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME, "mode=755,size=65536k")?;
    let pts = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fresh("devpts", "/dev/pts", pts, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    fresh("mqueue", "/dev/mqueue", INERT, "")?;
    fresh("sysfs", "/sys", sys_flags, "")?;
    fresh("cgroup2", "/sys/fs/cgroup", sys_flags, "")
}

/// Through a link of the image's, what is mounted would lie where it is not looked for when it is masked.
fn no_link(path: &str) -> Result<()> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    match openat2(AT_FDCWD, path, how.resolve(ResolveFlag::RESOLVE_NO_SYMLINKS)) {
        Ok(_) | Err(nix::Error::ENOENT) => Ok(()),
        Err(nix::Error::ELOOP | nix::Error::ENOTDIR) => {
            Err(Failure::text("mount", path, "the image has a link or a file where a directory must be"))
        }
        Err(errno) => Err(errno).at("look at", path),
    }
}

fn fresh(kind: &str, target: &str, flags: MsFlags, options: &str) -> Result<()> {
    let subject = || format!("{kind} on {target}");
    match mount(Some(kind), target, Some(kind), flags, Some(options)) {
        // An image without the directory: made only when it turns out to lack it.
        Err(nix::Error::ENOENT) => {
            fs::create_dir_all(target).at("create", target)?;
            mount(Some(kind), target, Some(kind), flags, Some(options)).at("mount", subject())
        }
        done => done.at("mount", subject()),
    }
}

fn attach(tree: &Tree<'_>) -> Result<()> {
    let target = &tree.bind.target;
    let path = CString::new(target.as_bytes()).at("bind on", target)?;
    match sys::move_mount(tree.fd.as_fd(), &path) {
        Err(nix::Error::ENOENT) => {
            make_target(tree)?;
            sys::move_mount(tree.fd.as_fd(), &path).at("bind on", target)
        }
        done => done.at("bind on", target),
    }
}

fn make_target(tree: &Tree<'_>) -> Result<()> {
    let target = Path::new(&tree.bind.target);
    let subject = &tree.bind.target;
    let stat = fstat(&tree.fd).at("stat", subject)?;
    if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR {
        return make_directories(target);
    }
    make_directories(target.parent().unwrap_or(Path::new("/")))?;
    let mut options = File::options();
    options.write(true).create(true).truncate(false).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(target).map(drop).at("create", subject)
}

/// With the permissions that directories usually have: the umask is clear while devices are made.
pub fn make_directories(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.at("create", path.display().to_string())
}

fn mask(cover: OwnedFd) -> Result<()> {
    // The first directory that exists takes the tree itself, the others take copies of it.
    let mut covered: Option<&str> = None;
    for path in MASKED {
        let Ok(found) = fs::metadata(path) else { continue };
        let source = match (found.is_dir(), covered) {
            (false, _) => "/dev/null",
            (true, Some(first)) => first,
            (true, None) => {
                let target = CString::new(path).at("mask", path)?;
                sys::move_mount(cover.as_fd(), &target).at("mask", path)?;
                covered = Some(path);
                continue;
            }
        };
        mount(Some(source), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).at("mask", path)?;
    }
    READ_ONLY.iter().try_for_each(|path| read_only(path))
}

fn read_only(path: &str) -> Result<()> {
    match mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>) {
        // This kernel has no such file.
        Err(nix::Error::ENOENT) => Ok(()),
        done => {
            done.at("bind", path)?;
            remount_read_only(path, INERT)
        }
    }
}

fn remount_read_only(path: &str, keep: MsFlags) -> Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | keep;
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).at("make read-only", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_options_keep_odd_paths_apart() {
        let root = Root {
            target: "/t".into(),
            layers: vec![],
            upper: "/u,p".into(),
            work: "/w".into(),
            read_only: false,
            empty: "/e".into(),
        };
        let got = overlay_options(&root, &["/a:b".into(), "/c\\d".into()]);
        assert_eq!(got, "volatile,lowerdir=/a\\:b:/c\\\\d,upperdir=/u\\,p,workdir=/w");
    }
}
