//! A write on its way to the writer, with what its caller wants decided there, and the way back.

use super::WriteError;
use super::stage::{Op, Written};
use super::state::{Entry, Key, Revision};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the writer is told.
pub(super) enum Message {
    /// Write.
    Write(Command),
    /// Take nothing more, and end.
    Close,
}

/// What the writer knows of a write.
pub(super) struct Command {
    pub(super) collection: Arc<str>,
    pub(super) key: Key,
    pub(super) write: Box<dyn Pending>,
}

/// A caller's decision and its answer, whatever the type of its refusals.
pub(super) trait Pending: Send {
    /// Asks, once, what is to be done; nothing, if it refuses.
    fn decide(&mut self, current: Option<&Arc<Entry>>, next: Revision) -> Option<Op>;

    /// Answers. `None` goes to one that refused.
    fn settle(self: Box<Self>, result: Result<Option<Written>, WriteError>);
}

pub(super) type Answer<E> = Result<Result<Written, E>, WriteError>;

pub(super) struct Write<F, E> {
    decide: Option<F>,
    refused: Option<E>,
    reply: oneshot::Sender<Answer<E>>,
}

impl<F, E> Write<F, E> {
    pub(super) fn new(decide: F) -> (Write<F, E>, oneshot::Receiver<Answer<E>>) {
        let (reply, answer) = oneshot::channel();
        (Write { decide: Some(decide), refused: None, reply }, answer)
    }
}

impl<F, E> Pending for Write<F, E>
where
    F: FnOnce(Option<&Arc<Entry>>, Revision) -> Result<Op, E> + Send,
    E: Send,
{
    fn decide(&mut self, current: Option<&Arc<Entry>>, next: Revision) -> Option<Op> {
        let decide = self.decide.take()?;
        decide(current, next).map_err(|error| self.refused = Some(error)).ok()
    }

    fn settle(self: Box<Self>, result: Result<Option<Written>, WriteError>) {
        let answer = match (result, self.refused) {
            (Err(error), _) => Err(error),
            (Ok(_), Some(refused)) => Ok(Err(refused)),
            (Ok(Some(written)), None) => Ok(Ok(written)),
            // It panicked; whoever waits learns that there is no answer.
            (Ok(None), None) => return,
        };
        // Whoever asked may have gone.
        drop(self.reply.send(answer));
    }
}
