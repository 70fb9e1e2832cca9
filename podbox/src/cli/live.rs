//! The live table of `podbox run`: redrawn in place on a terminal, a line per change elsewhere.
//!
//! Rendering is pure; only [`Screen`] writes. It never clears more lines than it drew.

use super::table;
use crate::api::identity::PodRef;
use crate::node::view::{PodView, containers};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Tells how wide the terminal is that standard output reaches by way of something that is none, such as a virtual
/// machine's port: `cargo xtask run` sets it.
const COLUMNS: &str = "PODBOX_COLUMNS";

const HEADER: &[&str] = &["POD", "CONTAINER", "STATE", "RESTARTS", "IP", "LAST KERNEL EVENT"];

/// Every pod's view.
pub type Pods = BTreeMap<PodRef, PodView>;

/// Lines that the frame on the terminal takes; none when there is no frame. Of the process, since log lines
/// must know it too.
static DRAWN: Mutex<usize> = Mutex::new(0);

/// Writes log lines above the table: takes the frame away first; the next one is drawn below them.
#[derive(Debug)]
pub struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
        if *drawn > 0 {
            io::stdout().write_all(rewind(*drawn).as_bytes())?;
            io::stdout().flush()?;
            *drawn = 0;
        }
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Where the table goes.
#[derive(Debug)]
pub struct Screen {
    /// What [`COLUMNS`] tells.
    told: Option<usize>,
    /// The rows of the last frame; off a terminal only changed ones are printed.
    rows: Vec<Vec<String>>,
}

impl Screen {
    /// Standard output, as it is.
    pub fn stdout() -> Self {
        Screen {
            told: std::env::var(COLUMNS).ok().and_then(|columns| columns.parse().ok()),
            rows: Vec::new(),
        }
    }

    /// How wide the terminal is now; none if there is none.
    fn columns(&self) -> Option<usize> {
        let own = io::stdout().is_terminal().then(|| usize::from(console::Term::stdout().size().1));
        own.or(self.told)
    }

    /// Shows the pods as they are now.
    pub fn show(&mut self, pods: &Pods) -> io::Result<()> {
        let rows = rows(pods);
        let columns = self.columns();
        let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
        if rows == self.rows && (*drawn > 0 || columns.is_none()) {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if let Some(width) = columns {
            let frame = table::render(HEADER, &rows);
            write!(out, "{}", rewind(*drawn))?;
            for line in frame.lines() {
                writeln!(out, "{}", clip(line, width))?;
            }
            *drawn = frame.lines().count();
        } else {
            for row in rows.iter().filter(|row| !self.rows.contains(row)) {
                writeln!(out, "{}", sentence(row))?;
            }
        }
        self.rows = rows;
        out.flush()
    }
}

/// Moves to the first line of the last frame and clears from there.
fn rewind(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\x1b[J") }
}

fn clip(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

fn sentence(row: &[String]) -> String {
    let [pod, container, state, restarts, ip, event] = row else { return row.join(" ") };
    let mut line = format!("{pod} {container}: {state}");
    if restarts != "0" {
        line.push_str(&format!(", restarts: {restarts}"));
    }
    if ip != "-" {
        line.push_str(&format!(", {ip}"));
    }
    if event != "-" {
        line.push_str(&format!(", kernel: {event}"));
    }
    line
}

fn rows(pods: &Pods) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (pod, view) in pods {
        let ip = view.status.pod_ip.clone().unwrap_or_else(|| "-".into());
        let mut any = false;
        for container in containers(&view.status) {
            any = true;
            let event =
                view.events.get(&container.name).map_or_else(|| "-".into(), |event| event.text.clone());
            let (state, restarts) = (state_text(container), container.restart_count.to_string());
            rows.push(vec![pod.to_string(), container.name.clone(), state, restarts, ip.clone(), event]);
        }
        if !any {
            let phase = view.status.phase.clone().unwrap_or_else(|| "Pending".into());
            rows.push([pod.to_string().as_str(), "-", &phase, "0", &ip, "-"].map(str::to_owned).to_vec());
        }
    }
    rows
}

/// A container's state as kubectl words it.
fn state_text(container: &ContainerStatus) -> String {
    match &container.state {
        Some(ContainerState { running: Some(_), .. }) => "Running".into(),
        Some(ContainerState { terminated: Some(ended), .. }) => {
            let reason = ended.reason.clone().unwrap_or_else(|| "Terminated".into());
            match (ended.exit_code, ended.signal) {
                (0, _) => reason,
                (code, _) => format!("{reason} ({code})"),
            }
        }
        Some(ContainerState { waiting: Some(waiting), .. }) => {
            waiting.reason.clone().unwrap_or_else(|| "Waiting".into())
        }
        _ => "Waiting".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::view::LastEvent;
    use k8s_openapi::api::core::v1::{ContainerStateTerminated, PodStatus};

    #[test]
    fn a_row_tells_state_restarts_and_the_kernels_word() {
        let pod = PodRef { namespace: "default".into(), name: "hog".into(), uid: "u".into() };
        let ended = ContainerStateTerminated {
            exit_code: 137,
            reason: Some("OOMKilled".into()),
            ..Default::default()
        };
        let container = ContainerStatus {
            name: "eater".into(),
            restart_count: 2,
            state: Some(ContainerState { terminated: Some(ended), ..Default::default() }),
            ..Default::default()
        };
        let status = PodStatus {
            pod_ip: Some("10.85.0.2".into()),
            container_statuses: Some(vec![container]),
            ..Default::default()
        };
        let events = BTreeMap::from([(
            "eater".to_owned(),
            LastEvent { text: "OOM kill".into(), attempt: 1, oom: true },
        )]);
        let rows = rows(&BTreeMap::from([(pod, PodView { status, events, ..PodView::default() })]));
        assert_eq!(
            sentence(&rows[0]),
            "default/hog eater: OOMKilled (137), restarts: 2, 10.85.0.2, kernel: OOM kill"
        );
    }
}
