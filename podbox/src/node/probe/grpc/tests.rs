//! The messages, and servers of every kind.

use super::*;
use hyper::service::service_fn;
use proptest::prelude::*;
use std::convert::Infallible;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[test]
fn messages_are_framed_protobuf() {
    assert_eq!(question(""), [0, 0, 0, 0, 0]);
    assert_eq!(question("db"), [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
    assert_eq!(status(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
    assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
    // Fields of a later protocol are left alone.
    assert_eq!(status(&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 0x08, 2]), Some(2));
    for wrong in
        [&[][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 9, 8], &[0, 0, 0, 0, 1, 0x08], &[0, 0, 0, 0, 2, 0x12, 200]]
    {
        assert_eq!(status(wrong), None, "{wrong:?}");
    }
}

#[test]
fn what_a_server_says_is_told_in_the_kubelets_words() {
    let why = "unexpected HTTP status code received from server: 404 (Not Found)";
    for (called, words) in [
        (Called::Status(2), "service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        (Called::Status(9), "service unhealthy (responded with \"9\")".to_owned()),
        (
            Called::Code(5, "unknown service".to_owned()),
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service".to_owned(),
        ),
        (
            not_ok(StatusCode::NOT_FOUND),
            format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {why}"
            ),
        ),
    ] {
        assert_eq!(judged(called), Outcome::Failure(words));
    }
    assert_eq!(judged(Called::Status(1)), Outcome::Success);
}

/// Serves connections in this way; a probe of it that has `ms` milliseconds.
async fn probed<F: Future<Output = ()> + Send + 'static>(
    ms: u64,
    service: &str,
    serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let timeout = Duration::from_millis(ms);
    let listened = Notify::new();
    let attempt = Attempt { begun: clock::instant(), timeout, sockets: &|_, _| {}, listened: &listened };
    let outcome = check("127.0.0.1", port, service, &attempt).await;
    server.abort();
    match outcome {
        Outcome::Failure(why) => Outcome::Failure(why.replace(&port.to_string(), "PORT")),
        outcome => outcome,
    }
}

/// A health server: `ok` serves, `sick` does not, others are unknown.
async fn healthy(stream: tokio::net::TcpStream) {
    let answer = |request: Request<hyper::body::Incoming>| async {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        let (status, code) = match asked.get(7..).unwrap_or_default() {
            b"" | b"ok" => (1, "0"),
            b"sick" => (2, "0"),
            _ => (0, "5"),
        };
        let trailers = HeaderMap::from_iter([
            ("grpc-status".parse().unwrap(), code.parse().unwrap()),
            ("grpc-message".parse().unwrap(), "unknown%20service".parse().unwrap()),
        ]);
        let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 0x08, status]));
        let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
        Ok::<_, Infallible>(Response::builder().header(CONTENT_TYPE, "application/grpc").body(body).unwrap())
    };
    let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    drop(server.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
}

#[tokio::test]
async fn a_health_server_is_asked_for_each_service() {
    let minute = 60_000;
    assert_eq!(probed(minute, "", healthy).await, Outcome::Success);
    assert_eq!(probed(minute, "ok", healthy).await, Outcome::Success);
    let sick = "service unhealthy (responded with \"NOT_SERVING\")".to_owned();
    assert_eq!(probed(minute, "sick", healthy).await, Outcome::Failure(sick));
    let none = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service".to_owned();
    assert_eq!(probed(minute, "none", healthy).await, Outcome::Failure(none));
}

#[tokio::test]
async fn whoever_speaks_something_else_or_nothing_is_not_there() {
    let late = "timeout: failed to connect service \"127.0.0.1:PORT\" within 1s: context deadline exceeded";
    let late = Outcome::Failure(late.to_owned());
    let silent = |mut stream: tokio::net::TcpStream| async move {
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes).await);
    };
    assert_eq!(probed(1000, "", silent).await, late);
    let other = |mut stream: tokio::net::TcpStream| async move {
        use tokio::io::AsyncWriteExt;
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
    };
    assert_eq!(probed(1000, "", other).await, late);
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_told_from_one_that_is_not_there() {
    let slow = |mut stream: tokio::net::TcpStream| async move {
        use tokio::io::AsyncWriteExt;
        // Its settings, and nothing more.
        drop(stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await);
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes).await);
    };
    let late = "timeout: health rpc did not complete within 5s".to_owned();
    assert_eq!(probed(5000, "", slow).await, Outcome::Failure(late));
}

#[tokio::test]
async fn a_server_that_sees_its_time_run_out_first_and_one_that_says_nothing_of_its_call_have_failed() {
    let answers = |stream, code: Option<&'static str>| async move {
        let answer = move |_: Request<hyper::body::Incoming>| async move {
            let said = code.map(|code| ("grpc-status".parse().unwrap(), code.parse().unwrap()));
            let trailers = HeaderMap::from_iter(said);
            let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 0x08, 1]));
            let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
            Ok::<_, Infallible>(Response::new(body))
        };
        let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        drop(server.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
    };
    let minute = 60_000;
    let late = "timeout: health rpc did not complete within 1m0s".to_owned();
    assert_eq!(probed(minute, "", move |s| answers(s, Some("4"))).await, Outcome::Failure(late));
    let words = "error: health rpc probe failed: rpc error: code = Internal desc = \
                 server closed the stream without sending trailers";
    assert_eq!(probed(minute, "", move |s| answers(s, None)).await, Outcome::Failure(words.to_owned()));
}

#[tokio::test]
async fn nothing_of_a_call_outlives_it() {
    use tokio::io::AsyncWriteExt;
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let stubborn = move |mut stream: tokio::net::TcpStream| {
        let ended = ended.clone();
        async move {
            // Settings that allow no stream at all.
            drop(stream.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]).await);
            drop(stream.read_to_end(&mut Vec::new()).await);
            let _ = ended.send(());
        }
    };
    for _ in 0..5 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn({
            let stubborn = stubborn.clone();
            async move { stubborn(listener.accept().await.unwrap().0).await }
        });
        let (listened, timeout) = (Notify::new(), Duration::from_millis(500));
        let attempt = Attempt { begun: clock::instant(), timeout, sockets: &|_, _| {}, listened: &listened };
        assert_ne!(check("127.0.0.1", port, "", &attempt).await, Outcome::Success);
        tokio::time::timeout(Duration::from_secs(60), server).await.expect("it was connected").unwrap();
        assert_eq!(ends.recv().await, Some(()), "the connection has ended");
    }
}

/// How long after it begins to listen a server is asked.
async fn asked_after() -> Duration {
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = reserved.local_addr().unwrap().port();
    let listened = Notify::new();
    let timeout = Duration::from_secs(3600);
    let attempt = Attempt { begun: clock::instant(), timeout, sockets: &|_, _| {}, listened: &listened };
    let asked = check("127.0.0.1", port, "", &attempt);
    let server = async {
        // Longer than all of the short pauses.
        sleep(Duration::from_millis(200)).await;
        let listener = reserved.listen(16).unwrap();
        let since = clock::instant();
        listened.notify_waiters();
        let (stream, _) = listener.accept().await.unwrap();
        (since.elapsed(), healthy(stream).await)
    };
    let (outcome, (after, ())) = tokio::join!(asked, server);
    assert_eq!(outcome, Outcome::Success);
    after
}

#[tokio::test]
async fn who_begins_to_listen_is_asked_at_once() {
    // On a busy machine it may take some tries; who is not told waits for the next pause each time.
    for _ in 0..20 {
        if asked_after().await < AGAIN / 2 {
            return;
        }
    }
    panic!("who begins to listen is asked after the pause");
}

proptest! {
    #[test]
    fn any_answer_is_read_to_its_end(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = status(&bytes);
        let mut framed = vec![0];
        framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        framed.extend(&bytes);
        let _ = status(&framed);
    }
}
