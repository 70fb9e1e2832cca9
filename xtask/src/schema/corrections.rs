//! What the crate's source does not say, or not as the API server does it. Every row must apply: one whose definition or field
//! has gone is an error, so that the table follows upstream.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::definition::Definition;

/// Marks of fields that replace what the source says: definition, field, mark, value. The value `-` takes a mark away.
const FIELDS: &[(&str, &str, &str, &str)] = &[
    // Strategic merge goes by fewer keys than apply; the source has those of the strategic merge.
    ("core.v1.Container", "ports", "list", "map:containerPort,protocol"),
    ("core.v1.EphemeralContainer", "ports", "list", "map:containerPort,protocol"),
    ("core.v1.ServiceSpec", "ports", "list", "map:port,protocol"),
    ("core.v1.PodSpec", "topologySpreadConstraints", "list", "map:topologyKey,whenUnsatisfiable"),
    // A key that is silent has this value: defaulting has not happened when a patch is merged.
    ("core.v1.ContainerPort", "protocol", "default", "TCP"),
    ("core.v1.ServicePort", "protocol", "default", "TCP"),
    // Merged by strategic merge, one value for apply.
    ("core.v1.PodStatus", "hostIPs", "list", "-"),
    ("batch.v1.JobStatus", "conditions", "list", "-"),
    // One reference has several writers.
    ("core.v1.PersistentVolumeSpec", "claimRef", "map", "granular"),
];

/// Structures that are owned as a whole by whoever applies them.
const ATOMIC: &[&str] = &[
    "autoscaling.v1.CrossVersionObjectReference",
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.ScopeSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
    "networking.v1.ServiceBackendPort",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
];

/// Fields that upstream's objects always have, even when they are empty: structures, not pointers. Who creates an object owns
/// what is below them, not themselves. The `metadata`, `spec` and `status` of a kind are such without being named here.
const ALWAYS: &[(&str, &[&str])] = &[
    ("apps.v1.DaemonSetSpec", &["template", "updateStrategy"]),
    ("apps.v1.DeploymentSpec", &["strategy", "template"]),
    ("apps.v1.ReplicaSetSpec", &["template"]),
    ("apps.v1.StatefulSetSpec", &["template", "updateStrategy"]),
    ("autoscaling.v1.HorizontalPodAutoscalerSpec", &["scaleTargetRef"]),
    ("autoscaling.v2.HorizontalPodAutoscalerSpec", &["scaleTargetRef"]),
    ("batch.v1.CronJobSpec", &["jobTemplate"]),
    ("batch.v1.JobSpec", &["template"]),
    ("core.v1.Event", &["involvedObject", "source"]),
    ("core.v1.NodeDaemonEndpoints", &["kubeletEndpoint"]),
    ("core.v1.NodeStatus", &["daemonEndpoints", "nodeInfo"]),
    ("core.v1.PersistentVolumeClaimSpec", &["resources"]),
    ("core.v1.PodTemplate", &["template"]),
    ("core.v1.ServiceStatus", &["loadBalancer"]),
    ("networking.v1.IngressStatus", &["loadBalancer"]),
    ("networking.v1.NetworkPolicySpec", &["podSelector"]),
    ("rbac.v1.ClusterRoleBinding", &["roleRef"]),
    ("rbac.v1.RoleBinding", &["roleRef"]),
    ("storage.v1.VolumeAttachmentSpec", &["source"]),
];

/// Corrects the definitions.
pub fn apply(all: &mut BTreeMap<String, Definition>) -> Result<()> {
    for (name, field, mark, value) in FIELDS {
        let field =
            of(all, name)?.fields.get_mut(*field).with_context(|| format!("{name} has no {field}"))?;
        match *value {
            "-" => {
                field.marks.remove(mark).map(|_| ()).with_context(|| format!("{name}: no {mark} to take"))?
            }
            value => drop(field.marks.insert(mark, value.to_owned())),
        }
    }
    for name in ATOMIC {
        of(all, name)?.atomic = true;
    }
    for (name, fields) in ALWAYS {
        for field in *fields {
            mark_always(of(all, name)?, field)?;
        }
    }
    for definition in all.values_mut() {
        for field in ["metadata", "spec", "status"] {
            let structure =
                definition.fields.get(field).is_some_and(|field| field.kind.reference().is_some());
            if structure {
                mark_always(definition, field)?;
            }
        }
    }
    Ok(())
}

fn mark_always(definition: &mut Definition, field: &str) -> Result<()> {
    let name = &definition.name;
    let field = definition.fields.get_mut(field).with_context(|| format!("{name} has no {field}"))?;
    field.marks.insert("always", String::new());
    Ok(())
}

/// The definition whose name ends so.
fn of<'a>(all: &'a mut BTreeMap<String, Definition>, name: &str) -> Result<&'a mut Definition> {
    let full = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis."].map(|prefix| format!("{prefix}{name}"));
    let found = all.values_mut().find(|definition| full.contains(&definition.name));
    found.with_context(|| format!("there is no definition {name}"))
}
