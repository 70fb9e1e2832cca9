"""Python's kubernetes client against a node, as its own documentation uses it."""

import threading
import time

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()


def refused(status, reason, call):
    """Expects a refusal, and returns what it says."""
    try:
        call()
    except ApiException as error:
        assert error.status == status and f'"reason":"{reason}"' in error.body, error
        return error.body
    raise AssertionError(f"not refused: {reason}")


# Objects with types: created, read, listed, patched, replaced, removed.
labels = {"app": "python"}
meta = client.V1ObjectMeta(generate_name="from-python-", labels=labels)
made = core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta, data={"a": "1"}))
name = made.metadata.name
assert name.startswith("from-python-") and made.metadata.creation_timestamp.tzinfo
listed = core.list_namespaced_config_map("default", label_selector="app=python")
assert [item.metadata.name for item in listed.items] == [name]
patched = core.patch_namespaced_config_map(name, "default", {"data": {"b": "2", "a": None}})
assert patched.data == {"b": "2"}, patched.data
json_patch = [{"op": "add", "path": "/data/c", "value": "3"}]
assert core.patch_namespaced_config_map(name, "default", json_patch).data == {"b": "2", "c": "3"}
made.data = {"stale": "yes"}
refused(409, "Conflict", lambda: core.replace_namespaced_config_map(name, "default", made))
refused(404, "NotFound", lambda: core.read_namespaced_config_map("absent", "default"))
bad = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="Bad"))
assert "metadata.name" in refused(422, "Invalid", lambda: core.create_namespaced_config_map("default", bad))

# A watch from a list's revision tells what happens after it, in order.
seen = []


def follow():
    for event in watch.Watch().stream(
        core.list_namespaced_config_map,
        "default",
        label_selector="app=python",
        resource_version=patched.metadata.resource_version,
        timeout_seconds=60,
    ):
        seen.append((event["type"], event["object"].data))
        if event["type"] == "DELETED":
            return


follower = threading.Thread(target=follow, daemon=True)
follower.start()
core.patch_namespaced_config_map(name, "default", {"data": {"d": "4"}})
core.delete_namespaced_config_map(name, "default")
follower.join(60)
assert [kind for kind, _ in seen] == ["MODIFIED", "MODIFIED", "DELETED"], seen
assert seen[1][1] == {"b": "2", "c": "3", "d": "4"}, seen

# Pages of one revision.
for number in range(7):
    meta = client.V1ObjectMeta(name=f"page-{number}", labels={"app": "pages"})
    core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta))
names, more = [], None
while more != "":
    page = core.list_namespaced_config_map("default", label_selector="app=pages", limit=3, _continue=more)
    names += [item.metadata.name for item in page.items]
    more = page.metadata._continue or ""
assert names == [f"page-{number}" for number in range(7)], names
core.delete_collection_namespaced_config_map("default", label_selector="app=pages")
assert not core.list_namespaced_config_map("default", label_selector="app=pages").items

# A deployment, its scale and its status.
container = client.V1Container(name="web", image="podbox.local/testjobs:latest", args=["http", "8080"])
template = client.V1PodTemplateSpec(
    metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
)
spec = client.V1DeploymentSpec(replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template)
deployment = client.V1Deployment(metadata=client.V1ObjectMeta(name="python"), spec=spec)
assert apps.create_namespaced_deployment("default", deployment).spec.strategy.type == "RollingUpdate"
apps.patch_namespaced_deployment_scale("python", "default", {"spec": {"replicas": 3}})
assert apps.read_namespaced_deployment("python", "default").spec.replicas == 3
apps.delete_namespaced_deployment("python", "default", propagation_policy="Orphan")

# Discovery, and objects without types.
found = dynamic.DynamicClient(client.ApiClient())
leases = found.resources.get(api_version="coordination.k8s.io/v1", kind="Lease")
body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "python"}, "spec": {}}
leases.create(body=body, namespace="default")
applied = leases.server_side_apply(
    body={**body, "spec": {"holderIdentity": "me"}}, name="python", namespace="default", field_manager="test"
)
assert applied.spec.holderIdentity == "me"
assert int(client.VersionApi().get_code().minor) >= 35

# A pod that runs: its log, and a command in it.
container = client.V1Container(
    name="web", image="podbox.local/testjobs:latest", image_pull_policy="IfNotPresent", args=["http", "8080"]
)
pod = client.V1Pod(
    metadata=client.V1ObjectMeta(name="python"),
    spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=1),
)
core.create_namespaced_pod("default", pod)
for event in watch.Watch().stream(
    core.list_namespaced_pod, "default", field_selector="metadata.name=python", timeout_seconds=60
):
    if event["object"].status.phase == "Running":
        break
limit = time.monotonic() + 60
while "listening" not in core.read_namespaced_pod_log("python", "default"):
    assert time.monotonic() < limit, "the pod said nothing"

from kubernetes.stream import portforward, stream

command = ["/bin/busybox", "sh", "-c", "read x; echo got $x; exit 5"]
inside = stream(
    core.connect_get_namespaced_pod_exec,
    "python",
    "default",
    command=command,
    stdin=True,
    stdout=True,
    stderr=True,
    tty=False,
    _preload_content=False,
)
inside.write_stdin("this\n")
inside.run_forever(timeout=60)
assert inside.read_stdout() == "got this\n" and inside.returncode == 5

forward = portforward(core.connect_get_namespaced_pod_portforward, "python", "default", ports="8080")
socket = forward.socket(8080)
socket.setblocking(True)
socket.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
answer = b""
while part := socket.recv(4096):
    answer += part
assert b"hello from" in answer and forward.error(8080) is None, answer
core.delete_namespaced_pod("python", "default")

print("all as it should be")
