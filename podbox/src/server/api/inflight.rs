//! How much is answered at the same time: requests that read, requests that write, bytes of large bodies. What is more
//! is refused at once with 429 and when to come again, so that the node answers some rather than none.
//!
//! As with upstream, what lasts by its nature (watches, logs that are followed, commands) does not count, and an
//! administrator of everything always gets an answer. Nobody else has more than half of the places, however slowly they
//! take their answers: some are left for others.

use crate::api::status::ApiError;
use crate::api::user::User;
use crate::limits;
use crate::metrics as table;
use crate::server::http::Body;
use ::metrics::Gauge;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a large body takes of its semaphore: one permit for so many bytes.
const UNIT: usize = 1 << 10;

/// The places that there are.
pub struct InFlight {
    reads: Arc<Lane>,
    writes: Arc<Lane>,
    bodies: Arc<Semaphore>,
}

/// The places for requests of one sort.
struct Lane {
    /// How many are taken, for whoever looks; looked up once.
    taken: Gauge,
    places: Arc<Semaphore>,
    /// How many one user may have.
    share: usize,
    /// How many each has, but for administrators. By a digest of the name: two that have the same one share a share.
    users: Mutex<HashMap<u64, usize>>,
    digest: RandomState,
}

/// A place that a request has until its answer is sent.
pub struct Place {
    lane: Arc<Lane>,
    _permit: Option<OwnedSemaphorePermit>,
    /// Whose share it is of.
    user: Option<u64>,
}

impl Default for InFlight {
    fn default() -> InFlight {
        InFlight {
            reads: Lane::new("readOnly", limits::READS_IN_FLIGHT),
            writes: Lane::new("mutating", limits::WRITES_IN_FLIGHT),
            bodies: Arc::new(Semaphore::new(limits::LARGE_BODIES_BYTES / UNIT)),
        }
    }
}

impl Lane {
    fn new(kind: &'static str, places: usize) -> Arc<Lane> {
        let (share, places) = (places / 2, Arc::new(Semaphore::new(places)));
        let taken = ::metrics::gauge!(table::REQUESTS_IN_FLIGHT, "request_kind" => kind);
        Arc::new(Lane { taken, places, share, users: Mutex::default(), digest: RandomState::new() })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one of a user's share; none if all of it is taken.
    fn share_of(&self, user: &User) -> Option<u64> {
        let user = self.digest.hash_one(&user.name);
        let mut users = self.users();
        let taken = users.entry(user).or_insert(0);
        (*taken < self.share).then(|| {
            *taken += 1;
            user
        })
    }

    fn give_back(&self, user: u64) {
        let mut users = self.users();
        if let Some(taken) = users.get_mut(&user) {
            *taken -= 1;
            if *taken == 0 {
                users.remove(&user);
            }
        }
    }
}

impl InFlight {
    /// A place for a request with this verb.
    pub fn enter(&self, verb: &str, user: &User) -> Result<Place, ApiError> {
        let lane = match verb {
            "get" | "list" | "head" | "options" => &self.reads,
            _ => &self.writes,
        };
        let permit = Arc::clone(&lane.places).try_acquire_owned().ok();
        let whose = match (user.is_master(), &permit) {
            (true, _) => None,
            (false, Some(_)) => Some(lane.share_of(user).ok_or_else(too_many)?),
            (false, None) => return Err(too_many()),
        };
        lane.taken.increment(1.0);
        Ok(Place { lane: Arc::clone(lane), _permit: permit, user: whose })
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
        self.user.iter().for_each(|user| self.lane.give_back(*user));
        self.lane.taken.decrement(1.0);
    }
}

fn too_many() -> ApiError {
    let details = serde_json::json!({"retryAfterSeconds": 1});
    ApiError {
        details,
        ..ApiError::new(429, "TooManyRequests", "Too many requests, please try again later.")
    }
}

/// A response that keeps its place until it is sent. A small one is there whole: whoever is slow to take it keeps nobody
/// else from being answered.
pub fn placed(response: Response<Body>, place: Option<Place>) -> Response<Body> {
    match response.body().size_hint().exact().is_some_and(|bytes| bytes <= limits::SMALL_ANSWER) {
        true => response,
        false => held(response, place),
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
        let other = User::authenticated("jane", []);
        let half = limits::WRITES_IN_FLIGHT / 2;
        let mut places: Vec<_> = (0..half).map(|_| all.enter("create", &user).unwrap()).collect();
        assert!(all.enter("create", &user).is_err(), "one user has half of the places at most");
        places.extend((0..half).map(|_| all.enter("create", &other).unwrap()));
        let error = all.enter("patch", &user).err().unwrap();
        assert_eq!((error.code, &error.details["retryAfterSeconds"]), (429, &1.into()));
        assert!(all.enter("get", &user).is_ok(), "reading has places of its own");
        assert!(all.enter("create", &master).is_ok());
        places.pop();
        assert!(all.enter("create", &user).is_err(), "the other's place is not in its share");
        assert!(all.enter("create", &other).is_ok());
        drop(places);
        assert!(all.writes.users().is_empty(), "who has none is forgotten");
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
