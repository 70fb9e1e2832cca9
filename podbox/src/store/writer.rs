//! The writer: one thread that takes what waits, checks it, makes it durable in one transaction, and tells.
//!
//! ```text
//!   waiting ──stage──▶ staged ──commit──▶ durable ──publish──▶ seen by readers ──▶ answered, watchers woken
//!                         │ the disk refuses
//!                         ├──▶ it surely is not on disk: answered with the error
//!                         └──▶ nobody can tell: answered with the error, and kept in `doubt`
//! ```
//!
//! What is in doubt is settled by what the file says once it can be read again, before anything else is written: so
//! memory and disk never part. A conflict too is only told once what it conflicts with is durable.

use super::announce::Announcer;
use super::command::{Command, Message};
use super::disk::{Commit, Disk, DiskError};
use super::stage::{Staged, Written};
use super::{Shared, WriteError};
use crate::{clock, limits, metrics as table};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// Starts the thread. It ends when every sender is gone or asks it to, after the last write; `alive` is dropped then.
pub(super) fn spawn(
    shared: Arc<Shared>,
    disk: Disk,
    queue: mpsc::Receiver<Message>,
    alive: watch::Sender<()>,
) -> Result<(), DiskError> {
    let announcer = Announcer::spawn(Arc::clone(&shared))?;
    let run = move || {
        let mut writer = Writer { shared, announcer, disk, doubt: None };
        writer.run(queue);
        // The file is closed before anyone is told.
        drop(writer);
        drop(alive);
    };
    std::thread::Builder::new().name("store".into()).spawn(run).map(drop).map_err(DiskError::Thread)
}

struct Writer {
    shared: Arc<Shared>,
    announcer: Announcer,
    disk: Disk,
    /// A batch of which nobody knows whether it is on disk.
    doubt: Option<Staged>,
}

/// A write that was staged, and what is to be answered once the batch is durable.
type Waiting = (Command, Option<Written>);

/// How long a batch waits for further writes. Where a commit takes less time than it takes to compute the next writes, each few
/// would have a commit of their own, and wake whoever follows the store. So the writer naps until as many are there as came
/// together before, and learns how many those are: more, if a nap beyond them brings some; fewer, if one brings none.
/// A write that comes alone, as most do, waits for nobody.
struct Linger {
    /// As many come together.
    target: usize,
    batches: usize,
    /// How many there were before the last nap, and until when this batch naps.
    before: usize,
    until: Option<Instant>,
}

impl Linger {
    fn new() -> Linger {
        Linger { target: 1, batches: 0, before: 0, until: None }
    }

    /// Another batch begins.
    fn begin(&mut self) {
        self.batches = self.batches.wrapping_add(1);
        (self.before, self.until) = (0, None);
    }

    /// Naps if more than the `have` writes that are there are about to come; tells whether it did. It naps rather than wait for the
    /// next write, which would have each of them wake the writer.
    fn more(&mut self, have: usize) -> bool {
        let now = clock::instant();
        if have == self.before {
            self.target = have.max(self.target - (self.target / 4).max(1));
            return false;
        }
        let tries = have >= limits::STORE_TOGETHER && self.batches.is_multiple_of(limits::STORE_TRY_EACH);
        if have >= self.target && !tries || self.until.is_some_and(|until| now >= until) {
            self.target = self.target.max(have);
            return false;
        }
        self.until.get_or_insert(now + limits::STORE_LINGER);
        self.before = have;
        std::thread::sleep(limits::STORE_NAP);
        true
    }
}

impl Writer {
    fn run(&mut self, mut queue: mpsc::Receiver<Message>) {
        let mut linger = Linger::new();
        while let Some(first) = queue.blocking_recv() {
            let settled = self.settle();
            let mut staged = Staged::new(&self.shared.read());
            let mut waiting = Vec::new();
            let mut next = Some(first);
            linger.begin();
            while let Some(message) = next.take() {
                match (message, &settled) {
                    (Message::Write(command), Ok(())) => waiting.push(self.stage(&mut staged, command)),
                    (Message::Write(command), Err(error)) => {
                        command.write.settle(Err(WriteError::Disk(Arc::clone(error))));
                    }
                    // What already waits is still done.
                    (Message::Close, _) => queue.close(),
                }
                if waiting.len() < limits::STORE_BATCH && staged.bytes() < limits::STORE_BATCH_BYTES {
                    next = queue.try_recv().ok();
                    if next.is_none() && settled.is_ok() && linger.more(waiting.len()) && !queue.is_closed() {
                        next = queue.try_recv().ok();
                    }
                }
            }
            self.finish(staged, waiting);
        }
    }

    /// Asks a write what it wants. One that panics gets no answer; the others do.
    fn stage(&self, staged: &mut Staged, mut command: Command) -> Waiting {
        let (collection, key) = (Arc::clone(&command.collection), command.key.clone());
        let state = self.shared.read();
        let add = || staged.add(&state, collection, key, |current, next| command.write.decide(current, next));
        let written = catch_unwind(AssertUnwindSafe(add)).unwrap_or_else(|_| {
            tracing::error!("a write to {} {} panicked and was dropped", command.collection, command.key);
            None
        });
        (command, written)
    }

    fn finish(&mut self, staged: Staged, waiting: Vec<Waiting>) {
        let done = match staged.changes() {
            [] => Ok(BTreeSet::new()),
            _ => self.commit(staged),
        };
        for (command, written) in waiting {
            command.write.settle(match &done {
                Ok(_) => Ok(written),
                Err(error) => Err(WriteError::Disk(Arc::clone(error))),
            });
        }
        // After the answers, which are waited for.
        if let Ok(touched) = done {
            self.announcer.announce(&touched);
        }
    }

    /// Makes a batch durable and visible; tells which collections it touched.
    fn commit(&mut self, staged: Staged) -> Result<BTreeSet<Arc<str>>, Arc<DiskError>> {
        let began = clock::instant();
        let done = self.disk.commit(staged.revision(), staged.changes());
        ::metrics::histogram!(table::STORE_COMMIT_SECONDS).record(clock::instant().duration_since(began));
        // As zero, too: of a counter that begins with its first event, no rate tells that one.
        let failed = !matches!(done, Commit::Done);
        ::metrics::counter!(table::STORE_COMMIT_FAILURES).increment(u64::from(failed));
        let error = match done {
            Commit::Done => {
                *self.shared.trouble() = None;
                return Ok(self.shared.publish(staged.into_changes()));
            }
            Commit::Refused(error) => error,
            Commit::Unknown(error) => {
                self.doubt = Some(staged);
                error
            }
        };
        let why = crate::api::error::chain(&error);
        tracing::error!("writing to the store failed: {why}");
        *self.shared.trouble() = Some(why);
        Err(Arc::new(error))
    }

    /// Finds out about what is in doubt.
    fn settle(&mut self) -> Result<(), Arc<DiskError>> {
        let Some(doubt) = &self.doubt else { return Ok(()) };
        let before = self.shared.read().revision();
        let there = self.disk.settle(before, doubt.revision())?;
        let doubt = self.doubt.take();
        if let Some(staged) = doubt.filter(|_| there) {
            tracing::warn!("writes that were answered with an error turned out to be on disk; they count");
            let touched = self.shared.publish(staged.into_changes());
            self.announcer.announce(&touched);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches, each of as many writes as come: `first`, and in each nap so many of `naps`. How many each has, and how often the
    /// writer napped in all of them.
    fn batches(linger: &mut Linger, count: usize, first: usize, naps: &[usize]) -> (Vec<usize>, usize) {
        let (mut sizes, mut napped) = (Vec::new(), 0);
        for _ in 0..count {
            linger.begin();
            let (mut have, mut coming) = (first, naps.iter());
            while linger.more(have) {
                napped += 1;
                have += coming.next().copied().unwrap_or(0);
            }
            sizes.push(have);
        }
        (sizes, napped)
    }

    #[test]
    fn a_batch_waits_for_those_that_come_and_for_nobody_else() {
        let mut linger = Linger::new();
        // One client, and few: never.
        assert_eq!(batches(&mut linger, 1000, 1, &[]).1, 0);
        assert_eq!(batches(&mut linger, 1000, limits::STORE_TOGETHER - 1, &[]).1, 0);
        // Those that are all there already, and more: hardly ever.
        let (_, napped) = batches(&mut linger, 1000, 16, &[]);
        assert!(napped <= 1000 / limits::STORE_TRY_EACH + 1, "{napped}");
        // Many that are being computed: it finds out, and they come together.
        let (sizes, _) = batches(&mut linger, 1000, limits::STORE_TOGETHER, &[3, 3, 3]);
        let together = sizes.iter().filter(|size| **size > 2 * limits::STORE_TOGETHER).count();
        assert!(together > 900, "{together}");
        // And when they come no more, it forgets them soon.
        let (_, napped) = batches(&mut linger, 1000, 1, &[]);
        assert!(napped < 20, "{napped}");
    }
}
