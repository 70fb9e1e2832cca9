//! Loads the programs and attaches the best backend of each signal that this kernel allows.
//!
//! The ladder: tracepoints with BTF arguments and socket filters everywhere; fentry where it is not refused. One object for
//! all kernels: what differs between them comes from BTF at run time. Programs and maps go when the process goes,
//! unless they are to be kept (`pin`), which is a step of the ladder too: where they cannot be, they go all the same.

use super::btf::{Btf, BtfError};
use super::budget::Allowance;
use super::capability::{Capability, CapabilityReport, Signal};
use super::offsets;
use super::pin::{Found, Layout, Pins};
use crate::api::error::chain;
use crate::limits;
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, FEntry, FExit, Program, ProgramError, SocketFilter};
use aya::sys::{Stats, enable_stats};
use aya::{Ebpf, EbpfError, EbpfLoader};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The program that sees programs executed.
pub(super) const EXECUTIONS: &str = "process_exec";
/// How the lines begin that the verifier ends with, whatever it found.
const VERIFIER_FIGURES: [&str; 3] = ["processed ", "stack depth ", "verification time "];
const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/podbox.bpf.o"));

/// How to trace.
#[derive(Clone, Debug)]
pub struct TraceConfig {
    /// How deep in the cgroup tree container directories are; the root of the hierarchy is level 0.
    pub container_level: u32,
    /// Size of the ring of exits and reapings: a power of two, at least a page.
    pub event_ring_bytes: u32,
    /// Size of the ring of OOM victims: a power of two, at least a page.
    pub oom_ring_bytes: u32,
    /// Whether the kernel shall measure what the programs cost (some 20 ns per run).
    pub measure_cost: bool,
    /// What each program may cost before it is detached, where that is measured.
    pub allowance: Allowance,
    /// Where cgroup v2 is mounted: what is counted is compared with the files there; `None`: it is not.
    pub cgroup_root: Option<PathBuf>,
    /// The run directory below which programs and maps outlive this process, and are found again; `None`: they go with it.
    pub keep: Option<PathBuf>,
}

impl TraceConfig {
    /// The usual sizes.
    pub fn new(container_level: u32) -> TraceConfig {
        TraceConfig {
            container_level,
            event_ring_bytes: limits::EVENT_RING_BYTES,
            oom_ring_bytes: limits::OOM_RING_BYTES,
            measure_cost: true,
            allowance: Allowance::default(),
            cgroup_root: None,
            keep: None,
        }
    }
}

/// Why nothing can be traced.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The kernel does not describe its types.
    #[error("cannot read {BTF_PATH}; the kernel must be built with CONFIG_DEBUG_INFO_BTF")]
    ReadBtf(#[source] io::Error),
    /// It does, but not so that we understand it.
    #[error("the kernel's type information does not say what podbox needs")]
    Btf(#[from] BtfError),
    /// aya's own reader did not understand it.
    #[error("the kernel's type information cannot be used for loading programs")]
    LoaderBtf(#[source] Box<aya_obj::btf::BtfError>),
    /// Maps cannot be made, or the object is unfit.
    #[error("cannot create podbox's BPF maps (this takes root, or CAP_BPF and CAP_PERFMON)")]
    Maps(#[source] Box<EbpfError>),
    /// The one program without which nothing is seen.
    #[error("cannot load the BPF program {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// The object is none.
    #[error("podbox's BPF object cannot be read")]
    Unreadable(#[source] Box<aya_obj::ParseError>),
    /// The object lacks something: it was built from another source.
    #[error("podbox's BPF object has no {0}")]
    Object(&'static str),
    /// A map refused to be used.
    #[error("cannot use the BPF map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<aya::maps::MapError>,
    },
}

/// What was loaded; programs stay attached as long as this lives, or their pins do.
pub(super) struct Loaded {
    pub ebpf: Ebpf,
    pub report: CapabilityReport,
    /// The filter for probes' sockets, where it can be had.
    pub filter: Option<OwnedFd>,
    /// Keeps the kernel measuring.
    pub stats: Option<OwnedFd>,
    /// What of an earlier podbox's was there.
    pub found: Found,
    /// Where links are pinned, if they are.
    pub pins: Option<Pins>,
}

/// Loads and attaches everything that can be.
pub(super) fn load(config: &TraceConfig) -> Result<Loaded, TraceError> {
    let btf = Btf::parse(std::fs::read(Path::new(BTF_PATH)).map_err(TraceError::ReadBtf)?)?;
    let globals = offsets::resolve(&btf)?;
    let loader_btf = aya::Btf::from_sys_fs().map_err(|source| TraceError::LoaderBtf(Box::new(source)))?;
    let (ebpf, pins, survival) = create(config, &loader_btf, &globals)?;
    let mut ladder = Ladder { ebpf, btf: loader_btf, pins, kept: Vec::new() };
    let (stats, cost) = if config.measure_cost { measure() } else { (None, not_measured()) };
    let (connections, filter) = ladder.connections();
    let mut signals = vec![
        ladder.exits()?,
        ladder.senders(),
        ladder.oom_victims(&btf),
        ladder.oom_decision(),
        ladder.reaping(),
        ladder.executions(),
        ladder.listening(),
        connections,
        ladder.accepts(),
        cost,
    ];
    signals.extend(survival);
    let found = ladder.replace_earlier();
    let Ladder { ebpf, pins, .. } = ladder;
    Ok(Loaded { ebpf, report: CapabilityReport { signals }, filter, stats, found, pins })
}

/// Makes the maps, or finds those that are pinned; says whether they outlive this process, if they were to.
fn create(
    config: &TraceConfig,
    btf: &aya::Btf,
    globals: &[(String, u32)],
) -> Result<(Ebpf, Option<Pins>, Option<Capability>), TraceError> {
    let plain = || make(loader(config, btf, globals));
    let Some(run_dir) = config.keep.as_deref() else { return Ok((plain()?, None, None)) };
    let layout = Layout::of(OBJECT, config).map_err(|error| TraceError::Unreadable(Box::new(error)))?;
    let why = match Pins::open(run_dir, &layout) {
        Ok(pins) => {
            let mut loader = loader(config, btf, globals);
            for name in &layout.maps {
                loader.map_pin_path(name, pins.map(name));
            }
            match make(loader) {
                Ok(ebpf) => {
                    let survival = Capability::live(Signal::Survival, "pinned in a bpffs");
                    return Ok((ebpf, Some(pins), Some(survival)));
                }
                Err(error) => chain(&error),
            }
        }
        Err(error) => error.to_string(),
    };
    let why = format!("pinning below {}: {why}", run_dir.display());
    Ok((plain()?, None, Some(Capability::absent(Signal::Survival, why))))
}

fn loader<'a>(config: &'a TraceConfig, btf: &'a aya::Btf, globals: &'a [(String, u32)]) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .map_max_entries("EVENTS", config.event_ring_bytes)
        .map_max_entries("OOM_EVENTS", config.oom_ring_bytes)
        .override_global("CONTAINER_LEVEL", &config.container_level, true);
    for (name, offset) in globals {
        loader.override_global(name, offset, true);
    }
    loader
}

fn make(mut loader: EbpfLoader<'_>) -> Result<Ebpf, TraceError> {
    loader.load(OBJECT).map_err(|source| TraceError::Maps(Box::new(source)))
}

fn measure() -> (Option<OwnedFd>, Capability) {
    match enable_stats(Stats::RunTime) {
        Ok(fd) => (Some(fd), Capability::live(Signal::ProgramCost, "BPF_ENABLE_STATS")),
        Err(error) => (None, Capability::absent(Signal::ProgramCost, chain(&error))),
    }
}

fn not_measured() -> Capability {
    Capability::absent(Signal::ProgramCost, "not asked for".to_owned())
}

/// Loads a program and attaches it: kinds of programs have no trait in common.
macro_rules! attach {
    ($ladder:ident, $kind:ty, $name:ident, $hook:ident) => {{
        let program: &mut $kind = pick(&mut $ladder.ebpf, $name)?;
        program.load($hook, &$ladder.btf)?;
        match program.attach() {
            Ok(link) if $ladder.pins.is_some() => {
                let link = program.take_link(link)?;
                $ladder.keep($name, link.into())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                // What is not attached need not stay loaded.
                let _ = program.unload();
                Err(error)
            }
        }
    }};
}

/// The programs not yet attached.
struct Ladder {
    ebpf: Ebpf,
    btf: aya::Btf,
    /// Where links are kept, if they are.
    pins: Option<Pins>,
    /// The programs whose links are.
    kept: Vec<&'static str>,
}

impl Ladder {
    fn exits(&mut self) -> Result<Capability, TraceError> {
        self.tp_btf("process_exit", "sched_process_exit")
            .map_err(|source| TraceError::Program { program: "process_exit", source: Box::new(source) })?;
        Ok(Capability::live(Signal::Exits, "tp_btf sched_process_exit"))
    }

    fn senders(&mut self) -> Capability {
        match self.tp_btf("signal_sent", "signal_generate") {
            Ok(()) => Capability::live(Signal::Senders, "tp_btf signal_generate"),
            Err(error) => Capability::absent(Signal::Senders, refused("tp_btf signal_generate", &error)),
        }
    }

    /// The tracepoint's arguments changed once, and were carried back to some older kernels: the prototype
    /// decides, not the version.
    fn oom_victims(&mut self, btf: &Btf) -> Capability {
        let signal = Signal::OomVictims;
        let parameters = btf.tracepoint("mark_victim");
        match parameters.as_deref().map(|parameters| parameters.first()) {
            Some(Some(Some(first))) if first == "task_struct" => {
                match self.tp_btf("oom_victim", "mark_victim") {
                    Ok(()) => Capability::live(signal, "tp_btf mark_victim"),
                    Err(error) => Capability::absent(signal, refused("tp_btf mark_victim", &error)),
                }
            }
            Some(_) => Capability::absent(signal, "this kernel's mark_victim tells a pid only".to_owned()),
            None => Capability::absent(signal, "this kernel has no tracepoint mark_victim".to_owned()),
        }
    }

    fn oom_decision(&mut self) -> Capability {
        let function = "oom_kill_process";
        // The end first: a beginning without an end would leave a stale decision behind.
        let attached =
            self.fexit("oom_kill_end", function).and_then(|()| self.fentry("oom_kill_begin", function));
        match attached {
            Ok(()) => Capability::live(Signal::OomDecision, "fentry oom_kill_process"),
            Err(error) => Capability::absent(Signal::OomDecision, refused("fentry oom_kill_process", &error)),
        }
    }

    fn reaping(&mut self) -> Capability {
        let signal = Signal::Reaping;
        let Err(best) = self.fentry("zombie_released", "release_task") else {
            return Capability::live(signal, "fentry release_task");
        };
        match self.tp_btf("zombie_freed", "sched_process_free") {
            Ok(()) => Capability::reduced(
                signal,
                "tp_btf sched_process_free",
                refused("fentry release_task", &best),
                "who reaped a zombie stays unknown, and lifetimes include an RCU grace period",
            ),
            Err(error) => Capability::absent(signal, refused("tp_btf sched_process_free", &error)),
        }
    }

    /// Only to see that it can be had: it is attached again when a container is about to begin (`start`).
    fn executions(&mut self) -> Capability {
        let load = |ebpf: &mut Ebpf, btf: &aya::Btf| {
            let program: &mut BtfTracePoint = pick(ebpf, EXECUTIONS)?;
            program.load("sched_process_exec", btf)?;
            let link = program.attach()?;
            program.detach(link)
        };
        match load(&mut self.ebpf, &self.btf) {
            Ok(()) => Capability::live(Signal::Executions, "tp_btf sched_process_exec"),
            Err(error) => {
                Capability::absent(Signal::Executions, refused("tp_btf sched_process_exec", &error))
            }
        }
    }

    fn listening(&mut self) -> Capability {
        match self.tp_btf("socket_state", "inet_sock_set_state") {
            Ok(()) => Capability::live(Signal::Listening, "tp_btf inet_sock_set_state"),
            Err(error) => {
                Capability::absent(Signal::Listening, refused("tp_btf inet_sock_set_state", &error))
            }
        }
    }

    /// Loaded only: each probe attaches it to its own socket.
    fn connections(&mut self) -> (Capability, Option<OwnedFd>) {
        let load = |ebpf: &mut Ebpf| {
            let program: &mut SocketFilter = pick(ebpf, "probe_packet")?;
            program.load()?;
            program.fd()?.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)
        };
        let signal = Signal::Connections;
        match load(&mut self.ebpf) {
            Ok(filter) => (Capability::live(signal, "socket filter"), Some(filter)),
            Err(error) => (Capability::absent(signal, refused("a socket filter", &error)), None),
        }
    }

    fn accepts(&mut self) -> Capability {
        let function = "inet_csk_accept";
        match self.fexit("connection_accepted", function) {
            Ok(()) => Capability::live(Signal::Accepts, "fexit inet_csk_accept"),
            Err(error) => Capability::absent(Signal::Accepts, refused("fexit inet_csk_accept", &error)),
        }
    }

    fn tp_btf(&mut self, name: &'static str, hook: &str) -> Result<(), ProgramError> {
        attach!(self, BtfTracePoint, name, hook)
    }

    fn fentry(&mut self, name: &'static str, hook: &str) -> Result<(), ProgramError> {
        attach!(self, FEntry, name, hook)
    }

    fn fexit(&mut self, name: &'static str, hook: &str) -> Result<(), ProgramError> {
        attach!(self, FExit, name, hook)
    }

    fn keep(&mut self, program: &'static str, link: FdLink) -> Result<(), ProgramError> {
        if let Some(pins) = &self.pins {
            pins.keep(program, link)?;
            self.kept.push(program);
        }
        Ok(())
    }

    /// Detaches what an earlier podbox has attached and this one has not; what was found of it.
    fn replace_earlier(&self) -> Found {
        let Some(pins) = &self.pins else { return Found::Nothing };
        if let Err(error) = pins.detach_others(&self.kept) {
            tracing::warn!("an earlier podbox's BPF programs stay attached: {}", chain(&error));
        }
        pins.found
    }
}

pub(super) fn pick<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut T, ProgramError>
where
    &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(ProgramError::InvalidName { name: name.to_owned() })?;
    program.try_into()
}

/// Why a hook could not be had: the kernel's error, and the verifier's last word if it had any.
fn refused(hook: &str, error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return format!("{hook}: {}", chain(error));
    };
    let log = verifier_log.to_string();
    let is_figure = |line: &str| VERIFIER_FIGURES.iter().any(|begin| line.starts_with(begin));
    let is_word = |line: &&str| !line.trim().is_empty() && !is_figure(line);
    match log.lines().rfind(is_word) {
        Some(word) => format!("the kernel refuses {hook}: {io_error}: {word}"),
        None => format!("the kernel refuses {hook}: {io_error}"),
    }
}
