//! Does steps, measures each, and takes them back in reverse when one fails. It decides nothing: order and
//! content come from `plan`.
//!
//! Invariant: after an error from [`Hands::apply`] nothing of the plan is left, or the error says what.

use super::cgroup::{self, CgroupError};
use super::client::{Client, ClientError, Reply};
use super::device::{DeviceError, DevicePolicy};
use super::files;
use super::link::{self, LinkError, LinkSpec};
use super::message::Body;
use super::netns::{self, NetnsError, PinSpec, Pinned};
use super::ownership;
use super::step::{Lane, Step, Undo};
use super::timing::{self, OnCgroup, OnVolume};
use super::tree;
use crate::api::attribution::Attribution;
use crate::api::error::chain;
use crate::api::plugin::Plugin;
use crate::api::startup::Lap;
use crate::net::masquerade::NftError;
use crate::net::nat;
use crate::{clock, metrics as table};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why one step, or taking it back, failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A file or a mount.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file, a directory or a mount that stays.
    #[error("cannot remove {}", .0.display())]
    Stays(PathBuf, #[source] io::Error),
    /// A cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Namespaces.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The node has no bridge.
    #[error("there is no bridge {0:?} on this host")]
    NoBridge(String),
    /// A link needs namespaces pinned before it, in the same plan.
    #[error("no network namespace was pinned for it")]
    NoNamespace,
    /// Ports of the node.
    #[error(transparent)]
    Ports(#[from] NftError),
    /// The device policy.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] ClientError),
    /// A test asked for it.
    #[error("failed on purpose")]
    Injected,
}

/// Why a plan was not carried out.
#[derive(Debug, thiserror::Error)]
#[error("{step} {subject:?}{}", left_text(.left))]
pub struct ApplyError {
    /// The step that failed.
    pub step: &'static str,
    /// What it worked on.
    pub subject: String,
    /// Why.
    #[source]
    pub source: StepError,
    /// What could not be taken back.
    pub left: Vec<StepError>,
}

fn left_text(left: &[StepError]) -> String {
    left.iter().map(|error| format!(" (and then: {})", chain(error))).collect()
}

/// What steps are done with.
pub struct Hands<'a> {
    /// The keeper.
    pub keeper: &'a Client,
    /// Who is told of cgroups.
    pub attribution: &'a dyn Attribution,
    /// The device policy.
    pub devices: &'a DevicePolicy,
    /// The bridge that links go to.
    pub bridge: &'a str,
    /// Largest packet of a link.
    pub mtu: u32,
    /// What makes the volumes that these steps are about, by where they are.
    pub volumes: BTreeMap<PathBuf, Plugin>,
    /// Fail at the step of this index: for tests of what is left then.
    pub fail_at: Option<usize>,
}

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("bridge", &self.bridge).finish_non_exhaustive()
    }
}

/// What a plan came to.
#[derive(Debug)]
pub struct Applied {
    /// The keeper's reply, if it launched.
    pub reply: Option<Reply>,
    /// How long each part of it took, of those that are stages of a pod's way.
    pub laps: Vec<Lap>,
}

/// A step that was done.
struct Done<'s> {
    step: &'s Step,
    /// By the time since boot.
    began: Duration,
    took: Duration,
}

/// What one lane came to: the keeper's reply, if it launched, and how many of its steps were done.
type LaneResult = Result<Option<Reply>, (&'static str, String, StepError)>;

impl Hands<'_> {
    /// Does every step, or none. Blocking.
    pub fn apply(&self, steps: &[Step]) -> Result<Applied, Box<ApplyError>> {
        let lane = |lane| -> Vec<_> { steps.iter().enumerate().filter(|(_, s)| s.lane() == lane).collect() };
        let (network, ground, last) = (lane(Lane::Network), lane(Lane::Ground), lane(Lane::Last));
        let mut done = [Vec::new(), Vec::new(), Vec::new()];
        let [done_last, done_network, done_ground] = &mut done;
        let (first, second) = if network.is_empty() {
            (Ok(None), self.run(&ground, done_ground))
        } else {
            std::thread::scope(|scope| {
                let beside = scope.spawn(|| self.run(&network, done_network));
                let here = self.run(&ground, done_ground);
                (beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), here)
            })
        };
        let both = first.and(second);
        let all = both.and_then(|reply| Ok(self.run(&last, done_last)?.or(reply)));
        match all {
            Ok(reply) => Ok(Applied { reply, laps: laps(done.iter().flatten()) }),
            Err((step, subject, source)) => {
                let undone =
                    done.iter().flat_map(|lane| lane.iter().rev()).filter_map(|done| done.step.inverse());
                Err(Box::new(ApplyError { step, subject, source, left: self.undo(undone) }))
            }
        }
    }

    fn run<'s>(&self, steps: &[(usize, &'s Step)], done: &mut Vec<Done<'s>>) -> LaneResult {
        let mut pinned = None;
        let mut reply = None;
        let mut filling = Duration::ZERO;
        for (place, (index, step)) in steps.iter().enumerate() {
            let began = clock::boot();
            let result = match self.fail_at {
                Some(at) if at == *index => Err(StepError::Injected),
                _ => self.step(step, &mut pinned, &mut reply),
            };
            let took = clock::boot().saturating_sub(began);
            ::metrics::histogram!(table::SANDBOX_STEP_SECONDS, "step" => step.name()).record(took);
            let next = steps.get(place + 1).map(|(_, next)| *next);
            self.tell_volume((step, next), result.is_ok(), took, &mut filling);
            result.map_err(|error| (step.name(), step.subject(), error))?;
            done.push(Done { step, began, took });
        }
        Ok(reply)
    }

    /// Tells how long a volume took, once the last of its steps is done, or one has failed. They are next to each other; `filling`
    /// is what those before this one took.
    fn tell_volume(
        &self,
        (step, next): (&Step, Option<&Step>),
        well: bool,
        took: Duration,
        filling: &mut Duration,
    ) {
        let directory = step.directory();
        let Some(plugin) = directory.and_then(|directory| self.volumes.get(directory)) else { return };
        *filling += took;
        if let Step::GiveGroup { .. } = step {
            timing::volume(OnVolume::GiveGroup, *plugin, well, took);
        }
        if !well || next.and_then(Step::directory) != directory {
            timing::volume(OnVolume::Mount, *plugin, well, std::mem::take(filling));
        }
    }

    fn step(
        &self,
        step: &Step,
        pinned: &mut Option<Pinned>,
        reply: &mut Option<Reply>,
    ) -> Result<(), StepError> {
        match step {
            Step::MakeDirectory { path, mode } => make_directory(path, *mode)?,
            Step::MountTmpfs { target, size, mode, exec, swap } => {
                mount_tmpfs(target, *size, *mode, (*exec, *swap))?;
            }
            Step::WriteFile { path, bytes, mode } => write_file(path, bytes, *mode)?,
            Step::FillVolume { path, files, memory, group } => {
                files::replace(path, files, *memory, *group, clock::wall()).map(drop)?;
            }
            Step::GiveGroup { path, group } => ownership::give(path, group)?,
            Step::MakeCgroup { path, settings, delegate } => {
                timing::cgroup(OnCgroup::Create, || cgroup::create(path, settings, delegate))?;
            }
            Step::PinNamespaces { dir, hostname, network, ipc } => {
                let spec = PinSpec { hostname: hostname.clone(), network: *network, ipc: *ipc };
                *pinned = Some(netns::pin(dir, &spec)?);
            }
            Step::SetSysctls { dir, settings } => netns::configure(dir, settings)?,
            Step::AttachLink { host_name, address, prefix_len, gateway } => {
                let pod = pinned.as_ref().and_then(|pinned| pinned.net.as_ref());
                let bridge_index = nix::net::if_::if_nametoindex(self.bridge)
                    .map_err(|_| StepError::NoBridge(self.bridge.to_owned()))?;
                let (host_name, mtu) = (host_name.clone(), self.mtu);
                let (address, prefix_len, gateway) = (*address, *prefix_len, *gateway);
                let spec = LinkSpec { host_name, bridge_index, address, prefix_len, gateway, mtu };
                link::attach(pod.ok_or(StepError::NoNamespace)?, &spec)?;
            }
            Step::ForwardPorts { target, forwards } => nat::add(*target, forwards)?,
            Step::Pause(pause) => drop(self.keeper.request(Body::Pause(pause.clone()), &[])?),
            Step::AllowDevices { cgroup } => self.devices.attach(cgroup)?,
            Step::Register { cgroup, container } => {
                self.attribution.register(cgroup::id(cgroup)?, container);
            }
            Step::Launch(launch) => {
                *reply = Some(self.keeper.request(Body::Start(launch.clone()), &[])?);
            }
        }
        Ok(())
    }

    /// Takes back, in this order, going on whatever happens. Returns what failed.
    pub fn undo(&self, undos: impl IntoIterator<Item = Undo>) -> Vec<StepError> {
        undos.into_iter().filter_map(|undo| self.undo_timed(&undo).err()).collect()
    }

    fn undo_timed(&self, undo: &Undo) -> Result<(), StepError> {
        let began = clock::boot();
        let undone = self.undo_one(undo);
        if let Undo::Remove(path) | Undo::Unmount(path) = undo
            && let Some(plugin) = self.volumes.get(path)
        {
            let took = clock::boot().saturating_sub(began);
            timing::volume(OnVolume::Unmount, *plugin, undone.is_ok(), took);
        }
        undone
    }

    fn undo_one(&self, undo: &Undo) -> Result<(), StepError> {
        let stays = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| StepError::Stays(path, error)
        };
        match undo {
            Undo::Remove(path) => remove(path).map_err(stays(path))?,
            Undo::Unmount(target) => unmount(target).map_err(stays(target))?,
            Undo::RemoveCgroup(path) => timing::cgroup(OnCgroup::Destroy, || cgroup::remove(path))?,
            Undo::Unpin(dir) => netns::unpin(dir)?,
            Undo::DetachLink(name) => link::detach(name)?,
            Undo::ClosePorts { target, forwards } => nat::remove(*target, forwards)?,
            Undo::Unregister(path) => {
                // One that is gone has no id to ask for; that it is gone shows in the tracer's own looks.
                if let Ok(id) = cgroup::id(path) {
                    self.attribution.forget(id);
                }
            }
            Undo::Forget { id, cgroup } => self.forget(id, cgroup)?,
        }
        Ok(())
    }

    fn forget(&self, id: &str, group: &Path) -> Result<(), StepError> {
        let mut ending = self.keeper.watch(id);
        cgroup::kill(group)?;
        cgroup::wait_empty(group)?;
        // A dead process is in no cgroup; that the keeper has reaped it comes a moment later.
        let forgotten = match self.keeper.command(Body::Forget { id: id.to_owned() }) {
            // Its end may have come between the two: then this does not wait, and only asks again.
            Err(ClientError::Failed(_)) => {
                self.wait_end(&mut ending);
                self.keeper.command(Body::Forget { id: id.to_owned() })
            }
            done => done,
        };
        self.keeper.unwatch(id);
        Ok(forgotten?)
    }

    fn wait_end(&self, ending: &mut super::client::Ending) {
        let limit = crate::limits::KEEPER_ANSWER;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A closed channel or a passed limit shows in the request that follows.
            let _ = runtime.block_on(tokio::time::timeout(limit, ending.wait_for(Option::is_some)));
        }
    }
}

/// One for each stage: its steps together, whatever else was done between them.
fn laps<'s>(done: impl Iterator<Item = &'s Done<'s>>) -> Vec<Lap> {
    let mut laps: Vec<Lap> = Vec::new();
    for Done { step, began, took } in done {
        let Some(stage) = step.stage() else { continue };
        match laps.iter_mut().find(|lap| lap.stage == stage) {
            Some(lap) => (lap.began, lap.took) = (lap.began.min(*began), lap.took + *took),
            None => laps.push(Lap { stage, began: *began, took: *took }),
        }
    }
    laps
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    // The umask has taken bits away.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn mount_tmpfs(target: &Path, size: Option<u64>, mode: u32, (exec, swap): (bool, bool)) -> io::Result<()> {
    make_directory(target, 0o700)?;
    let size = size.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let options = format!("mode={mode:o}{size}");
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_NOEXEC, !exec);
    let mounted = |options: &str| mount(Some("podbox"), target, Some("tmpfs"), flags, Some(options));
    let mounted = match swap {
        true => mounted(&options),
        // A kernel that does not know the word has no other.
        false => mounted(&format!("{options},noswap")).or_else(|_| mounted(&options)),
    };
    mounted.map_err(|errno| {
        let _ = fs::remove_dir(target);
        errno.into()
    })
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.set_permissions(Permissions::from_mode(mode)).and_then(|()| file.write_all(bytes));
    written.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

fn remove(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_dir() { tree::remove(path) } else { fs::remove_file(path) }
}

fn unmount(target: &Path) -> io::Result<()> {
    match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => remove(target),
        Err(error) => Err(error.into()),
    }
}
