//! Which form an answer takes: what the client accepts against what podbox can write. Pure.
//!
//! podbox writes JSON and YAML. A client that prefers protobuf names JSON as well, and gets it.

use crate::api::status::ApiError;

/// What an object or a list is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Whole,
    /// Rows and columns, for people.
    Table,
    /// Its metadata alone.
    Partial,
    /// Aggregated discovery.
    Aggregated,
}

/// What an answer is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// YAML rather than JSON.
    pub yaml: bool,
    /// The shape.
    pub shape: Shape,
}

impl Media {
    /// JSON of objects as they are.
    pub const JSON: Media = Media { yaml: false, shape: Shape::Whole };

    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match (self.yaml, self.shape) {
            (_, Shape::Aggregated) => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            (true, _) => "application/yaml",
            (false, _) => "application/json",
        }
    }
}

const FORMS: &str = "application/json, application/yaml";
const AVAILABLE: &str = "application/json, application/yaml, application/json;stream=watch";

/// The first of what `accept` names that podbox can write; `may` says which shapes the request can have.
pub fn negotiate(accept: &str, may: &[Shape]) -> Result<Media, ApiError> {
    if accept.trim().is_empty() {
        return Ok(Media::JSON);
    }
    let mut ranges: Vec<_> = accept.split(',').map(Range::parse).collect();
    // Stable: of equal weight, the first named.
    ranges.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let chosen = ranges.iter().filter(|range| range.weight > 0.0).find_map(|range| range.media(may));
    chosen.ok_or_else(|| match ranges.iter().any(|range| range.yaml().is_some()) {
        // A form that can be written, in a shape that this has not.
        true => ApiError::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {FORMS}"),
        ),
        false => {
            let message = format!("406: Not Acceptable\n\nAvailable representations: {AVAILABLE}");
            ApiError { details: serde_json::json!({}), ..ApiError::new(406, "NotAcceptable", message) }
        }
    })
}

struct Range<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Range<'a> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let weight =
            parameters.iter().find(|(key, _)| *key == "q").map(|(_, value)| value.parse().unwrap_or(0.0));
        Range { kind, parameters, weight: weight.unwrap_or(1.0) }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// Whether it is YAML rather than JSON, if it is one of them.
    fn yaml(&self) -> Option<bool> {
        match self.kind {
            "application/json" | "*/*" | "application/*" => Some(false),
            "application/yaml" => Some(true),
            _ => None,
        }
    }

    fn media(&self, may: &[Shape]) -> Option<Media> {
        let yaml = self.yaml()?;
        let shape = match (self.parameter("as"), self.parameter("g"), self.parameter("v")) {
            (None, ..) => Shape::Whole,
            (Some("Table"), Some("meta.k8s.io"), Some("v1" | "v1beta1")) => Shape::Table,
            (
                Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                Some("meta.k8s.io"),
                Some("v1" | "v1beta1"),
            ) => Shape::Partial,
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => Shape::Aggregated,
            _ => return None,
        };
        (shape == Shape::Whole || may.contains(&shape)).then_some(Media { yaml, shape })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Option<(bool, Shape)>) {
        let all = [Shape::Table, Shape::Partial];
        let got = negotiate(accept, &all).ok().map(|media| (media.yaml, media.shape));
        assert_eq!(got, expected, "{accept}");
    }

    #[test]
    fn the_first_that_can_be_written_is_chosen() {
        check("", Some((false, Shape::Whole)));
        check("*/*", Some((false, Shape::Whole)));
        check("application/vnd.kubernetes.protobuf,application/json", Some((false, Shape::Whole)));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some((false, Shape::Table)));
        check("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Some((false, Shape::Whole)));
        check("application/json;q=0.5,application/yaml", Some((true, Shape::Whole)));
        check("text/html", None);
        check("application/json;q=0", None);
        // Only what the request can have.
        check("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", None);
    }
}
