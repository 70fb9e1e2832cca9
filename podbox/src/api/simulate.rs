//! How simulated nodes, and the pods on them, behave: by the word of an annotation. Pure.
//!
//! ```text
//! podbox.io/simulate: silent                                of a node: it says nothing any more, and does nothing
//! podbox.io/simulate: not-ready                             of a node: it says that it is not ready
//! podbox.io/simulate: start=5s, ready=never, stop=10s       of a pod: it runs after five seconds, is never ready, and takes its time to end
//! podbox.io/simulate: run=1m, exit=1                        of a pod: its containers end after a minute, with 1
//! ```
//!
//! What cannot be read is as good as not said, and is told to who wrote it.

use super::object;
use serde_json::Value;
use std::time::Duration;

/// The annotation.
pub const ANNOTATION: &str = "podbox.io/simulate";
/// The longest time that it may name.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long containers run that end by themselves, if it is not said.
const RUN: Duration = Duration::from_secs(10);

/// How a node behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// It says that it is not ready, and does its work.
    NotReady,
    /// It says nothing and does nothing.
    Silent,
}

impl Mood {
    /// A node's.
    pub fn of(node: &Value) -> Mood {
        match said(node).map(str::trim) {
            Some("silent") => Mood::Silent,
            Some("not-ready") => Mood::NotReady,
            _ => Mood::Well,
        }
    }
}

/// How a pod fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// From when it has a node until its containers run.
    pub start: Option<Span>,
    /// From then until they are ready.
    pub ready: Option<Span>,
    /// From when they run until they end by themselves.
    pub run: Option<Span>,
    /// With this code.
    pub exit: i32,
    /// From when it is asked to go until they have ended.
    pub stop: Duration,
}

/// A time that may never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// After so long.
    After(Duration),
    /// Never.
    Never,
}

impl Span {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Span, String> {
        match text {
            "never" => Ok(Span::Never),
            text => span(text).map(Span::After),
        }
    }

    /// How long it is.
    pub fn length(self) -> Option<Duration> {
        match self {
            Span::After(length) => Some(length),
            Span::Never => None,
        }
    }
}

impl Course {
    /// Reads one; an error says what is wrong with which part.
    pub fn parse(text: &str) -> Result<Course, String> {
        let mut course = Course::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| {
                format!("{part:?} should be one of start, ready, run, stop and exit, as in run=30s")
            })?;
            let value = value.trim();
            match name.trim() {
                "start" => course.start = Some(Span::parse(value)?),
                "ready" => course.ready = Some(Span::parse(value)?),
                "run" => course.run = Some(Span::parse(value)?),
                "stop" => course.stop = span(value)?,
                "exit" => {
                    let code = value.parse().ok().filter(|code| (0..=255).contains(code));
                    course.exit = code.ok_or_else(|| format!("{value:?} is no exit code from 0 to 255"))?;
                }
                other => return Err(format!("{other:?} is none of start, ready, run, stop and exit")),
            }
        }
        Ok(course)
    }

    /// A pod's.
    pub fn of(pod: &Value) -> Course {
        said(pod).and_then(|text| Course::parse(text).ok()).unwrap_or_default()
    }

    /// How long a pod's containers run until they end by themselves, if they do.
    pub fn runs(&self, pod: &Value) -> Option<Duration> {
        match self.run {
            Some(run) => run.length(),
            None => (pod["spec"]["restartPolicy"] != "Always").then_some(RUN),
        }
    }
}

fn said(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"].get(ANNOTATION)?.as_str()
}

/// What is wrong with the annotation of a pod or of a node, for who writes it.
pub fn complaint(text: &str, of_node: bool) -> Option<String> {
    let why = match of_node {
        true if ["silent", "not-ready"].contains(&text.trim()) => return None,
        true => format!("{text:?} is none of silent and not-ready; it has no effect"),
        false => Course::parse(text).err()?,
    };
    Some(format!("metadata.annotations[{ANNOTATION}]: {why}"))
}

/// A span like `200ms`, `1.5s`, `2m` or `1h`.
fn span(text: &str) -> Result<Duration, String> {
    match object::read_duration(text) {
        None => Err(format!("{text:?} is no time like 200ms, 1.5s, 2m or 1h")),
        Some(span) if span > LONGEST => Err(format!("{text:?} is more than a week")),
        Some(span) => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(said: &str, policy: &str) -> Value {
        json!({"metadata": {"name": "p", "annotations": {ANNOTATION: said}}, "spec": {"restartPolicy": policy}})
    }

    #[test]
    fn a_pods_course_is_read_part_by_part() {
        let course = Course::of(&object("start=1.5s, ready=never,run=2m, exit=3, stop=200ms", "Never"));
        let after = |millis| Some(Span::After(Duration::from_millis(millis)));
        assert_eq!(
            (course.start, course.ready, course.run),
            (after(1500), Some(Span::Never), after(120_000))
        );
        assert_eq!((course.exit, course.stop), (3, Duration::from_millis(200)));
        assert_eq!(Course::of(&object("exit=x", "Never")), Course::default());
        for (said, policy, expected) in [
            ("", "Always", None),
            ("", "OnFailure", Some(RUN)),
            ("run=never", "Never", None),
            ("run=1s", "Always", Some(Duration::from_secs(1))),
        ] {
            let pod = object(said, policy);
            assert_eq!(Course::of(&pod).runs(&pod), expected, "{said} {policy}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_and_has_no_effect() {
        for (said, why) in [
            ("5s", "\"5s\" should be one of start"),
            ("begin=5s", "\"begin\" is none of start"),
            ("start=5", "\"5\" is no time"),
            ("start=-5s", "\"-5s\" is no time"),
            ("run=169h", "\"169h\" is more than a week"),
            ("exit=256", "\"256\" is no exit code"),
        ] {
            let told = complaint(said, false).unwrap();
            assert!(told.contains(why), "{said}: {told}");
        }
        assert_eq!(complaint("run=5s", false), None);
        assert_eq!(
            (Mood::of(&object("silent", "")), Mood::of(&object("quiet", ""))),
            (Mood::Silent, Mood::Well)
        );
        assert!(complaint("quiet", true).is_some());
        assert_eq!(complaint("not-ready", true), None);
    }
}
