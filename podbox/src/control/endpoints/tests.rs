//! Slices and the Endpoints object of one Service as its pods come, change and go.

use super::*;
use crate::control::action::{Edit, Write};
use crate::control::key::Key;
use crate::control::pods::Address;
use jiff::Timestamp;

fn service(spec: Value) -> Desired {
    let at = Target {
        api_version: "v1".into(),
        kind: "Service".into(),
        namespace: "n".into(),
        name: "web".into(),
    };
    let mut all = json!({"selector": {"app": "x"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Desired { at, object: json!({"metadata": {"uid": "s", "labels": {"tier": "front"}}, "spec": all}) }
}

fn pod(number: u8, ready: bool) -> Member {
    let address = Address { ip: format!("10.0.0.{number}"), ..Address::default() };
    Member {
        key: Key::new("n", &format!("p{number:03}")),
        uid: format!("u{number}").into(),
        controller: None,
        labels: Arc::default(),
        node: Some("node".into()),
        phase: Phase::Running,
        deleting: false,
        ready: ready.then_some(Timestamp::UNIX_EPOCH),
        created: None,
        deletion_cost: 0,
        evicted: false,
        disrupted: false,
        restarts: (0, 0),
        address: Some(Arc::new(address)),
        batch: None,
        daemon: None,
    }
}

/// What there is after what is to be done was done.
#[derive(Default)]
struct World {
    slices: Vec<Slice>,
    legacy: Option<(Value, u64)>,
    made: usize,
    /// That of the only node that there is.
    zone: Option<&'static str>,
}

impl World {
    fn settle(&mut self, service: &Desired, pods: Vec<Member>) -> usize {
        let pods: Vec<Arc<Member>> = pods.into_iter().map(Arc::new).collect();
        let look = |world: &World| {
            let (slices, legacy) = (world.slices.clone(), world.legacy.clone());
            let zone = |node: &str| world.zone.filter(|_| node == "node");
            reconcile(service, &Observed { pods: pods.iter().collect(), slices, legacy, zone: &zone })
        };
        let actions = look(self).actions;
        let writes = actions.len();
        for action in actions {
            match action.write {
                Write::Create(object) if object["kind"] == "Endpoints" => self.legacy = Some((object, 1)),
                Write::Create(object) => {
                    self.made += 1;
                    let at = Target { name: self.made.to_string(), ..service.at.clone() };
                    self.slices.push(Slice { at, object, revision: 1 });
                }
                Write::Edit { at, edit: Edit::Merge(patch), .. } => {
                    let slice = self.slices.iter_mut().find(|slice| slice.at == at);
                    let object = match slice {
                        Some(slice) => &mut slice.object,
                        None => &mut self.legacy.as_mut().unwrap().0,
                    };
                    Edit::Merge(patch).apply(object);
                }
                Write::Delete { at, .. } => self.slices.retain(|slice| slice.at != at),
                other => panic!("{other:?}"),
            }
        }
        assert!(look(self).actions.is_empty(), "it is not at rest: {:#?}", look(self));
        writes
    }

    fn sizes(&self) -> Vec<usize> {
        self.slices.iter().map(|slice| slice.object["endpoints"].as_array().unwrap().len()).collect()
    }
}

#[test]
fn an_endpoint_says_whether_it_is_ready_serves_or_goes() {
    let mut world = World::default();
    let going = Member { deleting: true, ..pod(3, true) };
    let ended = Member { phase: Phase::Ended, ..pod(4, true) };
    let nowhere = Member { address: None, ..pod(5, true) };
    world.settle(&service(json!({})), vec![pod(1, true), pod(2, false), going, ended, nowhere]);
    let slice = &world.slices[0].object;
    let said: Vec<&Value> =
        slice["endpoints"].as_array().unwrap().iter().map(|one| &one["conditions"]).collect();
    let is = |ready: bool, serving: bool, terminating: bool| json!({"ready": ready, "serving": serving, "terminating": terminating});
    assert_eq!(said, [&is(true, true, false), &is(false, false, false), &is(false, true, true)]);
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    let labels = json!({"tier": "front", SERVICE: "web", KEEPER: OWN});
    assert_eq!(slice["metadata"]["labels"], labels);
    let legacy = &world.legacy.as_ref().unwrap().0["subsets"];
    assert_eq!(
        (&legacy[0]["addresses"][0]["ip"], &legacy[0]["notReadyAddresses"][0]["ip"]),
        (&json!("10.0.0.1"), &json!("10.0.0.2"))
    );
    assert_eq!(legacy[0]["addresses"].as_array().unwrap().len(), 1);
}

#[test]
fn a_service_may_ask_for_pods_that_are_not_ready() {
    let mut world = World::default();
    world.settle(&service(json!({"publishNotReadyAddresses": true})), vec![pod(1, false)]);
    let said = &world.slices[0].object["endpoints"][0]["conditions"];
    assert_eq!((&said["ready"], &said["serving"]), (&json!(true), &json!(false)));
}

#[test]
fn ports_by_name_are_looked_up_in_each_pod() {
    let port = |number: i32| vec![("web".to_owned(), "TCP".to_owned(), number)];
    let at = |number: u8, ports| {
        let address = Address { named: ports, ..(**pod(number, true).address.as_ref().unwrap()).clone() };
        Member { address: Some(Arc::new(address)), ..pod(number, true) }
    };
    let mut world = World::default();
    let named = service(json!({"ports": [{"port": 80, "targetPort": "web"}]}));
    world.settle(&named, vec![at(1, port(8080)), at(2, port(9090)), at(3, port(8080)), at(4, vec![])]);
    let mut found: Vec<(Value, usize)> = world
        .slices
        .iter()
        .map(|slice| slice.object["ports"][0]["port"].clone())
        .zip(world.sizes())
        .collect();
    found.sort_by_key(|(port, _)| port.as_i64());
    assert_eq!(found, [(Value::Null, 1), (json!(8080), 2), (json!(9090), 1)]);
}

#[test]
fn a_slice_that_something_holds_is_not_taken_away_again_and_again() {
    let mut world = World::default();
    let web = service(json!({}));
    world.settle(&web, vec![pod(1, true)]);
    crate::api::object::set(&mut world.slices[0].object, "deletionTimestamp", "2026-01-01T00:00:00Z");
    let other = service(json!({"ports": [{"port": 81}]}));
    assert_eq!(world.settle(&other, vec![pod(1, true)]), 2, "a slice of its own, and the Endpoints object");
    assert_eq!(world.slices.len(), 2);
}

#[test]
fn endpoints_stay_where_they_are() {
    let mut world = World::default();
    let web = service(json!({}));
    world.settle(&web, (0..250).map(|number| pod(number, true)).collect());
    assert_eq!(world.sizes(), [100, 100, 50]);
    // One pod changes: one slice, and the Endpoints object.
    assert_eq!(world.settle(&web, (0..250).map(|number| pod(number, number != 7)).collect()), 2);
    // One goes and one comes: its room is filled.
    world.settle(&web, (1..251).map(|number| pod(number, true)).collect());
    assert_eq!(world.sizes(), [100, 100, 50]);
    world.settle(&web, vec![pod(1, true)]);
    assert_eq!(world.sizes(), [1]);
    world.settle(&web, vec![]);
    assert_eq!(world.sizes(), [0]);
    world.settle(&web, vec![pod(1, true)]);
    assert_eq!(world.sizes(), [1]);
}

#[test]
fn an_endpoint_says_in_which_zone_it_is() {
    let mut world = World { zone: Some("a"), ..World::default() };
    let elsewhere = Member { node: Some("unknown".into()), ..pod(2, true) };
    world.settle(&service(json!({})), vec![pod(1, true), elsewhere.clone()]);
    let zones = |world: &World| [0, 1].map(|one| world.slices[0].object["endpoints"][one]["zone"].clone());
    assert_eq!(zones(&world), [json!("a"), Value::Null]);
    world.zone = Some("b");
    assert_eq!(world.settle(&service(json!({})), vec![pod(1, true), elsewhere]), 1, "its slice alone");
    assert_eq!(zones(&world), [json!("b"), Value::Null]);
}

#[test]
fn a_thousand_endpoints_are_told_in_the_old_way_and_the_ready_ones_first() {
    let mut world = World::default();
    let at = |number: usize, ready: bool| {
        let address = Address { ip: format!("10.0.{}.{}", number / 250, number % 250), ..Address::default() };
        let key = Key::new("n", &format!("p{number}"));
        let uid = number.to_string().as_str().into();
        Member { key, uid, address: Some(Arc::new(address)), ..pod(0, ready) }
    };
    let all = |count: usize| (0..count).map(|number| at(number, number >= 10)).collect::<Vec<_>>();
    let told = |world: &World| {
        let object = &world.legacy.as_ref().unwrap().0;
        let count = |field: &str| object["subsets"][0][field].as_array().map_or(0, Vec::len);
        let mark = object["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"].clone();
        (count("addresses"), count("notReadyAddresses"), mark)
    };
    let web = service(json!({}));
    world.settle(&web, all(1_005));
    assert_eq!(told(&world), (995, 5, json!("truncated")));
    world.settle(&web, all(1_000));
    assert_eq!(told(&world), (990, 10, Value::Null));
}
