//! A container's last words: what it left in its termination message file, or else, if it wants that and failed, at the
//! end of its log. Read before the container is taken away; bounded as the kubelet bounds it.

use super::Node;
use super::logs;
use super::record::PodRecord;
use crate::api::error::chain;
use crate::api::identity::ContainerRef;
use crate::limits;
use crate::pod::compose;
use crate::sandbox::runtime::Runtime;

/// Of a run that ended with this exit code. Nothing is lost with them but themselves, so a failure is told in their place.
pub async fn last<R: Runtime, I>(
    node: &Node<R, I>,
    pod: &PodRecord,
    run: &ContainerRef,
    code: i32,
) -> String {
    let own = match node.runtime.termination_message(run, limits::TERMINATION_MESSAGE).await {
        Ok(bytes) => bytes,
        Err(error) => return format!("Error on reading termination log: {}", chain(&error)),
    };
    if !own.is_empty() || code == 0 || !pod.falls_back_to_logs(&run.name) {
        return String::from_utf8_lossy(&own).into_owned();
    }
    let path = compose::log_path(&node.facts, run);
    let (lines, bytes) = (limits::TERMINATION_LOG_LINES, limits::TERMINATION_LOG);
    match tokio::task::spawn_blocking(move || logs::tail(&path, lines, bytes)).await {
        Ok(Ok(text)) => String::from_utf8_lossy(&text).into_owned(),
        // Its log says what it says.
        Ok(Err(_)) | Err(_) => String::new(),
    }
}
