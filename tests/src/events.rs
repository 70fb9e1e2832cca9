//! Kernel events as `podbox events -o json` prints them.

use serde_json::Value;

use crate::host::Host;
use crate::run::Run;

/// A running `podbox events -o json`.
#[derive(Debug)]
pub struct Events(Run);

impl Events {
    /// Subscribes, and returns once it has begun: an event of `beacon`, a container that starts processes all the time,
    /// has come.
    pub fn follow(host: &Host, beacon: &str) -> Events {
        let mut command = host.podbox();
        command.args(["events", "-o", "json"]);
        let mut events = Events(Run::start(command, &host.dir));
        events.wait("an event of the beacon", |event| event["container"] == beacon);
        events
    }

    /// The events so far, in their order.
    pub fn all(&self) -> Vec<Value> {
        parse(&self.0.said())
    }

    /// Waits for one like this.
    pub fn wait(&mut self, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let said = self.0.reader();
        self.0.wait_for(what, || {
            seen = parse(&said());
            seen.iter().find(|event| like(event)).cloned()
        })
    }

    /// Waits until it has ended by itself, since podbox did; the events of all its life.
    pub fn end(self) -> Vec<Value> {
        parse(&self.0.end().expect(0).out)
    }
}

fn parse(text: &str) -> Vec<Value> {
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line:?}: {why}")))
        .collect()
}
