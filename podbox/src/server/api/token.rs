//! `serviceaccounts/token`: a token for an account, bound to what the request names. What `kubectl create token` asks for.

use super::answer::{self, Rendered};
use super::local::Local;
use super::query::WriteOptions;
use super::write::{read, refuse, undecodable};
use super::{Api, Call};
use crate::api::kinds::Kind;
use crate::api::object;
use crate::api::rules::{Of, Write};
use crate::api::status::ApiError;
use crate::clock;
use crate::server::http::Body;
use hyper::Response;
use hyper::body::Incoming;
use k8s_openapi::api::authentication::v1::TokenRequest;
use serde_json::Value;
use std::sync::Arc;

impl Api {
    /// Answers a request for a token.
    pub(super) async fn token(&self, call: &Call, body: Incoming) -> Result<Response<Body>, ApiError> {
        let options = WriteOptions::read(&call.query, "CreateOptions", &call.head.agent, false)?;
        let mut about = call.clone();
        about.kind = Arc::new(request_of(&call.kind));
        let kind = &about.kind;
        let (asked, mut warnings) = self.decode(&about, body, &options).await?;
        named(&asked, call)?;
        let account = self.find(call)?;
        let account = read(&account)?;
        let judged = kind.rules.admit(asked, Write::Create).map_err(|error| undecodable(kind, &error))?;
        refuse(kind, object::name(&judged.object), &judged.errors)?;
        let wanted = seconds(&judged.object);
        let made = self.issue(&judged.object, &account)?;
        let given = seconds(&made);
        if given < wanted {
            warnings.push(format!("requested expiration of {wanted} seconds shortened to {given} seconds"));
        }
        answer::object(201, kind, &Rendered::Value(made), call.media, super::read::include(call)?, &warnings)
    }

    /// The answer to a request that was judged.
    pub(super) fn issue(&self, asked: &Value, account: &Value) -> Result<Value, ApiError> {
        self.gate.tokens.issue(asked, account, &self.gate.objects(), clock::wall())
    }
}

impl Local {
    /// A token of an account without an end, which counts once it is in the Secret.
    pub fn lasting_token(&self, secret: &Value, account: &Value) -> Result<String, ApiError> {
        self.api().gate.tokens.lasting(secret, account)
    }

    /// Whose token this is.
    #[cfg(test)]
    pub fn whose(&self, token: &str) -> Result<Arc<crate::api::user::User>, crate::auth::token::Refused> {
        let gate = &self.api().gate;
        gate.tokens.authenticate(token, &gate.objects(), clock::wall())
    }
}

/// The kind that the subresource takes and gives, in place of the account's.
fn request_of(account: &Kind) -> Kind {
    Kind {
        group: "authentication.k8s.io".into(),
        kind: "TokenRequest".into(),
        schema: "io.k8s.api.authentication.v1.TokenRequest".into(),
        rules: Arc::new(Of::<TokenRequest>::new()),
        ..account.clone()
    }
}

fn seconds(request: &Value) -> i64 {
    request["spec"]["expirationSeconds"].as_i64().unwrap_or_default()
}

/// A request may leave out whose token it is, but not name someone else's account.
fn named(asked: &Value, call: &Call) -> Result<(), ApiError> {
    for (what, given, path) in [
        ("name", object::name(asked), &call.info.name),
        ("namespace", object::namespace(asked), &call.info.namespace),
    ] {
        if !given.is_empty() && given != path {
            let why =
                format!("the {what} of the token request ({given}) is not the one in its path ({path})");
            return Err(ApiError::bad_request(why));
        }
    }
    Ok(())
}
