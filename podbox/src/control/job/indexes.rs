//! Sets of completion indexes, as a Job's status writes them: `0,2-5,7`. Pure.

use std::fmt;

/// Indexes, as runs of neighbours in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(u32, u32)>);

impl Indexes {
    /// Those that are written so and are below `end`; what cannot be read is left out.
    pub fn parse(text: &str, end: u32) -> Indexes {
        let run = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse::<u32>().ok()?.min(end.checked_sub(1)?)))
        };
        let mut runs: Vec<(u32, u32)> =
            text.split(',').filter_map(run).filter(|(first, last)| first <= last).collect();
        runs.sort_unstable();
        let mut all = Indexes::default();
        runs.into_iter().for_each(|run| all.append(run));
        all
    }

    /// These and those.
    pub fn with(&self, others: impl IntoIterator<Item = u32>) -> Indexes {
        let mut runs = self.0.clone();
        runs.extend(others.into_iter().map(|index| (index, index)));
        runs.sort_unstable();
        let mut all = Indexes::default();
        runs.into_iter().for_each(|run| all.append(run));
        all
    }

    /// A run that begins nowhere before the last one.
    fn append(&mut self, (first, last): (u32, u32)) {
        match self.0.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    /// Whether it is one of them.
    pub fn has(&self, index: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= index);
        after.checked_sub(1).is_some_and(|at| self.0[at].1 >= index)
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|(first, last)| (last - first) as usize + 1).sum()
    }

    /// How many are in both.
    pub fn common(&self, other: &Indexes) -> usize {
        let within = |(first, last): &(u32, u32)| {
            let runs = other.0.iter().filter(move |run| run.1 >= *first && run.0 <= *last);
            runs.map(move |run| (run.1.min(*last) - run.0.max(*first)) as usize + 1).sum::<usize>()
        };
        self.0.iter().map(within).sum()
    }
}

impl fmt::Display for Indexes {
    /// Two neighbours are told one by one, more as a range: as upstream writes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[track_caller]
    fn check(text: &str, end: u32, expected: &str) {
        assert_eq!(Indexes::parse(text, end).to_string(), expected);
    }

    #[test]
    fn they_are_read_and_written_as_upstream_does() {
        check("", 5, "");
        check("0,2-4", 5, "0,2-4");
        check("0-1,3", 5, "0,1,3");
        check("3,0-2", 9, "0-3");
        check("2-9", 4, "2,3");
        check("x,-,5-1,4294967295", 9, "");
        check("1-2", 0, "");
    }

    proptest::proptest! {
        #[test]
        fn they_are_sets(some in proptest::collection::btree_set(0_u32..40, 0..30),
                         others in proptest::collection::btree_set(0_u32..40, 0..30)) {
            let all = Indexes::default().with(some.iter().copied());
            proptest::prop_assert_eq!(&Indexes::parse(&all.to_string(), 40), &all);
            proptest::prop_assert_eq!(all.count(), some.len());
            let both = all.with(others.iter().copied());
            let union: BTreeSet<u32> = some.union(&others).copied().collect();
            proptest::prop_assert!((0..41).all(|index| both.has(index) == union.contains(&index)));
            let other = Indexes::default().with(others.iter().copied());
            proptest::prop_assert_eq!(all.common(&other), some.intersection(&others).count());
        }
    }
}
