//! Asking the podbox that runs on this host, over its root-only socket.

use super::SOCKET;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no podbox runs on this host ({} does not answer); start one with `podbox run FILE`", path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
    },
    /// Not root.
    #[error("{} is root's alone; run this as root", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// Connecting failed otherwise.
    #[error("connecting to {} failed", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The conversation broke.
    #[error("the running podbox ended the connection")]
    Http(#[from] hyper::Error),
    /// It answered, but with a refusal.
    #[error("the running podbox answered {status}; is it of this version?")]
    Status {
        /// What it said.
        status: StatusCode,
    },
}

/// An answer whose body comes in pieces.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
}

/// Asks for `path`.
pub async fn get(run_dir: &Path, path: &'static str) -> Result<Answer, ClientError> {
    let socket = run_dir.join(SOCKET);
    let stream = UnixStream::connect(&socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::Absent { path: socket.clone() }
        }
        io::ErrorKind::PermissionDenied => ClientError::Denied { path: socket.clone() },
        _ => ClientError::Connect { path: socket.clone(), source },
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = hyper::Uri::from_static(path);
    let response: Response<Incoming> = sender.send_request(request).await?;
    match response.status() {
        StatusCode::OK => Ok(Answer { body: response.into_body() }),
        status => Err(ClientError::Status { status }),
    }
}

impl Answer {
    /// All of it, of an answer that has an end.
    pub async fn all(mut self) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
