//! Commands, attachments, copies and forwarded ports, as stock kubectl drives them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use podbox_tests::host::IMAGE;
use podbox_tests::needs;
use podbox_tests::node::Node;
use podbox_tests::rounds::Random;
use podbox_tests::run::limit;
use podbox_tests::terminal::Terminal;
use podbox_tests::wait::{wait_equal, wait_until};

/// Programs of busybox that pods get for their user to run.
const PROGRAMS: [&str; 6] = ["sh", "cat", "tar", "stty", "tty", "sleep"];
/// Makes kubectl speak SPDY, as older ones do.
const OLD: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")];

/// kubectl with these arguments.
fn kubectl(node: &Node, args: &[&str]) -> Command {
    let mut command = node.client("kubectl");
    command.args(args).stdin(Stdio::null());
    command
}

/// What kubectl does with this on its stdin.
fn told(node: &Node, args: &[&str], stdin: &[u8], environment: &[(&str, &str)]) -> Output {
    let mut command = kubectl(node, args);
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl starts");
    let mut pipe = child.stdin.take().expect("it is piped");
    let stdin = stdin.to_vec();
    // It may end without having read all of it.
    let writing = thread::spawn(move || pipe.write_all(&stdin).ok());
    let output = child.wait_with_output().expect("it is our child");
    writing.join().expect("writing does not panic");
    output
}

/// A node with a pod whose container has busybox' programs, and runs; none, loudly, where the test cannot run.
#[track_caller]
fn node_with(test: &str, name: &str, container: &str) -> Option<Node> {
    needs::host(test)?;
    needs::file(test, "/bin/busybox")?;
    let node = Node::start(test)?;
    run_pod(&node, name, container);
    Some(node)
}

/// Runs such a pod, and waits until it is ready.
#[track_caller]
fn run_pod(node: &Node, name: &str, container: &str) {
    let mounts = PROGRAMS.map(|program| format!("{{name: busybox, mountPath: /bin/{program}}}")).join(", ");
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, \
         restartPolicy: Never, volumes: [{{name: busybox, hostPath: {{path: /bin/busybox}}}}], \
         containers: [{{name: main, image: \"{IMAGE}\", imagePullPolicy: Never, \
         volumeMounts: [{mounts}], {container}}}]}}}}"
    );
    let file = node.host.file(&format!("{name}.yaml"), manifest);
    node.kubectl(&["apply", "-f", file.to_str().expect("the test's paths are text")]);
    node.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=300s"]);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..length).map(|_| random.below(256) as u8).collect()
}

#[test]
fn a_command_has_its_streams_and_its_exit_code() {
    let Some(node) = node_with("a_command_has_its_streams_and_its_exit_code", "box", "args: [signals]")
    else {
        return;
    };
    for environment in [&[][..], &OLD] {
        let exec = |args: &[&str], stdin: &[u8]| {
            let flags =
                if stdin.is_empty() { &["exec", "box", "--"][..] } else { &["exec", "-i", "box", "--"] };
            let output = told(&node, &[flags, args].concat(), stdin, environment);
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let (code, out, err) = exec(&["sh", "-c", "echo out; echo err >&2; exit 3"], b"");
        assert_eq!((code, &*out), (Some(3), "out\n"));
        assert_eq!(err, "err\ncommand terminated with exit code 3\n");
        let big = noise(1, 3 << 20);
        let output = told(&node, &["exec", "-i", "box", "--", "cat"], &big, environment);
        assert!(output.status.success() && output.stdout == big, "{}", text(&output.stderr));
        // A command that reads nothing does not wait for who would write.
        assert_eq!(exec(&["sh", "-c", "exit 4"], &big).0, Some(4));
        let (code, _, err) = exec(&["nope"], b"");
        assert_eq!(code, Some(127), "{err}");
        assert!(err.contains("exec: \"nope\": executable file not found in $PATH"), "{err}");
        let (code, _, err) = exec(&["/etc"], b"");
        assert_eq!(code, Some(126), "{err}");
        assert!(err.contains("permission denied"), "{err}");
        // Only what the command itself wrote is waited for.
        let (code, out, _) = exec(&["sh", "-c", "sleep 1000 & echo done"], b"");
        assert_eq!((code, &*out), (Some(0), "done\n"));
    }
    let refused = |args: &[&str]| text(&told(&node, args, b"", &[]).stderr);
    let err = refused(&["exec", "box", "-c", "other", "--", "sh"]);
    assert_eq!(err, "Error from server (BadRequest): container other is not valid for pod box\n");
    assert_eq!(
        refused(&["exec", "other", "--", "sh"]),
        "Error from server (NotFound): pods \"other\" not found\n"
    );
}

/// A stream of bytes of which no two stretches are alike, without end.
fn block(number: u64, block: &mut [u8]) {
    for (at, word) in block.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(number << 32 | at as u64).to_le_bytes());
    }
}

#[test]
fn twenty_commands_at_once_do_not_harm_the_one_with_a_gigabyte() {
    /// What is written at once, and how often: 1 GB there, and back again.
    const BLOCK: usize = 1 << 20;
    const BLOCKS: u64 = 954;
    let test = "twenty_commands_at_once_do_not_harm_the_one_with_a_gigabyte";
    let Some(node) = node_with(test, "box", "args: [signals]") else { return };
    let cat = |args: &[&str]| {
        let mut command = kubectl(&node, &[&["exec", "-i", "box", "--"], args].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().expect("kubectl starts")
    };
    let mut others: Vec<Child> =
        (0..19).map(|_| cat(&["sh", "-c", "read a; echo $a; read b; echo $b"])).collect();
    let say = |others: &mut [Child], what: &str| {
        for (number, other) in others.iter_mut().enumerate() {
            let pipe = other.stdin.as_mut().expect("it is piped");
            writeln!(pipe, "{what} {number}").expect("it is read");
        }
    };
    let hear = |others: &mut [Child], what: &str| {
        for (number, other) in others.iter_mut().enumerate() {
            let mut line = vec![0; format!("{what} {number}\n").len()];
            other.stdout.as_mut().expect("it is piped").read_exact(&mut line).expect("it answers");
            assert_eq!(text(&line), format!("{what} {number}\n"));
        }
    };
    // All of them are there before the large one begins,
    say(&mut others, "before");
    hear(&mut others, "before");
    let mut large = cat(&["cat"]);
    let mut stdin = large.stdin.take().expect("it is piped");
    let writing = thread::spawn(move || {
        let mut own = vec![0; BLOCK];
        for number in 0..BLOCKS {
            block(number, &mut own);
            stdin.write_all(&own).expect("it is read");
        }
    });
    let mut stdout = large.stdout.take().expect("it is piped");
    let (mut own, mut got) = (vec![0; BLOCK], vec![0; BLOCK]);
    for number in 0..BLOCKS {
        stdout.read_exact(&mut got).expect("what was written comes back");
        block(number, &mut own);
        assert!(own == got, "block {number} is another one");
        if number == BLOCKS / 2 {
            // and answer while it is under way.
            say(&mut others, "meanwhile");
            hear(&mut others, "meanwhile");
        }
    }
    assert_eq!(stdout.read(&mut got).expect("it ends"), 0);
    writing.join().expect("all was written");
    assert!(large.wait().expect("it is our child").success());
    for mut other in others {
        assert!(other.wait().expect("it is our child").success());
    }
}

#[test]
fn files_are_copied_both_ways() {
    let Some(node) = node_with("files_are_copied_both_ways", "box", "args: [signals]") else { return };
    let content = noise(2, 5 << 20);
    let there = node.host.file("there", &content);
    let back = node.host.dir.join("back");
    node.kubectl(&["cp", &there.display().to_string(), "box:/copied"]);
    node.kubectl(&["cp", "box:/copied", &back.display().to_string()]);
    assert!(fs::read(&back).expect("it was copied") == content, "it came back changed");
}

#[test]
fn a_shell_has_a_terminal_of_its_users_size() {
    let Some(node) = node_with("a_shell_has_a_terminal_of_its_users_size", "box", "args: [signals]") else {
        return;
    };
    for environment in [&[][..], &OLD] {
        let mut command = kubectl(&node, &["exec", "-it", "box", "--", "sh"]);
        command.envs(environment.iter().copied());
        let mut shell = Terminal::run(command, 30, 100);
        shell.wait("# ");
        shell.press("until [ \"$(stty size)\" = '30 100' ]; do :; done; tty\n");
        shell.wait("/dev/pts/");
        shell.resize(40, 120);
        shell.press("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo re''sized\n");
        shell.wait("resized");
        // The terminal's own keys: it interrupts what runs, not kubectl. What runs says so itself, since a shell that
        // has just started it has the terminal a moment longer.
        shell.press("sh -c \"echo wait''ing; exec sleep 1000\"\n");
        shell.wait("waiting");
        shell.press("\x03");
        shell.wait("^C");
        shell.press("exit 7\n");
        assert_eq!(shell.end(), Some(7));
    }
}

/// The cgroups of commands that a pod's containers run.
fn commands(node: &Node) -> usize {
    fn count(dir: &Path) -> usize {
        let dirs = fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        dirs.map(|entry| {
            let own = entry.file_name().to_string_lossy().starts_with("exec-");
            usize::from(own) + count(&entry.path())
        })
        .sum()
    }
    count(&node.host.cgroup)
}

#[test]
fn a_shell_ends_with_its_killed_client_and_a_command_goes_on() {
    let Some(node) =
        node_with("a_shell_ends_with_its_killed_client_and_a_command_goes_on", "box", "args: [signals]")
    else {
        return;
    };
    let shell = Terminal::run(kubectl(&node, &["exec", "-it", "box", "--", "sh"]), 30, 100);
    shell.wait("# ");
    assert_eq!(commands(&node), 1);
    shell.signal(Signal::SIGKILL);
    wait_until("nothing is left of the shell", limit(), || commands(&node) == 0);
    drop(shell);
    let script = "echo on; until [ -e /go ]; do sleep 0.01; done; echo went > /went";
    let mut command = kubectl(&node, &["exec", "box", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("kubectl starts");
    let mut on = [0; 3];
    child.stdout.take().expect("it is piped").read_exact(&mut on).expect("it says so");
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    node.kubectl(&["exec", "box", "--", "sh", "-c", "echo > /go; until [ -s /went ]; do :; done"]);
    wait_until("nothing is left of the command", limit(), || commands(&node) == 0);
}

#[test]
fn a_container_is_attached_to_and_its_log_is_whole() {
    let Some(node) = node_with(
        "a_container_is_attached_to_and_its_log_is_whole",
        "pipe",
        "command: [sh], stdin: true, stdinOnce: true",
    ) else {
        return;
    };
    let script = b"echo one; printf 'half '; echo line; echo two >&2; exit 3\n";
    let output = told(&node, &["attach", "-i", "pipe"], script, &[]);
    assert_eq!((output.status.code(), &*text(&output.stdout)), (Some(0), "one\nhalf line\n"));
    assert!(text(&output.stderr).ends_with("two\n"), "{}", text(&output.stderr));
    let whole = ["half line", "one", "two"].map(str::to_owned).to_vec();
    wait_equal("its log is whole", limit(), &whole, || {
        let mut lines: Vec<_> = node.kubectl(&["logs", "pipe"]).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    });
    let code =
        ["get", "pod", "pipe", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"];
    wait_until("its exit code is told", limit(), || node.kubectl(&code) == "3");
    let err = text(&told(&node, &["exec", "pipe", "--", "sh"], b"", &[]).stderr);
    assert!(err.contains("cannot exec into a container in a completed pod"), "{err}");

    run_pod(&node, "terminal", "command: [sh], stdin: true, stdinOnce: true, tty: true");
    let mut shell = Terminal::run(kubectl(&node, &["attach", "-it", "terminal"]), 30, 100);
    shell.wait("try pressing enter");
    shell.press("until [ \"$(stty size)\" = '30 100' ]; do :; done; tty; exit 4\n");
    shell.wait("/dev/pts/0");
    assert_eq!(shell.end(), Some(0));
    wait_equal("its log has it once", limit(), &1, || {
        node.kubectl(&["logs", "terminal"]).matches("/dev/pts/0").count()
    });
}

#[test]
fn kubectl_run_talks_to_what_it_runs() {
    const TEST: &str = "kubectl_run_talks_to_what_it_runs";
    let (Some(()), Some(node)) = (needs::host(TEST), Node::start(TEST)) else { return };
    let run = ["run", "--rm", "-i", "--restart=Never", &format!("--image={IMAGE}")];
    let run = |name: &str, args: &[&str]| {
        let all = [&run[..], &["--image-pull-policy=Never", name, "--"], args].concat();
        told(&node, &all, b"", &[])
    };
    let output = run("ends", &["exit", "6", "--after", "1000"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    // It hears what is written once it has come.
    let output = run("writes", &["lines", "15", "--every", "300"]);
    assert!(text(&output.stdout).contains("line 15\n"), "{}", text(&output.stderr));
    // It does not wait for them to go.
    wait_equal("both are gone", limit(), &String::new(), || node.kubectl(&["get", "pods"]));
}

/// A `kubectl port-forward` that goes on.
struct Forward {
    child: Child,
    log: PathBuf,
}

impl Forward {
    #[track_caller]
    fn start(node: &Node, ports: &str, environment: &[(&str, &str)]) -> Forward {
        let mut command = kubectl(node, &["port-forward", "pod/server", ports]);
        let log = node.host.dir.join(format!("forward-{ports}"));
        let file = File::create(&log).expect("the test's directory has room");
        let err = file.try_clone().expect("descriptors are left");
        let child = command.envs(environment.iter().copied()).stdout(file).stderr(err).spawn();
        let forward = Forward { child: child.expect("kubectl starts"), log };
        wait_until("ports are forwarded", limit(), || forward.said().contains("Forwarding"));
        forward
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends all of it, ends, and gives back what came.
fn echoed(port: u16, sent: Vec<u8>) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("kubectl listens");
    let mut writer = stream.try_clone().expect("descriptors are left");
    let writing = thread::spawn(move || {
        writer.write_all(&sent).expect("it takes all");
        writer.shutdown(Shutdown::Write).expect("it was connected");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("it gives all back");
    writing.join().expect("writing works");
    back
}

#[test]
fn ports_are_forwarded_for_many_at_once() {
    let Some(node) = node_with("ports_are_forwarded_for_many_at_once", "server", "args: [tcp, \"7000\"]")
    else {
        return;
    };
    for (port, environment) in [(7001, &[][..]), (7002, &OLD)] {
        let _forward = Forward::start(&node, &format!("{port}:7000"), environment);
        let large = noise(3, 16 << 20);
        assert!(echoed(port, large.clone()) == large, "a large transfer came back changed");
        let many: Vec<_> = (0..50)
            .map(|seed| {
                thread::spawn(move || {
                    let sent = noise(seed, 200_000);
                    echoed(port, sent.clone()) == sent
                })
            })
            .collect();
        assert!(many.into_iter().all(|one| one.join().expect("it does not panic")));
    }
    let forward = Forward::start(&node, "7003:81", &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", 7003)).expect("kubectl listens");
    assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0, "nothing listens there");
    wait_until("kubectl says why", limit(), || {
        let said = forward.said();
        said.contains("error forwarding port 81") && said.to_lowercase().contains("connection refused")
    });
}

#[test]
fn requests_are_passed_on_to_a_pods_server() {
    let Some(node) = node_with(
        "requests_are_passed_on_to_a_pods_server",
        "server",
        "args: [http, \"8080\"], ports: [{containerPort: 8080}]",
    ) else {
        return;
    };
    let pods = "/api/v1/namespaces/default/pods";
    let get = |path: &str| told(&node, &["get", "--raw", &format!("{pods}/{path}")], b"", &[]);
    wait_until("it serves", limit(), || text(&get("server/proxy/").stdout).starts_with("hello from server"));
    assert!(text(&get("http:server:8080/proxy/delay/5").stdout).contains("waited 5 ms"));
    assert!(!get("server/proxy/status/500").status.success());
    let err = text(&get("server:81/proxy/").stderr);
    assert!(err.contains("error trying to reach service"), "{err}");
    let err = text(&get("other/proxy/").stderr);
    assert!(err.contains("pods \"other\" not found"), "{err}");

    // A Service leads to what its Endpoints say, by the name or the number of its port.
    let ip = text(&told(&node, &["get", "pod", "server", "-o", "jsonpath={.status.podIP}"], b"", &[]).stdout);
    let front = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: front}}\nspec: {{ports: [{{name: web, port: 80}}]}}\n---\n\
         apiVersion: v1\nkind: Endpoints\nmetadata: {{name: front}}\nsubsets: [{{addresses: [{{ip: {ip}}}], \
         ports: [{{name: web, port: 8080}}]}}]\n"
    );
    let made = told(&node, &["apply", "-f", "-"], front.as_bytes(), &[]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let services = "/api/v1/namespaces/default/services";
    let get = |path: &str| told(&node, &["get", "--raw", &format!("{services}/{path}")], b"", &[]);
    for path in ["front/proxy/delay/5", "front:web/proxy/delay/5", "http:front:80/proxy/delay/5"] {
        wait_until(path, limit(), || text(&get(path).stdout).contains("waited 5 ms"));
    }
    // The API is a service that speaks TLS.
    let sealed = get("https:kubernetes:https/proxy/readyz");
    assert_eq!(text(&sealed.stdout), "ok", "{}", text(&sealed.stderr));
    for (path, why) in [
        ("https:front:web/proxy/", "error trying to reach service"),
        ("front:81/proxy/", "no service port \"81\" found for service \"front\""),
        ("back/proxy/", "services \"back\" not found"),
    ] {
        let err = text(&get(path).stderr);
        assert!(err.contains(why), "{path}: {err}");
    }
}
