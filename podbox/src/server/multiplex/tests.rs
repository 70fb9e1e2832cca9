//! Clients of one connection that take nothing, or say nothing.

use super::*;
use crate::server::http::{Handler, Peer, connection, full};
use crate::server::patience::{Patience, Unhurried};
use futures_util::StreamExt;
use http_body_util::{Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Answers with more than fits into any window; `/log` takes its time, `/watch` has nothing to say. Tells when an answer
/// to `/list` is given up.
struct Large(Arc<Notify>);

struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Handler for Large {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let chunk = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[7; 1 << 16])));
        match request.uri().path() {
            "/small" => Response::new(full("small")),
            "/watch" => Response::new(StreamBody::new(futures_util::stream::pending()).boxed_unsync()),
            path => {
                let told = (path == "/list").then(|| Told(Arc::clone(&self.0)));
                let chunks = futures_util::stream::repeat_with(move || {
                    let _ = &told;
                    chunk()
                });
                let chunks = chunks.take(256);
                let mut answer = Response::new(StreamBody::new(chunks).boxed_unsync());
                if path == "/log" {
                    answer.extensions_mut().insert(Unhurried);
                }
                answer
            }
        }
    }
}

const SOON: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(3600);

/// A client with these times, and how the server's side ends.
async fn client(times: Times) -> (SendRequest<Empty<Bytes>>, JoinHandle<()>) {
    client_of(Large(Arc::default()), times).await
}

async fn client_of(handler: Large, times: Times) -> (SendRequest<Empty<Bytes>>, JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let serving =
        tokio::spawn(connection(Patience::new(theirs), Peer::default(), true, Arc::new(handler), times));
    let (sender, driving) = http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await.unwrap();
    tokio::spawn(driving);
    (sender, serving)
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://podbox{path}")).body(Empty::new()).unwrap();
    sender.ready().await.unwrap();
    sender.send_request(request).await.unwrap()
}

/// Reads to the end; tells how much there was, and whether it was all.
async fn rest(mut answer: Response<Incoming>) -> (usize, bool) {
    let mut read = 0;
    while let Some(frame) = answer.frame().await {
        match frame {
            Ok(frame) => read += frame.into_data().map_or(0, |data| data.len()),
            Err(_) => return (read, false),
        }
    }
    (read, true)
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let given_up = Arc::new(Notify::new());
    let times = Times { stall: SOON, first: LONG, idle: LONG };
    let (mut sender, _serving) = client_of(Large(Arc::clone(&given_up)), times).await;
    let stalled = ask(&mut sender, "/list").await;
    let (log, watch) = (ask(&mut sender, "/log").await, ask(&mut sender, "/watch").await);
    timeout(Duration::from_secs(120), given_up.notified()).await.expect("it is kept for ever");
    assert!(!rest(stalled).await.1, "it ends as if it were whole");
    assert_eq!(rest(ask(&mut sender, "/small").await).await, (5, true));
    assert_eq!(rest(log).await, (256 << 16, true), "who may take their time is waited for");
    let quiet = timeout(SOON * 4, rest(watch)).await;
    assert!(quiet.is_err(), "a watch with nothing to say goes on: {quiet:?}");
}

#[tokio::test]
async fn a_connection_without_requests_ends() {
    for (first, idle, requests) in [(SOON, LONG, 0), (LONG, SOON, 2)] {
        let (mut sender, serving) = client(Times { stall: LONG, first, idle }).await;
        for _ in 0..requests {
            assert_eq!(rest(ask(&mut sender, "/small").await).await, (5, true));
        }
        timeout(Duration::from_secs(120), serving).await.expect("it stays open").unwrap();
    }
}

#[tokio::test]
async fn a_connection_with_an_open_request_stays() {
    let (mut sender, serving) = client(Times { stall: LONG, first: SOON, idle: SOON }).await;
    let watch = ask(&mut sender, "/watch").await;
    assert!(timeout(SOON * 6, serving).await.is_err(), "a watch was cut");
    drop(watch);
}
