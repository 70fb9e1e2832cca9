//! The API as clients see it: over a connection, against what Kubernetes' own server answered.

mod access;
mod bounds;
mod compare;
mod documents;
mod edges;
mod known;
mod lives;
mod memory;
mod replay;
mod sockets;
mod watching;
mod writes;

use super::*;
use crate::api::user::{MASTERS, User};
use crate::auth::certificate;
use crate::server::http::{self, Peer};
use crate::server::multiplex::Times;
use crate::server::patience::Patience;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HeaderMap, WARNING};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// A client of an API of its own.
struct Client {
    /// As root.
    sender: SendRequest<Full<Bytes>>,
    /// As nobody, unless a token is shown.
    stranger: SendRequest<Full<Bytes>>,
    _dir: tempfile::TempDir,
    api: Arc<Api>,
    /// Those of the last answer.
    headers: HeaderMap,
}

impl Client {
    async fn new() -> Client {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(&certificate::key().unwrap()).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let api = Arc::new(Api::new(store, Kinds::new(), "127.0.0.1:6443".into(), tokens));
        api.furnish().await.unwrap();
        let root = Arc::new(User::authenticated("admin", [MASTERS.to_owned()]));
        let sender = connect(&api, Peer::of(root, None)).await;
        let stranger = connect(&api, Peer::default()).await;
        Client { sender, stranger, _dir: dir, api, headers: HeaderMap::new() }
    }

    /// A token of a service account.
    async fn token_of(&mut self, namespace: &str, account: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let (code, answer) = self.send("POST", &path, &json!({}), Bytes::from_static(b"{}")).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(code, 201, "{answer}");
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Sends a request as one of those that the recordings name.
    async fn send_as(
        &mut self,
        user: &Value,
        method: &str,
        path: &str,
        headers: &Value,
        body: Bytes,
    ) -> (u16, Bytes) {
        let mut headers = headers.clone();
        match user.as_str() {
            None => return self.send(method, path, &headers, body).await,
            Some("serviceaccount") => {
                let token = self.token_of("rec-val", "plain").await;
                headers["Authorization"] = format!("Bearer {token}").into();
            }
            Some("invalid-token") => headers["Authorization"] = "Bearer nonsense".into(),
            Some(other) => assert_eq!(other, "anonymous"),
        }
        std::mem::swap(&mut self.sender, &mut self.stranger);
        let answer = self.send(method, path, &headers, body).await;
        std::mem::swap(&mut self.sender, &mut self.stranger);
        answer
    }

    /// The texts of the last answer's warnings.
    fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all(WARNING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let quoted = all.filter_map(|value| value.strip_prefix("299 - ").map(str::to_owned));
        quoted.map(|text| serde_json::from_str(&text).expect("a text in quotes")).collect()
    }

    async fn send(&mut self, method: &str, path: &str, headers: &Value, body: Bytes) -> (u16, Bytes) {
        let response = begin(&mut self.sender, method, path, headers, body).await;
        let code = response.status().as_u16();
        self.headers = response.headers().clone();
        (code, response.into_body().collect().await.unwrap().to_bytes())
    }
}

/// Sends a request; its answer may go on for long.
async fn begin(
    sender: &mut SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    headers: &Value,
    body: Bytes,
) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(path.replace(' ', "%20"));
    for (name, value) in headers.as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    let request = request.header("User-Agent", "recorder/v1").header("Host", "podbox");
    let request = request.body(Full::new(body)).unwrap();
    sender.ready().await.unwrap();
    sender.send_request(request).await.unwrap()
}

async fn connect(api: &Arc<Api>, peer: Peer) -> SendRequest<Full<Bytes>> {
    connect_by(api, peer, 1 << 20).await
}

/// A connection on which so many bytes are on their way.
async fn connect_by(api: &Arc<Api>, peer: Peer, bytes: usize) -> SendRequest<Full<Bytes>> {
    let (ours, theirs) = tokio::io::duplex(bytes);
    let serving = Arc::clone(api);
    tokio::spawn(async move {
        http::connection(Patience::new(theirs), peer, false, serving, Times::default()).await
    });
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
    tokio::spawn(connection);
    sender
}
