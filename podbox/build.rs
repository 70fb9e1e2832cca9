//! Compiles podbox-ebpf for the BPF target and leaves `podbox.bpf.o` in OUT_DIR; compresses the API's schema into
//! `shapes.z` and `descriptions.z` there, a line of the one for each line of the other.
//!
//! Two toolchains can: Debian's `rustc-web` with its prebuilt `core` (stable, preferred), and a rustup
//! nightly with `rust-src`, which builds `core` first. Neither there: one error that names the remedy.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const TARGET: &str = "bpfel-unknown-none";
/// The API's own, which `cargo xtask schema` generates; and kinds that upstream serves from beside it.
const SCHEMAS: [&str; 2] = ["src/api/schema/v1_36.schema", "src/api/schema/metrics_v1beta1.schema"];
const REMEDY: &str = "run `cargo xtask setup`, which installs what the BPF programs are built with";

fn main() {
    for path in
        ["../podbox-ebpf/src", "../podbox-ebpf/Cargo.toml", "../podbox-ebpf/Cargo.lock", "../podbox-common"]
    {
        println!("cargo::rerun-if-changed={path}");
    }
    for name in ["PODBOX_BPF_RUSTC", "PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rustc-check-cfg=cfg(bpf_log)");
    for schema in SCHEMAS {
        println!("cargo::rerun-if-changed={schema}");
    }
    if let Err(message) = compress().and_then(|()| build()) {
        println!("cargo::error={message}");
        exit(1);
    }
}

/// Parts the schema's lines from their descriptions, which are most of its bytes and seldom wanted.
fn compress() -> Result<(), String> {
    let read =
        |path: &str| std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    let text = SCHEMAS.into_iter().map(read).collect::<Result<String, String>>()?;
    let mut shapes = String::new();
    let mut descriptions: Vec<&str> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("\" "), descriptions.last_mut()) {
            (Some(description), Some(last)) => *last = description,
            _ => {
                shapes += line;
                shapes.push('\n');
                descriptions.push("");
            }
        }
    }
    deflate("shapes.z", &shapes)?;
    deflate("descriptions.z", &descriptions.join("\n"))
}

fn deflate(name: &str, text: &str) -> Result<(), String> {
    let path = out()?.join(name);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let done = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    done.and_then(|bytes| std::fs::write(&path, bytes))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn out() -> Result<PathBuf, String> {
    env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .ok_or("OUT_DIR is not set: build.rs is for cargo to run".to_owned())
}

/// What compiles for BPF here.
enum Toolchain {
    /// A rustc with a prebuilt `core` for the target.
    Prebuilt(PathBuf),
    /// rustup's nightly, building `core` from its source.
    Nightly,
}

fn build() -> Result<(), String> {
    let out = out()?;
    let linker = find_linker()
        .ok_or(format!("bpf-linker is neither in PATH nor in cargo's bin directory: {REMEDY}"))?;
    let toolchain = Toolchain::find().ok_or(format!(
        "no Rust toolchain here compiles for {TARGET} (looked for /usr/bin/rustc with a prebuilt core, then for \
         a nightly with rust-src): {REMEDY}"
    ))?;
    // Log lines cost stack and instructions: debug builds only.
    let log = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    if log {
        println!("cargo::rustc-cfg=bpf_log");
    }
    let target_dir = out.join("bpf");
    let status = toolchain
        .cargo(&linker)
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "--manifest-path",
            "../podbox-ebpf/Cargo.toml",
        ])
        .args(log.then_some("--features=log"))
        .arg("--target-dir")
        .arg(&target_dir)
        .status()
        .map_err(|error| format!("cannot start cargo for the BPF programs: {error}"))?;
    if !status.success() {
        return Err(
            "the BPF programs do not compile; cargo's own messages are above (or see --verbose)".to_owned()
        );
    }
    let object = target_dir.join(TARGET).join("release/programs");
    std::fs::copy(&object, out.join("podbox.bpf.o"))
        .map_err(|error| format!("cannot copy {}: {error}", object.display()))?;
    Ok(())
}

impl Toolchain {
    fn find() -> Option<Toolchain> {
        let rustc =
            env::var_os("PODBOX_BPF_RUSTC").map_or_else(|| PathBuf::from("/usr/bin/rustc"), PathBuf::from);
        if prebuilt_core(&rustc) {
            return Some(Toolchain::Prebuilt(rustc));
        }
        let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
        Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir().then_some(Toolchain::Nightly)
    }

    /// A cargo that compiles for BPF and inherits nothing of the build around it.
    fn cargo(&self, linker: &Path) -> Command {
        let mut cargo = match self {
            Toolchain::Prebuilt(rustc) => {
                let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                // Inline assembly for BPF is behind a feature gate, in a stable compiler too.
                cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            Toolchain::Nightly => {
                let mut cargo = Command::new("rustup");
                cargo.args(["run", "nightly", "cargo", "-Zbuild-std=core"]).env_remove("RUSTC");
                cargo
            }
        };
        for name in [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
        ] {
            cargo.env_remove(name);
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags(linker));
        cargo
    }
}

fn rustflags(linker: &Path) -> String {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| "x86_64".to_owned());
    [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ]
    .join("\x1f")
}

fn prebuilt_core(rustc: &Path) -> bool {
    let Some(libdir) = output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
    else {
        return false;
    };
    let Ok(entries) = std::fs::read_dir(libdir) else {
        return false;
    };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn find_linker() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(home.map(|home| home.join("bin")));
    dirs.map(|dir| dir.join("bpf-linker")).find(|file| file.is_file())
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
