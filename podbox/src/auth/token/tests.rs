//! Tokens from request to refusal.

use super::*;
use crate::auth::certificate;
use data_encoding::BASE64URL_NOPAD as BASE64;
use serde_json::json;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Objects by resource, namespace and name.
#[derive(Clone, Default)]
struct World(HashMap<String, Value>);

impl World {
    fn put(&mut self, resource: &str, object: Value) {
        let key = format!("{resource}/{}/{}", object::namespace(&object), object::name(&object));
        self.0.insert(key, object);
    }
}

impl Lookup for World {
    fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.get(&format!("{resource}/{namespace}/{name}")).cloned()
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn account() -> Value {
    json!({"metadata": {"name": "app", "namespace": "a", "uid": "account-uid"}})
}

fn world() -> World {
    let mut world = World::default();
    world.put("serviceaccounts", account());
    let pod = json!({"serviceAccountName": "app", "nodeName": "n"});
    world.put("pods", json!({"metadata": {"name": "p", "namespace": "a", "uid": "pod-uid"}, "spec": pod}));
    world.put("secrets", json!({"metadata": {"name": "s", "namespace": "a", "uid": "secret-uid"}}));
    world.put("nodes", json!({"metadata": {"name": "n", "uid": "node-uid"}}));
    world
}

fn tokens() -> &'static Tokens {
    static TOKENS: OnceLock<Tokens> = OnceLock::new();
    TOKENS.get_or_init(|| Tokens::new(&certificate::key().unwrap()).unwrap())
}

fn issue(spec: Value) -> String {
    let answer = tokens().issue(&json!({"spec": spec}), &account(), &world(), now()).unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64.decode(payload.as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_token_says_what_upstreams_say() {
    let token =
        issue(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-uid"}}));
    let mut said = claims(&token);
    assert_eq!(said["jti"].take().as_str().map(str::len), Some(36));
    assert_eq!(
        said,
        json!({
            "aud": ["https://kubernetes.default.svc.cluster.local"],
            "exp": 1_800_003_600, "iat": 1_800_000_000, "nbf": 1_800_000_000,
            "iss": "https://kubernetes.default.svc.cluster.local", "jti": null,
            "kubernetes.io": {
                "namespace": "a",
                "node": {"name": "n", "uid": "node-uid"},
                "pod": {"name": "p", "uid": "pod-uid"},
                "serviceaccount": {"name": "app", "uid": "account-uid"},
            },
            "sub": "system:serviceaccount:a:app",
        })
    );
    let user = tokens().authenticate(&token, &world(), now()).unwrap();
    assert_eq!((&*user.name, &*user.uid), ("system:serviceaccount:a:app", "account-uid"));
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["node-uid"]);
    assert!(user.extra[CREDENTIAL][0].starts_with("JTI="));
}

#[test]
fn a_token_ends_when_it_says_and_lives_no_longer_than_the_bound() {
    let token = issue(json!({"expirationSeconds": 600}));
    let after = |seconds| tokens().authenticate(&token, &world(), now() + Duration::from_secs(seconds)).err();
    assert_eq!((after(0), after(599), after(600)), (None, None, Some(Refused::Expired)));
    let before =
        |seconds| tokens().authenticate(&token, &world(), now() - Duration::from_secs(seconds)).err();
    assert_eq!((before(60), before(61)), (None, Some(Refused::Early)));
    let request = json!({"spec": {"expirationSeconds": 1_u64 << 32}});
    let answer = tokens().issue(&request, &account(), &world(), now()).unwrap();
    assert_eq!(answer["spec"]["expirationSeconds"], crate::limits::TOKEN_LIFE.as_secs());
    let end = object::read_time(answer["status"]["expirationTimestamp"].as_str().unwrap()).unwrap();
    assert_eq!(end, now() + crate::limits::TOKEN_LIFE);
}

/// Nobody renews what a pod was given; other tokens end when they say.
#[test]
fn the_token_that_every_pod_gets_outlives_its_hour() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "name": "p"});
    let good = |spec: Value| {
        let token = issue(spec);
        tokens().authenticate(&token, &world(), now() + Duration::from_secs(7200)).is_ok()
    };
    assert!(good(json!({"expirationSeconds": 3607, "boundObjectRef": pod})));
    assert!(!good(json!({"expirationSeconds": 3606, "boundObjectRef": pod})));
    assert!(!good(json!({"expirationSeconds": 3607})));
    let request = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": pod}});
    let answer = tokens().issue(&request, &account(), &world(), now()).unwrap();
    let told = object::read_time(answer["status"]["expirationTimestamp"].as_str().unwrap()).unwrap();
    assert_eq!(told, now() + POD_TOKEN);
    let said = claims(answer["status"]["token"].as_str().unwrap());
    assert_eq!(said["kubernetes.io"]["warnafter"], 1_800_003_607);
}

#[test]
fn a_token_that_was_tampered_with_is_refused() {
    let token = issue(json!({}));
    assert!(tokens().authenticate(&token, &world(), now()).is_ok());
    let refused = |token: &str| {
        assert_eq!(tokens().authenticate(token, &world(), now()), Err(Refused::Invalid), "{token}");
    };
    // Any character of it, in turn.
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        refused(&String::from_utf8(bytes).unwrap());
    }
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let mut more = claims(&token);
    more["sub"] = "system:serviceaccount:kube-system:admin".into();
    let more = BASE64.encode(more.to_string().as_bytes());
    let none = BASE64.encode(br#"{"alg":"none"}"#);
    refused(&format!("{header}.{more}.{signature}"));
    refused(&format!("{none}.{payload}."));
    refused(&format!("{none}.{payload}.{signature}"));
    refused(&format!("{header}.{payload}"));
    refused(&format!("{token}."));
    refused(&format!("{token}="));
    refused(&format!(".{token}"));
    for nonsense in ["", ".", "..", "...", "a.b.c", "\u{fe}"] {
        refused(nonsense);
    }
    refused(&"a.".repeat(100_000));
}

#[test]
fn another_clusters_token_is_refused() {
    let other = Tokens::new(&certificate::key().unwrap()).unwrap();
    let answer = other.issue(&json!({}), &account(), &world(), now()).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    assert_eq!(tokens().authenticate(token, &world(), now()), Err(Refused::Invalid));
    assert!(other.authenticate(token, &world(), now()).is_ok());
}

#[test]
fn a_token_is_for_its_audience() {
    let token = issue(json!({"audiences": ["vault", "other"]}));
    assert!(matches!(tokens().authenticate(&token, &world(), now()), Err(Refused::Audience(..))));
    let review = |asked: &[&str]| {
        let asked: Vec<_> = asked.iter().map(|text| (*text).to_owned()).collect();
        tokens().review(&token, &asked, &world(), now()).map(|(_, common)| common)
    };
    assert_eq!(review(&["vault", "x"]), Ok(vec!["vault".to_owned()]));
    assert!(matches!(review(&[]), Err(Refused::Audience(..))));
    let plain = issue(json!({}));
    assert_eq!(tokens().review(&plain, &[], &world(), now()).unwrap().1, [ISSUER]);
}

#[track_caller]
fn ends_with(kind: &str, name: &str, resource: &str, what: &'static str) {
    let token = issue(json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}}));
    let check = |world: &World| tokens().authenticate(&token, world, now()).err();
    assert_eq!(check(&world()), None);
    let place = if resource == "nodes" { "" } else { "a" };
    let key = format!("{resource}/{place}/{name}");
    let mut gone = world();
    gone.0.remove(&key);
    assert_eq!(check(&gone), Some(Refused::Gone(what)));
    let mut another = world();
    another.0.get_mut(&key).unwrap()["metadata"]["uid"] = "another".into();
    assert_eq!(check(&another), Some(Refused::Gone(what)));
    for (ago, expected) in [(10, None), (120, Some(Refused::Gone(what)))] {
        let mut deleted = world();
        let at = object::time(now() - Duration::from_secs(ago));
        deleted.0.get_mut(&key).unwrap()["metadata"]["deletionTimestamp"] = at.into();
        assert_eq!(check(&deleted), expected);
    }
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    ends_with("Pod", "p", "pods", "pod");
    ends_with("Secret", "s", "secrets", "secret");
    ends_with("Node", "n", "nodes", "node");
    ends_with("Pod", "p", "pods", "pod");
    let token = issue(json!({}));
    let mut world = world();
    world.0.remove("serviceaccounts/a/app");
    assert_eq!(tokens().authenticate(&token, &world, now()), Err(Refused::Gone("service account")));
}

#[test]
fn what_is_alive_is_read_alike_from_json_and_from_its_bytes() {
    let at = object::time(now());
    for metadata in [
        json!({"name": "x", "uid": "u", "labels": {"uid": "other"}}),
        json!({"name": "x", "uid": "u", "deletionTimestamp": at}),
    ] {
        let object = json!({"spec": {"metadata": {"uid": "inner"}}, "metadata": metadata, "status": [1, 2]});
        let mut world = World::default();
        world.put("pods", object.clone());
        let read = Alive::read(object.to_string().as_bytes());
        assert!(read.is_some());
        assert_eq!(read, world.alive("pods", "", "x"));
    }
    assert_eq!(Alive::read(b"{}"), None);
}

#[test]
fn what_cannot_be_bound_is_refused() {
    let refused = |reference: Value| {
        let request = json!({"spec": {"boundObjectRef": reference}});
        let error = tokens().issue(&request, &account(), &world(), now()).unwrap_err();
        (error.code, error.message)
    };
    assert_eq!(
        refused(json!({"apiVersion": "v1", "kind": "Pod", "name": "x"})),
        (404, "pods \"x\" not found".into())
    );
    let (code, why) = refused(json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "old"}));
    assert!(code == 409 && why.contains("does not match the UID in record"), "{why}");
    let (code, why) = refused(json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}));
    assert_eq!((code, &*why), (400, "cannot bind token to object of type apps/v1, Kind=Deployment"));
    let other = json!({"metadata": {"name": "other", "namespace": "a", "uid": "u"}});
    let request = json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}}});
    assert_eq!(tokens().issue(&request, &other, &world(), now()).unwrap_err().code, 400);
    let request = json!({"metadata": {"uid": "old"}, "spec": {}});
    assert_eq!(tokens().issue(&request, &account(), &world(), now()).unwrap_err().code, 409);
}

#[test]
fn others_can_verify_tokens_by_the_published_key() {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let keys = tokens().keys();
    let key = &keys["keys"][0];
    let part = |name: &str| BASE64.decode(key[name].as_str().unwrap().as_bytes()).unwrap();
    let point = [vec![4], part("x"), part("y")].concat();
    let token = issue(json!({}));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64.decode(signature.as_bytes()).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).unwrap();
    let header: Value =
        serde_json::from_slice(&BASE64.decode(signed.split('.').next().unwrap().as_bytes()).unwrap())
            .unwrap();
    assert_eq!(header, json!({"alg": "ES256", "kid": key["kid"]}));
    let configuration = tokens().configuration();
    assert_eq!(configuration["jwks_uri"], format!("{ISSUER}/openid/v1/jwks"));
    assert_eq!(configuration["issuer"], claims(&token)["iss"]);
}

#[test]
fn tokens_and_keys_are_not_shown() {
    let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
    let answer = tokens.issue(&json!({}), &account(), &world(), now()).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    tokens.authenticate(token, &world(), now()).unwrap();
    let shown = format!("{tokens:?}");
    assert!(!shown.contains(token) && !shown.contains("PRIVATE"), "{shown}");
    assert_eq!(Tokens::new("nonsense").err(), Some(KeyError));
}
