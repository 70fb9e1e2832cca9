//! Answering a TokenRequest: `serviceaccounts/token`. Pure.

use super::claims::{Bound, Claims, Reference};
use super::{ISSUER, Lookup, POD_TOKEN, Tokens};
use crate::api::object;
use crate::api::status::ApiError;
use crate::{chance, limits};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

impl Tokens {
    /// The answer to a request, which was defaulted and validated, for a service account that is there. The token is bound
    /// to the account, and to what `spec.boundObjectRef` names: a Pod, a Secret or a Node. It is good for as long as it
    /// asks, but at most for [`limits::TOKEN_LIFE`]; and for that long where it is the one that every pod gets, since programs
    /// that read theirs only once would else be locked out after an hour.
    pub fn issue(
        &self,
        request: &Value,
        account: &Value,
        lookup: &impl Lookup,
        now: SystemTime,
    ) -> Result<Value, ApiError> {
        let (namespace, name) = (object::namespace(account), object::name(account));
        let given = object::uid(request);
        if !given.is_empty() && given != object::uid(account) {
            let why = format!(
                "the UID in the token request ({given}) does not match the UID of the service account ({})",
                object::uid(account)
            );
            return Err(ApiError::conflict("", "serviceaccounts", name, &why));
        }
        let spec = &request["spec"];
        let mut bound =
            Bound { namespace: namespace.to_owned(), serviceaccount: reference(account), ..Bound::default() };
        bind(&mut bound, &spec["boundObjectRef"], lookup)?;
        let audiences = texts(&spec["audiences"]);
        let audiences = if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences };
        let asked = spec["expirationSeconds"].as_u64().unwrap_or(limits::TOKEN_DEFAULT.as_secs());
        let life = asked.min(limits::TOKEN_LIFE.as_secs());
        let start = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let ends = start.saturating_add(life);
        let put_off = bound.pod.is_some() && life == POD_TOKEN.as_secs() && audiences == [ISSUER];
        bound.warnafter = put_off.then_some(ends);
        let claims = Claims {
            aud: audiences.clone(),
            exp: if put_off { start.saturating_add(limits::TOKEN_LIFE.as_secs()) } else { ends },
            iat: start,
            iss: ISSUER.to_owned(),
            jti: chance::uid(),
            bound,
            nbf: start,
            sub: crate::api::user::account_name(namespace, name),
        };
        let payload = serde_json::to_vec(&claims).map_err(|error| ApiError::internal(error.to_string()))?;
        let token = self.key.sign(&payload).ok_or_else(|| ApiError::internal("signing a token failed"))?;
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(ends);
        let mut answer = request.clone();
        object::set(&mut answer, "name", name);
        object::set(&mut answer, "namespace", namespace);
        object::set(&mut answer, "creationTimestamp", object::time(now));
        answer["spec"]["audiences"] = json!(audiences);
        answer["spec"]["expirationSeconds"] = life.into();
        answer["status"] = json!({"token": token, "expirationTimestamp": object::time(end)});
        Ok(answer)
    }
}

fn reference(object: &Value) -> Reference {
    Reference { name: object::name(object).to_owned(), uid: object::uid(object).to_owned() }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Binds to the object that is asked for, if one is.
fn bind(bound: &mut Bound, asked: &Value, lookup: &impl Lookup) -> Result<(), ApiError> {
    if asked.is_null() {
        return Ok(());
    }
    let word = |field: &str| asked[field].as_str().unwrap_or_default();
    let (kind, name) = (word("kind"), word("name"));
    let (resource, namespace) = match (word("apiVersion"), kind) {
        ("v1", "Pod") => ("pods", bound.namespace.clone()),
        ("v1", "Secret") => ("secrets", bound.namespace.clone()),
        ("v1", "Node") => ("nodes", String::new()),
        (version, kind) => {
            let group = version.rsplit_once('/').map_or("", |(group, _)| group);
            let version = version.rsplit('/').next().unwrap_or_default();
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(why));
        }
    };
    let found =
        lookup.object(resource, &namespace, name).ok_or_else(|| ApiError::not_found("", resource, name))?;
    let (given, uid) = (word("uid"), object::uid(&found));
    if !given.is_empty() && given != uid {
        let why = format!(
            "the UID in the bound object reference ({given}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(ApiError::conflict("", kind, name, &why));
    }
    let reference = Some(reference(&found));
    match resource {
        "pods" => {
            let account = found["spec"]["serviceAccountName"].as_str().unwrap_or_default();
            if account != bound.serviceaccount.name {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    bound.serviceaccount.name
                )));
            }
            bound.pod = reference;
            bound.node = node(&found, lookup);
        }
        "secrets" => bound.secret = reference,
        _ => bound.node = reference,
    }
    Ok(())
}

/// The node that a pod is on, for whoever is shown the token; the token is not bound to it.
fn node(pod: &Value, lookup: &impl Lookup) -> Option<Reference> {
    let name = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())?;
    lookup.alive("nodes", "", name).map(|node| Reference { name: name.to_owned(), uid: node.uid })
}
