//! The cluster's side of a node: the store, the API over it, and what every cluster has from its first moment.

mod aggregation;
mod credentials;
mod entrance;
mod namespaces;
mod pulse;
mod quotas;
mod terminating;
#[cfg(test)]
mod world;

use crate::api::kinds::Kinds;
use crate::api::status::ApiError;
use crate::auth::authority::{Authority, PkiError};
use crate::auth::tls::{Certificate, TlsError};
use crate::auth::token::{KeyError, Tokens};
use crate::config::Config;
use crate::control::catalog::Catalog;
use crate::control::{manager, volumes};
use crate::server::api::Api;
use crate::server::api::local::Local;
use crate::server::http;
use crate::server::tls::Tls;
use crate::store::{DiskError, Store};
use crate::{clock, limits};
use credentials::Credentials;
use namespaces::Namespaces;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

/// The API's own socket in the run directory: root's alone, without TLS.
const SOCKET: &str = "api.sock";

/// The name under which controllers write to the API: upstream's, for whoever looks at who owns a field.
const CONTROLLERS: &str = "kube-controller-manager";

/// Where pods find the API: the first address of the services' range.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Why the API could not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The store.
    #[error("opening the API's store failed")]
    Store(#[from] DiskError),
    /// Keys.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The key for tokens.
    #[error(transparent)]
    Tokens(#[from] KeyError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address.
    #[error("listening for the API on {address} failed; choose another with --api-addr")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket.
    #[error("listening for the API on {} failed", .path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What every cluster has.
    #[error("putting the first objects into the store failed")]
    First(#[source] ApiError),
}

/// A running API server.
pub struct Cluster {
    /// The API.
    pub api: Arc<Api>,
    /// Where the administrator's kubeconfig is.
    pub kubeconfig: PathBuf,
    /// What it serves from.
    pub store: Store,
    socket: PathBuf,
    tasks: JoinSet<()>,
}

/// Where the administrator's kubeconfig is.
pub fn kubeconfig(config: &Config) -> PathBuf {
    config.state_dir.join("admin.kubeconfig")
}

impl Cluster {
    /// Opens the store and serves the API. The caller holds the host's lock.
    pub async fn start(config: &Config, node: &str) -> Result<Cluster, ClusterError> {
        let store = Store::open(&config.state_dir.join("store"))?;
        let authority = Authority::open(&config.state_dir, clock::wall())?;
        let address = config.api_addr;
        let listen = |source| ClusterError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let reached = reached_at(bound);
        let addresses = addresses(bound.ip(), config.gateway().into());
        let certificate = Certificate::new(&authority, names(node), addresses, clock::wall())?;
        let certificate = Arc::new(certificate);
        let tls = Tls::new(listener, &authority, Arc::clone(&certificate))?;
        let (for_pods, beside) = entrance::open(config.gateway(), bound).await;
        let beside = beside.map(|listener| Tls::new(listener, &authority, Arc::clone(&certificate)));
        let tokens = Tokens::new(authority.token_key())?;
        let api = Arc::new(Api::new(store.clone(), Kinds::new(), reached.to_string(), tokens));
        api.furnish().await.map_err(ClusterError::First)?;
        let socket = config.run_dir.join(SOCKET);
        let local = unix(&socket).map_err(|source| ClusterError::Socket { path: socket.clone(), source })?;
        let kubeconfig = kubeconfig(config);
        let server = format!("https://{reached}");
        authority.write_kubeconfig(&kubeconfig, &server, clock::wall())?;
        let mut tasks = JoinSet::new();
        let controller = Local::new(Arc::clone(&api), "podbox");
        entrance::publish(&controller, SERVICE.into(), for_pods).await.map_err(ClusterError::First)?;
        tasks.spawn(terminating::run(store.clone(), controller.clone()));
        tasks.spawn(age(store.clone()));
        tasks.spawn(quotas::run(store.clone(), controller.clone()));
        let catalog = Catalog::new(&api.kinds());
        let controllers = Local::new(Arc::clone(&api), CONTROLLERS);
        tasks.spawn(volumes::run::run(store.clone(), controllers.clone()));
        tasks.spawn(manager::run(store.clone(), controllers, catalog));
        let credentials = Credentials::new(store.clone(), controller.clone(), authority.pem().to_owned());
        tasks.spawn(credentials.run());
        let namespaces = Namespaces::new(store.clone(), controller, authority.pem().to_owned());
        tasks.spawn(namespaces.run());
        tasks.spawn(aggregation::run(store.clone(), Arc::clone(&api)));
        tasks.spawn(renew(authority, certificate, kubeconfig.clone(), server));
        tasks.spawn(http::serve(tls, Arc::clone(&api)));
        if let Some(beside) = beside.transpose()? {
            tasks.spawn(http::serve(beside, Arc::clone(&api)));
        }
        entrance::lead(SERVICE, for_pods);
        tasks.spawn(http::serve(local, Arc::clone(&api)));
        Ok(Cluster { api, kubeconfig, store, socket, tasks })
    }
}

impl Cluster {
    /// Ends it, after the last write.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.store.close().await;
        let _ = fs::remove_file(&self.socket);
    }
}

/// Lets the store forget what is old.
async fn age(store: Store) {
    let mut ticks = tokio::time::interval(limits::HISTORY_AGE);
    loop {
        ticks.tick().await;
        store.age();
    }
}

/// Replaces the server's and the administrator's certificates before they end.
async fn renew(authority: Authority, certificate: Arc<Certificate>, kubeconfig: PathBuf, server: String) {
    let mut look = tokio::time::interval(limits::CERTIFICATE_CHECK);
    let mut stale = false;
    loop {
        look.tick().await;
        let now = clock::wall();
        match certificate.renew(&authority, now) {
            Ok(renewed) => stale |= renewed,
            Err(error) => tracing::warn!(error = causes(&error), "renewing the API's certificate failed"),
        }
        if !stale {
            continue;
        }
        match authority.write_kubeconfig(&kubeconfig, &server, now) {
            Ok(()) => {
                stale = false;
                tracing::info!("the API's certificate and {} are new", kubeconfig.display());
            }
            Err(error) => tracing::warn!(error = causes(&error), "renewing the kubeconfig failed"),
        }
    }
}

/// An error and what it came from, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The address a client on this host uses.
fn reached_at(bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, bound.port())),
        _ => bound,
    }
}

fn names(node: &str) -> Vec<String> {
    let service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    ["localhost", node].into_iter().chain(service).map(str::to_owned).collect()
}

fn addresses(bound: IpAddr, gateway: IpAddr) -> Vec<IpAddr> {
    let mut all = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), SERVICE.into(), gateway];
    if !bound.is_unspecified() && !all.contains(&bound) {
        all.push(bound);
    }
    all
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
