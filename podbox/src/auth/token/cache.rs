//! What was found out about tokens, by their digests; bounded. Pure.
//!
//! Two generations: a full one becomes the old one, and what is still asked for moves to the new. So the bound costs no
//! bookkeeping, and a token in use is not forgotten.

use crate::limits;
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

type Digest = [u8; 32];

#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Digest, Arc<T>>,
    old: HashMap<Digest, Arc<T>>,
}

/// By token, without keeping tokens.
#[derive(Debug)]
pub(super) struct Cache<T>(Mutex<Generations<T>>);

impl<T> Default for Cache<T> {
    fn default() -> Cache<T> {
        Cache(Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }))
    }
}

impl<T> Cache<T> {
    /// What is known of a token, or can be found out. What fails is not kept, so that nobody fills the cache with
    /// nonsense.
    pub(super) fn get_or_make<E>(
        &self,
        token: &str,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut key: Digest = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(known) = self.get(&key) {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        self.put(key, Arc::clone(&made));
        Ok(made)
    }

    fn get(&self, key: &Digest) -> Option<Arc<T>> {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = both.young.get(key) {
            return Some(Arc::clone(known));
        }
        let known = both.old.remove(key)?;
        both.put(*key, Arc::clone(&known));
        Some(known)
    }

    fn put(&self, key: Digest, value: Arc<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, value);
    }
}

impl<T> Generations<T> {
    fn put(&mut self, key: Digest, value: Arc<T>) {
        if self.young.len() >= limits::TOKENS_REMEMBERED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_rest_is_bounded() {
        let cache = Cache::default();
        let make = |token: &str| cache.get_or_make(token, || Ok::<_, ()>(token.len()));
        make("mine").unwrap();
        for index in 0..limits::TOKENS_REMEMBERED * 3 {
            make(&format!("other {index}")).unwrap();
            let known = cache.get_or_make("mine", || Err("forgotten"));
            assert_eq!(known.map(|length| *length), Ok(4));
        }
        let both = cache.0.lock().unwrap();
        assert!(both.young.len() + both.old.len() <= limits::TOKENS_REMEMBERED);
    }

    #[test]
    fn what_fails_is_not_kept() {
        let cache: Cache<()> = Cache::default();
        assert_eq!(cache.get_or_make("x", || Err("no")).unwrap_err(), "no");
        assert!(cache.get_or_make("x", || Ok::<_, ()>(())).is_ok());
    }
}
