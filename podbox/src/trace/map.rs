//! The maps with their types: what the kernel's side counts, remembers and is told.

use super::load::TraceError;
use super::log::{self, Flush};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};
use podbox_common::{
    Connection, ContainerStats, Dead, EndKey, EndRecord, Firsts, OomContext, OomEvent, OwnProcess,
    ProcessKey, Timeline, VictimKey, Wire,
};

/// Lends [`Wire`] types aya's own mark for plain data.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Plain<T>(pub T);

// SAFETY: `Wire` promises what `Pod` asks for: any bytes are a valid value, and copying it is a memcpy.
unsafe impl<T: Wire> Pod for Plain<T> {}

type Hash<K, V> = HashMap<MapData, K, Plain<V>>;

/// Every map but the rings.
pub(super) struct Maps {
    pub containers: Hash<u64, ContainerStats>,
    pub dead: Hash<Plain<ProcessKey>, Dead>,
    pub victims: Hash<Plain<VictimKey>, OomEvent>,
    /// The OOM killer's work.
    pub under_way: Array<MapData, Plain<OomContext>>,
    pub ends: Hash<Plain<EndKey>, EndRecord>,
    pub firsts: Hash<u64, Firsts>,
    /// The daemon and the keeper.
    pub own: Array<MapData, Plain<OwnProcess>>,
    pub sequence: Array<MapData, u64>,
    pub losses: PerCpuArray<MapData, u64>,
}

/// The maps of probes' connections.
pub(super) struct Sockets {
    pub timelines: Hash<u64, Timeline>,
    pub unaccepted: HashMap<MapData, Plain<Connection>, u64>,
}

/// The map of who follows ordinary ends, which no podbox takes over from another.
pub(super) fn followers(ebpf: &mut Ebpf) -> Result<Array<MapData, u32>, TraceError> {
    take(ebpf, "FOLLOWERS")
}

/// The rings: one reader owns all.
pub(super) struct Rings {
    /// Exits and reapings.
    pub events: RingBuf<MapData>,
    pub oom: RingBuf<MapData>,
    pub listens: RingBuf<MapData>,
    /// Debug builds only.
    pub log: Option<Flush>,
}

impl Maps {
    pub fn take(ebpf: &mut Ebpf) -> Result<Maps, TraceError> {
        Ok(Maps {
            containers: take(ebpf, "CONTAINERS")?,
            dead: take(ebpf, "DEAD")?,
            victims: take(ebpf, "VICTIMS")?,
            under_way: take(ebpf, "OOM_UNDER_WAY")?,
            ends: take(ebpf, "ENDS")?,
            firsts: take(ebpf, "FIRSTS")?,
            own: take(ebpf, "OWN_PROCESSES")?,
            sequence: take(ebpf, "SEQUENCE")?,
            losses: take(ebpf, "LOSSES")?,
        })
    }
}

impl Sockets {
    pub fn take(ebpf: &mut Ebpf) -> Result<Sockets, TraceError> {
        Ok(Sockets { timelines: take(ebpf, "TIMELINES")?, unaccepted: take(ebpf, "UNACCEPTED")? })
    }
}

impl Rings {
    pub fn take(ebpf: &mut Ebpf) -> Result<Rings, TraceError> {
        Ok(Rings {
            log: log::open(ebpf),
            events: take(ebpf, "EVENTS")?,
            oom: take(ebpf, "OOM_EVENTS")?,
            listens: take(ebpf, "LISTEN_EVENTS")?,
        })
    }
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, TraceError> {
    let map = ebpf.take_map(name).ok_or(TraceError::Object(name))?;
    T::try_from(map).map_err(|source| TraceError::Map { map: name, source: Box::new(source) })
}
