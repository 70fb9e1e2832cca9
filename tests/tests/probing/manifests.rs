//! The pods of these tests: a container or more for each thing that is to be seen.

use podbox_tests::host::IMAGE;
use podbox_tests::pods::pod;
use serde_json::{Value, json};

/// An hour: what happens in a test happened by a trigger, or at the first probe.
const NEVER: u64 = 3600;

/// A container of the test image that does a job, or runs a script of busybox's shell; `/h` is the test's.
pub fn container(name: &str, job: &str, fields: Value) -> Value {
    let mut container = json!({
        "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "volumeMounts": [{"name": "h", "mountPath": "/h"}],
    });
    match job.strip_prefix("sh ") {
        Some(script) => container["command"] = json!(["/bin/busybox", "sh", "-c", script]),
        None => container["args"] = job.split_whitespace().collect(),
    }
    let fields = fields.as_object().cloned().unwrap_or_default();
    container.as_object_mut().expect("it is one").extend(fields);
    container
}

/// A container that begins its job once `/h/go` is there.
pub fn later(name: &str, job: &str, fields: Value) -> Value {
    let script = format!("sh until [ -e /h/go ]; do /bin/busybox sleep 0.1; done; exec /bin/testjobs {job}");
    container(name, &script, fields)
}

pub fn probe(period: u64, handler: Value) -> Value {
    let mut probe = json!({"periodSeconds": period, "failureThreshold": 1, "timeoutSeconds": 1});
    probe.as_object_mut().expect("it is one").extend(handler.as_object().cloned().unwrap_or_default());
    probe
}

pub fn exec(script: &str) -> Value {
    json!({"exec": {"command": ["/bin/busybox", "sh", "-c", script]}})
}

/// Each kind of probe, of a container that passes.
pub fn kinds() -> Value {
    let patient = |handler: Value| {
        let mut probe = probe(NEVER, handler);
        (probe["timeoutSeconds"], probe["failureThreshold"]) = (60.into(), 3.into());
        probe
    };
    let get = json!({"httpGet": {"port": "web", "path": "/delay/50", "httpHeaders": [{"name": "X", "value": "y"}]}});
    let get = json!({
        "startupProbe": patient(get.clone()), "readinessProbe": patient(get),
        "ports": [{"name": "web", "containerPort": 8001}],
    });
    let ready = |handler| json!({"readinessProbe": patient(handler)});
    // It is replaced before any shell sees it.
    let mut named = ready(exec("[ '$(NAME)' = value ]"));
    named["env"] = json!([{"name": "NAME", "value": "value"}]);
    let goes = "sh /bin/testjobs tcp 8004 & until [ -e /h/end ]; do sleep 0.1; done; kill $!; exec /bin/testjobs sleep 1000000";
    pod(
        "kinds",
        json!({"containers": [
            container("goes", goes, ready(json!({"tcpSocket": {"port": 8004}}))),
            later("http", "http 8001", get),
            later("tcp", "tcp 8002", ready(json!({"tcpSocket": {"port": 8002}}))),
            later("grpc", "grpc 8003 1", ready(json!({"grpc": {"port": 8003}}))),
            container("exec", "sleep 1000000", named),
            // Nobody vouches for the certificate of this node's own API.
            container("https", "sleep 1000000", ready(json!({"httpGet": {
                "host": "127.0.0.1", "port": 6443, "scheme": "HTTPS", "path": "/livez"}}))),
        ]}),
    )
}

/// Containers whose probes end them. Nobody of them minds being asked to end.
pub fn ends() -> Value {
    let ending = |handler: Value| {
        let mut probe = probe(1, handler);
        probe["terminationGracePeriodSeconds"] = 1.into();
        probe
    };
    // By then it has said what it does when it is asked to end.
    let mut up = probe(1, exec("[ -e /h/live-up ]"));
    up["failureThreshold"] = 100_000.into();
    let live = json!({"startupProbe": up, "livenessProbe": ending(json!({"tcpSocket": {"port": 81}}))});
    let asked = probe(1, exec("touch /h/asked-start"));
    let start =
        json!({"startupProbe": ending(exec("false")), "readinessProbe": asked, "livenessProbe": asked});
    pod(
        "ends",
        json!({"terminationGracePeriodSeconds": 600, "containers": [
            container("live", "sh trap 'echo term >> /h/live' TERM; touch /h/live-up; while :; do sleep 0.1; done", live),
            container("start", "sh trap '' TERM; while :; do sleep 0.1; done", start),
        ]}),
    )
}

/// A server that does not behave, or nobody where one should be.
pub struct Bad {
    pub container: &'static str,
    pub probe: &'static str,
    job: &'static str,
    asked: Value,
    /// Why it fails; nothing of one that passes.
    pub words: &'static str,
}

/// Two for each container.
pub fn table() -> Vec<Bad> {
    let bad = |container, probe, job, asked, words| Bad { container, probe, job, asked, words };
    let get = |port: u16| json!({"httpGet": {"port": port, "path": "/"}});
    let (ready, live) = ("readiness", "liveness");
    vec![
        bad(
            "slow",
            ready,
            "bad 8101 silent",
            get(8101),
            "Get \"http://IP:8101/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
        bad(
            "slow",
            live,
            "bad 8102 drip",
            get(8102),
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)",
        ),
        bad(
            "wrong",
            ready,
            "bad 8103 garbage",
            get(8103),
            "Get \"http://IP:8103/\": net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2.0-sorry\"",
        ),
        bad(
            "wrong",
            live,
            "bad 8104 headers",
            get(8104),
            "Get \"http://IP:8104/\": net/http: server response headers exceeded 65536 bytes; aborted",
        ),
        bad("around", ready, "bad 8105 loop", get(8105), "Get \"/loop\": stopped after 10 redirects"),
        bad(
            "around",
            live,
            "sleep 1000000",
            json!({"tcpSocket": {"port": 8106}}),
            "dial tcp IP:8106: connect: connection refused",
        ),
        bad(
            "sick",
            ready,
            "grpc 8107 2",
            json!({"grpc": {"port": 8107}}),
            "service unhealthy (responded with \"NOT_SERVING\")",
        ),
        bad("sick", live, "bad 8108 endless", get(8108), ""),
    ]
}

pub fn unruly() -> Value {
    let probed = |bad: &Bad| {
        let mut probe = probe(2, bad.asked.clone());
        probe["failureThreshold"] = 100_000.into();
        // Whoever answers may take its time; of the others it is awaited.
        if bad.container != "slow" {
            probe["timeoutSeconds"] = 60.into();
        }
        probe
    };
    let both = |pair: &[Bad]| {
        let [one, other] = pair else { panic!("two for each container") };
        let job = format!("sh /bin/testjobs {} & exec /bin/testjobs {}", one.job, other.job);
        container(one.container, &job, json!({"readinessProbe": probed(one), "livenessProbe": probed(other)}))
    };
    let containers: Vec<Value> = table().chunks(2).map(both).collect();
    pod("unruly", json!({ "containers": containers }))
}

/// Commands that leave processes, in containers whose first process takes nobody's end.
pub fn commands() -> Value {
    let mut forks = probe(1, exec("sleep 1000002 & (sleep 1000002 &) ; (true &) ; exit 0"));
    forks["timeoutSeconds"] = 60.into();
    // It ignores what it can, and waits for ever.
    let mut stuck = probe(3, exec("trap '' TERM INT HUP; sleep 1000001 & (sleep 1000001 &) ; sleep 1000001"));
    stuck["timeoutSeconds"] = 1.into();
    pod(
        "commands",
        json!({"containers": [
            container("forks", "sleep 1000000", json!({"readinessProbe": forks})),
            container("stuck", "sleep 1000000", json!({"readinessProbe": stuck})),
        ]}),
    )
}

pub fn frozen() -> Value {
    let get = probe(1, json!({"httpGet": {"port": 8080}}));
    let mut live = probe(5, exec("true"));
    (live["timeoutSeconds"], live["failureThreshold"]) = (2.into(), 100_000.into());
    let web = container("web", "http 8080", json!({"readinessProbe": get, "livenessProbe": live}));
    pod("frozen", json!({"containers": [web]}))
}

/// A child of it ends when `/h/ended` is there.
const ENDS_ONCE: &str =
    "sh /bin/testjobs read /h/ended --retry-until 600000; exec /bin/testjobs sleep 1000000";

/// How often, and how, by annotations; and what a process that ends is good for.
pub fn periods() -> Value {
    let mut often = probe(NEVER, json!({"tcpSocket": {"port": 8200}}));
    often["failureThreshold"] = 100_000.into();
    let often = json!({ "livenessProbe": often });
    let patient = |script: &str| {
        let mut probe = probe(NEVER, exec(script));
        probe["timeoutSeconds"] = 60.into();
        json!({ "readinessProbe": probe })
    };
    let mut pod = pod(
        "periods",
        json!({"containers": [
            container("often", "tcp 8200", often),
            container("soon", "sleep 1000000", patient("cat /h/soon")),
            container("state", "tcp 8201", json!({"readinessProbe": probe(1, json!({"tcpSocket": {"port": 8201}}))})),
            container("ended", ENDS_ONCE, patient("[ -e /h/ended ]")),
        ]}),
    );
    pod["metadata"]["annotations"] = json!({
        "podbox.io/probe-period": "often=500ms", "podbox.io/probe-period-until-ready": "soon=500ms",
        "podbox.io/probe-tcp": "socket-state"});
    pod
}

/// A server of IPv6 alone, in the host's network.
pub fn six() -> Value {
    let mut get = probe(NEVER, json!({"httpGet": {"host": "::1", "port": 8300, "path": "/busybox"}}));
    get["timeoutSeconds"] = 60.into();
    let fields = json!({"readinessProbe": get, "command": ["/bin/busybox", "httpd", "-f", "-p", "[::1]:8300", "-h", "/bin"]});
    pod("six", json!({"hostNetwork": true, "containers": [container("six", "", fields)]}))
}

/// A liveness probe of a server, once it serves, whose answer never comes.
fn unanswered(failures: u64) -> Value {
    let mut up = probe(1, json!({"tcpSocket": {"port": 8080}}));
    (up["timeoutSeconds"], up["failureThreshold"]) = (60.into(), 100_000.into());
    let mut live = probe(1, json!({"httpGet": {"port": 8080, "path": "/delay/600000"}}));
    live["failureThreshold"] = failures.into();
    json!({"startupProbe": up, "livenessProbe": live})
}

/// A server that has no time to serve.
pub fn throttled() -> Value {
    let mut fields = unanswered(3);
    fields["resources"] = json!({"limits": {"cpu": "100m"}});
    let busy = container("busy", "sh while :; do :; done & exec /bin/testjobs http 8080", fields);
    pod("throttled", json!({ "containers": [busy] }))
}

/// A server beside somebody who takes memory, once `/h/eat` is there.
pub fn stalled() -> Value {
    let eats = "sh (until [ -e /h/eat ]; do sleep 0.1; done; exec /bin/testjobs eat 64 --step 1 --hold 600000) & exec /bin/testjobs http 8080";
    pod("stalled", json!({"containers": [container("eats", eats, unanswered(100_000))]}))
}

/// What manifests say of when, how often and how: on a node of triggers too.
pub fn particular() -> Value {
    let tcp = |port: u16| json!({"tcpSocket": {"port": port}});
    let mut delayed = probe(NEVER, tcp(8401));
    (delayed["initialDelaySeconds"], delayed["timeoutSeconds"]) = (4.into(), 60.into());
    let mut thrice = probe(1, json!({"tcpSocket": {"port": "own"}}));
    thrice["successThreshold"] = 3.into();
    let named = json!({"readinessProbe": thrice, "ports": [{"name": "own", "containerPort": 8402}]});
    let mut patient = probe(1, exec("[ ! -e /h/fail ]"));
    (patient["failureThreshold"], patient["timeoutSeconds"]) = (4.into(), 60.into());
    // The port is another container's.
    let mut beside = probe(NEVER, tcp(8403));
    beside["timeoutSeconds"] = 60.into();
    let mut serves = probe(1, json!({"grpc": {"port": 8404, "service": "any"}}));
    serves["timeoutSeconds"] = 60.into();
    pod(
        "particular",
        json!({"containers": [
            container("delayed", "tcp 8401", json!({"readinessProbe": delayed})),
            container("thrice", "tcp 8402", named),
            container("often", "sleep 1000000", json!({"livenessProbe": patient})),
            container("beside", "grpc 8404 1", json!({"readinessProbe": beside, "livenessProbe": serves})),
            later("sidecar", "tcp 8403", json!({})),
        ]}),
    )
}

/// It takes its time to end, and fails both of its probes meanwhile.
pub fn leaving() -> Value {
    let there = || {
        let mut probe = probe(1, exec("[ ! -e /h/leaving ]"));
        probe["timeoutSeconds"] = 60.into();
        probe
    };
    let script = "sh trap 'touch /h/leaving' TERM; touch /h/up; until [ -e /h/leave ]; do sleep 0.1; done";
    let fields = json!({"readinessProbe": there(), "livenessProbe": there()});
    pod(
        "leaving",
        json!({"terminationGracePeriodSeconds": 600, "containers": [container("c", script, fields)]}),
    )
}
