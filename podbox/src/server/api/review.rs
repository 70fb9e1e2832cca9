//! Reviews: questions about rights and identities, answered at once and kept nowhere.

use super::query::WriteOptions;
use super::{Api, Call, answer, read, write};
use crate::api::object;
use crate::api::rules::Write;
use crate::api::status::ApiError;
use crate::auth::review;
use crate::clock;
use crate::server::http::Body;
use answer::Rendered;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;

impl Api {
    /// Answers a review.
    pub(super) async fn review(&self, call: &Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let kind = &call.kind;
        let options = WriteOptions::read(&call.query, "CreateOptions", &call.head.agent, false)?;
        let (mut asked, warnings) = self.decode(call, body, &options).await?;
        call.place(&mut asked)?;
        write::owned(kind, &Value::Null, &mut asked, "", &options.manager);
        let judged = kind.rules.admit(asked, Write::Create);
        let judged = judged.map_err(|error| write::undecodable(kind, &error))?;
        write::refuse(kind, object::name(&judged.object), &judged.errors)?;
        let answered = Rendered::Value(self.ask(call, judged.object)?);
        answer::object(201, kind, &answered, call.media, read::include(call)?, &warnings)
    }

    fn ask(&self, call: &Call, asked: Value) -> Result<Value, ApiError> {
        let (gate, user) = (&self.gate, &call.user);
        match &*call.kind.kind {
            "SelfSubjectReview" => Ok(review::whoami(asked, user, clock::wall())),
            "TokenReview" => Ok(review::token(asked, &gate.tokens, &gate.objects(), clock::wall())),
            "SelfSubjectAccessReview" => gate.granted(|rbac| review::own_access(asked, user, rbac)),
            "SelfSubjectRulesReview" => gate.granted(|rbac| review::rules(asked, user, rbac)),
            "SubjectAccessReview" | "LocalSubjectAccessReview" => {
                gate.granted(|rbac| review::access(asked, rbac))
            }
            _ => Err(super::not_allowed()),
        }
    }
}
