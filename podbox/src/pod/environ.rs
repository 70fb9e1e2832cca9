//! A container's environment: the image's, envFrom, env, with `$(NAME)` expanded as Kubernetes does it.
//! Pure; what a reference does not find is an error in upstream's words.
//!
//! Invariant: nothing longer is made than the kernel passes to a program. Variables that name each other twice double with
//! each one, and thirty of them would be more than any memory.

use super::compose::Context;
use super::sources::Scope;
use super::{resources, services};
use crate::api::quantity::Quantity;
use crate::api::quote::quoted;
use crate::limits;
use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};
use std::collections::{BTreeMap, BTreeSet};

/// Variables in the order of their first mention; a later value replaces an earlier one in place.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    order: Vec<String>,
    values: BTreeMap<String, String>,
    /// What `$(NAME)` sees where no variable is set.
    around: BTreeMap<String, String>,
    /// Of all names and values.
    bytes: usize,
}

/// What was to be expanded is longer than the kernel takes a single string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is longer than the {} bytes that a program can be passed at once", limits::ARGUMENT)]
pub struct TooLong;

impl Environment {
    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: String) {
        self.bytes += value.len();
        match self.values.insert(name.to_owned(), value) {
            Some(before) => self.bytes -= before.len(),
            None => {
                self.bytes += name.len();
                self.order.push(name.to_owned());
            }
        }
    }

    /// Whether all of it can be passed to a program.
    fn fits(&self) -> Result<(), String> {
        match self.bytes > limits::ARGUMENTS {
            true => Err(format!(
                "its variables are longer than the {} bytes that a program has",
                limits::ARGUMENTS
            )),
            false => Ok(()),
        }
    }

    /// Sets a variable unless it is set.
    pub fn set_absent(&mut self, name: &str, value: String) {
        if !self.values.contains_key(name) {
            self.set(name, value);
        }
    }

    /// Each `NAME=VALUE`.
    pub fn lines(&self) -> Vec<String> {
        self.order.iter().map(|name| format!("{name}={}", self.values[name])).collect()
    }

    /// Replaces `$(NAME)`; `$$` is a dollar sign, and what is not known stays as it is.
    pub fn expand(&self, text: &str) -> Result<String, TooLong> {
        expand(text, |name| self.value(name))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).or_else(|| self.around.get(name)).map(String::as_str)
    }

    /// The same where each `NAME` must have a value that is not empty.
    pub fn expand_all(&self, text: &str) -> Result<String, String> {
        let mut missing = BTreeSet::new();
        let expanded = expand(text, |name| {
            let value = self.value(name).filter(|value| !value.is_empty());
            if value.is_none() {
                missing.insert(name.to_owned());
            }
            value
        });
        match missing.is_empty() {
            true => expanded.map_err(|error| error.to_string()),
            false => {
                let names: Vec<String> = missing.into_iter().collect();
                Err(format!("missing value for {}", names.join(", ")))
            }
        }
    }
}

/// Replaces `$(NAME)` by the values that a manifest itself has of variables, as they stand there: what upstream makes of a
/// probe's command. One whose value comes from elsewhere has none, which is no value but the empty one.
pub fn expand_literals(text: &str, variables: &[EnvVar]) -> Result<String, TooLong> {
    expand(text, |name| {
        let known = variables.iter().rev().find(|variable| variable.name == name)?;
        Some(known.value.as_deref().unwrap_or_default())
    })
}

fn expand<'v>(text: &str, mut value: impl FnMut(&str) -> Option<&'v str>) -> Result<String, TooLong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if out.len() > limits::ARGUMENT {
            return Err(TooLong);
        }
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|body| body.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    // What was written out in full may be longer: the kernel says so itself.
    if out.len() > limits::ARGUMENT.max(text.len()) { Err(TooLong) } else { Ok(out) }
}

/// A container's own variables: envFrom in order, then env in order, each of which sees those before it and those of
/// Services, which come last and replace none. The image's are not among them: they are neither expanded nor seen by
/// `$(NAME)`.
pub fn own(container: &Container, context: &Context<'_>) -> Result<Environment, String> {
    let links = context.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let services = services::variables(context.scope.services(links));
    let mut environment =
        Environment { around: services.iter().cloned().collect(), ..Environment::default() };
    for source in container.env_from.iter().flatten() {
        take_all(source, &context.scope, &mut environment)?;
        environment.fits()?;
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => match from(source, container, context)? {
                Some(value) => value,
                None => continue,
            },
            None => environment
                .expand(variable.value.as_deref().unwrap_or_default())
                .map_err(|error| format!("variable {:?}: {error}", variable.name))?,
        };
        environment.set(&variable.name, value);
        environment.fits()?;
    }
    for (name, value) in services {
        environment.set_absent(&name, value);
    }
    Ok(environment)
}

fn take_all(source: &EnvFromSource, scope: &Scope<'_>, environment: &mut Environment) -> Result<(), String> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let mut set = |key: &str, value: String| {
        // It would not be a name.
        if !key.contains('=') {
            environment.set(&format!("{prefix}{key}"), value);
        }
    };
    if let Some(reference) = &source.config_map_ref
        && let Some(map) = scope.config_map(&reference.name, reference.optional)?
    {
        for (key, value) in &map.entries {
            // Binary data, which upstream does not take, is not among them.
            if let Ok(value) = String::from_utf8(value.clone()) {
                set(key, value);
            }
        }
    }
    if let Some(reference) = &source.secret_ref
        && let Some(secret) = scope.secret(&reference.name, reference.optional)?
    {
        for (key, value) in &secret.entries {
            set(key, text_of_secret(value, key, &reference.name, scope)?);
        }
    }
    Ok(())
}

/// A Secret's value as that of a variable. Other bytes than text are refused, as every runtime refuses them that speaks the
/// CRI: another value than the Secret's would be worse than none.
fn text_of_secret(value: &[u8], key: &str, name: &str, scope: &Scope<'_>) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| {
        let namespace = scope.namespace;
        format!("key {key} in Secret {namespace}/{name} is not UTF-8, as the value of a variable has to be")
    })
}

/// A variable's value from elsewhere; `None` if it is optional and not there.
fn from(
    source: &EnvVarSource,
    container: &Container,
    context: &Context<'_>,
) -> Result<Option<String>, String> {
    let sources = &context.scope;
    if let Some(reference) = &source.config_map_key_ref {
        let found = sources.config_map(&reference.name, reference.optional)?;
        let key = &reference.key;
        let missing =
            || format!("couldn't find key {key} in ConfigMap {}/{}", sources.namespace, reference.name);
        // Binary data is for volumes.
        let found = found.and_then(|map| String::from_utf8(map.entries.get(key)?.clone()).ok());
        return value(found, reference.optional, missing);
    }
    if let Some(reference) = &source.secret_key_ref {
        let found = sources.secret(&reference.name, reference.optional)?;
        let key = &reference.key;
        let missing =
            || format!("couldn't find key {key} in Secret {}/{}", sources.namespace, reference.name);
        let found = found.and_then(|secret| secret.entries.get(key));
        let found = found.map(|bytes| text_of_secret(bytes, key, &reference.name, sources)).transpose()?;
        return value(found, reference.optional, missing);
    }
    if let Some(reference) = &source.field_ref {
        return field(reference, context).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return resource(reference, Some(container), context).map(Some);
    }
    Err("the variable's valueFrom names no source that podbox knows".to_owned())
}

fn value(
    found: Option<String>,
    optional: Option<bool>,
    missing: impl Fn() -> String,
) -> Result<Option<String>, String> {
    match found {
        Some(value) => Ok(Some(value)),
        None if optional == Some(true) => Ok(None),
        None => Err(missing()),
    }
}

/// A field of the pod.
pub fn field(reference: &ObjectFieldSelector, context: &Context<'_>) -> Result<String, String> {
    let path = reference.field_path.as_str();
    let metadata = &context.pod.metadata;
    let spec = context.pod.spec.as_ref();
    let address = || context.address.map_or(context.facts.host_ip.to_string(), |ip| ip.to_string());
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => &metadata.labels,
            "metadata.annotations" => &metadata.annotations,
            _ => return Err(format!("unsupported fieldPath: {path}")),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let account = spec.and_then(|spec| spec.service_account_name.clone());
    Ok(match path {
        "metadata.name" => metadata.name.clone().unwrap_or_default(),
        "metadata.namespace" => context.scope.namespace.to_owned(),
        "metadata.uid" => context.uid.to_owned(),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => context.facts.node_name.clone(),
        "spec.serviceAccountName" => account.unwrap_or_else(|| "default".to_owned()),
        "status.hostIP" | "status.hostIPs" => context.facts.host_ip.to_string(),
        "status.podIP" | "status.podIPs" => address(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `key="value"` lines, as a downward API file has them.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<_> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value.as_bytes()))).collect();
    lines.join("\n")
}

/// A container's request or limit, in units of the divisor, rounded up. A limit that is not set is the pod's as a whole,
/// or what the node has for pods.
pub fn resource(
    reference: &ResourceFieldSelector,
    own: Option<&Container>,
    context: &Context<'_>,
) -> Result<String, String> {
    let named = reference.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => context
            .containers()
            .find(|container| container.name == name)
            .ok_or_else(|| format!("container {name} not found"))?,
        None => own.ok_or("resourceFieldRef in a volume must name its container")?,
    };
    let (kind, name) = reference
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {}", reference.resource))?;
    let quantity = match kind {
        "limits" => resources::limit(container, name).or_else(|| resources::pod_limit(context.pod, name)),
        "requests" => resources::request(container, name),
        _ => return Err(format!("unsupported container resource : {}", reference.resource)),
    };
    let divisor = match reference.divisor.as_ref().map(|divisor| Quantity::parse(&divisor.0)) {
        Some(Ok(divisor)) if !divisor.is_zero() => divisor,
        Some(Err(error)) => return Err(error.to_string()),
        _ => Quantity::parse("1").map_err(|error| error.to_string())?,
    };
    // A limit of nothing is none.
    let quantity = quantity.filter(|quantity| kind == "requests" || !quantity.is_zero());
    let promised = context.facts.allocatable;
    let amount = match (name, kind, quantity) {
        ("cpu", _, Some(quantity)) => i128::from(quantity.milli_value()),
        ("cpu", "limits", None) => i128::from(promised.cpu_milli),
        ("memory", "limits", None) => i128::from(promised.memory),
        ("ephemeral-storage", "limits", None) => i128::from(promised.disk),
        (_, _, Some(quantity)) => i128::from(quantity.value()),
        (_, _, None) => 0,
    };
    let unit = match name {
        "cpu" => i128::from(divisor.milli_value()),
        _ => i128::from(divisor.value()),
    };
    Ok(((amount + unit - 1).div_euclid(unit.max(1))).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probes_command_sees_what_the_manifest_itself_has() {
        let container: Container = serde_json::from_str(
            r#"{"name": "c", "env": [{"name": "A", "value": "old"}, {"name": "A", "value": "a"}, {"name": "B", "value": "$(A)"},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}"#,
        )
        .unwrap();
        let env = container.env.unwrap();
        for (text, expected) in
            [("-p $(A)", "-p a"), ("$(B)", "$(A)"), ("[$(E)]", "[]"), ("$(NOPE) $$(A) $$", "$(NOPE) $(A) $")]
        {
            assert_eq!(expand_literals(text, &env).unwrap(), expected);
        }
    }

    #[test]
    fn dollar_parentheses_are_expanded_as_kubernetes_does() {
        let values =
            BTreeMap::from([("A", "a"), ("B", "$(A)"), ("E", "")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "a"),
            ("x$(A)y$(A)", "xaya"),
            ("$(B)", "$(A)"),
            ("$(E)|", "|"),
            ("$(NOPE)", "$(NOPE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$", "$$"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("end$", "end$"),
            ("$()", "$()"),
            ("é$(A)é", "éaé"),
        ] {
            let value = |name: &str| values.get(name).map(String::as_str);
            assert_eq!(expand(text, value).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_secret_that_is_no_text_is_refused_by_name() {
        let sources = crate::pod::sources::Sources::default();
        let text = |bytes: &[u8]| text_of_secret(bytes, "key", "login", &Scope::new(&sources, "team"));
        assert_eq!(text("café".as_bytes()).as_deref(), Ok("café"));
        let said = "key key in Secret team/login is not UTF-8, as the value of a variable has to be";
        assert_eq!(text(b"\xffhidden"), Err(said.to_owned()));
    }

    #[test]
    fn what_doubles_without_end_is_cut_short() {
        let mut all = Environment::default();
        all.set("A0", "x".repeat(1024));
        let doubled = (1..40).find(|number| {
            let before = format!("A{}", number - 1);
            let value = all.expand(&format!("$({before})$({before})"));
            value.map(|value| all.set(&format!("A{number}"), value)) == Err(TooLong)
        });
        assert_eq!(doubled, Some(8), "128 KiB is the longest");
        assert!(all.fits().is_ok());
        (0..64).for_each(|number| all.set(&format!("B{number}"), "x".repeat(limits::ARGUMENT)));
        assert!(all.fits().unwrap_err().contains("6291456"));
        // What replaces another one counts once.
        (0..64).for_each(|number| all.set(&format!("B{number}"), String::new()));
        assert!(all.fits().is_ok());
    }
}
