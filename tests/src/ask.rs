//! A node asked without a client's program: what a test looks at again and again costs a process each time otherwise, and a
//! virtual machine without hardware support takes seconds for one of kubectl's.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::api::{Access, Answer, Connection};
use crate::node::Node;

/// A conversation with the API that goes on from one question to the next.
#[derive(Default)]
pub struct Session(Mutex<Option<Open>>);

struct Open {
    runtime: Runtime,
    connection: Connection,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// Whoever answered has gone.
    pub fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn ask(&self, access: impl Fn() -> Result<Access>, method: &str, path: &str) -> Result<Answer> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Open { runtime, connection }) = &mut *open
            && let Ok(answer) = runtime.block_on(connection.ask(method, path, None))
        {
            return Ok(answer);
        }
        // Nobody keeps a connection open for ever.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut connection = runtime.block_on(access()?.connect())?;
        let answer = runtime.block_on(connection.ask(method, path, None))?;
        *open = Some(Open { runtime, connection });
        Ok(answer)
    }
}

impl Node {
    /// What the API answers to a GET as the administrator.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path);
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.code, 200, "{path}: {body}\n{}", self.complained());
        answer.json()
    }

    /// Takes an object away at once, whatever it would do before its end; it may have gone already.
    #[track_caller]
    pub fn delete_at_once(&self, path: &str) {
        let answer = self.ask("DELETE", &format!("{path}?gracePeriodSeconds=0"));
        let body = String::from_utf8_lossy(&answer.body);
        assert!([200, 202, 404].contains(&answer.code), "{path}: {body}\n{}", self.complained());
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str) -> Answer {
        let answer = self.session.ask(|| Access::read(&self.kubeconfig()), method, path);
        answer.unwrap_or_else(|why| panic!("{method} {path}: {why:#}\n{}", self.complained()))
    }

    /// What podbox answers to its own commands, at its own socket.
    #[track_caller]
    pub fn own(&self, path: &str) -> Value {
        let socket = self.host.dir.join("run/podbox.sock");
        let asked = || {
            let mut stream = UnixStream::connect(&socket)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: podbox\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            anyhow::Ok(text)
        };
        let text = asked().unwrap_or_else(|why| panic!("{path}: {why:#}\n{}", self.complained()));
        body(&text).unwrap_or_else(|why| panic!("{path}: {why:#}\n{text}"))
    }
}

/// The JSON of an answer that came whole.
fn body(text: &str) -> Result<Value> {
    let (head, body) = text.split_once("\r\n\r\n").context("an answer has a head")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    ensure!(!head.to_lowercase().contains("\r\ntransfer-encoding:"), "it came in chunks");
    Ok(serde_json::from_str(body)?)
}
