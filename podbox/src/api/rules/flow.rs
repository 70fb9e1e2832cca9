//! FlowSchemas and PriorityLevelConfigurations: whose requests wait for whose. Defaults, validation.

use super::Rules;
use super::check::{non_negative, one_of, present, text, within};
use crate::api::field::{Errors, Path};
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaSpec, FlowSchemaStatus, LimitedPriorityLevelConfiguration, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfiguration, PriorityLevelConfigurationSpec,
    PriorityLevelConfigurationStatus, ResourcePolicyRule, Subject,
};

/// The name of the one level, and of the one schema, whose requests never wait.
const EXEMPT: &str = "exempt";
const VERBS: &[&str] =
    &["*", "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

impl Rules for FlowSchema {
    fn default(&mut self) {
        let precedence = &mut self.spec.get_or_insert_default().matching_precedence;
        *precedence = precedence.filter(|precedence| *precedence != 0).or(Some(1000));
    }

    fn prepare_create(&mut self) {
        self.status = Some(FlowSchemaStatus::default());
    }

    fn prepare_update(&mut self, old: &FlowSchema) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &FlowSchema) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = FlowSchemaSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        let (at, precedence) = (path.child("matchingPrecedence"), spec.matching_precedence.unwrap_or(0));
        if precedence <= 0 {
            errors.invalid(&at, precedence, "must be a positive value");
        } else if precedence > 10_000 {
            errors.invalid(&at, precedence, "must not be greater than 10000");
        } else if precedence == 1 && text(&self.metadata.name) != EXEMPT {
            let why = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.invalid(&at, precedence, why);
        }
        if let Some(method) = &spec.distinguisher_method {
            let at = path.child("distinguisherMethod");
            one_of(errors, &at.child("type"), &method.type_, &["ByNamespace", "ByUser"]);
        }
        if spec.priority_level_configuration.name.is_empty() {
            let at = path.child("priorityLevelConfiguration");
            errors.required(&at.child("name"), "must reference a priority level");
        }
        for (index, rule) in spec.rules.iter().flatten().enumerate() {
            self::rule(errors, &path.child("rules").index(index), rule);
        }
    }
}

fn rule(errors: &mut Errors, path: &Path, rule: &PolicyRulesWithSubjects) {
    let at = path.child("subjects");
    if rule.subjects.is_empty() {
        errors.required(&at, "subjects must contain at least one value");
    }
    rule.subjects.iter().enumerate().for_each(|(index, one)| subject(errors, &at.index(index), one));
    let resources = rule.resource_rules.as_deref().unwrap_or_default();
    let others = rule.non_resource_rules.as_deref().unwrap_or_default();
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let at = path.child("resourceRules");
    resources.iter().enumerate().for_each(|(index, one)| of_resources(errors, &at.index(index), one));
    let at = path.child("nonResourceRules");
    others.iter().enumerate().for_each(|(index, one)| of_others(errors, &at.index(index), one));
}

fn subject(errors: &mut Errors, path: &Path, subject: &Subject) {
    let missing = |field: &str, kind: &str| format!("{field} is required when subject kind is '{kind}'");
    match (subject.kind.as_str(), &subject.user, &subject.group, &subject.service_account) {
        ("User", Some(user), _, _) => present(errors, &path.child("user").child("name"), &user.name),
        ("User", None, _, _) => errors.required(&path.child("user"), &missing("user", "User")),
        ("Group", _, Some(group), _) => present(errors, &path.child("group").child("name"), &group.name),
        ("Group", _, None, _) => errors.required(&path.child("group"), &missing("group", "Group")),
        ("ServiceAccount", _, _, Some(account)) => {
            let at = path.child("serviceAccount");
            present(errors, &at.child("name"), &account.name);
            present(errors, &at.child("namespace"), &account.namespace);
        }
        ("ServiceAccount", _, _, None) => {
            errors.required(&path.child("serviceAccount"), &missing("serviceAccount", "ServiceAccount"));
        }
        (other, ..) => one_of(errors, &path.child("kind"), other, &["Group", "ServiceAccount", "User"]),
    }
}

fn of_resources(errors: &mut Errors, path: &Path, rule: &ResourcePolicyRule) {
    verbs(errors, path, &rule.verbs);
    if rule.api_groups.is_empty() {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if rule.resources.is_empty() {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
    if rule.namespaces.as_ref().is_none_or(Vec::is_empty) && rule.cluster_scope != Some(true) {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&path.child("namespaces"), why);
    }
}

fn of_others(errors: &mut Errors, path: &Path, rule: &NonResourcePolicyRule) {
    verbs(errors, path, &rule.verbs);
    if rule.non_resource_urls.is_empty() {
        errors.required(&path.child("nonResourceURLs"), "nonResourceURLs must contain at least one value");
    }
}

fn verbs(errors: &mut Errors, path: &Path, verbs: &[String]) {
    let at = path.child("verbs");
    if verbs.is_empty() {
        errors.required(&at, "verbs must contain at least one value");
    }
    for (index, verb) in verbs.iter().enumerate() {
        one_of(errors, &at.index(index), verb, VERBS);
    }
}

impl Rules for PriorityLevelConfiguration {
    fn default(&mut self) {
        let spec = self.spec.get_or_insert_default();
        if let Some(exempt) = &mut spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        let Some(limited) = &mut spec.limited else { return };
        limited.nominal_concurrency_shares.get_or_insert(30);
        limited.lendable_percent.get_or_insert(0);
        if let Some(queuing) = limited.limit_response.as_mut().and_then(|response| response.queuing.as_mut())
        {
            for (field, number) in [
                (&mut queuing.queues, 64),
                (&mut queuing.hand_size, 8),
                (&mut queuing.queue_length_limit, 50),
            ] {
                *field = field.filter(|given| *given != 0).or(Some(number));
            }
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(PriorityLevelConfigurationStatus::default());
    }

    fn prepare_update(&mut self, old: &PriorityLevelConfiguration) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status(&mut self, old: &PriorityLevelConfiguration) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, errors: &mut Errors, path: &Path) {
        let none = PriorityLevelConfigurationSpec::default();
        let (spec, path) = (self.spec.as_ref().unwrap_or(&none), path.child("spec"));
        let at = path.child("type");
        if (text(&self.metadata.name) == EXEMPT) != (spec.type_ == "Exempt") {
            errors.invalid(&at, spec.type_.as_str(), "type must be 'Exempt' if and only if name is 'exempt'");
        }
        match spec.type_.as_str() {
            "Exempt" if spec.limited.is_some() => {
                errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
            }
            "Exempt" => {}
            "Limited" => {
                if spec.exempt.is_some() {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                match &spec.limited {
                    None => errors.required(&path.child("limited"), "must not be empty when type is Limited"),
                    Some(limited) => self::limited(errors, &path.child("limited"), limited),
                }
            }
            other => errors.not_supported(&at, other, &["Exempt", "Limited"]),
        }
    }
}

fn limited(errors: &mut Errors, path: &Path, limited: &LimitedPriorityLevelConfiguration) {
    non_negative(
        errors,
        &path.child("nominalConcurrencyShares"),
        limited.nominal_concurrency_shares.unwrap_or(0),
    );
    within(errors, &path.child("lendablePercent"), limited.lendable_percent.unwrap_or(0), 0, 100);
    if let Some(percent) = limited.borrowing_limit_percent {
        non_negative(errors, &path.child("borrowingLimitPercent"), percent);
    }
    let path = path.child("limitResponse");
    let (of, queuing) = limited
        .limit_response
        .as_ref()
        .map_or(("", None), |response| (response.type_.as_str(), response.queuing.as_ref()));
    let at = path.child("queuing");
    match (of, queuing) {
        ("Reject", Some(_)) => {
            errors.forbidden(&at, "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            errors.required(&at, "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", Some(queuing)) => {
            for (field, number) in [
                ("queues", queuing.queues),
                ("handSize", queuing.hand_size),
                ("queueLengthLimit", queuing.queue_length_limit),
            ] {
                if let Some(number) = number.filter(|number| *number <= 0) {
                    errors.invalid(&at.child(field), number, "must be positive");
                }
            }
            if queuing.hand_size > queuing.queues {
                let why =
                    format!("should not be greater than queues ({})", queuing.queues.unwrap_or_default());
                errors.invalid(&at.child("handSize"), queuing.hand_size.unwrap_or_default(), why);
            }
        }
        (other, _) => errors.not_supported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rules::{Erased, Of, Write};
    use serde_json::{Value, json};

    #[track_caller]
    fn check<T: Rules>(object: Value, expected: &[&str]) -> Value {
        let admitted = Of::<T>::new().admit(object, Write::Create).unwrap();
        let told: Vec<_> = admitted.errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
        admitted.object
    }

    #[test]
    fn a_level_gets_its_queues_and_only_one_is_exempt() {
        let level = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let queue = json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 16}}}});
        let made = check::<PriorityLevelConfiguration>(level("a", queue), &[]);
        let queuing = json!({"queues": 16, "handSize": 8, "queueLengthLimit": 50});
        assert_eq!(made["spec"]["limited"]["limitResponse"]["queuing"], queuing);
        assert_eq!(made["spec"]["limited"]["nominalConcurrencyShares"], 30);
        check::<PriorityLevelConfiguration>(
            level("a", json!({"type": "Exempt"})),
            &["spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"],
        );
        check::<PriorityLevelConfiguration>(level("exempt", json!({"type": "Exempt"})), &[]);
    }

    #[test]
    fn a_schema_names_its_level_and_whom_it_is_about() {
        let schema = |rules: Value| json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": rules}});
        let rule = json!([{
            "subjects": [{"kind": "User", "user": {"name": "u"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }]);
        assert_eq!(check::<FlowSchema>(schema(rule), &[])["spec"]["matchingPrecedence"], 1000);
        check::<FlowSchema>(
            schema(json!([{"subjects": [{"kind": "Group"}]}])),
            &[
                "spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ],
        );
    }
}
