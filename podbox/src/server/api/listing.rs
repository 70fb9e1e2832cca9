//! The body of a list: its objects one after another, each written when the client is ready for it.
//!
//! A list may be larger than what one would hold for it, and many may be asked for at the same time: what waits is the
//! objects themselves, which the store has anyway, and one chunk.

use super::answer::{self, Rendered, table};
use super::media::{Media, Shape};
use crate::api::kinds::Kind;
use crate::api::print::{self, Include};
use crate::api::status::ApiError;
use crate::{clock, limits};
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

/// A list on its way to a client.
pub struct Listing {
    kind: Arc<Kind>,
    media: Media,
    include: Include,
    /// Ages in a table are as of one moment.
    now: SystemTime,
    /// What comes before the first object.
    begin: Option<Bytes>,
    objects: std::vec::IntoIter<Rendered>,
    first: bool,
    over: bool,
    /// Bytes yet to be sent, where they are known without writing everything.
    left: Option<u64>,
}

/// Whether a list of a kind has its objects as they are stored.
pub fn is_copied(kind: &Kind, media: Media) -> bool {
    !media.yaml && media.shape == Shape::Whole && kind.twin.is_none()
}

/// What a list ends in.
const END: &[u8] = b"]}";

impl Listing {
    /// A list of these objects.
    pub fn new(
        kind: &Arc<Kind>,
        objects: Vec<Rendered>,
        metadata: Value,
        media: Media,
        include: Include,
    ) -> Result<Listing, ApiError> {
        let (field, around) = match media.shape {
            Shape::Table => ("rows", table(kind, metadata, true, Vec::new())),
            Shape::Partial => {
                let (list, version) = ("PartialObjectMetadataList", "meta.k8s.io/v1");
                ("items", json!({"kind": list, "apiVersion": version, "metadata": metadata}))
            }
            Shape::Whole | Shape::Aggregated => {
                let (list, version) = (format!("{}List", kind.kind), kind.api_version());
                ("items", json!({"kind": list, "apiVersion": version, "metadata": metadata}))
            }
        };
        let begin = beginning(around, field, media.yaml, objects.is_empty())?;
        let left = is_copied(kind, media).then(|| size(&begin, &objects)).flatten();
        Ok(Listing {
            kind: Arc::clone(kind),
            media,
            include,
            now: clock::wall(),
            begin: Some(begin),
            objects: objects.into_iter(),
            first: true,
            over: false,
            left,
        })
    }

    /// The next bytes; none after the last.
    fn chunk(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut bytes = BytesMut::with_capacity(limits::ANSWER_CHUNK + limits::ANSWER_CHUNK / 4);
        if let Some(begin) = self.begin.take() {
            bytes.put_slice(&begin);
        }
        while bytes.len() < limits::ANSWER_CHUNK {
            let Some(object) = self.objects.next() else {
                self.over = true;
                bytes.put_slice(if self.media.yaml { b"" } else { END });
                break;
            };
            let before = bytes.len();
            if !self.media.yaml && !std::mem::replace(&mut self.first, false) {
                bytes.put_u8(b',');
            }
            if let Err(error) = self.write(&object, &mut bytes) {
                // What the store has was written by this server, so this cannot be; and an answer has begun.
                tracing::error!("an object is left out of a list: {error}");
                bytes.truncate(before);
            }
        }
        Some(bytes.freeze())
    }

    /// Writes one object. Items have no kind of their own: the list says it.
    fn write(&self, object: &Rendered, into: &mut BytesMut) -> Result<(), ApiError> {
        let value = match (self.media.shape, object) {
            (Shape::Whole | Shape::Aggregated, Rendered::Entry(entry))
                if !self.media.yaml && self.kind.twin.is_none() =>
            {
                into.put_slice(&entry.bytes);
                return Ok(());
            }
            (Shape::Whole | Shape::Aggregated, Rendered::Entry(entry)) => {
                self.kind.from_stored(super::write::read(entry)?)
            }
            (Shape::Whole | Shape::Aggregated, Rendered::Value(value)) => value.clone(),
            (Shape::Table, object) => {
                print::row(&self.kind, &object.value(&self.kind)?, self.include, self.now)
            }
            (Shape::Partial, object) => print::partial(&object.value(&self.kind)?),
        };
        let text = answer::encode(&value, Media { yaml: self.media.yaml, ..Media::JSON })?;
        match self.media.yaml {
            true => item(&text, into),
            false => into.put_slice(&text),
        }
        Ok(())
    }
}

/// What comes before the first object: the list without its items, and the name of the field that has them.
fn beginning(around: Value, field: &str, yaml: bool, empty: bool) -> Result<Bytes, ApiError> {
    let mut around = around;
    if let Some(fields) = around.as_object_mut() {
        fields.remove(field);
    }
    let text = answer::encode(&around, Media { yaml, ..Media::JSON })?;
    let mut bytes = BytesMut::from(&*text);
    match yaml {
        true => bytes.put_slice(format!("{field}:{}\n", if empty { " []" } else { "" }).as_bytes()),
        false => {
            bytes.truncate(bytes.len() - 1);
            bytes.put_slice(format!(",\"{field}\":[").as_bytes());
        }
    }
    Ok(bytes.freeze())
}

/// An item of a YAML list: its own lines, indented.
fn item(text: &[u8], into: &mut BytesMut) {
    let mut mark: &[u8] = b"- ";
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        into.put_slice(std::mem::replace(&mut mark, b"  "));
        into.put_slice(line);
    }
}

/// How long a list is whose objects are sent as they are stored.
fn size(begin: &Bytes, objects: &[Rendered]) -> Option<u64> {
    let mut size = begin.len() + objects.len().saturating_sub(1) + END.len();
    for object in objects {
        let Rendered::Entry(entry) = object else { return None };
        size += entry.bytes.len();
    }
    u64::try_from(size).ok()
}

impl Body for Listing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.chunk();
        if let (Some(left), Some(bytes)) = (&mut self.left, &bytes) {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds::Kinds;
    use crate::store::{Entry, Key};
    use http_body_util::BodyExt;

    fn objects(number: usize) -> Vec<Rendered> {
        let made = (0..number).map(|number| {
            let text = format!(r#"{{"data":{{"a":"one\ntwo\n"}},"metadata":{{"name":"n{number}"}}}}"#);
            let key = Key::new("default", &format!("n{number}"));
            Rendered::Entry(Arc::new(Entry { key, revision: 7, bytes: text.into() }))
        });
        made.collect()
    }

    async fn written(number: usize, media: Media) -> (Option<u64>, usize, Bytes) {
        let kinds = Kinds::new();
        let kind = kinds.resource("", "v1", "configmaps").unwrap();
        let metadata = json!({"resourceVersion": "7"});
        let mut list = Listing::new(kind, objects(number), metadata, media, Include::Metadata).unwrap();
        let exact = list.size_hint().exact();
        let (mut frames, mut bytes) = (0, BytesMut::new());
        while let Some(frame) = list.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() < 2 * limits::ANSWER_CHUNK);
            bytes.put_slice(&data);
            frames += 1;
        }
        (exact, frames, bytes.freeze())
    }

    #[tokio::test]
    async fn a_list_comes_in_pieces_of_a_stated_length() {
        for number in [0, 1, 2, 5000] {
            let (exact, frames, bytes) = written(number, Media::JSON).await;
            assert_eq!(exact, Some(bytes.len() as u64), "{number} objects");
            assert!(frames > bytes.len() / limits::ANSWER_CHUNK / 2, "{frames} frames");
            let list: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), number);
            assert_eq!(
                (&list["kind"], &list["metadata"]["resourceVersion"]),
                (&json!("ConfigMapList"), &json!("7"))
            );
        }
    }

    #[tokio::test]
    async fn tables_and_metadata_and_yaml_are_the_same_lists() {
        for shape in [Shape::Whole, Shape::Table, Shape::Partial] {
            for number in [0, 3] {
                let (_, _, json) = written(number, Media { yaml: false, shape }).await;
                let (_, _, yaml) = written(number, Media { yaml: true, shape }).await;
                let json: Value = serde_json::from_slice(&json).unwrap();
                let from_yaml: Value = serde_yaml::from_slice(&yaml).unwrap();
                assert_eq!(json, from_yaml, "{}", String::from_utf8_lossy(&yaml));
                let field = if shape == Shape::Table { "rows" } else { "items" };
                assert_eq!(json[field].as_array().unwrap().len(), number, "{shape:?}");
            }
        }
    }
}
