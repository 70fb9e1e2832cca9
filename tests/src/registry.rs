//! Debian's own registry, on this host's loopback, that lets in one user.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::host::Host;
use crate::{image, needs};

/// Where it listens. Each test has a network of its own.
pub const ADDRESS: &str = "127.0.0.1:5000";
/// Who gets in.
pub const USER: &str = "ada";
/// By this word.
pub const PASSWORD: &str = "opensesame";
/// The same word, as bcrypt keeps it.
const HTPASSWD: &str = "ada:$2b$05$0s/irNTk5Vqhvjaaz9VfNuhg1Bihd.ss9UzZY80azqs9lFVndXHrS\n";

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub struct Registry {
    server: Child,
}

impl Registry {
    /// Starts one; none, loudly, where the test `name` cannot run.
    pub fn start(name: &str, host: &Host) -> Option<Registry> {
        for program in ["docker-registry", "skopeo"] {
            needs::program(name, program)?;
        }
        let users = host.file("htpasswd", HTPASSWD);
        let settings = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{ADDRESS}\"}}\nauth: {{htpasswd: {{realm: tests, path: {}}}}}\n",
            host.dir.join("registry").display(),
            users.display()
        );
        let settings = host.file("registry.yml", settings);
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(settings)
            .stdout(File::create(host.dir.join("access.log")).expect("the test's tmpfs has room"))
            .stderr(Stdio::piped())
            .spawn();
        let mut server = server.expect("the registry starts");
        let mut log = BufReader::new(server.stderr.take().expect("it is piped"));
        let mut said = String::new();
        while !said.contains("listening on") {
            let read = log.read_line(&mut said).expect("its log is text");
            assert!(read > 0, "the registry ended before it listened: {said}");
        }
        // It may not block on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Registry { server })
    }

    /// Puts the test image there under this name; returns it with the registry's address.
    pub fn push(&self, name: &str) -> String {
        let reference = format!("{ADDRESS}/{name}");
        let login = format!("{USER}:{PASSWORD}");
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", &login])
            .arg(format!("oci:{}", image().display()))
            .arg(format!("docker://{reference}"))
            .output()
            .expect("skopeo starts");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
