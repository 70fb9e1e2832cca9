//! Where podbox answers otherwise than was recorded, and means to.

/// Part of the line's name, where in the answer, and why.
pub type Known = (&'static str, &'static str, &'static str);

/// Every one of them. None is needed that is not listed, and none is listed that is not needed.
pub const KNOWN: &[Known] = &[
    ("y is a YAML 1.1 boolean", ".code", YAML),
    ("apiservices one", ".code", "there is no aggregation of other API servers, and so no API of it"),
    ("create node", ".spec.taints", "no controller would take the taint away again"),
    ("quota after", "", "a loop keeps a quota's status, and does not run here"),
    ("create event", ".metadata.managedFields", ZERO),
    ("event through", ".metadata.managedFields", ZERO),
    ("no serviceName", ".metadata.managedFields", ZERO),
    ("create daemonset", ".metadata.managedFields", "the annotation is set when the set is made, by nobody"),
    (
        "create endpointslice name only port",
        ".metadata.managedFields",
        "an empty list is not stored, nor owned",
    ),
    ("create clusterrole", ".metadata.managedFields", "an empty list is not stored, nor owned"),
    ("duplicate ports", ".metadata.managedFields", TWICE),
    ("env duplicate names", ".metadata.managedFields", TWICE),
    ("imagePullSecret no name", ".spec.imagePullSecrets", "k8s-openapi always writes a reference's name"),
    ("pod status", ".metadata.managedFields", NULL),
    ("pod main resource patch carrying status", ".metadata.managedFields", NULL),
    ("pod setElementOrder conditions", ".metadata.managedFields", NULL),
    ("pod add ephemeral container", ".metadata.managedFields", NULL),
    ("job: name too long", "", "ours gives a job its pods' labels before it judges them"),
    ("pod update: command", "", DIFF),
    ("pod update: nodeName", "", DIFF),
    ("pod update: resources", "", DIFF),
    ("pod resize through main resource", "", DIFF),
    ("pvc update: ", "", DIFF),
    ("pod update: uid", ".message", "upstream tells of its etcd"),
    ("job update: template", "", "upstream shows Go's struct, ours the API's object"),
    ("merge patch wrong type", "", ORDER),
    ("merge patch unknown field Strict", "", ORDER),
    ("merge patch kind change", "", ORDER),
    ("two sources", "", "ours names the first reason of the two"),
    ("not acceptable", ".message", "podbox writes no protobuf"),
    ("table table bad version alone", "", "podbox writes no protobuf"),
    ("table table v1beta1", "", "a table is of the version that every client knows"),
    ("delete bad body kind", ".message", "upstream tells a path of its source"),
    ("delete malformed", ".message", "ours says what of"),
    ("anonymous /version", "", "podbox is not upstream's build"),
    ("table DaemonSet", ".rows", "upstream's tables are of objects without it"),
    ("apply: raw yaml", "", YAML),
    ("list rv=0 with limit", "", "upstream's cache gives no pages"),
    ("list rv exact old", "", NEWEST),
    ("list rv without match with limit", "", NEWEST),
    ("page 2 larger limit", "", "the token that is sent is the page's before"),
    ("ownerReference duplicate", "", "the two that are sent are not of one uid"),
];

const YAML: &str = "YAML is read by version 1.2, where `y` is a text";
const ZERO: &str = "upstream's empty object has the empty text, too, and so nobody sets it";
const TWICE: &str = "of two of the same key, upstream's manager owns only that there is one";
const NULL: &str = "upstream writes a time that is not known as null, which is owned";
const DIFF: &str = "upstream appends a diff of Go's structs; ours names the API's fields";
const ORDER: &str = "upstream shows the object in the order of Go's fields";
const NEWEST: &str = "the revision that is sent is the newest, not the first page's";
