//! Handshakes on memory and on loopback: who gets in, and as whom.

use super::*;
use crate::auth::certificate::{Identity, LEAF, identify};
use crate::clock::wall;
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use tempfile::{TempDir, tempdir};

struct World {
    _dir: TempDir,
    authority: Authority,
    certificate: Arc<Certificate>,
    server: Arc<ServerConfig>,
}

fn world() -> World {
    let dir = tempdir().unwrap();
    let authority = Authority::open(dir.path(), wall()).unwrap();
    let names = vec!["localhost".to_owned(), "kubernetes.default.svc".to_owned()];
    let addresses = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap(), "10.96.0.1".parse().unwrap()];
    let certificate = Arc::new(Certificate::new(&authority, names, addresses, wall()).unwrap());
    let server = Arc::new(super::server(&authority, Arc::clone(&certificate)).unwrap());
    World { _dir: dir, authority, certificate, server }
}

fn client(trusted: &Authority, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => {
            let (certificate, key) = identity.der();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(8);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Both ends' words go to and fro until neither has more to say.
fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let mut server = ServerConnection::new(Arc::clone(server))?;
    let mut client = ClientConnection::new(Arc::clone(client), name.try_into().unwrap())?;
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        feed(&mut bytes.as_slice(), |from| server.read_tls(from));
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        feed(&mut bytes.as_slice(), |from| client.read_tls(from));
        client.process_new_packets()?;
    }
    Ok((server, client))
}

fn feed(bytes: &mut &[u8], mut read: impl FnMut(&mut dyn Read) -> io::Result<usize>) {
    while !bytes.is_empty() {
        read(bytes).unwrap();
    }
}

fn user(server: &ServerConnection) -> Option<String> {
    let chain = server.peer_certificates()?;
    identify(chain.first()?, wall()).map(|(user, _)| format!("{} {}", user.name, user.groups.join(" ")))
}

#[test]
fn a_client_with_a_certificate_is_known_and_one_without_may_connect() {
    let world = world();
    let jane = world.authority.client("jane", Some("dev"), wall()).unwrap();
    let (server, shaken) = shake(&world.server, &client(&world.authority, Some(&jane)), "localhost").unwrap();
    assert_eq!(user(&server).as_deref(), Some("jane dev system:authenticated"));
    assert_eq!(shaken.alpn_protocol(), Some(&b"h2"[..]));
    let (server, _) = shake(&world.server, &client(&world.authority, None), "10.96.0.1").unwrap();
    assert_eq!(user(&server), None);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (world, other) = (world(), world());
    let impostor = other.authority.client("jane", Some("system:masters"), wall()).unwrap();
    assert!(shake(&world.server, &client(&world.authority, Some(&impostor)), "localhost").is_err());
}

#[test]
fn a_certificate_that_is_over_is_refused() {
    let world = world();
    let old = world.authority.client("jane", None, wall() - LEAF - LEAF).unwrap();
    assert!(shake(&world.server, &client(&world.authority, Some(&old)), "localhost").is_err());
}

#[test]
fn a_servers_certificate_is_no_clients() {
    let world = world();
    let server = world.authority.server(&["localhost".to_owned()], &[], wall()).unwrap();
    assert!(shake(&world.server, &client(&world.authority, Some(&server)), "localhost").is_err());
}

#[test]
fn a_server_of_another_name_is_not_trusted() {
    let world = world();
    assert!(shake(&world.server, &client(&world.authority, None), "example.com").is_err());
    assert!(shake(&world.server, &client(&world.authority, None), "kubernetes.default.svc").is_ok());
}

#[test]
fn a_resumed_session_is_the_same_users() {
    let world = world();
    let jane = world.authority.client("jane", Some("dev"), wall()).unwrap();
    let config = client(&world.authority, Some(&jane));
    shake(&world.server, &config, "localhost").unwrap();
    let (server, _) = shake(&world.server, &config, "localhost").unwrap();
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(user(&server).as_deref(), Some("jane dev system:authenticated"));
}

#[test]
fn the_servers_certificate_is_renewed_while_it_serves() {
    let world = world();
    let shown = || {
        let (_, client) = shake(&world.server, &client(&world.authority, None), "localhost").unwrap();
        client.peer_certificates().unwrap()[0].clone()
    };
    let first = shown();
    assert!(!world.certificate.renew(&world.authority, wall()).unwrap());
    assert_eq!(shown(), first);
    // Not so late that the new one, too, would be of the future for this client.
    world.certificate.current.write().unwrap().renewal = wall();
    assert!(world.certificate.renew(&world.authority, wall()).unwrap());
    assert_ne!(shown(), first);
}

/// What openssl says about a server that handshakes once and then answers with the user's name.
fn openssl(world: &World, identity: Option<&Identity>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = Arc::clone(&world.server);
    let served = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(config).unwrap();
        while tls.is_handshaking() {
            if tls.complete_io(&mut tcp).is_err() {
                return;
            }
        }
        let name = user(&tls).unwrap_or_else(|| "nobody".to_owned());
        let _ = tls.writer().write_all(format!("you are {name}\n").as_bytes());
        tls.send_close_notify();
        let _ = tls.complete_io(&mut tcp);
    });
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("ca"), world.authority.pem()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-CAfile", &path("ca"), "-verify_return_error"]);
    command.args(["-verify_hostname", "localhost", "-servername", "localhost", "-quiet"]);
    if let Some(identity) = identity {
        let (certificate, key) = identity.pem();
        std::fs::write(path("cert"), certificate).unwrap();
        std::fs::write(path("key"), key).unwrap();
        command.args(["-cert", &path("cert"), "-key", &path("key")]);
    }
    let said = command.stdin(Stdio::null()).output().unwrap();
    served.join().unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn openssl_gets_in_as_whom_its_certificate_names() {
    let (world, other) = (world(), world());
    let jane = world.authority.client("jane", Some("dev"), wall()).unwrap();
    let impostor = other.authority.client("jane", Some("dev"), wall()).unwrap();
    assert_eq!(openssl(&world, Some(&jane)), "you are jane dev system:authenticated\n");
    assert_eq!(openssl(&world, None), "you are nobody\n");
    assert_eq!(openssl(&world, Some(&impostor)), "");
}
