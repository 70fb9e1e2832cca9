//! Requests as a server sees them: plain ones, sealed ones, and those that were to be sealed.

use super::*;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn asked(secure: bool, port: u16, headers: &[(&str, &str)], path: &str) -> Request {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Request { secure, host: "127.0.0.1".to_owned(), port, path: path.to_owned(), headers: headers.collect() }
}

/// As hooks ask.
fn manner() -> Manner<'static> {
    Manner { agent: "agent", deadline: None, body: 0, falls_back: true, sockets: &|_, _| {} }
}

async fn status(request: &Request) -> Result<StatusCode, String> {
    let answer = get(request, &manner()).await;
    answer.map(|answer| answer.status).map_err(|failure| failure.why)
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
    let own = [("host", "web"), ("Host", "web2"), ("Accept", ""), ("user-agent", "x"), ("user-agent", "y")];
    assert_eq!(lines(&own, "/"), "/ host=web accept= user-agent=x");
    let own = [("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut headers = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
    add(&mut headers, &own).unwrap();
    assert_eq!(headers.len(), 2);
    assert_eq!(headers.get_all(CONNECTION).iter().collect::<Vec<_>>(), ["close", "keep-alive"]);
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
        assert_eq!(status(&request).await, Ok(StatusCode::SERVICE_UNAVAILABLE), "{secure} {sealed}");
        let seen = server.await.unwrap();
        assert!(seen.starts_with("GET /hook HTTP/1.1\r\n"), "{seen}");
        assert_eq!(seen.contains("\r\nAuthorization: Basic x\r\n"), authorized, "{seen}");
    }
}

/// Of the first version, without extensions, as `openssl x509 -req -signkey` makes them.
fn old_acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("old/certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("old/key.pem")).unwrap();
    let provider = ring::default_provider();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let pair = CertifiedKey::new(vec![certificate], key);
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn an_old_certificate_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(old_acceptor().accept(stream).await.unwrap()).await
    });
    assert_eq!(status(&asked(true, port, &[], "/")).await, Ok(StatusCode::SERVICE_UNAVAILABLE));
    server.await.unwrap();
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
        let away = status(&asked(false, port, &[], "/away")).await;
        (away, status(&asked(false, port, &[], "/circle")).await)
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
    // Nobody else can have it meanwhile.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = bound.local_addr().unwrap().port();
    let failed = status(&asked(false, port, &[], "/")).await.unwrap_err();
    assert!(failed.starts_with(&format!("dial tcp 127.0.0.1:{port}: ")), "{failed}");
}

/// What a probe with this much time gets of a server that sends this, and then nothing or the end.
async fn probed(ms: u64, sent: &'static [u8], ends: bool) -> Result<Answer, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4096];
        assert!(stream.read(&mut bytes).await.unwrap() > 0);
        stream.write_all(sent).await.unwrap();
        if ends {
            return;
        }
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
    let deadline = Some(crate::clock::instant() + std::time::Duration::from_millis(ms));
    let manner = Manner { deadline, body: 16, ..manner() };
    let answer = get(&asked(false, port, &[], "/x"), &manner).await;
    server.await.unwrap();
    answer.map_err(|failure| Failure { url: failure.url.replace(&port.to_string(), "PORT"), ..failure })
}

#[tokio::test]
async fn whatever_a_server_sends_it_is_answered_in_time_and_in_gos_words() {
    let failed = |why: &str, in_body| {
        Err(Failure { url: "http://127.0.0.1:PORT/x".to_owned(), why: why.to_owned(), in_body })
    };
    let minute = 60_000;
    assert_eq!(probed(minute, b"", true).await, failed("EOF", false));
    assert_eq!(probed(5_000, b"", false).await, failed(LATE, false));
    assert_eq!(probed(5_000, b"HTTP/1.1 200 OK\r\nx: y", false).await, failed(LATE, false));
    let malformed = "net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2.0-x\"";
    assert_eq!(probed(minute, b"SSH-2.0-x\r\nmore", false).await, failed(malformed, false));
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc";
    assert_eq!(probed(minute, cut, true).await, failed("unexpected EOF", true));
    assert_eq!(probed(5_000, cut, false).await, failed(LATE_BODY, true));
    let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
    let answer = |body: &[u8]| Ok(Answer { status: StatusCode::OK, body: body.to_vec() });
    assert_eq!(probed(minute, whole, false).await, answer(b"abc"));
    let headers: String = (0..500).map(|number| format!("x-{number}: y\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{headers}x: folded\r\n as of old\r\n\r\nabc");
    assert_eq!(probed(minute, many.leak().as_bytes(), true).await, answer(b"abc"));
    // Of a body without end, the beginning is read.
    let endless = b"HTTP/1.1 200 OK\r\n\r\n0123456789012345678901234567890";
    assert_eq!(probed(minute, endless, false).await, answer(b"0123456789012345"));
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = 0u64;
        let mut line = b"HTTP/1.1 200 OK\r\n".to_vec();
        while stream.write_all(&line).await.is_ok() {
            sent += line.len() as u64;
            line = format!("x-{sent}: {:01000}\r\n", 0).into_bytes();
        }
    });
    let failure = get(&asked(false, port, &[], "/"), &manner()).await.unwrap_err();
    assert!(failure.why.starts_with("net/http: server response headers exceeded"), "{failure:?}");
    server.await.unwrap();
}
