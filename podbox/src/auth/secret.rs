//! A text that must not be seen: a key, a token. Pure.

/// A text that no `Debug` output shows.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Secret("s3cret".to_owned()))), "Some(…)");
    }
}
