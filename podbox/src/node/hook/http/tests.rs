//! Requests as a server sees them: plain ones, sealed ones, and those that were to be sealed.

use super::*;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn asked(secure: bool, port: u16, headers: &[(&str, &str)], path: &str) -> Request {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Request { secure, host: "127.0.0.1".to_owned(), port, path: path.to_owned(), headers: headers.collect() }
}

fn lines(headers: &[(&str, &str)], path: &str) -> String {
    let message = message(&asked(false, 80, headers, path), "agent").unwrap();
    let of = |name: &HeaderName| {
        let all = message.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
        format!(" {name}={}", all.collect::<Vec<_>>().join(","))
    };
    format!("{}{}{}{}", message.uri(), of(&HOST), of(&ACCEPT), of(&USER_AGENT))
}

#[test]
fn a_manifests_headers_go_before_the_usual_ones() {
    assert_eq!(lines(&[], "a?b=c"), "/a?b=c host=127.0.0.1:80 accept=*/* user-agent=agent");
    let own = [("host", "web"), ("Accept", ""), ("user-agent", "x"), ("user-agent", "y")];
    assert_eq!(lines(&own, "/"), "/ host=web accept= user-agent=x,y");
}

/// A certificate that nobody knows, for another name.
fn acceptor() -> TlsAcceptor {
    let pair = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// Takes what comes first for a request, and answers that all is well, or not.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes).await.unwrap();
    stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    stream.shutdown().await.ok();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn a_servers_answer_is_one_whoever_it_is_and_whatever_it_speaks() {
    for (secure, sealed, authorized) in [(false, false, true), (true, true, true), (true, false, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let request = match sealed {
                    true => answer(acceptor().accept(stream).await.unwrap()).await,
                    false => answer(stream).await,
                };
                // What is no request was to be sealed; the next one will not be.
                if request.starts_with("GET") {
                    return request;
                }
            }
        });
        let request = asked(secure, port, &[("Authorization", "Basic x")], "/hook");
        assert_eq!(get(&request, "agent").await, Ok(StatusCode::SERVICE_UNAVAILABLE), "{secure} {sealed}");
        let seen = server.await.unwrap();
        assert!(seen.starts_with("GET /hook HTTP/1.1\r\n"), "{seen}");
        assert_eq!(seen.contains("authorization: Basic x"), authorized, "{seen}");
    }
}

#[tokio::test]
async fn a_server_that_leads_in_circles_is_left_after_ten_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            let circle = bytes[..count].starts_with(b"GET /circle");
            let answer =
                if circle { "302 Found\r\nlocation: circle" } else { "302 Found\r\nlocation: http://other/" };
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let asks = async {
        let away = get(&asked(false, port, &[], "/away"), "agent").await;
        (away, get(&asked(false, port, &[], "/circle"), "agent").await)
    };
    let (away, circle) = tokio::select! {
        () = server => unreachable!("it serves on and on"),
        told = asks => told,
    };
    assert_eq!(away, Ok(StatusCode::FOUND), "another host's answer is not waited for");
    assert_eq!(circle, Err("stopped after 10 redirects".to_owned()));
}

#[tokio::test]
async fn nobody_there_is_said_with_whom_it_was_meant_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failed = get(&asked(false, port, &[], "/"), "agent").await.unwrap_err();
    assert!(failed.starts_with(&format!("dial tcp 127.0.0.1:{port}: ")), "{failed}");
}
