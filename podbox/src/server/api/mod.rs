//! The Kubernetes API over the store: generic over the kinds' table.
//!
//! A request goes through who asks, whether they may, what it is about, and then the verb's own file. It knows
//! neither controllers nor sandboxes: they meet it in the store, and what only a node can do (logs, commands)
//! comes through a seam.

mod account;
mod admit;
mod allocate;
mod answer;
mod applying;
mod aside;
mod binding;
mod call;
mod change;
mod content;
mod delete;
mod documents;
mod eviction;
pub mod expire;
mod first;
mod framed;
mod gate;
mod health;
mod inflight;
mod kubelet;
mod listing;
pub mod local;
mod log;
mod media;
mod meta;
mod path;
mod proxy;
mod query;
mod quotas;
mod read;
mod request;
mod review;
mod scale;
mod stream;
mod summary;
mod tally;
mod telemetry;
mod token;
mod unsupported;
mod usage;
mod watch;
mod write;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use crate::api::decode::{self, Format};
use crate::api::kinds::{Kind, Kinds, Verb};
use crate::api::logs::Logs;
use crate::api::selector::Fields;
use crate::api::stats::Stats;
use crate::api::status::ApiError;
use crate::api::streams::Streams;
use crate::auth::token::Tokens;
use crate::server::http::{Body, Handler};
use crate::server::pages::Pages;
use crate::store::Store;
use crate::{clock, limits};
use allocate::Turns;
use answer::Rendered;
use aside::Aside;
pub use call::Call;
use delete::DeleteOptions;
use documents::Documents;
use gate::Gate;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Method, Request, Response};
use inflight::InFlight;
use media::{Media, Shape, negotiate};
pub use meta::named as version;
use path::Info;
use query::{ListOptions, Query, WriteOptions};
use request::Head;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tally::Tallies;
use telemetry::{Seen, Telemetry};
use write::Written;

/// The API server.
pub struct Api {
    store: Store,
    gate: Gate,
    kinds: RwLock<Arc<Kinds>>,
    /// OpenAPI.
    documents: Documents,
    /// Where clients reach it, for discovery: `192.0.2.1:6443`.
    address: String,
    /// The logs of this node's pods, once the node runs.
    logs: OnceLock<Arc<dyn Logs>>,
    /// Held by writes that are judged by what others of their kind have: addresses, quotas.
    turns: Turns,
    tallies: Tallies,
    /// The containers of this node, once it runs.
    streams: OnceLock<Arc<dyn Streams>>,
    /// What this node and its pods use, once it runs.
    stats: OnceLock<Arc<dyn Stats>>,
    /// The pages for Prometheus, once there are any.
    pages: OnceLock<Arc<Pages>>,
    in_flight: InFlight,
    aside: Aside,
    telemetry: Telemetry,
}

impl Handler for Api {
    const CONNECTIONS: usize = limits::API_CONNECTIONS;
    const GUESTS: (usize, usize) = (limits::API_GUESTS, limits::API_GUESTS_ALL);

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let began = clock::instant();
        let (parts, body) = request.into_parts();
        let head = Head::of(&parts);
        let media = negotiate(&head.accept, &[Shape::Table, Shape::Partial, Shape::Aggregated]);
        let fallback = media.as_ref().copied().unwrap_or(Media::JSON);
        let mut seen = Seen::new(&parts.method);
        let answer = self.route(&parts.method, head, media, body, &mut seen).await;
        let mut answer = answer.unwrap_or_else(|error| answer::failure(&error, fallback));
        // Whatever is answered is for who asked.
        let private = HeaderValue::from_static("no-cache, private");
        answer.headers_mut().entry(CACHE_CONTROL).or_insert(private);
        self.telemetry.answered(seen, answer, clock::instant() - began)
    }
}

fn not_allowed() -> ApiError {
    let details = serde_json::json!({});
    let message = "the server does not allow this method on the requested resource";
    ApiError { details, ..ApiError::new(405, "MethodNotAllowed", message) }
}

fn unknown() -> ApiError {
    let details = serde_json::json!({});
    ApiError { details, ..ApiError::new(404, "NotFound", "the server could not find the requested resource") }
}

/// Whether a request is answered by something that is made for it alone, rather than by an object.
fn is_answer(kind: &Kind, info: &Info) -> bool {
    let binds = kind.group.is_empty() && kind.kind == "Binding";
    kind.is_review() || binds || ["binding", "eviction", "token"].contains(&&*info.subresource)
}

impl Api {
    /// The API over a store, for whoever shows one of these tokens or has proved already who they are.
    pub fn new(store: Store, kinds: Kinds, address: String, tokens: Tokens) -> Api {
        Api {
            gate: Gate::new(store.clone(), tokens),
            tallies: Tallies::new(store.clone()),
            store,
            kinds: RwLock::new(Arc::new(kinds)),
            documents: Documents::default(),
            address,
            logs: OnceLock::new(),
            turns: Turns::default(),
            streams: OnceLock::new(),
            stats: OnceLock::new(),
            pages: OnceLock::new(),
            in_flight: InFlight::default(),
            aside: Aside::default(),
            telemetry: Telemetry::default(),
        }
    }

    /// Gives it the logs of this node's pods. Only the first time counts.
    pub fn set_logs(&self, logs: Arc<dyn Logs>) {
        let _ = self.logs.set(logs);
    }

    /// Gives it the containers of this node. Only the first time counts.
    pub fn set_streams(&self, streams: Arc<dyn Streams>) {
        let _ = self.streams.set(streams);
    }

    /// Gives it what this node measures. Only the first time counts.
    pub fn set_stats(&self, stats: Arc<dyn Stats>) {
        let _ = self.stats.set(stats);
    }

    /// Gives it the pages for Prometheus. Only the first time counts.
    pub fn set_pages(&self, pages: Arc<Pages>) {
        let _ = self.pages.set(pages);
    }

    /// The kinds there are now.
    pub fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.kinds.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A page for Prometheus.
    async fn page(&self, path: &str) -> Result<Response<Body>, ApiError> {
        let found = match self.pages.get() {
            Some(pages) => pages.at(path).await,
            None => None,
        };
        Ok(found.unwrap_or_else(meta::no_page))
    }

    async fn route(
        &self,
        method: &Method,
        head: Head,
        media: Result<Media, ApiError>,
        body: Incoming,
        seen: &mut Seen,
    ) -> Result<Response<Body>, ApiError> {
        let user = self.gate.authenticate(&head)?;
        let query = Query::parse(&head.query);
        let selected = Fields::parse(query.text("fieldSelector")).ok();
        let name = selected.as_ref().and_then(Fields::name);
        let info = path::info(method, &head.path, query.flag("watch"), name);
        self.authorize(&user, &info, &head.path)?;
        if !info.is_resource {
            // Whoever asks whether the server lives is always told.
            let place = if health::is_check(&head.path) {
                None
            } else {
                Some(self.in_flight.enter(info.verb, &user)?)
            };
            let answer = async {
                match head.path.trim_end_matches('/') {
                    page @ "/metrics" if *method == Method::GET => self.page(page).await,
                    _ => self.meta(method, &head, &info, media),
                }
            };
            let answer = match head.path.starts_with("/openapi/") {
                true => self.aside.run(answer).await?,
                false => answer.await?,
            };
            return Ok(inflight::placed(answer, place));
        }
        let kinds = self.kinds();
        if !kinds.iter().any(|kind| kind.group == info.group) {
            return Ok(meta::no_page());
        }
        let kind = kinds.resource(&info.group, &info.version, &info.resource).ok_or_else(unknown)?;
        // Rights in a namespace must not reach what is in none. Only a namespace's own path has one in it.
        let own = info.resource == "namespaces" && info.name == info.namespace;
        if !kind.namespaced() && !info.namespace.is_empty() && !own {
            return Err(unknown());
        }
        // What is passed on, or becomes another protocol, is not written in any of our forms.
        let passed = ["attach", "exec", "portforward", "proxy"].contains(&&*info.subresource);
        let media = if passed { media.unwrap_or(Media::JSON) } else { media? };
        // What is answered and kept nowhere has no columns.
        let media = if is_answer(kind, &info) { negotiate(&head.accept, &[])? } else { media };
        seen.about(kind, &info);
        let place = if seen.lasts() { None } else { Some(self.in_flight.enter(info.verb, &user)?) };
        let _room = if passed { None } else { self.in_flight.room(&body.size_hint(), &user)? };
        let heavy = !passed && self.is_heavy(kind, &info, &body.size_hint());
        let call = Call { kind: Arc::clone(kind), info, query, media, user, head };
        let answer = match heavy {
            true => self.aside.run(self.resource(call, body)).await,
            false => self.resource(call, body).await,
        };
        let answer = match &kind.deprecated {
            // Told whatever comes of the request.
            Some(why) => answer::warned(answer.unwrap_or_else(|error| answer::failure(&error, media)), why),
            None => answer?,
        };
        Ok(inflight::placed(answer, place))
    }

    /// A request about objects, or a part of one.
    async fn resource(&self, call: Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        match call.info.subresource.is_empty() {
            true => self.main(call, body).await,
            false => self.part(call, body).await,
        }
    }

    /// A request about objects themselves.
    async fn main(&self, call: Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let allowed = |verb: Verb| match call.kind.verbs.contains(&verb) {
            true => Ok(()),
            false => Err(not_allowed()),
        };
        let scoped = call.kind.namespaced();
        match call.info.verb {
            "create" | "update" | "patch" | "delete" if scoped && call.info.namespace.is_empty() => {
                Err(not_allowed())
            }
            "get" => {
                allowed(Verb::Get)?;
                if call.kind.measured { self.measured(&call) } else { self.get(&call) }
            }
            "list" => {
                allowed(Verb::List)?;
                let options = ListOptions::read(&call.query, false)?;
                if call.kind.measured {
                    return self.list_measured(&call, &options);
                }
                self.list(&call, &options).await
            }
            "watch" => {
                allowed(Verb::Watch)?;
                let options = ListOptions::read(&call.query, call.info.watch_path)?;
                Ok(framed::watch(&call, self.watch(&call, &options)?))
            }
            "create" if call.kind.is_review() => {
                allowed(Verb::Create)?;
                self.review(&call, body).await
            }
            "create" if call.kind.group.is_empty() && call.kind.kind == "Binding" => {
                allowed(Verb::Create)?;
                self.binding(&call, body).await
            }
            // A POST names its object in the body.
            "create" if call.info.name.is_empty() => {
                allowed(Verb::Create)?;
                let options = WriteOptions::read(&call.query, "CreateOptions", &call.head.agent, false)?;
                let (object, warnings) = self.decode(&call, body, &options).await?;
                let written = self.create(&call, object, &options).await?;
                self.show(&call, written, warnings)
            }
            "update" if !call.info.name.is_empty() => {
                allowed(Verb::Update)?;
                let options = WriteOptions::read(&call.query, "UpdateOptions", &call.head.agent, false)?;
                self.replace(&call, body, &options, "").await
            }
            "patch" if !call.info.name.is_empty() => {
                allowed(Verb::Patch)?;
                self.patch(&call, body, "").await
            }
            "delete" => {
                allowed(Verb::Delete)?;
                let options = self.delete_options(&call, body).await?;
                let removed = self.delete(&call, &options).await?;
                match (removed.plain && !call.kind.shows_deleted, &removed.object) {
                    (true, Rendered::Value(object)) => {
                        answer::plain(200, &Api::success(&call.kind, object), Media::JSON, &removed.warnings)
                    }
                    _ => {
                        let include = read::include(&call)?;
                        answer::object(
                            200,
                            &call.kind,
                            &removed.object,
                            call.media,
                            include,
                            &removed.warnings,
                        )
                    }
                }
            }
            "deletecollection" => {
                allowed(Verb::DeleteCollection)?;
                let options = self.delete_options(&call, body).await?;
                let list = ListOptions::read(&call.query, false)?;
                let (gone, metadata) = self.delete_collection(&call, &list, &options).await?;
                answer::list(&call.kind, gone, metadata, call.media, read::include(&call)?)
            }
            _ => Err(not_allowed()),
        }
    }

    /// A request about a part of an object.
    async fn part(&self, call: Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let part = call.kind.subresource(&call.info.subresource).ok_or_else(unknown)?.clone();
        let verb = call.info.verb;
        // What a server behind it allows is not the API's to say; a node's pages are podbox's own.
        let options = part.name == "proxy" && call.info.verb.is_empty() && *call.kind.plural != *"nodes";
        if !options && !part.verbs.iter().any(|allowed| allowed.word() == verb) {
            return Err(not_allowed());
        }
        match (&*part.name, verb) {
            ("status" | "approval" | "ephemeralcontainers" | "resize", "get") => self.get(&call),
            ("status" | "approval" | "ephemeralcontainers" | "resize" | "finalize", "update") => {
                let options = WriteOptions::read(&call.query, "UpdateOptions", &call.head.agent, false)?;
                self.replace(&call, body, &options, &part.name).await
            }
            ("status" | "approval" | "ephemeralcontainers" | "resize", "patch") => {
                self.patch(&call, body, &part.name).await
            }
            ("scale", "get") => self.scale(&call),
            ("scale", "update") => self.replace_scale(&call, body).await,
            ("scale", "patch") => self.patch_scale(&call, body).await,
            ("log", "get") => framed::log(&call, self.log(&call)?),
            ("token", "create") => self.token(&call, body).await,
            ("exec" | "attach", _) => self.console(&call),
            ("portforward", _) => self.forward(&call),
            ("proxy", _) if *call.kind.plural == *"nodes" => self.kubelet(&call).await,
            ("proxy", _) => self.proxy(&call, body).await,
            ("binding", "create") => self.binding(&call, body).await,
            ("eviction", "create") => self.evict(&call, body).await,
            (name, _) => {
                let what = format!("{}/{name} is not served yet", call.kind.plural);
                Err(ApiError::new(501, "NotImplemented", what))
            }
        }
    }

    async fn delete_options(&self, call: &Call, body: Incoming) -> Result<DeleteOptions, ApiError> {
        let bytes = request::read(body).await?;
        let body = match bytes.is_empty() {
            true => None,
            false => Some(decode::options(&bytes, Format::of(&call.head.content_type)?, "DeleteOptions")?),
        };
        DeleteOptions::read(&call.query, body.as_ref())
    }

    fn show(
        &self,
        call: &Call,
        written: Written,
        mut warnings: Vec<String>,
    ) -> Result<Response<Body>, ApiError> {
        warnings.extend(written.warnings);
        let code = if written.created { 201 } else { 200 };
        answer::object(code, &call.kind, &written.object, call.media, read::include(call)?, &warnings)
    }
}
