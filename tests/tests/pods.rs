//! Pods that come through the API, many at once.

use podbox_tests::manifest;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;

const PODS: usize = 24;

#[test]
fn a_pod_that_has_ended_is_not_run_again_by_older_news_of_it() {
    let test = "a_pod_that_has_ended_is_not_run_again_by_older_news_of_it";
    let (Some(()), Some(node)) = (needs::host(test), Node::start(test)) else { return };
    let spec = format!("restartPolicy: Never, containers: [{}]", manifest::job("once", "lines 1"));
    let name = |number: usize| format!("once-{number}");
    let manifests: String = (0..PODS).map(|number| manifest::pod(&name(number), &spec)).collect();
    let file = node.host.file("pods.yaml", manifests);
    node.kubectl(&["apply", "-f", file.to_str().expect("the path is UTF-8")]);
    let mut round = 0;
    wait_until("all have ended", limit(), || {
        // Each label is news of a pod that has nothing to do with its run.
        round += 1;
        node.kubectl(&["label", "pods", "--all", "--overwrite", &format!("round={round}")]);
        let phases = node.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.phase}"]);
        phases.split_whitespace().filter(|phase| *phase == "Succeeded").count() == PODS
    });
    node.kubectl(&["label", "pods", "--all", "--overwrite", "round=last"]);
    for number in 0..PODS {
        assert_eq!(node.host.lines(&name(number), "once", 0), ["line 1"], "{}", name(number));
    }
}
