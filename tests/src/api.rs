//! A client of the API that sends bytes as it is told, also what no library would send, and reads what comes.
//!
//! It knows HTTP/1.1 as far as podbox answers in it: bodies of a stated length, and chunked ones. Little of it costs
//! time, so that benchmarks measure the server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the API is and how the administrator gets in, from a kubeconfig.
#[derive(Clone)]
pub struct Access {
    config: Arc<ClientConfig>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Access {
    /// Reads a kubeconfig as `podbox node` writes it.
    pub fn read(kubeconfig: &Path) -> Result<Access> {
        let text = std::fs::read_to_string(kubeconfig)
            .with_context(|| format!("reading {}", kubeconfig.display()))?;
        let config: Value = serde_yaml::from_str(&text).context("a kubeconfig is YAML")?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let server = cluster["server"].as_str().context("a kubeconfig names a server")?;
        let address = server.strip_prefix("https://").context("it is served by TLS")?.parse()?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem(cluster, "certificate-authority-data")?) {
            roots.add(certificate?)?;
        }
        let chain = pem(user, "client-certificate-data")?;
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&pem(user, "client-key-data")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Access { config: Arc::new(config), address })
    }

    /// A connection as the administrator.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await.context("connecting to the API")?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await?;
        Ok(Connection { stream: BufReader::with_capacity(64 << 10, stream), line: Vec::new() })
    }

    /// Answers one request, on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.connect().await?.ask(method, path, body).await
    }
}

fn pem(of: &Value, field: &str) -> Result<Vec<u8>> {
    let text = of[field].as_str().with_context(|| format!("a kubeconfig has {field}"))?;
    data_encoding::BASE64.decode(text.as_bytes()).with_context(|| format!("{field} is base64"))
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub code: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// A connection.
pub struct Connection {
    stream: BufReader<TlsStream<TcpStream>>,
    line: Vec<u8>,
}

/// The words of a request with a JSON body, or without one.
pub fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: podbox\r\nUser-Agent: podbox-tests\r\n");
    if !body.is_empty() {
        bytes += &format!("Content-Type: {content_type}\r\n");
    }
    bytes += &format!("Content-Length: {}\r\n\r\n", body.len());
    [bytes.as_bytes(), body].concat()
}

impl Connection {
    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("sending")?;
        self.stream.flush().await.context("sending")
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(&request(method, path, "application/json", body.as_bytes())).await?;
        self.answer().await
    }

    /// Reads an answer whole.
    pub async fn answer(&mut self) -> Result<Answer> {
        let (code, head) = self.head().await?;
        let mut body = Vec::new();
        match header(&head, "content-length") {
            Some(length) => {
                body.resize(length.parse().context("a length is a number")?, 0);
                self.stream.read_exact(&mut body).await.context("reading a body")?;
            }
            None => {
                while let Some(chunk) = self.chunk().await? {
                    body.extend_from_slice(&chunk);
                }
            }
        }
        Ok(Answer { code, head, body })
    }

    /// Reads status line and headers; gives the status as a number too.
    pub async fn head(&mut self) -> Result<(u16, String)> {
        self.line.clear();
        loop {
            let read = self.stream.read_until(b'\n', &mut self.line).await.context("reading headers")?;
            ensure!(read > 0, "the server closed the connection");
            if read <= 2 {
                break;
            }
        }
        let head = String::from_utf8_lossy(&self.line).into_owned();
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((code.with_context(|| format!("no status in {head:?}"))?, head))
    }

    /// The next chunk of a chunked body, which is an event where it is a watch; none after the last.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        self.line.clear();
        let read = self.stream.read_until(b'\n', &mut self.line).await.context("reading a chunk")?;
        ensure!(read > 0, "the server cut a body off");
        let size = std::str::from_utf8(&self.line)?.trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("{size:?} is no chunk's size"))?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await.context("reading a chunk")?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
