//! Probes by an HTTP request: any answer from 200 on and below 400 will do.

use super::Attempt;
use crate::api::quote::quoted;
use crate::limits;
use crate::node::http::{self, Answer, Failure, Manner, Request};
use crate::pod::probe::Outcome;
use k8s_openapi::api::core::v1::HTTPGetAction;

/// As the kubelet calls itself.
pub(super) const AGENT: &str = "kube-probe/1.36";

pub(super) async fn get(get: &HTTPGetAction, host: String, port: u16, attempt: &Attempt<'_>) -> Outcome {
    let headers = get.http_headers.iter().flatten();
    let request = Request {
        secure: get.scheme.as_deref() == Some("HTTPS"),
        host,
        port,
        path: get.path.clone().unwrap_or_default(),
        headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
    };
    let manner = Manner {
        agent: AGENT,
        deadline: Some(attempt.deadline()),
        body: limits::PROBE_OUTPUT,
        falls_back: false,
        sockets: attempt.sockets,
    };
    judged(http::get(&request, &manner).await)
}

fn judged(answer: Result<Answer, Failure>) -> Outcome {
    match answer {
        Ok(Answer { status, body }) => match status.as_u16() {
            200..300 => Outcome::Success,
            300..400 => {
                let body = String::from_utf8_lossy(&body);
                Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
            }
            // The body may hold a secret: whoever may read Events may not.
            status => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        },
        Err(Failure { why, in_body: true, .. }) => Outcome::Errored("failure", why),
        Err(Failure { url, why, in_body: false }) => {
            Outcome::Failure(format!("Get {}: {why}", quoted(url.as_bytes())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    #[test]
    fn the_status_decides_and_what_cannot_be_had_is_a_failure_unless_it_is_the_body() {
        let answered = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            judged(Ok(Answer { status, body: b"secret".to_vec() }))
        };
        assert_eq!(answered(204), Outcome::Success);
        let warning = "Probe terminated redirects, Response body: secret".to_owned();
        assert_eq!(answered(302), Outcome::Warning(warning));
        for code in [199, 400, 503] {
            let why = format!("HTTP probe failed with statuscode: {code}");
            assert_eq!(answered(code), Outcome::Failure(why));
        }
        let failed = |in_body| {
            judged(Err(Failure { url: "http://10.0.0.2:80/".to_owned(), why: "EOF".to_owned(), in_body }))
        };
        assert_eq!(failed(false), Outcome::Failure("Get \"http://10.0.0.2:80/\": EOF".to_owned()));
        assert_eq!(failed(true), Outcome::Errored("failure", "EOF".to_owned()));
    }
}
