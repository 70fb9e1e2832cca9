//! Messages that kubectl sent, messages of every kind that another implementation has read and written, and garbage.

mod encode;

use super::{Envelope, MAGIC, ProtoError, message};
use crate::api::decode::{self, FieldValidation, Format, Target};
use crate::api::kinds;
use crate::api::schema::{self, Type};
use crate::limits;
use data_encoding::BASE64;
use encode::{Random, encode};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

/// Commands of kubectl 1.35 with the bodies that it sent, and the objects that `--dry-run=client -o json` shows for them.
const KUBECTL: &str = include_str!("kubectl.jsonl");

fn target<'a>(group: &'a str, version: &'a str, kind: &'a str) -> Target<'a> {
    Target::named(group, version, kind)
}

fn read(bytes: &[u8], target: &Target<'_>) -> Result<Value, String> {
    let decoded = decode::body(bytes, Format::Protobuf, target, FieldValidation::Strict);
    decoded.map(|decoded| decoded.object).map_err(|error| error.message)
}

/// A body of that kind.
fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = encode::joined(&[(1, api_version.as_bytes()), (2, kind.as_bytes())]);
    [MAGIC, &encode::joined(&[(1, &type_meta), (2, raw)])].concat()
}

#[test]
fn what_kubectl_sends_is_what_it_shows() {
    let mut compared = 0;
    for line in KUBECTL.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (command, object) = (&line["command"], &line["object"]);
        let word = |key: &str| object[key].as_str().unwrap();
        let (group, version) = word("apiVersion").split_once('/').unwrap_or(("", word("apiVersion")));
        let target = target(group, version, word("kind"));
        let bytes = BASE64.decode(line["body"].as_str().unwrap().as_bytes()).unwrap();
        let shown = object.to_string();
        let shown = decode::body(shown.as_bytes(), Format::Json, &target, FieldValidation::Strict).unwrap();
        assert_eq!(read(&bytes, &target), Ok(shown.object), "{command}");
        compared += 1;
    }
    assert!(compared > 20);
}

/// Has `k8s-pb` read a message and write it again: what it does not know, or knows otherwise, is then missing or wrong.
fn through<M: Message + Default>(bytes: &[u8]) -> Vec<u8> {
    M::decode(bytes).unwrap().encode_to_vec()
}

type Through = fn(&[u8]) -> Vec<u8>;

fn other_implementation(group: &str, version: &str, kind: &str) -> Option<Through> {
    use k8s_pb::api::admissionregistration::v1beta1 as beta;
    use k8s_pb::api::{
        admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates,
        coordination, core, discovery, events, flowcontrol, networking, node, policy, rbac, resource,
        scheduling, storage,
    };
    // The other one has these only as what they were before.
    match (group, kind) {
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => {
            return Some(through::<beta::MutatingAdmissionPolicy>);
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => {
            return Some(through::<beta::MutatingAdmissionPolicyBinding>);
        }
        _ => {}
    }
    macro_rules! kinds {
        ($($group:literal $version:ident $module:ident: $($kind:ident)*;)*) => {
            match (group, version, kind) {
                $($(($group, stringify!($version), stringify!($kind)) =>
                    Some(through::<$module::$version::$kind>),)*)*
                _ => None,
            }
        };
    }
    kinds! {
        "" v1 core: Binding ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim
            Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount;
        "admissionregistration.k8s.io" v1 admissionregistration: ValidatingAdmissionPolicy
            ValidatingAdmissionPolicyBinding;
        "apps" v1 apps: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
        "authentication.k8s.io" v1 authentication: SelfSubjectReview TokenRequest TokenReview;
        "authorization.k8s.io" v1 authorization: LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview
            SubjectAccessReview;
        "autoscaling" v1 autoscaling: HorizontalPodAutoscaler Scale;
        "autoscaling" v2 autoscaling: HorizontalPodAutoscaler;
        "batch" v1 batch: CronJob Job;
        "certificates.k8s.io" v1 certificates: CertificateSigningRequest;
        "coordination.k8s.io" v1 coordination: Lease;
        "discovery.k8s.io" v1 discovery: EndpointSlice;
        "events.k8s.io" v1 events: Event;
        "flowcontrol.apiserver.k8s.io" v1 flowcontrol: FlowSchema PriorityLevelConfiguration;
        "networking.k8s.io" v1 networking: IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR;
        "node.k8s.io" v1 node: RuntimeClass;
        "policy" v1 policy: Eviction PodDisruptionBudget;
        "rbac.authorization.k8s.io" v1 rbac: ClusterRole ClusterRoleBinding Role RoleBinding;
        "resource.k8s.io" v1 resource: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice;
        "scheduling.k8s.io" v1 scheduling: PriorityClass;
        "storage.k8s.io" v1 storage: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment
            VolumeAttributesClass;
    }
}

/// What is sent to parts of objects.
const PARTS: [(&str, &str, &str); 4] = [
    ("", "v1", "Binding"),
    ("policy", "v1", "Eviction"),
    ("autoscaling", "v1", "Scale"),
    ("authentication.k8s.io", "v1", "TokenRequest"),
];

#[test]
fn every_kind_is_read_as_another_implementation_writes_it() {
    let schema = schema::builtin();
    let builtin = kinds::builtin();
    // Nobody sends what is measured.
    let sent = builtin.iter().filter(|kind| !kind.measured);
    let all = sent.map(|kind| (&*kind.group, &*kind.version, &*kind.kind)).chain(PARTS);
    let mut unknown = Vec::new();
    for (group, version, kind) in all {
        let Some(through) = other_implementation(group, version, kind) else {
            unknown.push(kind.to_owned());
            continue;
        };
        let target = target(group, version, kind);
        for seed in 0..16 {
            let object = Random::new(seed).object(schema, &target.root);
            let bytes = through(&encode(schema, &target.root, &object));
            let read = message(&bytes, schema, &target.root);
            assert_eq!(read, Ok(object), "{kind} of seed {seed}");
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn a_zero_counts_where_it_is_meant() {
    use k8s_pb::api::{apps::v1 as apps, core::v1 as core};
    use k8s_pb::apimachinery::pkg::{apis::meta::v1 as meta, util::intstr::IntOrString};
    let int = |number| IntOrString { r#type: Some(0), int_val: Some(number), str_val: Some(String::new()) };
    let rolling = apps::RollingUpdateDeployment { max_unavailable: Some(int(0)), max_surge: Some(int(1)) };
    let context = core::SecurityContext {
        run_as_user: Some(0),
        allow_privilege_escalation: Some(false),
        ..Default::default()
    };
    let container = core::Container {
        name: Some(String::new()),
        image: Some(String::new()),
        security_context: Some(context),
        ..Default::default()
    };
    let spec = core::PodSpec {
        containers: vec![container],
        restart_policy: Some(String::new()),
        host_network: Some(false),
        termination_grace_period_seconds: Some(0),
        ..Default::default()
    };
    let deployment = apps::Deployment {
        metadata: Some(meta::ObjectMeta {
            creation_timestamp: Some(meta::Time::default()),
            generation: Some(0),
            ..Default::default()
        }),
        spec: Some(apps::DeploymentSpec {
            replicas: Some(0),
            min_ready_seconds: Some(0),
            strategy: Some(apps::DeploymentStrategy {
                r#type: Some(String::new()),
                rolling_update: Some(rolling),
            }),
            template: Some(core::PodTemplateSpec { metadata: None, spec: Some(spec) }),
            ..Default::default()
        }),
        status: None,
    };
    let expected = json!({"metadata": {}, "spec": {
        "replicas": 0,
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"spec": {
            "containers": [{"name": "", "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": false}}],
            "terminationGracePeriodSeconds": 0,
        }},
    }});
    let root = target("apps", "v1", "Deployment").root;
    assert_eq!(message(&deployment.encode_to_vec(), schema::builtin(), &root), Ok(expected));
}

/// The error of a pod's message.
fn refused(raw: &[u8]) -> String {
    message(raw, schema::builtin(), &target("", "v1", "Pod").root).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_told() {
    let pod = target("", "v1", "Pod");
    let check = |bytes: &[u8], expected: &str| assert_eq!(read(bytes, &pod).unwrap_err(), expected);
    check(
        b"{\"kind\":\"Pod\"}",
        "the object provided is unrecognized (must be of type Pod): provided data does not appear to be a protobuf \
         message, expected prefix [107, 56, 115, 0] ({\"kind\":\"Pod\"})",
    );
    check(
        &body("v1", "Secret", b""),
        "Secret in version \"v1\" cannot be handled as a Pod: converting (v1.Secret) to (core.Pod): unknown conversion",
    );
    check(
        &body("v1", "Pod", b"\x0a\x05x"),
        "Pod in version \"v1\" cannot be handled as a Pod: unexpected EOF",
    );
    let limits = encode::joined(&[(1, b"cpu"), (2, &encode::joined(&[(1, b"1x")]))]);
    let resources = encode::joined(&[(1, &limits)]);
    let spec = encode::joined(&[(2, &encode::joined(&[(8, &resources)]))]);
    check(
        &body("v1", "Pod", &encode::joined(&[(2, &spec)])),
        "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    assert_eq!(refused(b"\x08\x01"), "proto: wrong wireType for field metadata");
    assert_eq!(refused(b"\x0a\x03\x0a\x01\xff"), "proto: field name contains invalid UTF-8");
    assert_eq!(refused(b"\x0b"), "proto: illegal wireType 3");
    assert_eq!(refused(b"\x00\x00"), "proto: illegal tag 0");
    assert_eq!(refused(&[0xff; 11]), "proto: integer overflow");
    assert_eq!(refused(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "unexpected EOF");
    let compressed = [MAGIC, &encode::joined(&[(3, b"gzip")])].concat();
    assert_eq!(Envelope::open(&compressed).unwrap_err(), ProtoError::Content("gzip".to_owned()));
}

#[test]
fn numbers_that_no_field_has_are_passed_over() {
    let unknown =
        [&b"\xd0\x3e\x05\xd9\x3e12345678\xda\x3e\x02ab\xdd\x3e1234"[..], b"\x0a\x03\x0a\x01x"].concat();
    let object = message(&unknown, schema::builtin(), &target("", "v1", "Pod").root);
    assert_eq!(object, Ok(json!({"metadata": {"name": "x"}})));
}

#[test]
fn many_small_values_and_deep_messages_are_refused() {
    // Pods with as many empty containers as fit into a body: two bytes each, many more in memory.
    let containers = b"\x12\x00".repeat(limits::MANIFEST_NODES + 1);
    assert_eq!(refused(&encode::joined(&[(2, &containers)])), ProtoError::Values.to_string());
    // A structure that may be in itself: a custom resource's schema will be.
    let text = ": a\nitself a wire=1\n";
    let schema = schema::Schema::parse(text).unwrap();
    let mut deep = Vec::new();
    for _ in 0..limits::MESSAGE_DEPTH + 2 {
        deep = encode::joined(&[(1, &deep)]);
    }
    assert_eq!(message(&deep, &schema, &schema.root("a").unwrap()), Err(ProtoError::Depth));
}

#[test]
fn options_of_a_delete_are_of_any_group() {
    let raw = b"\x08\x00\x22\x0aBackground";
    for version in ["v1", "apps/v1", ""] {
        let options =
            decode::options(&body(version, "DeleteOptions", raw), Format::Protobuf, "DeleteOptions");
        let options = options.unwrap();
        assert_eq!(options["gracePeriodSeconds"], 0);
        assert_eq!(options["propagationPolicy"], "Background");
    }
    let wrong = decode::options(&body("v1", "Pod", b""), Format::Protobuf, "DeleteOptions").unwrap_err();
    assert!(wrong.message.contains("unknown conversion"), "{wrong}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let pod = target("", "v1", "Pod");
        let _ = read(&bytes, &pod);
        let _ = read(&body("v1", "Pod", &bytes), &pod);
    }

    #[test]
    fn no_damage_makes_it_panic(seed in 0_u64..64, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let pod = target("", "v1", "Pod");
        let Type::Struct(_) = pod.root else { unreachable!("a pod is a structure") };
        let mut bytes = encode(pod.schema, &pod.root, &Random::new(seed).object(pod.schema, &pod.root));
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(if cut { at } else { usize::MAX });
        }
        if let Ok(object) = message(&bytes, pod.schema, &pod.root) {
            // Whatever was read can be written as JSON and be judged.
            let _ = read(&body("v1", "Pod", &bytes), &pod);
            prop_assert!(object.is_object());
        }
    }
}
