//! Manifests as people write them: what is read from them, and how a mistake is told.

use super::*;

fn objects(text: &str) -> Vec<(usize, Option<usize>, &'static str)> {
    let kind = |object: &Object| match object {
        Object::Pod(_) => "Pod",
        Object::ConfigMap(_) => "ConfigMap",
        Object::Secret(_) => "Secret",
    };
    let found = decode("m.yaml", text.as_bytes()).unwrap();
    found.iter().map(|d| (d.position.document, d.position.item, kind(&d.object))).collect()
}

fn check(text: &str, problems: &[&str]) {
    let error = decode("m.yaml", text.as_bytes()).unwrap_err();
    let got: Vec<_> = error.problems.iter().map(Problem::to_string).collect();
    assert_eq!(got, problems, "problems of {text}");
}

const POD: &str =
    "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i}]}}";
const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}";

#[test]
fn several_documents_with_empty_ones_between() {
    let text = format!("---\n# nothing\n---\n{POD}\n---\n---\n{MAP}\n");
    assert_eq!(objects(&text), [(2, None, "Pod"), (4, None, "ConfigMap")]);
    assert_eq!(objects(""), []);
}

#[test]
fn json_is_read_too() {
    let pod: Value = serde_yaml::from_str(POD).unwrap();
    assert_eq!(objects(&serde_json::to_string_pretty(&pod).unwrap()), [(1, None, "Pod")]);
}

#[test]
fn a_list_is_its_items() {
    let text = format!("{{apiVersion: v1, kind: List, items: [{POD}, {MAP}]}}");
    assert_eq!(objects(&text), [(1, Some(0), "Pod"), (1, Some(1), "ConfigMap")]);
    check(
        "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, spec: {contaners: 3}}], x: 1}",
        &[
            "m.yaml, document 1: unknown field \"x\"",
            "m.yaml, document 1, items[0]: unknown field \"spec.contaners\"",
        ],
    );
}

#[test]
fn unknown_and_duplicate_fields_are_all_named() {
    check(
        &format!(
            "{MAP}\n---\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: c\n    imagee: i\n    ports: [{{containerPort: 1, foo: 2}}]\n  hostNetwrk: true\n"
        ),
        &[
            "m.yaml, document 2: unknown field \"spec.containers[0].imagee\"",
            "m.yaml, document 2: unknown field \"spec.containers[0].ports[0].foo\"",
            "m.yaml, document 2: unknown field \"spec.hostNetwrk\"",
        ],
    );
    check(
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: x\n  a: y\n",
        &["m.yaml, document 1: duplicate field \"data.a\""],
    );
}

#[test]
fn a_wrong_type_names_path_and_line() {
    check(
        "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: c\n    ports:\n    - containerPort: eighty\n",
        &[
            "m.yaml, document 1: spec.containers[0].ports[0].containerPort: invalid type: string \"eighty\", expected i32 at line 7 column 22",
        ],
    );
}

#[test]
fn unknown_kinds_are_told_as_kubectl_tells_them() {
    check(
        "{apiVersion: v1, kind: Foo}",
        &["m.yaml, document 1: no matches for kind \"Foo\" in version \"v1\""],
    );
    check("{apiVersion: v1}", &["m.yaml, document 1: Object 'Kind' is missing"]);
    check("{kind: Pod}", &["m.yaml, document 1: Object 'apiVersion' is missing"]);
    check(
        "[1, 2]",
        &["m.yaml, document 1: a manifest's document must be a mapping with apiVersion and kind"],
    );
}

#[test]
fn a_syntax_error_has_its_line() {
    let error = decode("m.yaml", b"a: b: c").unwrap_err().to_string();
    assert!(error.contains("mapping values are not allowed") && error.contains("line 1"), "{error}");
}

#[test]
fn aliases_expand_to_a_bound() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let last = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{last}]\n"));
    }
    decode("m.yaml", text.as_bytes()).unwrap_err();
    let mut text = format!("a: &a {}\nb: [", "x".repeat(1 << 20));
    text.push_str(&"*a, ".repeat(10_000));
    text.push(']');
    let error = decode("m.yaml", text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("with its aliases expanded is larger"), "{error}");
}

#[test]
fn a_file_that_is_too_large_is_not_parsed() {
    let text = " ".repeat(limits::MANIFEST_BYTES as usize + 1);
    let error = decode("m.yaml", text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("a manifest may have"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_input_panics(text in "[a-z0-9:&*{}\\[\\],\"'|> \n-]{0,200}") {
        let _ = decode("m.yaml", text.as_bytes());
    }
}

#[test]
fn the_examples_are_manifests_that_podbox_honours_in_full() {
    for (file, text) in [
        ("hello.yaml", include_str!("../../../../examples/hello.yaml")),
        ("forever.yaml", include_str!("../../../../examples/forever.yaml")),
    ] {
        for document in decode(file, text.as_bytes()).unwrap() {
            if let Object::Pod(mut pod) = document.object {
                crate::api::rules::Rules::default(&mut *pod);
                assert_eq!(
                    crate::api::support::unsupported(&pod, crate::api::support::Tokens::None),
                    [],
                    "{file}"
                );
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_before_it_takes_time() {
    let problem = "m.yaml, document 1: the file opens over 5000 brackets inside of each other";
    check(&"[".repeat(limits::MANIFEST_BYTES as usize), &[problem]);
}
