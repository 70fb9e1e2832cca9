//! Wakes when processes begin to wait for memory: a trigger on the kernel's own measure of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const FILE: &str = "/proc/pressure/memory";
/// Some process waited for 100 ms of a second. The kernel takes the last byte for the text's end.
const TRIGGER: &[u8] = b"some 100000 1000000\0";

/// A trigger. It goes with its descriptor.
#[derive(Debug)]
pub(super) struct Stall(AsyncFd<File>);

impl Stall {
    /// Sets it; an error where the kernel does not measure.
    pub(super) fn new() -> io::Result<Stall> {
        let mut file = OpenOptions::new().read(true).write(true).open(FILE)?;
        file.write_all(TRIGGER)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; this does not"
        )]
        let file = AsyncFd::with_interest(file, Interest::PRIORITY)?;
        Ok(Stall(file))
    }

    /// Waits until it happens, once a second at most.
    pub(super) async fn wait(&self) -> io::Result<()> {
        let mut ready = self.0.ready(Interest::PRIORITY).await?;
        ready.clear_ready();
        Ok(())
    }
}
