//! Logs and watches over WebSockets, as a client of them sees it.

use super::*;
use crate::api::identity::PodRef;
use crate::api::logs::LogOptions;
use futures_util::stream::{self, BoxStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// A node of which each container wrote the same.
struct Wrote(&'static [&'static [u8]]);

impl Logs for Wrote {
    fn open(&self, _: &PodRef, _: LogOptions) -> Result<BoxStream<'static, Bytes>, ApiError> {
        Ok(stream::iter(self.0.iter().map(|chunk| Bytes::from_static(chunk))).boxed())
    }
}

/// A WebSocket as root, with the protocol that was agreed on; or the status and the words with which it was refused.
async fn open(
    client: &Client,
    path: &str,
    protocol: &str,
) -> Result<(WebSocketStream<DuplexStream>, String), (u16, String)> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let peer = Peer::of(Arc::new(User::authenticated("admin", [MASTERS.to_owned()])), None);
    let api = Arc::clone(&client.api);
    tokio::spawn(
        async move { http::connection(Patience::new(theirs), peer, false, api, Times::default()).await },
    );
    let mut request = format!("ws://podbox{path}").into_client_request().unwrap();
    if !protocol.is_empty() {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    match client_async(request, ours).await {
        Ok((socket, answer)) => {
            let agreed = answer.headers().get("Sec-WebSocket-Protocol");
            Ok((socket, agreed.map(|name| name.to_str().unwrap().to_owned()).unwrap_or_default()))
        }
        Err(Error::Http(answer)) => {
            let body = answer.body().clone().unwrap_or_default();
            Err((answer.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
        }
        Err(other) => panic!("{other}"),
    }
}

/// All messages up to the server's close, which is a normal one.
async fn all(mut socket: WebSocketStream<DuplexStream>) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = socket.next().await {
        match message.unwrap() {
            Message::Close(frame) => assert_eq!(frame.unwrap().code, CloseCode::Normal),
            message => messages.push(message),
        }
    }
    messages
}

/// An API with a pod that ran.
async fn with_pod() -> Client {
    let mut client = Client::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let json = json!({"Content-Type": "application/json"});
    let merge = json!({"Content-Type": "application/merge-patch+json"});
    let account = json!({"metadata": {"name": "default"}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "node", "containers": [{"name": "main", "image": "i"}],
    }});
    let state = json!({"terminated": {"exitCode": 0, "containerID": "podbox://u/main-0"}});
    let status = json!({"status": {"containerStatuses": [{
        "name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    }]}});
    for (method, path, headers, body) in [
        ("POST", "/api/v1/namespaces/default/serviceaccounts", &json, account),
        ("POST", pods, &json, pod),
        ("PATCH", &format!("{pods}/p/status"), &merge, status),
    ] {
        let (code, answer) = client.send(method, path, headers, body.to_string().into()).await;
        assert!(code < 300, "{}", String::from_utf8_lossy(&answer));
    }
    client.api.set_logs(Arc::new(Wrote(&[b"container is alive\n", b"caf\xc3", b"\xa9\n"])));
    client
}

#[tokio::test]
async fn a_log_comes_as_messages_and_ends_with_a_close() {
    let client = with_pod().await;
    let path = "/api/v1/namespaces/default/pods/p/log?container=main";
    for protocol in ["", "binary.k8s.io"] {
        let (socket, agreed) = open(&client, path, protocol).await.unwrap();
        assert_eq!(agreed, protocol);
        let messages = all(socket).await;
        assert!(messages.iter().all(Message::is_binary), "{messages:?}");
        let bytes: Vec<u8> = messages.into_iter().flat_map(|message| message.into_data().to_vec()).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), "container is alive\ncafé\n");
    }
    let (socket, agreed) = open(&client, path, "unheard.of, base64.binary.k8s.io").await.unwrap();
    assert_eq!(agreed, "base64.binary.k8s.io");
    let decode = |message: Message| data_encoding::BASE64.decode(&message.into_data()).unwrap();
    let bytes: Vec<u8> = all(socket).await.into_iter().flat_map(decode).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), "container is alive\ncafé\n");
}

#[tokio::test]
async fn what_is_refused_is_refused_in_http() {
    let client = with_pod().await;
    let refused = async |path: &str, protocol: &str| open(&client, path, protocol).await.err().unwrap();
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(refused(&format!("{pods}/q/log"), "").await.0, 404);
    assert_eq!(refused(&format!("{pods}/p/log?container=q"), "").await.0, 400);
    assert_eq!(refused(&format!("{pods}/p/log"), "v5.channel.k8s.io").await.0, 400);
}

#[tokio::test]
async fn each_event_of_a_watch_is_a_text() {
    let mut client = with_pod().await;
    let path = "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0";
    let (mut socket, _) = open(&client, path, "").await.unwrap();
    // More than a chunk of a body.
    let large = "x".repeat(800_000);
    for (name, value) in [("a", "1"), ("b", &*large), ("c", "3")] {
        let map = json!({"metadata": {"name": name}, "data": {"key": value}}).to_string();
        let headers = json!({"Content-Type": "application/json"});
        let (code, _) =
            client.send("POST", "/api/v1/namespaces/default/configmaps", &headers, map.into()).await;
        assert_eq!(code, 201);
        let message = socket.next().await.unwrap().unwrap();
        let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
        assert_eq!(event["object"]["data"]["key"], value);
    }
    socket.send(Message::Close(None)).await.unwrap();
    let (socket, _) = open(&client, &format!("{path}&timeoutSeconds=1"), "").await.unwrap();
    assert_eq!(all(socket).await.len(), 3);
}
