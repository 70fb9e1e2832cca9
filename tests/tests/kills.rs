//! What it comes to that the kernel kills a process of a container for want of memory which is not its first: what the pod's
//! annotation says.

use podbox_tests::manifest;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::run::limit;
use podbox_tests::wait::wait_until;

/// A child takes more than there is, its parent goes on.
const EATS: &str = "/bin/testjobs eat 96 --step 4 --every 5 --child";

/// A template of a pod with this annotation, whose container does this.
fn template(annotation: &str, policy: &str, script: &str) -> String {
    let limited = "resources: {limits: {memory: 48Mi}}, volumeMounts: [{name: m, mountPath: /m}]";
    let container = manifest::script("c", script, limited);
    // Of a lone container, the pod's own bookkeeping would have the pod's limit hit first.
    let idle = manifest::container("idle", "args: [sleep, '3600000'], resources: {limits: {memory: 32Mi}}");
    let idle = if policy == "Never" { String::new() } else { format!(", {idle}") };
    format!(
        "metadata: {{name: NAME, annotations: {{podbox.io/oom-kill-of-child: {annotation}}}}}, \
         spec: {{restartPolicy: {policy}, terminationGracePeriodSeconds: 1, volumes: [{{name: m, emptyDir: {{}}}}], \
         containers: [{container}{idle}]}}"
    )
}

fn create(node: &Node, name: &str, manifest: &str) {
    let file = node.host.file(&format!("{name}.yaml"), manifest.replace("NAME", name));
    node.kubectl(&["create", "-f", file.to_str().expect("the path is UTF-8")]);
}

fn get(node: &Node, of: &[&str], path: &str) -> String {
    let path = format!("jsonpath={path}");
    node.kubectl(&[&["get"], of, &["-o", path.as_str()]].concat())
}

#[test]
fn the_end_of_a_child_means_what_its_pod_says() {
    let test = "the_end_of_a_child_means_what_its_pod_says";
    let Some(()) = needs::controller(test, "memory") else { return };
    let Some(node) = Node::start(test) else { return };
    let pod = |rest: &str| format!("{{apiVersion: v1, kind: Pod, {rest}}}");
    create(&node, "goes-on", &pod(&template("ignore", "Always", &format!("exec {EATS} --hold 3600000"))));
    let once = format!(
        "[ -e /m/eaten ] && exec /bin/testjobs sleep 3600000; touch /m/eaten; exec {EATS} --hold 3600000"
    );
    create(&node, "again", &pod(&template("c=restart-container", "Always", &once)));
    // One is forgiven, the second is not.
    let twice = format!("{EATS}; {EATS}; exec /bin/testjobs sleep 3600000");
    let job = template("restart-pod after 2 in 10m", "Never", &twice).replace("name: NAME, ", "");
    create(
        &node,
        "another",
        &format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: NAME}}, \
             spec: {{backoffLimit: 1, template: {{{job}}}}}}}"
        ),
    );

    wait_until("its parent goes on", limit(), || {
        node.kubectl(&["logs", "goes-on", "-c", "c"]).contains("child ended: signal: 9")
    });
    let state = "{.status.containerStatuses[?(@.name=='c')].restartCount} {.status.phase}";
    wait_until("it is started again", limit(), || get(&node, &["pod", "again"], state) == "1 Running");
    let killing = ["events", "--field-selector", "reason=Killing,involvedObject.name=again"];
    wait_until("an Event says why", limit(), || {
        let told = get(&node, &killing, "{.items[*].message}");
        told.starts_with("Container c lost process testjobs (")
            && told.ends_with(") to the OOM killer, will be restarted")
    });

    let failed = ["pods", "-l", "job-name=another"];
    wait_until("another pod follows the first, and fails, too", limit(), || {
        get(&node, &failed, "{range .items[*]}{.status.phase} {.status.reason};{end}")
            == "Failed OOMKilled;Failed OOMKilled;"
    });
    let said = get(&node, &failed, "{.items[0].status.message}");
    assert!(said.starts_with("Container c lost 2 processes to the OOM killer, testjobs ("), "{said}");
    wait_until("its Job says that this was too much", limit(), || {
        get(&node, &["job", "another"], "{.status.conditions[?(@.type=='Failed')].reason}")
            == "BackoffLimitExceeded"
    });
    assert_eq!(get(&node, &["pod", "goes-on"], state), "0 Running");
}

#[test]
fn an_annotation_that_cannot_be_read_is_told_and_harms_nobody() {
    let test = "an_annotation_that_cannot_be_read_is_told_and_harms_nobody";
    let (Some(()), Some(node)) = (needs::host(test), Node::start(test)) else { return };
    let pod = template("restart-pod after lunch", "Always", "exec /bin/testjobs sleep 3600000");
    let manifest = format!("{{apiVersion: v1, kind: Pod, {pod}}}").replace("NAME", "odd");
    let file = node.host.file("odd.yaml", manifest);
    let created = node.client("kubectl").args(["create", "-f"]).arg(file).output().expect("kubectl starts");
    let told = String::from_utf8_lossy(&created.stderr);
    let why = "Warning: metadata.annotations[podbox.io/oom-kill-of-child]: \"lunch\" is no number of kills between 1 and 64; \
               it has no effect";
    assert!(created.status.success() && told.contains(why), "{told}");
    wait_until("it runs", limit(), || get(&node, &["pod", "odd"], "{.status.phase}") == "Running");
}
