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
mod binding;
mod change;
mod content;
mod delete;
mod documents;
mod eviction;
pub mod expire;
mod first;
mod gate;
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
mod resource_metrics;
mod review;
mod scale;
mod stream;
mod summary;
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
use crate::api::object;
use crate::api::selector::Fields;
use crate::api::stats::Stats;
use crate::api::status::ApiError;
use crate::api::streams::Streams;
use crate::api::user::User;
use crate::auth::token::Tokens;
use crate::server::http::{Body, Handler};
use crate::store::{Key, Store};
use crate::{clock, limits};
use answer::Rendered;
use delete::DeleteOptions;
use documents::Documents;
use gate::Gate;
use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, Response};
use inflight::InFlight;
use media::{Media, Shape, negotiate};
use path::Info;
use query::{ListOptions, Query, WriteOptions};
use request::Head;
use serde_json::Value;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
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
    turns: tokio::sync::Mutex<()>,
    /// The containers of this node, once it runs.
    streams: OnceLock<Arc<dyn Streams>>,
    /// What this node and its pods use, once it runs.
    stats: OnceLock<Arc<dyn Stats>>,
    in_flight: InFlight,
    telemetry: Telemetry,
}

/// One request about a resource that there is, from someone who may.
#[derive(Clone)]
pub struct Call {
    /// What it is about.
    pub kind: Arc<Kind>,
    /// The words of its path.
    pub info: Info,
    /// Its parameters.
    pub query: Query,
    /// What the answer is written as.
    pub media: Media,
    /// Who asks.
    pub user: Arc<User>,
    head: Head,
}

impl Call {
    /// The namespace it is about, if it is about one.
    pub fn namespace(&self) -> Option<&str> {
        (self.kind.namespaced() && !self.info.namespace.is_empty()).then_some(self.info.namespace.as_str())
    }

    /// Where its object is.
    pub fn key(&self) -> Key {
        Key::new(self.namespace().unwrap_or_default(), &self.info.name)
    }

    /// The same about one object of a collection.
    fn at(&self, key: &Key) -> Call {
        let mut one = self.clone();
        key.name().clone_into(&mut one.info.name);
        key.namespace().clone_into(&mut one.info.namespace);
        one
    }

    /// Puts an object where the path says, unless it says otherwise itself.
    fn place(&self, object: &mut Value) -> Result<(), ApiError> {
        let given = object::namespace(object);
        if self.kind.namespaced() {
            if !given.is_empty() && given != self.info.namespace {
                return Err(ApiError::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            object::set(object, "namespace", self.info.namespace.clone());
        } else {
            object::set(object, "namespace", Value::Null);
        }
        Ok(())
    }

    /// Refuses an update that would move an object.
    fn check_name(&self, object: &Value) -> Result<(), ApiError> {
        let (name, url) = (object::name(object), &self.info.name);
        if name.is_empty() {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({url} based on URL) was undeterminable: name must be provided"
            )));
        }
        if name != url {
            let why = format!("the name of the object ({name}) does not match the name on the URL ({url})");
            return Err(ApiError::bad_request(why));
        }
        let given = object::namespace(object);
        match self.kind.namespaced() && !given.is_empty() && given != self.info.namespace {
            true => Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            )),
            false => Ok(()),
        }
    }
}

impl Handler for Api {
    const CONNECTIONS: usize = limits::API_CONNECTIONS;

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let began = clock::instant();
        let (parts, body) = request.into_parts();
        let head = Head::of(&parts);
        let media = negotiate(&head.accept, &[Shape::Table, Shape::Partial, Shape::Aggregated]);
        let fallback = media.as_ref().copied().unwrap_or(Media::JSON);
        let mut seen = Seen::new(&parts.method);
        let answer = self.route(&parts.method, head, media, body, &mut seen).await;
        let answer = answer.unwrap_or_else(|error| answer::failure(&error, fallback));
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

impl Api {
    /// The API over a store, for whoever shows one of these tokens or has proved already who they are.
    pub fn new(store: Store, kinds: Kinds, address: String, tokens: Tokens) -> Api {
        Api {
            gate: Gate::new(store.clone(), tokens),
            store,
            kinds: RwLock::new(Arc::new(kinds)),
            documents: Documents::default(),
            address,
            logs: OnceLock::new(),
            turns: tokio::sync::Mutex::new(()),
            streams: OnceLock::new(),
            stats: OnceLock::new(),
            in_flight: InFlight::default(),
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

    /// The kinds there are now.
    pub fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.kinds.read().unwrap_or_else(PoisonError::into_inner))
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
            return self.meta(method, &head, &info, media);
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
        seen.about(kind, &info);
        let place = if seen.lasts() { None } else { Some(self.in_flight.enter(info.verb, &user)?) };
        let _room = if passed { None } else { self.in_flight.room(&body.size_hint(), &user)? };
        let call = Call { kind: Arc::clone(kind), info, query, media, user, head };
        let answer = if call.info.subresource.is_empty() {
            self.main(call, body).await?
        } else {
            self.part(call, body).await?
        };
        // A small answer is there whole: whoever is slow to take it keeps nobody else from being answered.
        match answer.body().size_hint().exact().is_some_and(|bytes| bytes <= limits::SMALL_ANSWER) {
            true => Ok(answer),
            false => Ok(inflight::held(answer, place)),
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
                self.watch(&call, &ListOptions::read(&call.query, call.info.watch_path)?)
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
                match (removed.plain, &removed.object) {
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
                let gone = self.delete_collection(&call, &list, &options).await?;
                let metadata = serde_json::json!({"resourceVersion": self.store.revision().to_string()});
                answer::list(&call.kind, gone, metadata, call.media, read::include(&call)?)
            }
            _ => Err(not_allowed()),
        }
    }

    /// A request about a part of an object.
    async fn part(&self, call: Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let part = call.kind.subresource(&call.info.subresource).ok_or_else(unknown)?.clone();
        let verb = call.info.verb;
        if !part.verbs.iter().any(|allowed| allowed.word() == verb) {
            return Err(not_allowed());
        }
        match (&*part.name, verb) {
            ("status" | "ephemeralcontainers" | "resize", "get") => self.get(&call),
            ("status" | "ephemeralcontainers" | "resize" | "finalize", "update") => {
                let options = WriteOptions::read(&call.query, "UpdateOptions", &call.head.agent, false)?;
                self.replace(&call, body, &options, &part.name).await
            }
            ("status" | "ephemeralcontainers" | "resize", "patch") => {
                self.patch(&call, body, &part.name).await
            }
            ("scale", "get") => self.scale(&call),
            ("scale", "update") => self.replace_scale(&call, body).await,
            ("scale", "patch") => self.patch_scale(&call, body).await,
            ("log", "get") => self.log(&call),
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
