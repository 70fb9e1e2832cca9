//! Events, by both of their kinds, which are two spellings of one: defaults, validation, and each as the other.

use super::check::{all, json, present, text};
use super::{Rules, names};
use crate::api::field::{Errors, Path};
use k8s_openapi::api::core::v1::Event as CoreEvent;
use k8s_openapi::api::events::v1::Event;
use serde::Deserialize;
use serde_json::Value;

/// The longest of an event's words.
const WORD_BYTES: usize = 128;
/// The longest text.
const NOTE_BYTES: usize = 1024;

impl Rules for CoreEvent {
    fn default(&mut self) {
        self.source.get_or_insert_default();
        self.reporting_component.get_or_insert_default();
        self.reporting_instance.get_or_insert_default();
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        common(errors, path, self);
    }
}

impl Rules for Event {
    fn default(&mut self) {
        self.deprecated_source.get_or_insert_default();
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        common(errors, path, &as_core(self));
        if self.event_time.is_none() {
            errors.required(&path.child("eventTime"), "");
        }
        let kind = text(&self.type_);
        if !["Normal", "Warning"].contains(&kind) {
            errors.invalid(&path.child("type"), kind, format!("has invalid value: {kind}"));
        }
    }

    fn validate_create(&self, errors: &mut Errors, path: &Path) {
        let why = "needs to be unset";
        let source = self.deprecated_source.as_ref();
        let sourced = source.is_some_and(|source| source.component.is_some() || source.host.is_some());
        for (field, set) in [
            ("firstTimestamp", self.deprecated_first_timestamp.is_some()),
            ("lastTimestamp", self.deprecated_last_timestamp.is_some()),
            ("count", self.deprecated_count.unwrap_or(0) != 0),
            ("source", sourced),
        ] {
            if set {
                errors.invalid(&path.child(field), "", why);
            }
        }
    }
}

/// What both kinds must have. Upstream tells it by the core's names of fields.
fn common(errors: &mut Errors, path: &Path, event: &CoreEvent) {
    let (own, theirs) = (text(&event.metadata.namespace), text(&event.involved_object.namespace));
    // What lies in no namespace is told of in the default one.
    let matches = if theirs.is_empty() { ["", "default"].contains(&own) } else { theirs == own };
    if !matches {
        let object = path.child("involvedObject");
        errors.invalid(&object.child("namespace"), theirs, "does not match event.namespace");
    }
    if event.event_time.is_none() {
        return;
    }
    let controller = text(&event.reporting_component);
    let at = path.child("reportingController");
    present(errors, &at, controller);
    if !controller.is_empty() {
        all(errors, &at, controller, names::qualified(controller));
    }
    for (field, value) in [
        ("reportingInstance", &event.reporting_instance),
        ("action", &event.action),
        ("reason", &event.reason),
    ] {
        let (at, value) = (path.child(field), text(value));
        present(errors, &at, value);
        if value.len() > WORD_BYTES {
            errors.invalid(&at, "", format!("can have at most {WORD_BYTES} characters"));
        }
    }
    if text(&event.message).len() > NOTE_BYTES {
        errors.invalid(&path.child("message"), "", format!("can have at most {NOTE_BYTES} characters"));
    }
}

/// An object of the group `events.k8s.io` in the core's words, in which both are stored. What is no event stays as it is.
pub fn to_stored(object: Value) -> Value {
    match Event::deserialize(&object) {
        Ok(event) => json(as_core(&event)),
        Err(_) => object,
    }
}

/// A stored event in the words of `events.k8s.io`.
pub fn from_stored(object: Value) -> Value {
    match CoreEvent::deserialize(&object) {
        Ok(event) => json(from_core(&event)),
        Err(_) => object,
    }
}

/// An event in the core's words.
pub fn as_core(event: &Event) -> CoreEvent {
    let event = event.clone();
    CoreEvent {
        metadata: event.metadata,
        involved_object: event.regarding.unwrap_or_default(),
        related: event.related,
        reason: event.reason,
        message: event.note,
        source: event.deprecated_source,
        first_timestamp: event.deprecated_first_timestamp,
        last_timestamp: event.deprecated_last_timestamp,
        count: event.deprecated_count,
        type_: event.type_,
        event_time: event.event_time,
        series: event.series.map(|series| k8s_openapi::api::core::v1::EventSeries {
            count: Some(series.count),
            last_observed_time: Some(series.last_observed_time),
        }),
        action: event.action,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
    }
}

/// An event of the core in the other kind's words.
pub fn from_core(event: &CoreEvent) -> Event {
    let event = event.clone();
    let said = |word: Option<String>| word.filter(|word| !word.is_empty());
    Event {
        metadata: event.metadata,
        regarding: Some(event.involved_object),
        related: event.related,
        reason: event.reason,
        note: event.message,
        deprecated_source: event.source,
        deprecated_first_timestamp: event.first_timestamp,
        deprecated_last_timestamp: event.last_timestamp,
        deprecated_count: event.count,
        type_: event.type_,
        event_time: event.event_time,
        series: event.series.and_then(|series| {
            let (count, last_observed_time) = (series.count?, series.last_observed_time?);
            Some(k8s_openapi::api::events::v1::EventSeries { count, last_observed_time })
        }),
        action: event.action,
        reporting_controller: said(event.reporting_component),
        reporting_instance: said(event.reporting_instance),
    }
}
