//! Policies that judge or change requests by expressions, and their bindings: defaults, validation. Expressions are stored as they
//! are: nothing here evaluates them, and no request is judged by them.

use super::check::{named, one_of, present, required_word, text};
use super::pod::default::set;
use super::{Rules, date_conditions, labels, names};
use crate::api::field::{Errors, Path};
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
    MutatingAdmissionPolicySpec, Mutation, NamedRuleWithOperations, ParamKind, ParamRef,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicySpec,
    ValidatingAdmissionPolicyStatus, Validation, Variable,
};
use serde_json::Value;
use std::collections::BTreeSet;

const FAILURE: &[&str] = &["Fail", "Ignore"];

impl Rules for ValidatingAdmissionPolicy {
    fn decode(mut object: Value) -> serde_json::Result<ValidatingAdmissionPolicy> {
        date_conditions(&mut object);
        serde_json::from_value(object)
    }

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        set(&mut spec.failure_policy, "Fail");
        spec.match_constraints.iter_mut().for_each(matching);
    }

    fn prepare_create(&mut self) {
        self.status = Some(ValidatingAdmissionPolicyStatus::default());
    }

    fn prepare_update(&mut self, old: &ValidatingAdmissionPolicy) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &ValidatingAdmissionPolicy) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = ValidatingAdmissionPolicySpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        required_word(errors, &path.child("failurePolicy"), text(&spec.failure_policy), FAILURE);
        kind(errors, &path.child("paramKind"), &spec.param_kind);
        constraints(errors, &path.child("matchConstraints"), &spec.match_constraints);
        conditions(errors, &path.child("matchConditions"), &spec.match_conditions);
        variables(errors, &path.child("variables"), &spec.variables);
        let validations = spec.validations.as_deref().unwrap_or_default();
        let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
        if validations.is_empty() && annotations.is_empty() {
            let why = "validations or auditAnnotations must contain at least one item";
            errors.required(&path.child("validations"), why);
            errors.required(&path.child("auditAnnotations"), why);
        }
        for (index, validation) in validations.iter().enumerate() {
            self::validation(errors, &path.child("validations").index(index), validation);
        }
        for (index, annotation) in annotations.iter().enumerate() {
            let list = path.child("auditAnnotations");
            let at = list.index(index);
            named(errors, &at.child("key"), &annotation.key, names::qualified);
            expression(errors, &at.child("valueExpression"), &annotation.value_expression);
        }
    }
}

fn expression(errors: &mut Errors, path: &Path, expression: &str) {
    if expression.trim().is_empty() {
        errors.required(path, "expression is not specified");
    }
}

fn validation(errors: &mut Errors, path: &Path, validation: &Validation) {
    expression(errors, &path.child("expression"), &validation.expression);
    if let Some(reason) = validation.reason.as_deref().filter(|reason| !reason.is_empty()) {
        let all = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        one_of(errors, &path.child("reason"), reason, &all);
    }
}

/// Fills in what is silent of what requests a policy is about.
fn matching(of: &mut MatchResources) {
    set(&mut of.match_policy, "Equivalent");
    of.namespace_selector.get_or_insert_default();
    of.object_selector.get_or_insert_default();
    let rules = of.resource_rules.iter_mut().chain(&mut of.exclude_resource_rules).flatten();
    rules.for_each(|rule| set(&mut rule.scope, "*"));
}

fn constraints(errors: &mut Errors, path: &Path, given: &Option<MatchResources>) {
    let Some(of) = given else { return errors.required(path, "") };
    if of.resource_rules.as_ref().is_none_or(Vec::is_empty) {
        errors.required(&path.child("resourceRules"), "");
    }
    resources(errors, path, of);
}

fn resources(errors: &mut Errors, path: &Path, of: &MatchResources) {
    required_word(errors, &path.child("matchPolicy"), text(&of.match_policy), &["Equivalent", "Exact"]);
    labels::maybe_selector(errors, &path.child("namespaceSelector"), &of.namespace_selector);
    labels::maybe_selector(errors, &path.child("objectSelector"), &of.object_selector);
    for (field, rules) in
        [("resourceRules", &of.resource_rules), ("excludeResourceRules", &of.exclude_resource_rules)]
    {
        for (index, rule) in rules.iter().flatten().enumerate() {
            self::rule(errors, &path.child(field).index(index), rule);
        }
    }
}

fn rule(errors: &mut Errors, path: &Path, rule: &NamedRuleWithOperations) {
    let given = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (at, operations) = (path.child("operations"), given(&rule.operations));
    if operations.len() > 1 && operations.iter().any(|one| one == "*") {
        errors.invalid(&at, operations.clone(), "if '*' is present, must not specify other operations");
    }
    for (index, operation) in operations.iter().enumerate() {
        one_of(errors, &at.index(index), operation, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
    for (field, list) in [
        ("operations", operations),
        ("apiGroups", given(&rule.api_groups)),
        ("apiVersions", given(&rule.api_versions)),
        ("resources", given(&rule.resources)),
    ] {
        if list.is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    one_of(errors, &path.child("scope"), text(&rule.scope), &["*", "Cluster", "Namespaced"]);
}

fn kind(errors: &mut Errors, path: &Path, kind: &Option<ParamKind>) {
    let Some(kind) = kind else { return };
    present(errors, &path.child("apiVersion"), text(&kind.api_version));
    present(errors, &path.child("kind"), text(&kind.kind));
}

fn conditions(errors: &mut Errors, path: &Path, conditions: &Option<Vec<MatchCondition>>) {
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().flatten().enumerate() {
        let at = path.index(index);
        expression(errors, &at.child("expression"), &condition.expression);
        named(errors, &at.child("name"), &condition.name, names::qualified);
        if !condition.name.is_empty() && !seen.insert(condition.name.as_str()) {
            errors.duplicate(&at.child("name"), condition.name.as_str());
        }
    }
}

fn variables(errors: &mut Errors, path: &Path, variables: &Option<Vec<Variable>>) {
    for (index, variable) in variables.iter().flatten().enumerate() {
        let at = path.index(index);
        match variable.name.trim() {
            "" => errors.required(&at.child("name"), "name is not specified"),
            name if !is_identifier(name) => {
                errors.invalid(&at.child("name"), name, "name is not a valid CEL identifier");
            }
            _ => {}
        }
        expression(errors, &at.child("expression"), &variable.expression);
    }
}

fn is_identifier(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(inner) && !name.starts_with(|first: char| first.is_ascii_digit())
}

impl Rules for ValidatingAdmissionPolicyBinding {
    fn default(&mut self) {
        self.spec.match_resources.iter_mut().for_each(matching);
        self.spec.param_ref.iter_mut().for_each(referring);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let (spec, path) = (&self.spec, path.child("spec"));
        bound(errors, &path, (&spec.policy_name, &spec.param_ref, &spec.match_resources));
        let (at, actions) = (path.child("validationActions"), &spec.validation_actions);
        if actions.is_empty() {
            return errors.required(&at, "at least one validation action is required");
        }
        let mut seen = BTreeSet::new();
        for (index, action) in actions.iter().enumerate() {
            one_of(errors, &at.index(index), action, &["Audit", "Deny", "Warn"]);
            if !seen.insert(action.as_str()) {
                errors.duplicate(&at.index(index), action.as_str());
            }
        }
        if seen.contains("Deny") && seen.contains("Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                       response and headers serves no purpose)";
            errors.invalid(&at, actions.clone(), why);
        }
    }
}

fn referring(reference: &mut ParamRef) {
    set(&mut reference.parameter_not_found_action, "Deny");
}

/// What bindings of both sorts have.
fn bound(
    errors: &mut Errors,
    path: &Path,
    (policy, parameters, of): (&str, &Option<ParamRef>, &Option<MatchResources>),
) {
    named(errors, &path.child("policyName"), policy, names::subdomain);
    if let Some(parameters) = parameters {
        self::parameters(errors, &path.child("paramRef"), parameters);
    }
    if let Some(of) = of {
        resources(errors, &path.child("matchResources"), of);
    }
}

fn parameters(errors: &mut Errors, path: &Path, reference: &ParamRef) {
    match (text(&reference.name), &reference.selector) {
        ("", None) => errors.required(path, "one of name or selector must be specified"),
        ("", Some(selector)) => labels::selector(errors, &path.child("selector"), selector),
        (_, None) => {}
        (_, Some(_)) => {
            errors.forbidden(&path.child("name"), "name and selector are mutually exclusive");
        }
    }
    let action = text(&reference.parameter_not_found_action);
    required_word(errors, &path.child("parameterNotFoundAction"), action, &["Allow", "Deny"]);
}

impl Rules for MutatingAdmissionPolicy {
    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        set(&mut spec.failure_policy, "Fail");
        spec.match_constraints.iter_mut().for_each(matching);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = MutatingAdmissionPolicySpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        required_word(errors, &path.child("failurePolicy"), text(&spec.failure_policy), FAILURE);
        kind(errors, &path.child("paramKind"), &spec.param_kind);
        constraints(errors, &path.child("matchConstraints"), &spec.match_constraints);
        conditions(errors, &path.child("matchConditions"), &spec.match_conditions);
        variables(errors, &path.child("variables"), &spec.variables);
        let (at, mutations) = (path.child("mutations"), spec.mutations.as_deref().unwrap_or_default());
        if mutations.is_empty() {
            errors.required(&at, "mutations must contain at least one item");
        }
        mutations.iter().enumerate().for_each(|(index, one)| mutation(errors, &at.index(index), one));
        let again = text(&spec.reinvocation_policy);
        required_word(errors, &path.child("reinvocationPolicy"), again, &["IfNeeded", "Never"]);
    }
}

fn mutation(errors: &mut Errors, path: &Path, mutation: &Mutation) {
    let applied = mutation.apply_configuration.as_ref().map(|one| text(&one.expression));
    let patched = mutation.json_patch.as_ref().map(|one| text(&one.expression));
    let (field, given, other) = match mutation.patch_type.as_str() {
        "ApplyConfiguration" => ("applyConfiguration", applied, ("jsonPatch", patched)),
        "JSONPatch" => ("jsonPatch", patched, ("applyConfiguration", applied)),
        word => {
            return required_word(
                errors,
                &path.child("patchType"),
                word,
                &["ApplyConfiguration", "JSONPatch"],
            );
        }
    };
    let at = path.child(field);
    match given {
        Some(given) => expression(errors, &at.child("expression"), given),
        None => errors.required(&at, &format!("must be specified when patchType is {}", mutation.patch_type)),
    }
    if other.1.is_some() {
        let why = format!("may not be specified when patchType is {}", mutation.patch_type);
        errors.forbidden(&path.child(other.0), why);
    }
}

impl Rules for MutatingAdmissionPolicyBinding {
    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.match_resources.iter_mut().for_each(matching);
        spec.param_ref.iter_mut().for_each(referring);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let spec = self.spec.clone().unwrap_or_default();
        let policy = text(&spec.policy_name);
        bound(errors, &path.child("spec"), (policy, &spec.param_ref, &spec.match_resources));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rules::{Erased, Of, Write};
    use serde_json::json;

    #[track_caller]
    fn check<T: Rules>(spec: Value, expected: &[&str]) -> Value {
        let object = json!({"metadata": {"name": "p"}, "spec": spec});
        let admitted = Of::<T>::new().admit(object, Write::Create).unwrap();
        let told: Vec<_> = admitted.errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
        admitted.object["spec"].clone()
    }

    fn constraints() -> Value {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
        json!({"resourceRules": [rule]})
    }

    #[test]
    fn what_a_policy_does_not_say_is_filled_in() {
        let validations = json!([{"expression": "true"}]);
        let spec = json!({"matchConstraints": constraints(), "validations": validations});
        let made = check::<ValidatingAdmissionPolicy>(spec, &[]);
        assert_eq!(made["failurePolicy"], "Fail");
        assert_eq!(made["matchConstraints"]["matchPolicy"], "Equivalent");
        assert_eq!(made["matchConstraints"]["resourceRules"][0]["scope"], "*");
        check::<ValidatingAdmissionPolicy>(
            json!({"matchConstraints": constraints()}),
            &[
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        );
    }

    #[test]
    fn a_mutation_is_of_its_type() {
        let mutating = |mutation: Value| json!({"matchConstraints": constraints(), "reinvocationPolicy": "Never", "mutations": [mutation]});
        let patch = json!({"expression": "[]"});
        check::<MutatingAdmissionPolicy>(
            mutating(json!({"patchType": "JSONPatch", "jsonPatch": patch})),
            &[],
        );
        check::<MutatingAdmissionPolicy>(
            mutating(json!({"patchType": "ApplyConfiguration", "jsonPatch": patch})),
            &[
                "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
                "spec.mutations[0].jsonPatch: Forbidden: may not be specified when patchType is ApplyConfiguration",
            ],
        );
    }

    #[test]
    fn a_binding_says_what_is_to_follow_and_for_which_parameters() {
        let made = check::<ValidatingAdmissionPolicyBinding>(
            json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "x"}}),
            &[],
        );
        assert_eq!(made["paramRef"]["parameterNotFoundAction"], "Deny");
        check::<ValidatingAdmissionPolicyBinding>(
            json!({"policyName": "p"}),
            &["spec.validationActions: Required value: at least one validation action is required"],
        );
        check::<MutatingAdmissionPolicyBinding>(
            json!({"policyName": "p", "paramRef": {}}),
            &["spec.paramRef: Required value: one of name or selector must be specified"],
        );
    }
}
