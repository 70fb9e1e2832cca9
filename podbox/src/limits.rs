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
/// Connections one HTTP listener serves at the same time; further ones wait in the kernel's backlog.
pub const CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's headers.
pub const HEADER_READ: Duration = Duration::from_secs(10);
/// Pause after a failed accept.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Event lines waiting for one client of the event stream.
pub const EVENT_LINES: usize = 64;
