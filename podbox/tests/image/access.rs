//! Registries that want to know who asks, and registries that must show who they are.

use super::ground::{Ground, LOOPBACK, REMOTE, image, nothing_remains, run, text};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

const USER: &str = "ada";
const PASSWORD: &str = "opensesame";
/// The same password, as bcrypt keeps it.
const HTPASSWD: &str = "ada:$2b$05$0s/irNTk5Vqhvjaaz9VfNuhg1Bihd.ss9UzZY80azqs9lFVndXHrS\n";

/// Settings of a registry that lets in only one user.
fn closed(dir: &Path) -> String {
    let file = dir.join("htpasswd");
    fs::write(&file, HTPASSWD).unwrap();
    format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", file.display())
}

/// Settings of a registry with a certificate for the remote address, by an authority of the test's own: `ca.pem`.
fn certified(dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |base: &[&str], more: &[&str]| run("openssl", &[base, more].concat());
    openssl(
        &new,
        &[
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
            "-keyout",
            &path("ca.key"),
            "-out",
            &path("ca.pem"),
        ],
    );
    openssl(&new, &["-subj", "/CN=registry", "-keyout", &path("key.pem"), "-out", &path("request.pem")]);
    fs::write(dir.join("extensions"), "subjectAltName=IP:10.90.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let by = ["-CA", &path("ca.pem"), "-CAkey", &path("ca.key"), "-CAcreateserial", "-days", "2"];
    let what = ["-in", &path("request.pem"), "-out", &path("cert.pem"), "-extfile", &path("extensions")];
    openssl(&["x509", "-req"], &[&by[..], &what].concat());
    format!("  tls:\n    certificate: {}\n    key: {}\n", path("cert.pem"), path("key.pem"))
}

impl Ground {
    /// Pulls as a user with a password, trusting an authority or those of the system.
    fn pull_as(&self, name: &str, password: &str, authority: Option<&str>) -> Output {
        let name = self.name(name);
        let mut command =
            image(&self.path("state"), &["pull", "--username", USER, "--password-stdin", &name]);
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", self.path(authority));
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        child.wait_with_output().unwrap()
    }
}

#[test]
fn a_registry_with_basic_credentials_lets_in_who_has_them() {
    let test = "a_registry_with_basic_credentials_lets_in_who_has_them";
    let closed = |dir: &Path| (String::new(), closed(dir));
    let Some(ground) = Ground::with(test, LOOPBACK, closed) else { return };
    ground.push("private:1", &["--dest-creds", &format!("{USER}:{PASSWORD}")]);
    ground.refuses("private:1", &["refused access", LOOPBACK]);
    let wrong = ground.pull_as("private:1", "sesame", None);
    ground.refused(&wrong, "private:1", &["refused access", LOOPBACK]);
    assert!(!text(&wrong.stderr).contains("sesame"), "the password is told");
    ground.had(&ground.pull_as("private:1", PASSWORD, None));
}

#[test]
fn a_registry_is_trusted_by_its_certificate() {
    let test = "a_registry_is_trusted_by_its_certificate";
    let certified = |dir: &Path| (certified(dir), String::new());
    let Some(ground) = Ground::with(test, REMOTE, certified) else { return };
    ground.push("sealed:1", &[]);
    let pull = |authority: &str| {
        let mut command = image(&ground.path("state"), &["pull", &ground.name("sealed:1")]);
        command.env("SSL_CERT_FILE", ground.path(authority)).output().unwrap()
    };
    // The system's authorities, or another one's, do not do.
    ground.refuses("sealed:1", &[REMOTE, "certificate"]);
    fs::create_dir(ground.path("other")).unwrap();
    self::certified(&ground.path("other"));
    ground.refused(&pull("other/ca.pem"), "sealed:1", &[REMOTE, "certificate"]);
    ground.had(&pull("ca.pem"));
}

#[test]
fn credentials_go_through_tls() {
    let test = "credentials_go_through_tls";
    let both = |dir: &Path| (certified(dir), closed(dir));
    let Some(ground) = Ground::with(test, REMOTE, both) else { return };
    ground.push("private:1", &["--dest-creds", &format!("{USER}:{PASSWORD}")]);
    ground.had(&ground.pull_as("private:1", PASSWORD, Some("ca.pem")));
}

#[test]
fn a_remote_registry_without_tls_is_not_spoken_to() {
    let test = "a_remote_registry_without_tls_is_not_spoken_to";
    let Some(ground) = Ground::with(test, REMOTE, |_| (String::new(), String::new())) else { return };
    ground.push("plain:1", &[]);
    ground.refuses("plain:1", &[REMOTE, "failed"]);
    nothing_remains(&ground.path("state"));
}
