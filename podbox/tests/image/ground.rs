//! The ground an image test stands on: a registry in a network namespace of the test thread's own, an image archive,
//! and an empty store. The registry ends with the test, however that ends: the kernel kills it with its thread.

use super::saved;
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A registry on this machine itself, spoken to without TLS.
pub const LOOPBACK: &str = "127.0.0.1:5000";
/// As good as far away: an address of this machine that is not loopback.
pub const REMOTE: &str = "10.90.0.1:5000";

pub struct Ground {
    dir: TempDir,
    /// Where the registry listens.
    pub registry: &'static str,
    _server: Server,
}

/// The registry's process.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nothing of a registry depends on the kernel, and a machine without hardware support takes minutes for one: what is
/// unpacked there comes from archives. The line tells the tool not to ask in a machine.
fn on_host(test: &str) -> Option<()> {
    if std::env::var("PODBOX_TEST_LEVEL").is_ok_and(|level| level == "vm") {
        eprintln!("SKIPPED {test}: asks nothing of the kernel, and ran on the host");
        return None;
    }
    eprintln!("HOST ONLY {test}");
    Some(())
}

impl Ground {
    /// A registry on loopback that is open to all. `None`, loudly, where this machine cannot run it.
    pub fn new(test: &str) -> Option<Ground> {
        Ground::with(test, LOOPBACK, |_| (String::new(), String::new()))
    }

    /// A registry at that address, with more settings below `http` and at the top; `prepare` may write files for them.
    pub fn with(
        test: &str,
        registry: &'static str,
        prepare: impl FnOnce(&Path) -> (String, String),
    ) -> Option<Ground> {
        on_host(test)?;
        for program in ["docker-registry", "skopeo", "ip", "openssl", "setpriv", "busybox"] {
            let found = Command::new("which").arg(program).stdout(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED {test}: {program} is not installed");
                return None;
            }
        }
        // Processes started from this thread are in the namespace with it.
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("SKIPPED {test}: a network namespace of its own needs root ({errno})");
            return None;
        }
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", "10.90.0.1/32", "dev", "lo"]);
        let dir = tempfile::tempdir().unwrap();
        let (http, top) = prepare(dir.path());
        let storage = dir.path().join("storage");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {registry}\n{http}{top}",
            storage.display()
        );
        fs::write(dir.path().join("registry.yml"), text).unwrap();
        let server = serve(dir.path());
        saved::busybox(dir.path());
        Some(Ground { dir, registry, _server: server })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An image's full name in the registry.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.registry)
    }

    /// Pushes the archive under this name, with skopeo's options.
    pub fn push(&self, name: &str, options: &[&str]) {
        let source = format!("docker-archive:{}", self.path("image.tar").display());
        self.skopeo(&source, name, options);
    }

    pub fn skopeo(&self, source: &str, name: &str, options: &[&str]) {
        let target = format!("docker://{}", self.name(name));
        let mut args = vec!["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
        args.extend(options);
        args.extend([source, &target]);
        run("skopeo", &args);
    }

    /// `podbox image` on this ground's store.
    pub fn podbox(&self, args: &[&str]) -> Output {
        image(&self.path("state"), args).output().unwrap()
    }

    #[track_caller]
    pub fn pulls(&self, name: &str) {
        self.had(&self.podbox(&["pull", &self.name(name)]));
    }

    /// The pull was successful, and the image is in the store.
    #[track_caller]
    pub fn had(&self, output: &Output) {
        succeeded(output);
        let layers = fs::read_dir(self.path("state/images/layers")).unwrap();
        let fs = layers.last().unwrap().unwrap().path().join("fs");
        assert_eq!(fs::read(fs.join("bin/busybox")).unwrap(), fs::read("/bin/busybox").unwrap());
        assert_eq!(fs::read_link(fs.join("bin/sh")).unwrap(), Path::new("/bin/busybox"));
    }

    #[track_caller]
    pub fn refuses(&self, name: &str, words: &[&str]) {
        self.refused(&self.podbox(&["pull", &self.name(name)]), name, words);
    }

    /// The pull failed with one line that has the name and these words, and nothing of it remains.
    #[track_caller]
    pub fn refused(&self, output: &Output, name: &str, words: &[&str]) {
        assert!(!output.status.success());
        let error = text(&output.stderr);
        let error = error.lines().find(|line| line.starts_with("podbox: ")).unwrap_or(&error);
        for word in words.iter().chain(&[name]) {
            assert!(error.contains(word), "{word:?} is missing in: {error}");
        }
        nothing_remains(&self.path("state"));
    }
}

/// Starts the registry; it listens once this returns.
fn serve(dir: &Path) -> Server {
    let server = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
        .arg(dir.join("registry.yml"))
        .stdout(File::create(dir.join("access.log")).unwrap())
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Server(server.unwrap());
    let mut log = BufReader::new(server.0.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("listening on") {
        let n = log.read_line(&mut said).unwrap();
        assert!(n > 0, "the registry ended before it listened: {said}");
    }
    // It may not block on a full pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    server
}

/// `podbox image` on a store, ready to be started.
pub fn image(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podbox"));
    command.arg("--state-dir").arg(state).arg("image").args(args);
    command
}

#[track_caller]
pub fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[track_caller]
pub fn nothing_remains(state: &Path) {
    assert_eq!(count(state, "layers"), 0, "a layer is left");
    assert_eq!(count(state, "tmp"), 0, "work is left");
}

/// How much there is in a directory of the store.
pub fn count(state: &Path, dir: &str) -> usize {
    fs::read_dir(state.join("images").join(dir)).unwrap().count()
}

#[track_caller]
pub fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {}", text(&output.stderr));
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
