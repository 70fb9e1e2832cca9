//! Server-side apply: a configuration is merged into the object, which need not be there yet.

use super::query::WriteOptions;
use super::{Api, Call, answer, read, request};
use crate::api::apply::{self, Write};
use crate::api::decode::{self, Format, Target};
use crate::api::object;
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::Body;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;

impl Api {
    /// Answers an apply to an object or to its status.
    pub(super) async fn apply(
        &self,
        call: &Call,
        body: Incoming,
        status: bool,
    ) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::read(&call.query, "PatchOptions", &call.head.agent, true)?;
        let bytes = request::read(body).await?;
        let (kind, target) = (&call.kind, Target::from(&*call.kind));
        let decoded = decode::body(&bytes, Format::Yaml, &target, options.validation)?;
        let mut config = decoded.object;
        if object::name(&config).is_empty() {
            object::set(&mut config, "name", call.info.name.clone());
        }
        call.check_name(&config)?;
        if let Some(namespace) = call.namespace() {
            object::set(&mut config, "namespace", namespace);
        }
        let (now, version) = (object::time(clock::wall()), kind.api_version());
        let subresource = if status { "status" } else { "" };
        let write = Write {
            manager: &options.manager,
            subresource,
            api_version: &version,
            now: &now,
            reset: apply::reset(kind, subresource),
        };
        let merged = |live: &Value| -> Result<Value, ApiError> {
            let mut whole = live.clone();
            if let Some(fields) = whole.as_object_mut() {
                fields.insert("kind".into(), kind.kind.to_string().into());
                fields.insert("apiVersion".into(), version.clone().into());
            }
            Ok(apply::apply(&whole, &config, &target, &write, options.force)?.object)
        };
        let there = self.store.get(&kind.collection(), &call.key()).is_some();
        let mut written = match there || status {
            true => self.update(call, status, &options, &merged).await?,
            false => {
                self.may_create(call)?;
                let mut new = apply::apply(&Value::Null, &config, &target, &write, options.force)?.object;
                object::set(&mut new, "resourceVersion", Value::Null);
                self.create(call, new, &options).await?
            }
        };
        written.warnings.extend(decoded.warnings);
        let code = if written.created { 201 } else { 200 };
        answer::object(code, kind, &written.object, call.media, read::include(call)?, &written.warnings)
    }
}
