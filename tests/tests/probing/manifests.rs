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

/// Containers whose probes end them.
pub fn ends() -> Value {
    let mut live = probe(1, json!({"tcpSocket": {"port": 81}}));
    live["terminationGracePeriodSeconds"] = 1.into();
    let asked = |name: &str| probe(1, exec(&format!("touch /h/asked-{name}")));
    let start = json!({"startupProbe": probe(1, exec("false")), "readinessProbe": asked("start"), "livenessProbe": asked("start")});
    pod(
        "ends",
        json!({"terminationGracePeriodSeconds": 600, "containers": [
            container("live", "sh trap 'echo term >> /h/live' TERM; while :; do sleep 0.1; done", json!({"livenessProbe": live})),
            container("start", "sleep 1000000", start),
        ]}),
    )
}

/// Servers that do not behave: the container's name, its job and what is asked of it, and why it fails.
pub fn table() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let get = |port: u16| json!({"httpGet": {"port": port, "path": "/"}});
    vec![
        (
            "silent",
            "bad 8101 silent",
            get(8101),
            "Get \"http://IP:8101/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
        (
            "drip",
            "bad 8102 drip",
            get(8102),
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)",
        ),
        (
            "garbage",
            "bad 8103 garbage",
            get(8103),
            "Get \"http://IP:8103/\": net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2.0-sorry\"",
        ),
        (
            "headers",
            "bad 8104 headers",
            get(8104),
            "Get \"http://IP:8104/\": net/http: server response headers exceeded 65536 bytes; aborted",
        ),
        ("loop", "bad 8105 loop", get(8105), "Get \"/loop\": stopped after 10 redirects"),
        (
            "nobody",
            "sleep 1000000",
            json!({"tcpSocket": {"port": 8106}}),
            "dial tcp IP:8106: connect: connection refused",
        ),
        (
            "sick",
            "grpc 8107 2",
            json!({"grpc": {"port": 8107}}),
            "service unhealthy (responded with \"NOT_SERVING\")",
        ),
    ]
}

pub fn bad() -> Value {
    let containers = table().into_iter().map(|(name, job, handler, _)| {
        let mut probe = probe(2, handler);
        // Whoever answers may take its time; of the others it is awaited.
        if !["silent", "drip"].contains(&name) {
            probe["timeoutSeconds"] = 60.into();
        }
        container(name, job, json!({"readinessProbe": probe}))
    });
    let mut containers: Vec<Value> = containers.collect();
    let mut endless = probe(NEVER, json!({"httpGet": {"port": 8108}}));
    endless["timeoutSeconds"] = 60.into();
    containers.push(container("endless", "bad 8108 endless", json!({"startupProbe": endless})));
    pod("bad", json!({ "containers": containers }))
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
    let mut cat = probe(1, exec("true"));
    cat["timeoutSeconds"] = 2.into();
    let mut live = cat;
    live["failureThreshold"] = 100_000.into();
    let web = container("web", "http 8080", json!({"readinessProbe": get, "livenessProbe": live}));
    pod("frozen", json!({"containers": [web]}))
}

/// How often, and how, by annotations.
pub fn periods() -> Value {
    let often = json!({"livenessProbe": probe(NEVER, exec("true"))});
    let soon = json!({"readinessProbe": probe(NEVER, exec("cat /h/soon"))});
    let mut pod = pod(
        "periods",
        json!({"containers": [
            container("often", "sleep 1000000", often),
            container("soon", "sleep 1000000", soon),
            container("state", "tcp 8080", json!({"readinessProbe": probe(NEVER, json!({"tcpSocket": {"port": 8080}}))})),
        ]}),
    );
    pod["metadata"]["annotations"] = json!({
        "podbox.io/probe-period": "often=500ms", "podbox.io/probe-period-until-ready": "soon=500ms",
        "podbox.io/probe-tcp": "socket-state"});
    pod
}

/// A server of IPv6 alone, in the host's network.
pub fn six() -> Value {
    let get = probe(NEVER, json!({"httpGet": {"host": "::1", "port": 8300, "path": "/busybox"}}));
    let fields = json!({"readinessProbe": get, "command": ["/bin/busybox", "httpd", "-f", "-p", "[::1]:8300", "-h", "/bin"]});
    pod("six", json!({"hostNetwork": true, "containers": [container("six", "", fields)]}))
}

/// A server that has no time to serve.
pub fn throttled() -> Value {
    let mut live = probe(1, json!({"httpGet": {"port": 8080, "path": "/delay/600000"}}));
    live["failureThreshold"] = 100_000.into();
    live["initialDelaySeconds"] = 3.into();
    let busy = "sh while :; do :; done & exec /bin/testjobs http 8080";
    let limits = json!({"limits": {"cpu": "100m"}});
    pod(
        "throttled",
        json!({"containers": [container("busy", busy, json!({"livenessProbe": live, "resources": limits}))]}),
    )
}
