//! Every bound in one place: queues, sizes, waits. A limit that is reached is an error or a counter,
//! never silence.

use std::time::Duration;

/// Containers one keeper holds at the same time.
pub const CONTAINERS: usize = 2048;
/// A manifest file's size in bytes.
pub const MANIFEST_BYTES: u64 = 3 << 20;
/// Kernel events waiting for one subscriber of the event bus; an older one is dropped and counted.
pub const EVENTS_QUEUED: usize = 4096;
/// How long a keeper may take to answer one request.
pub const KEEPER_ANSWER: Duration = Duration::from_secs(10);
