//! Bodies against the recordings, and whatever bytes there are.

use super::{FieldValidation, Format, Target, body, document, patched};
use crate::api::kinds::Kinds;
use crate::api::recorded;
use proptest::prelude::*;
use serde_json::{Value, json};

fn pod(bytes: &[u8]) -> Result<super::Decoded, crate::api::status::ApiError> {
    body(bytes, Format::Json, &Target::named("", "v1", "Pod"), FieldValidation::Strict)
}

fn refused(spec: &Value) -> String {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "spec": spec});
    pod(object.to_string().as_bytes()).unwrap_err().message
}

/// Words by which upstream says that a body could not be decoded.
const UNDECODED: &[&str] = &["cannot be handled as", "is unrecognized (must be"];

#[test]
fn recorded_bodies_are_taken_and_refused_as_recorded() {
    let kinds = Kinds::new();
    let (mut compared, mut skipped) = (0, 0);
    for line in
        ["defaulting.jsonl", "validation.jsonl", "metadata.jsonl"].iter().flat_map(|f| recorded::lines(f))
    {
        let request = &line["request"];
        let kind = request["path"].as_str().and_then(|path| kind_of(&kinds, path));
        let kind = kind.filter(|_| request["method"] == "POST" || request["method"] == "PUT");
        let (Some(kind), false) = (kind, request["body"].is_null()) else {
            skipped += 1;
            continue;
        };
        let bytes = request["body"].as_str().map_or_else(|| request["body"].to_string(), str::to_owned);
        let bytes = bytes.replace("<time>", "2020-01-02T03:04:05Z").replace("\"<nodePort>\"", "30000");
        let content = request["headers"]["Content-Type"].as_str().unwrap_or_default();
        let format = if content.contains("yaml") { Format::Yaml } else { Format::Json };
        let message = line["response"]["message"].as_str().unwrap_or_default();
        let name = line["name"].as_str().unwrap();
        // YAML 1.2 has no boolean `y`: a name that is a letter is a name here.
        if content.contains("protobuf") || content == "text/plain" || name.contains("YAML 1.1") {
            skipped += 1;
            continue;
        }
        let query = request["path"].as_str().and_then(|path| path.split_once("fieldValidation="));
        let validation = match query.map(|(_, value)| value.split('&').next().unwrap_or_default()) {
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            _ => FieldValidation::Warn,
        };
        let decoded = body(bytes.as_bytes(), format, &Target::from(&*kind), validation);
        compared += 1;
        match (UNDECODED.iter().any(|words| message.contains(words)), decoded) {
            (true, Err(error)) => assert_eq!(error.message, message, "{name}"),
            (true, Ok(_)) => panic!("{name}: taken, though {message}"),
            (false, Err(error)) => panic!("{name}: {error}"),
            (false, Ok(decoded)) if line["status"] == 201 => {
                let warnings: Vec<_> = line["warnings"].as_array().into_iter().flatten().collect();
                for warning in decoded.warnings {
                    assert!(warnings.iter().any(|recorded| **recorded == warning), "{name}: {warning}");
                }
            }
            (false, Ok(_)) => {}
        }
    }
    eprintln!("decode: {compared} recorded bodies compared, {skipped} lines skipped: no such body");
}

/// The kind whose collection or object a path names.
fn kind_of(kinds: &Kinds, path: &str) -> Option<std::sync::Arc<crate::api::kinds::Kind>> {
    let path = path.split('?').next()?;
    let mut parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let group = match parts.first()? {
        &"api" => "",
        _ if parts.len() > 2 => parts.remove(1),
        _ => return None,
    };
    let version = *parts.get(1)?;
    parts.drain(..2);
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    (parts.len() <= 2).then(|| kinds.resource(group, version, parts.first()?).cloned()).flatten()
}

#[test]
fn type_errors_name_go_field_and_type() {
    let message = "Pod in version \"v1\" cannot be handled as a Pod: ";
    let check = |spec, expected: &str| assert_eq!(refused(&spec), format!("{message}{expected}"));
    let container = |container: Value| json!({"containers": [container]});
    check(
        container(json!({"ports": [{"containerPort": 99999999999_i64}]})),
        "json: cannot unmarshal number 99999999999 into Go struct field \
         ContainerPort.spec.containers.ports.containerPort of type int32",
    );
    check(
        json!({"containers": {}}),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
    );
    check(json!([]), "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec");
    // The first of two; but what a type's own parser refuses comes before.
    check(
        json!({"activeDeadlineSeconds": "x", "containers": "y"}),
        "json: cannot unmarshal string into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
    );
    check(
        json!({"activeDeadlineSeconds": "x", "containers": [{"resources": {"limits": {"cpu": "1x"}}}]}),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    check(
        container(json!({"livenessProbe": {"httpGet": {"port": true}}})),
        "json: cannot unmarshal bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.httpGet.port of type int32",
    );
}

#[test]
fn nulls_vanish_and_scalars_become_canonical() {
    let text = r#"{"kind":"Pod","metadata":{"labels":{"a":null},"name":null,
        "creationTimestamp":"2020-01-01T01:00:00.5+01:00"},
        "spec":{"containers":[null,{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Ki"}}}]}}"#;
    let object = pod(text.as_bytes()).unwrap().object;
    let expected = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"labels": {"a": ""}, "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"containers": [{}, {"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Mi"}}}]}});
    assert_eq!(object, expected);
}

#[test]
fn unknown_and_duplicate_fields_are_told_and_dropped() {
    let text = r#"{"kind":"Pod","spec":{"bogus":{"x":[1]},"nodeName":"a","nodeName":"b"}}"#;
    let target = Target::named("", "v1", "Pod");
    let warned = body(text.as_bytes(), Format::Json, &target, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings, [r#"unknown field "spec.bogus""#, r#"duplicate field "spec.nodeName""#]);
    assert_eq!(warned.object["spec"], json!({"nodeName": "b"}));
    let ignored = body(text.as_bytes(), Format::Json, &target, FieldValidation::Ignore).unwrap();
    assert!(ignored.warnings.is_empty());
    let yaml = "kind: Pod\nspec:\n  bogus: 1\n";
    let error = body(yaml.as_bytes(), Format::Yaml, &target, FieldValidation::Strict).unwrap_err();
    assert!(error.message.ends_with(r#"strict decoding error: unknown field "spec.bogus""#), "{error}");
}

#[test]
fn what_a_patch_made_is_refused_as_the_patch() {
    let target = Target::named("", "v1", "ConfigMap");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": "x"});
    let error = patched(object, &target, FieldValidation::Warn, || "SHOWN".to_owned()).unwrap_err();
    let expected = " \"\" is invalid: patch: Invalid value: \"SHOWN\": json: cannot unmarshal string into Go struct \
                    field ConfigMap.data of type map[string]string";
    assert_eq!((error.code, error.message.as_str()), (422, expected));
}

#[test]
fn syntax_errors_read_as_gos() {
    for (text, expected) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("{\"a\":}", "invalid character '}' looking for beginning of value"),
        ("tru", "unexpected end of JSON input"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ("1 2", "invalid character '2' after top-level value"),
        ("\"\\q\"", "invalid character 'q' in string escape code"),
    ] {
        assert_eq!(document(text.as_bytes()).unwrap_err(), expected, "{text}");
    }
    let deep = "[".repeat(10_000);
    assert_eq!(document((deep.clone() + &"]".repeat(10_000)).as_bytes()).unwrap_err(), "exceeded max depth");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Yaml] {
            let _ = body(&bytes, format, &Target::named("", "v1", "Pod"), FieldValidation::Warn);
        }
    }

    #[test]
    fn what_came_out_goes_in_again(text in r#"\{("(spec|metadata|kind|data|x)":(1|"a"|null|true|\{\}|\[\]|\{"name":"a","labels":\{"a":"b"\}\}),){0,4}"apiVersion":"v1"\}"#) {
        let target = Target::named("", "v1", "Pod");
        if let Ok(once) = body(text.as_bytes(), Format::Json, &target, FieldValidation::Warn) {
            let again = body(once.object.to_string().as_bytes(), Format::Json, &target, FieldValidation::Strict);
            prop_assert_eq!(again.unwrap().object, once.object);
        }
    }
}
