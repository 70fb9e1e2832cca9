//! The schema that is built in.

use super::{ListType, Schema, Type, builtin};
use crate::api::kinds::builtin as kinds;

#[test]
fn every_kind_has_a_shape() {
    for kind in kinds() {
        let root = builtin().root(&kind.schema);
        assert!(matches!(root, Some(Type::Struct(_))), "{kind:?} has no shape {}", kind.schema);
    }
}

#[test]
fn fields_tell_their_type_and_how_they_merge() {
    let container = builtin().find("io.k8s.api.core.v1.Container").unwrap();
    assert_eq!((container.short(), container.qualified()), ("Container", "v1.Container"));
    let ports = container.field("ports").unwrap();
    let keys = ["containerPort", "protocol"].map(Box::from);
    assert_eq!(ports.list, ListType::Map(Box::new(keys)));
    assert_eq!(ports.patch.key.as_deref(), Some("containerPort"));
    assert!(container.field("name").unwrap().required);
    assert!(container.field("Name").is_none());
    let resources = builtin().find("io.k8s.api.core.v1.ResourceRequirements").unwrap();
    assert_eq!(resources.field("limits").unwrap().kind, Type::Map(Box::new(Type::Quantity)));
    let strategy = builtin().find("io.k8s.api.apps.v1.DeploymentSpec").unwrap().field("strategy").unwrap();
    assert!(strategy.patch.retain && strategy.always);
    assert!(builtin().find("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector").unwrap().atomic);
}

#[test]
fn a_text_that_is_no_schema_names_its_line() {
    let error = |text| Schema::parse(text).unwrap_err().to_string();
    assert_eq!(error(": a\nb nothing"), "line 2 of the schema: no definition and no type: nothing");
    assert_eq!(error(": a\nb"), "line 2 of the schema: a field without a type");
    assert_eq!(error(": a wild"), "line 1 of the schema: unknown: wild");
    assert_eq!(error(": a\nb string list=bag"), "line 2 of the schema: unknown: list=bag");
}
