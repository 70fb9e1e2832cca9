//! Every bound in one place: queues, sizes, waits. A limit that is reached is an error or a counter, never silence.

use std::time::Duration;

/// Containers one keeper holds at the same time.
pub const CONTAINERS: usize = 2048;
/// A manifest file's size in bytes.
pub const MANIFEST_BYTES: u64 = 3 << 20;
/// Brackets that a manifest may have open at the same time, those in its texts included.
pub const MANIFEST_BRACKETS: usize = 5_000;
/// Values (and pieces of 64 bytes of text) that one document of a manifest may have once its aliases are expanded.
pub const MANIFEST_NODES: usize = 500_000;
/// Kernel events waiting for one subscriber of the event bus; an older one is dropped and counted.
pub const EVENTS_QUEUED: usize = 4096;
/// Pause before a keeper that did not answer is asked again.
pub const KEEPER_RETRY: Duration = Duration::from_millis(500);
/// Connections to the keeper at the same time.
pub const KEEPER_CONNECTIONS: usize = 8;
/// Messages that wait for one daemon: the ends of all containers, and as many answers.
pub const KEEPER_WAITING: usize = 2 * CONTAINERS;
/// How long a keeper may take to answer one request.
pub const KEEPER_ANSWER: Duration = Duration::from_secs(10);
/// How long killed processes may take to end before they count as stuck in the kernel.
pub const CGROUP_EMPTY: Duration = Duration::from_secs(10);
/// Connections one HTTP listener serves at the same time; further ones wait in the kernel's backlog.
pub const CONNECTIONS: usize = 1024;
/// How long a TLS handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take until a request's headers are there, also after the request before.
pub const HEADER_READ: Duration = Duration::from_secs(32);
/// Bytes of a request's headers.
pub const HEADER_BYTES: u32 = 64 << 10;
/// How long a client may read nothing of an answer that is sent to it, on a connection or on one of its streams.
pub const WRITE_STALL: Duration = Duration::from_secs(300);
/// How long an HTTP/2 connection may have no request once it has had one, as upstream has it.
pub const IDLE: Duration = Duration::from_secs(90);
/// Between two questions whether the other side of a quiet HTTP/2 connection is there.
pub const PING: Duration = Duration::from_secs(30);
/// Bytes of one HTTP/2 stream that wait to be sent.
pub const STREAM_BUFFER: usize = 64 << 10;
/// Seconds of silence after which the kernel asks whether the other side of an API connection is there.
pub const KEEPALIVE_SECONDS: u32 = 60;
/// Connections that the API serves at the same time: each watch may be one.
pub const API_CONNECTIONS: usize = 16_384;
/// Of these, connections from one address that have not shown who they are from: beyond it, the oldest of them goes.
pub const API_GUESTS: usize = 1024;
/// The same from all addresses together.
pub const API_GUESTS_ALL: usize = 8192;
/// Requests that read and that are answered at the same time, as upstream has it.
pub const READS_IN_FLIGHT: usize = 400;
/// Requests that write and that are answered at the same time, as upstream has it.
pub const WRITES_IN_FLIGHT: usize = 200;
/// Bytes of a body from which on it counts against [`LARGE_BODIES_BYTES`].
pub const LARGE_BODY: usize = 64 << 10;
/// Bytes that all large bodies may have which are read at the same time.
pub const LARGE_BODIES_BYTES: usize = 64 << 20;
/// Bytes of a long answer that are made at once.
pub const ANSWER_CHUNK: usize = 64 << 10;
/// Objects that are looked at for a list until others get a turn.
pub const LIST_TURN: usize = 256;
/// Pause after a failed accept.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Event lines waiting for one client of the event stream.
pub const EVENT_LINES: usize = 64;
/// Content of one entry of a container's log; a longer line becomes several, as with containerd.
pub const LOG_ENTRY_BYTES: usize = 16 << 10;
/// What a log pump moves at once.
pub const LOG_CHUNK_BYTES: usize = 64 << 10;
/// A staging pipe's size: a started line, one chunk, and slots for lines that come in small pieces.
pub const LOG_STAGING_BYTES: usize = 256 << 10;
/// A log file is rotated at this size: the kubelet's `containerLogMaxSize`.
pub const LOG_FILE_BYTES: u64 = 10 << 20;
/// Files of one container's log, the current one included: the kubelet's `containerLogMaxFiles`.
pub const LOG_FILES: usize = 5;
/// First pause after a log could not be written; it doubles.
pub const LOG_RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between attempts to write a log.
pub const LOG_RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Bytes of the ring of exit and reap events: some 7,700 exits until one is dropped and counted.
pub const EVENT_RING_BYTES: u32 = 1 << 20;
/// How long exits and reapings may lie in their ring where others were read just before, so that not each of them wakes podbox.
pub const EVENTS_REST: Duration = Duration::from_millis(100);
/// Bytes of the ring of OOM events: some 800 victims.
pub const OOM_RING_BYTES: u32 = 1 << 17;
/// The longest that the kernel's OOM killer takes for one decision, and between two looks at whether it is done.
pub const OOM_KILL: Duration = Duration::from_secs(2);
/// See [`OOM_KILL`].
pub const OOM_KILL_LOOK: Duration = Duration::from_millis(5);
/// How long a removed container's cgroup is still attributed to it.
pub const TOMBSTONE: Duration = Duration::from_secs(300);
/// How many of the oldest of those go at once where there is no room for another container.
pub const TOMBSTONES_SPARED: usize = 64;
/// How long what the kernel counted of a container is kept that has no run any more.
pub const COUNTS_KEPT: Duration = Duration::from_secs(86_400);
/// Of how many containers, some 500 bytes each.
pub const CONTAINERS_COUNTED: usize = 4096;
/// Between two looks at the dead that nobody reaps.
pub const ZOMBIE_SCAN: Duration = Duration::from_millis(500);
/// Between two counts of a container's unreaped dead, however many more there are.
pub const ZOMBIES_PAUSE: Duration = Duration::from_secs(1);
/// The same while there are some to speak of and nobody says anything of them.
pub const ZOMBIES_AGAIN: Duration = Duration::from_secs(5);
/// Entries of the map of the dead that one look reads.
pub const ZOMBIES_READ: usize = 16384;
/// How late the kernel may tell that a process was reaped: a busy one frees what nobody needs any more by and by.
pub const REAPING_TOLD: Duration = Duration::from_secs(120);
/// How long a probe may take until somebody looks why: most are over by then, and cost no look.
pub const PROBE_IS_SLOW: Duration = Duration::from_millis(10);
/// How often what was counted is compared with the kernel's own files.
pub const STANDING_LOOK: Duration = Duration::from_secs(10);
/// A container that has no process ids left within this time is told of.
pub const PIDS_URGENT: Duration = Duration::from_secs(600);
/// How often the BPF programs' cost is looked at.
pub const PROGRAM_LOOK: Duration = Duration::from_secs(10);
/// For how long programs that are executed are watched after a container was last about to begin.
pub const EXECUTIONS_WATCHED: Duration = Duration::from_secs(2);
/// The part of one processor that a BPF program may take.
pub const PROGRAM_SHARE: f64 = 0.05;
/// Looks in a row after which one that takes more is detached.
pub const PROGRAM_STRIKES: u32 = 3;
/// Ends of one container that are remembered, for `podbox why`.
pub const ENDS_KEPT: usize = 8;
/// Pods that have left this node and of whose ends `podbox why` still tells.
pub const PAST_PODS: usize = 256;
/// Results of one probe that are kept for `podbox probes`.
pub const PROBE_RESULTS: usize = 64;
/// Bytes of a result's message that are kept there.
pub const PROBE_MESSAGE_BYTES: usize = 512;
/// Shortest time between two frames of the live table.
pub const FRAME: Duration = Duration::from_millis(100);
/// Time between two clean-ups of histogram samples that nobody scraped.
pub const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Series that one page for Prometheus has at most: some 40 MB of text. A pod has about 80 of the API's objects' and 60 of cgroups'.
pub const PAGE_SERIES: usize = 250_000;
/// Chunks of a container's log that are moved once all of its processes have ended, whoever else writes into its pipe.
pub const LOG_LAST_CHUNKS: usize = 64;
/// How long the removal of a container waits for the rest of its log.
pub const LOG_REMOVE: Duration = Duration::from_secs(5);
/// Bytes of one name in a layer, as file systems have it.
pub const ENTRY_NAME_BYTES: usize = 255;
/// Bytes of one path in a layer, as the kernel has it.
pub const ENTRY_PATH_BYTES: usize = 4095;
/// Directories above each other in a layer.
pub const ENTRY_DEPTH: usize = 255;
/// Bytes of one extended header in a layer's archive: long names, extended attributes.
pub const ENTRY_EXTENSION_BYTES: u64 = 1 << 20;
/// Entries of one layer.
pub const LAYER_ENTRIES: u64 = 4_000_000;
/// Bytes of one unpacked layer, however large it is compressed.
pub const LAYER_BYTES: u64 = 64 << 30;
/// Bytes that any layer may unpack to; beyond, [`LAYER_RATIO`] counts.
pub const LAYER_BYTES_FREE: u64 = 1 << 30;
/// How many times its compressed size a layer may unpack to.
pub const LAYER_RATIO: u64 = 200;
/// Layers of one image: what overlayfs can stack.
pub const IMAGE_LAYERS: usize = 500;
/// Bytes of one manifest, index or image configuration.
pub const IMAGE_DOCUMENT_BYTES: u64 = 8 << 20;
/// Members of an image archive.
pub const ARCHIVE_MEMBERS: usize = 100_000;
/// Layers downloaded at the same time for one image.
pub const LAYER_DOWNLOADS: usize = 4;
/// How long a registry may take to accept a connection.
pub const REGISTRY_CONNECT: Duration = Duration::from_secs(15);
/// How long a registry may take for one manifest or configuration, with whatever it wants to know before.
pub const REGISTRY_DOCUMENT: Duration = Duration::from_secs(90);
/// How long a registry may be silent while it answers.
pub const REGISTRY_READ: Duration = Duration::from_secs(60);
/// Writes that wait for the store's writer; more wait outside.
pub const STORE_QUEUE: usize = 1024;
/// Writes that one transaction of the store takes.
pub const STORE_BATCH: usize = 512;
/// Writes in a transaction of the store from which on it tries now and then whether others are about to come.
pub const STORE_TOGETHER: usize = 4;
/// Transactions of which one tries that.
pub const STORE_TRY_EACH: usize = 8;
/// How long a transaction waits for others at most, where they go on coming: little against what a disk takes.
pub const STORE_LINGER: Duration = Duration::from_millis(2);
/// How long it sleeps before it looks whether one has come.
pub const STORE_NAP: Duration = Duration::from_micros(100);
/// Bytes of objects at which one transaction of the store takes no further write.
pub const STORE_BATCH_BYTES: usize = 8 << 20;
/// What the store's database may cache: everything is in memory already.
pub const STORE_CACHE_BYTES: usize = 4 << 20;
/// Changes of one collection that watchers can still ask for.
pub const HISTORY_CHANGES: usize = 16_384;
/// How long a pod that was evicted counts as going although it is not deleted: so does the eviction, if it fails after it was
/// counted.
pub const DISRUPTED: Duration = Duration::from_secs(120);
/// Between two times at which what is old is forgotten: what was before the first is, at the second. Upstream's etcd is
/// compacted as often.
pub const HISTORY_AGE: Duration = Duration::from_secs(300);
/// Bytes of objects that are only kept because they changed or went, per collection.
pub const HISTORY_BYTES: usize = 12 << 20;
/// The same over all collections.
pub const HISTORY_BYTES_ALL: usize = 24 << 20;
/// Changes that a watcher takes at once.
pub const WATCH_BATCH: usize = 256;
/// Bytes of changed objects that a watcher takes at once, and one object more.
pub const WATCH_BATCH_BYTES: usize = 1 << 20;
/// Watchers of one collection that the store's writer wakes itself; more are woken beside it.
pub const WAKE_DIRECTLY: usize = 64;
/// Bytes of one API request's body, as upstream has it.
pub const REQUEST_BYTES: usize = 3 << 20;
/// Messages within each other in a protobuf body; upstream's kinds have some fifteen.
pub const MESSAGE_DEPTH: usize = 100;
/// How long an API request's body may take to come.
pub const REQUEST_READ: Duration = Duration::from_secs(60);
/// How long a watch lasts whose client does not say, in seconds.
pub const WATCH_SECONDS: u64 = 3600;
/// Between two bookmarks of a watch.
pub const BOOKMARK: Duration = Duration::from_secs(60);
/// Requests at once on one HTTP/2 connection.
pub const STREAMS: u32 = 250;
/// Bytes of one argument or variable of a program: what Linux takes (`MAX_ARG_STRLEN`).
pub const ARGUMENT: usize = 128 << 10;
/// Bytes of all its arguments and variables: what Linux takes at most (three quarters of `_STK_LIM`).
pub const ARGUMENTS: usize = 6 << 20;
/// Bytes of all files in one pod's configMap, secret, downwardAPI and projected volumes, each with [`POD_FILE`] more.
pub const POD_FILES: usize = 32 << 20;
/// What a file takes beside its bytes, about.
pub const POD_FILE: usize = 1 << 10;
/// The longest that a pod is given to end, or to run: a century, whatever its manifest says, as clocks go no further than some.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How long a pod gets to end that does not say.
pub const GRACE_SECONDS: u64 = 30;
/// Pause before a pod whose worker broke goes on.
pub const WORKER_AGAIN: Duration = Duration::from_secs(2);
/// Logins by which one image was had that are remembered.
pub const IMAGE_LOGINS: usize = 100;
/// Between two tries to tell the API of a pod.
pub const STATUS_RETRY: Duration = Duration::from_millis(200);
/// How long what a container leaves waits for the API to be told of its end.
pub const TOLD_FIRST: Duration = Duration::from_secs(1);
/// Pods on one node, as upstream's default has it.
pub const PODS: u32 = 110;
/// Between two words to the API of how this node is, if nothing changes: upstream's `nodeStatusReportFrequency`.
pub const HEARTBEAT: Duration = Duration::from_secs(300);
/// Between two looks at whether it has changed: upstream's `nodeStatusUpdateFrequency`.
pub const HEALTH_LOOK: Duration = Duration::from_secs(10);
/// Images that a node tells of: upstream's `nodeStatusMaxImages`.
pub const IMAGES_TOLD: usize = 50;
/// Nothing heard of a node for so long means that it does not answer: upstream's `nodeMonitorGracePeriod`.
pub const NODE_SILENT: Duration = Duration::from_secs(50);
/// The same of one that was never heard of: upstream's `nodeStartupGracePeriod`.
pub const NODE_STARTUP: Duration = Duration::from_secs(60);
/// Who looks after nodes so much too late was asleep himself.
pub const NODE_LATE: Duration = Duration::from_secs(5);
/// A node of each zone in so long loses its pods since it is not ready: upstream's `node-eviction-rate`.
pub const NODE_EVICTION: Duration = Duration::from_secs(10);
/// The same where most nodes of a large zone are not: `secondary-node-eviction-rate`.
pub const NODE_EVICTION_SLOW: Duration = Duration::from_secs(100);
/// So many in a hundred are most: `unhealthy-zone-threshold`.
pub const NODES_UNREADY_PERCENT: usize = 55;
/// A zone with more nodes is large: `large-cluster-size-threshold`.
pub const LARGE_CLUSTER: usize = 50;
/// Pods that have ended and are kept: `terminated-pod-gc-threshold`.
pub const ENDED_PODS: usize = 12_500;
/// For how long a node that is gone may come back before its pods go, too: upstream's quarantine of orphans.
pub const NODE_LOST: Duration = Duration::from_secs(40);
/// For how long a node's lease says that it lives, as upstream has it.
pub const LEASE: Duration = Duration::from_secs(40);
/// Between two renewals of it.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(10);
/// Simulated nodes: as many as upstream says that a cluster may have.
pub const SIMULATED_NODES: u32 = 5000;
/// Writes of all simulated nodes together that are under way at a time.
pub const SIMULATED_AT_ONCE: usize = 256;
/// Between two looks at what pods use.
pub const STATS_PERIOD: Duration = Duration::from_secs(10);
/// How long a pod has to go that a hard threshold makes go, as upstream has it.
pub const EVICTION_GRACE: Duration = Duration::from_secs(1);
/// How long is waited until a pod that is made to go has gone, before another one is.
pub const EVICTION_WAIT: Duration = Duration::from_secs(30);
/// Pods that wait to be made to go.
pub const EVICTIONS: usize = 16;
/// Between two looks at whether the images' disk is too full: upstream's.
pub const IMAGES_LOOK: Duration = Duration::from_secs(300);
/// Between two looks for logs that nobody needs: upstream's.
pub const LOGS_LOOK: Duration = Duration::from_secs(60);
/// How old what is told of the disks may be.
pub const DISK_LOOK: Duration = Duration::from_secs(10);
/// Files of one tree that are counted at most.
pub const TREE_FILES: u64 = 4 << 20;
/// Between the first two looks; and how long a container must have run for a rate.
pub const STATS_FIRST: Duration = Duration::from_secs(1);
/// Bytes of a log that a reader takes at once.
pub const LOG_CHUNK: usize = 64 << 10;
/// Logs that are read from disk at the same time.
pub const LOG_READERS: usize = 8;
/// Tickets for resuming a TLS session that a client gets at once.
pub const TLS_TICKETS: usize = 2;
/// Between two looks at whether a certificate has to be renewed.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(3600);
/// Single permissions that the rules of one role may mean when it is judged whether its writer holds them.
pub const RULE_PARTS: usize = 20_000;
/// Comparisons of words that judging a role or binding may take: some 50 ms.
pub const RULE_STEPS: usize = 10_000_000;
/// Tallies that are kept of what is used of quotas, per collection: one for each namespace and each choice of scopes.
pub const TALLIES: usize = 1024;
/// How long a pod waits for the account that its namespace is about to get.
pub const ACCOUNT_WAIT: Duration = Duration::from_secs(10);
/// How long a Secret for an account's token waits for the account.
pub const SECRET_WAIT: Duration = Duration::from_secs(10);
/// Pause before what a namespace is to have is tried again.
pub const FURNISH_RETRY: Duration = Duration::from_secs(5);
/// Namespaces that are given what they are to have at the same time.
pub const FURNISHED_AT_ONCE: usize = 32;
/// Bytes of a bearer token.
pub const TOKEN_BYTES: usize = 16 << 10;
/// Tokens whose signatures are remembered as good.
pub const TOKENS_REMEMBERED: usize = 4096;
/// How long a service account's token is good at most.
pub const TOKEN_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// How long it is good when nothing else is asked.
pub const TOKEN_DEFAULT: Duration = Duration::from_secs(3600);
/// Bytes of a command's output, or of a forwarded connection, that are on their way at once.
pub const STREAM_CHUNK: usize = 32 << 10;
/// Bytes that are still read of what a command has written, once it has ended: a pipe's content, and more than a
/// terminal's.
pub const STREAM_REST: usize = 1 << 20;
/// Chunks of a container's output that wait for one client that is attached to it.
pub const ATTACH_CHUNKS: usize = 16;
/// How long a client that is attached to a container may take nothing of its output, which waits meanwhile; then it is
/// let go.
pub const ATTACH_STALL: Duration = Duration::from_secs(30);
/// Bytes of one WebSocket message from a client.
pub const SOCKET_MESSAGE: usize = 4 << 20;
/// Messages of a client that wait for a command to read them.
pub const SOCKET_QUEUE: usize = 2;
/// Bytes of one WebSocket message to a client: an event of the largest object, with what it has from the API.
pub const SOCKET_SENT: usize = 4 * REQUEST_BYTES;
/// Bytes of what is inside a tunnel that wait for a client to take them.
pub const SOCKET_WRITE: usize = 256 << 10;
/// Between two signs of life to a client, so that one that is gone without a word is found out.
pub const SOCKET_PING: Duration = Duration::from_secs(30);
/// How long a client may take to close its end, once a stream is over.
pub const STREAM_LINGER: Duration = Duration::from_secs(5);
/// How long a client may take to open the streams that it asked for.
pub const STREAMS_OPEN: Duration = Duration::from_secs(30);
/// Streams at once on one SPDY connection: two for each forwarded connection.
pub const SPDY_STREAMS: usize = 2048;
/// Bytes of one SPDY control frame, and of its headers unpacked.
pub const SPDY_HEADERS: usize = 64 << 10;
/// Bytes that wait for the streams, or ports, of one connection to take them.
pub const SPDY_ROOM: usize = 4 << 20;
/// Chunks that wait for one SPDY stream to take them.
pub const SPDY_QUEUE: usize = 8;
/// How long a server in a pod may take to accept a connection that is proxied to it.
pub const PROXY_CONNECT: Duration = Duration::from_secs(10);
/// Bytes of a page whose links are led through the proxy; a larger one is passed on as it comes.
pub const PROXY_PAGE_BYTES: usize = 4 << 20;
/// The longest tag of a page that comes without end whose links are led through the proxy.
pub const PROXY_TAG_BYTES: usize = 16 << 10;
/// Ports that one request may forward in WebSocket channels.
pub const FORWARDED_PORTS: usize = 126;
/// Comparisons that merging one list into another may take.
pub const MERGE_STEPS: usize = 4_000_000;
/// Levels that an object may nest, so that every reader of it can follow.
pub const OBJECT_DEPTH: usize = 100;
/// What of a pod's images waits to be told until its init containers are through.
pub const NOTICES_HELD: usize = 64;
/// Notices of pods that wait to be written as Events.
pub const NOTICES: usize = 1024;
/// Notices of pods that are written at the same time.
pub const NOTICES_AT_ONCE: usize = 64;
/// Pods whose Events are counted.
pub const RECORDED_PODS: usize = 512;
/// Events that one pod may have written at once, as the kubelet has it.
pub const EVENTS_AT_ONCE: u32 = 25;
/// Different ones of a pod that are counted; from then on counts begin anew.
pub const EVENTS_COUNTED: usize = 64;
/// Characters of what a container says for itself that an Event of its probe tells.
pub const PROBE_SAID: usize = 1024;
/// After this long it may have one more.
pub const EVENT_AGAIN: Duration = Duration::from_secs(300);
/// How long an Event is kept after it last happened, as upstream has it.
pub const EVENT_LIFE: Duration = Duration::from_secs(3600);
/// Between two looks for Events that are to go.
pub const EVENT_CHECK: Duration = Duration::from_secs(60);
/// How long a service account's token is used in a volume at most, however long it is good.
pub const TOKEN_KEPT: Duration = Duration::from_secs(86_400);
/// How long until volumes that could not be brought up to date are looked at again, if nothing changes.
pub const REFRESH_RETRY: Duration = Duration::from_secs(10);
/// How long until a sandbox that could not be made or taken away is tried again, if nothing changes: as often as the kubelet
/// comes by.
pub const SANDBOX_RETRY: Duration = Duration::from_secs(10);
/// First wait after a volume could not be set up; it doubles, as the kubelet has it.
pub const MOUNT_RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest one.
pub const MOUNT_RETRY_LONGEST: Duration = Duration::from_secs(122);
/// Streams of a forwarding connection that wait for their other half.
pub const SPDY_HALVES: usize = 256;
/// Bytes of an answer that counts as given once it is made.
pub const SMALL_ANSWER: u64 = 64 << 10;
/// Bytes that a container may leave as its termination message, as the kubelet has it.
pub const TERMINATION_MESSAGE: usize = 4096;
/// Lines at the end of a log that stand for a termination message, as the kubelet has it.
pub const TERMINATION_LOG_LINES: usize = 80;
/// Bytes at the end of a log that stand for a termination message, as the kubelet has it.
pub const TERMINATION_LOG: usize = 2048;
/// Bytes of a hook's output that are told when it fails.
pub const HOOK_OUTPUT: usize = 2048;
/// How long a server has to agree on TLS with a hook or a probe: Go's clients', also where there is more time.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// Names that probes and hooks have looked up at the same time.
pub const LOOKUPS: usize = 16;
/// Headers of an answer to a hook or a probe. Each answer takes room for so many.
pub const ANSWER_HEADERS: usize = 512;
/// Bytes of the head of an answer to a hook or a probe.
pub const ANSWER_HEAD: usize = 64 << 10;
/// Bytes of a probe's answer that are read, be it a body or what a command writes: the kubelet's.
pub const PROBE_OUTPUT: usize = 10 << 10;
/// How often a probe is tried that could not be run, before it is told: the kubelet's.
pub const PROBE_TRIES: usize = 3;
/// How long a command whose time is up has to end once it was killed: one that the kernel does not let die is left to itself.
pub const KILLED_END: Duration = Duration::from_secs(1);
/// How long what a probe's command left behind has to end once it was killed.
pub const ORPHANS_END: Duration = Duration::from_secs(2);
/// Triggers of one pod's probes that wait; more are dropped, for they are hints.
pub const TRIGGERS: usize = 64;
/// How long a server may take to accept a hook's connection.
pub const HOOK_CONNECT: Duration = Duration::from_secs(30);
/// Objects that controllers reconcile at the same time.
pub const RECONCILED_AT_ONCE: usize = 256;
/// How long controllers sleep when nothing is to come: any change wakes them.
pub const CONTROL_IDLE: Duration = Duration::from_secs(3600);
/// Volumes that podbox's own provisioner makes or takes away at a time.
pub const VOLUMES_AT_ONCE: usize = 16;
/// How long the claims of a pod that a node takes have until their volumes are there: upstream's `bindTimeoutSeconds`.
pub const VOLUMES_BOUND: Duration = Duration::from_secs(600);
/// Writes of the scheduler that are under way at a time: as many as the store makes durable together.
pub const BINDINGS_AT_ONCE: usize = STORE_BATCH;
/// How long a pod waits for something that may help before it is looked at all the same, and says again why it waits: well before an
/// Event expires. Upstream's.
pub const UNSCHEDULABLE_AGAIN: Duration = Duration::from_secs(300);
/// Nodes on which others could go for a pod, of which the best is chosen; in large clusters, a tenth of all. Upstream's.
pub const PREEMPTION_CANDIDATES: usize = 100;
/// Pods that the scheduler looks at in vain before it looks at what has changed meanwhile.
pub const PODS_LOOKED_AT: usize = 256;
/// Pods of one object that may wait for a node before more of them are made: a mistyped number is to fill neither memory nor disk.
pub const PODS_WITHOUT_NODE: usize = 20_000;
/// Pods that one controller makes or takes in one go, as upstream has it.
pub const REPLICAS_AT_ONCE: usize = 500;
/// Missing pods of a StatefulSet that are looked at for those that can come now.
pub const REPLICAS_LOOKED_AT: usize = 5000;
/// Endpoints of one slice, as upstream has it.
pub const SLICE_ENDPOINTS: usize = 100;
/// Addresses of one Endpoints object, as upstream has it.
pub const LEGACY_ENDPOINTS: usize = 1000;
