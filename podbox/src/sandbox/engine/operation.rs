//! What the engine does, counted and timed as a kubelet counts what it asks of its runtime.

use super::EngineError;
use crate::{clock, metrics};
use std::future::Future;

/// Does it. `name` is the kubelet's.
pub(super) async fn counted<T>(
    name: &'static str,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let began = clock::instant();
    let done = work.await;
    ::metrics::counter!(metrics::OPERATIONS, "operation_type" => name).increment(1);
    if done.is_err() {
        ::metrics::counter!(metrics::OPERATIONS_FAILED, "operation_type" => name).increment(1);
    }
    ::metrics::histogram!(metrics::OPERATION_SECONDS, "operation_type" => name)
        .record(clock::instant() - began);
    done
}
