//! How much is answered at the same time: requests that read, requests that write, bytes of large bodies. What is more
//! is refused at once with 429 and when to come again, so that the node answers some rather than none.
//!
//! As with upstream, what lasts by its nature (watches, logs that are followed, commands) does not count, and an
//! administrator of everything always gets an answer.

use crate::api::status::ApiError;
use crate::api::user::User;
use crate::limits;
use crate::metrics as table;
use crate::server::http::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a large body takes of its semaphore: one permit for so many bytes.
const UNIT: usize = 1 << 10;

/// The places that there are.
pub struct InFlight {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// A place that a request has until its answer is sent.
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    kind: &'static str,
}

impl Default for InFlight {
    fn default() -> InFlight {
        InFlight {
            reads: Arc::new(Semaphore::new(limits::READS_IN_FLIGHT)),
            writes: Arc::new(Semaphore::new(limits::WRITES_IN_FLIGHT)),
            bodies: Arc::new(Semaphore::new(limits::LARGE_BODIES_BYTES / UNIT)),
        }
    }
}

impl InFlight {
    /// A place for a request with this verb.
    pub fn enter(&self, verb: &str, user: &User) -> Result<Place, ApiError> {
        let (places, kind) = match verb {
            "get" | "list" | "head" | "options" => (&self.reads, "readOnly"),
            _ => (&self.writes, "mutating"),
        };
        let permit = Arc::clone(places).try_acquire_owned().ok();
        if permit.is_none() && !user.is_master() {
            return Err(too_many());
        }
        ::metrics::gauge!(table::REQUESTS_IN_FLIGHT, "request_kind" => kind).increment(1.0);
        Ok(Place { _permit: permit, kind })
    }

    /// Room for a body, which is to be given back once the request is answered. A small one needs none, and the
    /// administrator always has it.
    pub fn room(&self, size: &SizeHint, user: &User) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        // One that states no length may become as long as any; what is longer is refused unread.
        let bytes =
            size.exact().map_or(limits::REQUEST_BYTES, |exact| usize::try_from(exact).unwrap_or(usize::MAX));
        if !(limits::LARGE_BODY..=limits::REQUEST_BYTES).contains(&bytes) {
            return Ok(None);
        }
        let permits = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bodies).try_acquire_many_owned(permits).ok();
        if permit.is_none() && !user.is_master() {
            return Err(too_many());
        }
        Ok(permit)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        ::metrics::gauge!(table::REQUESTS_IN_FLIGHT, "request_kind" => self.kind).decrement(1.0);
    }
}

fn too_many() -> ApiError {
    let details = serde_json::json!({"retryAfterSeconds": 1});
    ApiError {
        details,
        ..ApiError::new(429, "TooManyRequests", "Too many requests, please try again later.")
    }
}

/// A response that holds something until it is sent, or its client has gone.
pub fn held<T: Send + Unpin + 'static>(response: Response<Body>, held: T) -> Response<Body> {
    response.map(|body| Held { body, _held: held }.boxed_unsync())
}

struct Held<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> hyper::body::Body for Held<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::user::MASTERS;

    #[test]
    fn who_comes_too_many_is_told_when_to_come_again() {
        let all = InFlight::default();
        let (user, master) = (User::anonymous(), User::authenticated("root", [MASTERS.to_owned()]));
        let mut places: Vec<_> =
            (0..limits::WRITES_IN_FLIGHT).map(|_| all.enter("create", &user).unwrap()).collect();
        let error = all.enter("patch", &user).err().unwrap();
        assert_eq!((error.code, &error.details["retryAfterSeconds"]), (429, &1.into()));
        assert!(all.enter("get", &user).is_ok(), "reading has places of its own");
        assert!(all.enter("create", &master).is_ok());
        places.pop();
        assert!(all.enter("create", &user).is_ok());
    }

    #[test]
    fn large_bodies_share_what_room_there_is() {
        let all = InFlight::default();
        let (user, master) = (User::anonymous(), User::authenticated("root", [MASTERS.to_owned()]));
        let size = |bytes: usize| SizeHint::with_exact(bytes as u64);
        let held: Vec<_> =
            std::iter::from_fn(|| all.room(&size(limits::REQUEST_BYTES), &user).ok()).collect();
        assert_eq!(held.len(), limits::LARGE_BODIES_BYTES / limits::REQUEST_BYTES);
        assert!(all.room(&SizeHint::default(), &user).is_err(), "one of no stated length may be large");
        assert!(all.room(&size(1000), &user).unwrap().is_none(), "a small one goes on");
        assert!(all.room(&size(100 << 20), &user).unwrap().is_none(), "it will not be read");
        assert!(all.room(&SizeHint::default(), &master).is_ok(), "the administrator may always");
        drop(held);
        assert!(all.room(&SizeHint::default(), &user).is_ok());
    }
}
