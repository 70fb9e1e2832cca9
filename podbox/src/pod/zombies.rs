//! How many processes of a container have ended and lie there, since their parent takes nobody's end: from how many on that is worth a word, and in
//! which words. Pure.
//!
//! What is told is a round number that was reached, so that a pile that grows is told now and then and not with each process. It is over
//! when nobody is left.

/// What is reached, in steps.
const STEPS: [usize; 10] = [5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10_000];

/// As how many they are told, of whom there are so many now; 0 for none to speak of.
pub fn told(before: usize, now: usize) -> usize {
    let reached = STEPS.iter().rev().copied().find(|step| *step <= now).unwrap_or(0);
    match (reached, before, now) {
        (0, 1.., 1..) => STEPS[0].min(before),
        _ => reached,
    }
}

/// What an Event says of a container.
pub fn words(container: &str, told: usize) -> String {
    format!("Container {container} has {told} or more processes that have ended and that nobody reaps")
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn a_pile_is_told_in_round_numbers_until_it_is_gone() {
        let mut before = 0;
        let all = [0, 4, 5, 7, 12, 9, 3, 1, 0, 4, 60, 49_000].map(|now| {
            before = told(before, now);
            before
        });
        assert_eq!(all, [0, 0, 5, 5, 10, 5, 5, 5, 0, 0, 50, 10_000]);
    }
}
