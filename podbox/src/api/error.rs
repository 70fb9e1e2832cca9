//! Errors in words.

use std::error::Error;

/// An error and its sources in one line, outermost first. Of a text of several lines (the verifier's log,
/// say) the first one is taken; what an outer error repeats of its source is told once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default();
        if !text.contains(line) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(line);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("loading failed")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the verifier refused\n0: (b7) r0 = 0\n1: (95) exit")]
    struct Inner(#[source] Repeated);

    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    struct Repeated;

    #[test]
    fn sources_are_told_once_and_in_one_line() {
        assert_eq!(chain(&Outer(Inner(Repeated))), "loading failed: the verifier refused");
    }
}
