//! Compiles rules about system calls to a classic BPF program. Pure.
//!
//! The call's number is looked up in a binary tree of ranges, about ten comparisons, where a list would take hundreds:
//! the kernel runs this for every call that it cannot decide by its number alone.
//!
//! ```text
//!   architecture? ─no─▶ kill
//!        │
//!   x32? ────────yes──▶ ENOSYS                  (x86_64 only)
//!        │
//!   number ≥ n/2? ─┬─ … ─▶ one action          (a range of numbers that share it)
//!                  └─ … ─▶ arguments ─▶ action (a call with conditions; the first rule that holds counts)
//! ```

use super::refuse;
use libc::sock_filter;
use std::collections::BTreeMap;

/// What the kernel does, with its data: `SECCOMP_RET_…`.
pub type Action = u32;

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `argument & mask == value`
    Masked(u64),
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which one, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// An action, and when it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What is done then.
    pub action: Action,
}

/// What a container may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For whatever is not listed, and where no rule of a listed call holds.
    pub default: Action,
    /// For calls above the newest that whoever wrote the rules can have known.
    pub newer: (u32, Action),
    /// The rules of each call.
    pub calls: BTreeMap<u32, Vec<Rule>>,
}

/// `AUDIT_ARCH_…` of this architecture.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// `__X32_SYSCALL_BIT`. Calls with it come as calls of the native architecture, by numbers that no rule names: whatever the
/// rules are, they have to fail, or each call would be there twice.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Offsets in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const ALWAYS: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A jump to where the next rule is: known once the rule is whole.
const FAIL: u8 = u8::MAX;
/// The most that fits one rule: six arguments of six instructions, far below what a jump reaches.
const CONDITIONS: usize = 6;

fn make(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// From here on, up to the next one, this is done.
struct Range {
    from: u32,
    code: Vec<sock_filter>,
}

/// The program.
pub fn compile(rules: &Rules) -> Vec<sock_filter> {
    let mut program = vec![
        make(LOAD, 0, 0, ARCH),
        make(EQUAL, 1, 0, ARCHITECTURE),
        make(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        make(LOAD, 0, 0, NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    program.extend([make(AT_LEAST, 0, 1, X32), make(RETURN, 0, 0, refuse(libc::ENOSYS))]);
    program.extend(tree(&ranges(rules)));
    program
}

/// Every number, in ranges that are treated alike.
fn ranges(rules: &Rules) -> Vec<Range> {
    let (last, newer) = rules.newer;
    let mut all = vec![Range { from: 0, code: vec![make(RETURN, 0, 0, rules.default)] }];
    for (number, rules_of) in &rules.calls {
        push(&mut all, *number, call(rules_of, rules.default));
        if !rules.calls.contains_key(&(number + 1)) {
            push(&mut all, number + 1, vec![make(RETURN, 0, 0, rules.default)]);
        }
    }
    all.retain(|range| range.from <= last);
    push(&mut all, last.saturating_add(1), vec![make(RETURN, 0, 0, newer)]);
    all
}

fn push(all: &mut Vec<Range>, from: u32, code: Vec<sock_filter>) {
    match all.last_mut() {
        Some(before) if before.from == from => before.code = code,
        Some(before) if same(&before.code, &code) => {}
        _ => all.push(Range { from, code }),
    }
}

fn same(one: &[sock_filter], other: &[sock_filter]) -> bool {
    let parts = |i: &sock_filter| (i.code, i.jt, i.jf, i.k);
    one.iter().map(parts).eq(other.iter().map(parts))
}

fn tree(ranges: &[Range]) -> Vec<sock_filter> {
    let [first, ..] = ranges else { return Vec::new() };
    if ranges.len() == 1 {
        return first.code.clone();
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (middle, low, high) = (high[0].from, tree(low), tree(high));
    let mut code = match u8::try_from(low.len()) {
        Ok(skip) => vec![make(AT_LEAST, skip, 0, middle)],
        // Too far for a conditional jump.
        Err(_) => vec![make(AT_LEAST, 0, 1, middle), make(ALWAYS, 0, 0, low.len() as u32)],
    };
    code.extend(low);
    code.extend(high);
    code
}

/// One call's rules, in their order; one without conditions is the last that can matter.
fn call(rules: &[Rule], default: Action) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(one(rule));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(make(RETURN, 0, 0, default));
    code
}

fn one(rule: &Rule) -> Vec<sock_filter> {
    let mut code: Vec<_> = rule.conditions.iter().take(CONDITIONS).flat_map(test).collect();
    code.push(make(RETURN, 0, 0, rule.action));
    let end = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        let far = (end - at - 1) as u8;
        for jump in [&mut instruction.jt, &mut instruction.jf] {
            if *jump == FAIL {
                *jump = far;
            }
        }
    }
    code
}

/// Goes on behind itself if the condition holds. Arguments have 64 bits, comparisons 32: the high half first.
fn test(condition: &Condition) -> Vec<sock_filter> {
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let at = ARGUMENTS + 8 * u32::from(condition.argument);
    let (load_low, load_high) = (make(LOAD, 0, 0, at), make(LOAD, 0, 0, at + 4));
    match condition.comparison {
        Comparison::Equal => {
            vec![load_high, make(EQUAL, 0, FAIL, high), load_low, make(EQUAL, 0, FAIL, low)]
        }
        Comparison::NotEqual => vec![load_high, make(EQUAL, 0, 2, high), load_low, make(EQUAL, FAIL, 0, low)],
        Comparison::Masked(mask) => vec![
            load_high,
            make(AND, 0, 0, (mask >> 32) as u32),
            make(EQUAL, 0, FAIL, high),
            load_low,
            make(AND, 0, 0, mask as u32),
            make(EQUAL, 0, FAIL, low),
        ],
        Comparison::Greater => above(load_high, load_low, high, make(GREATER, 0, FAIL, low)),
        Comparison::GreaterOrEqual => above(load_high, load_low, high, make(AT_LEAST, 0, FAIL, low)),
        Comparison::Less => below(load_high, load_low, high, make(AT_LEAST, FAIL, 0, low)),
        Comparison::LessOrEqual => below(load_high, load_low, high, make(GREATER, FAIL, 0, low)),
    }
}

fn above(load_high: sock_filter, load_low: sock_filter, high: u32, last: sock_filter) -> Vec<sock_filter> {
    vec![load_high, make(GREATER, 3, 0, high), make(EQUAL, 0, FAIL, high), load_low, last]
}

fn below(load_high: sock_filter, load_low: sock_filter, high: u32, last: sock_filter) -> Vec<sock_filter> {
    vec![load_high, make(GREATER, FAIL, 0, high), make(EQUAL, 0, 2, high), load_low, last]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a program as the kernel does.
    pub fn run(program: &[sock_filter], number: u32, arguments: [u64; 6]) -> Action {
        let word = |at: u32| match at {
            NUMBER => number,
            ARCH => ARCHITECTURE,
            at => {
                let argument = arguments[((at - ARGUMENTS) / 8) as usize];
                if (at - ARGUMENTS).is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            at += 1;
            match code {
                LOAD => a = word(k),
                AND => a &= k,
                ALWAYS => at += k as usize,
                EQUAL => at += jump(a == k),
                GREATER => at += jump(a > k),
                AT_LEAST => at += jump(a >= k),
                RETURN => return k,
                other => panic!("no such instruction: {other}"),
            }
        }
    }

    fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
        let (argument, value) = (arguments[usize::from(condition.argument)], condition.value);
        match condition.comparison {
            Comparison::Equal => argument == value,
            Comparison::NotEqual => argument != value,
            Comparison::Less => argument < value,
            Comparison::LessOrEqual => argument <= value,
            Comparison::Greater => argument > value,
            Comparison::GreaterOrEqual => argument >= value,
            Comparison::Masked(mask) => argument & mask == value,
        }
    }

    fn expected(rules: &Rules, number: u32, arguments: [u64; 6]) -> Action {
        if cfg!(target_arch = "x86_64") && number >= 1 << 30 {
            return refuse(libc::ENOSYS);
        }
        if number > rules.newer.0 {
            return rules.newer.1;
        }
        let rule = rules.calls.get(&number).into_iter().flatten();
        let mut rule = rule.filter(|rule| rule.conditions.iter().all(|one| holds(one, arguments)));
        rule.next().map_or(rules.default, |rule| rule.action)
    }

    fn numbers() -> impl Strategy<Value = u32> {
        // As they are, with the bit of x32, and any.
        prop_oneof![4 => 0u32..520, 2 => (0u32..520).prop_map(|number| 1 << 30 | number), 1 => any::<u32>()]
    }

    fn values() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..4, (0u64..4).prop_map(|n| n << 32 | 1), Just(u64::MAX), any::<u64>()]
    }

    fn conditions() -> impl Strategy<Value = Condition> {
        let comparison = prop_oneof![
            Just(Comparison::Equal),
            Just(Comparison::NotEqual),
            Just(Comparison::Less),
            Just(Comparison::LessOrEqual),
            Just(Comparison::Greater),
            Just(Comparison::GreaterOrEqual),
            values().prop_map(Comparison::Masked),
        ];
        (0u8..6, comparison, values()).prop_map(|(argument, comparison, value)| Condition {
            argument,
            comparison,
            value,
        })
    }

    proptest! {
        /// Whatever the rules are, the program says what they do.
        #[test]
        fn programs_do_what_rules_say(
            calls in proptest::collection::btree_map(0u32..500, proptest::collection::vec(
                (proptest::collection::vec(conditions(), 0..4), 1u32..5)
                    .prop_map(|(conditions, action)| Rule { conditions, action }), 1..4), 0..300),
            asked in proptest::collection::vec((numbers(), proptest::array::uniform6(values())), 1..60),
        ) {
            let rules = Rules { default: 9, newer: (466, 8), calls };
            let program = compile(&rules);
            for (number, arguments) in asked {
                prop_assert_eq!(run(&program, number, arguments), expected(&rules, number, arguments));
            }
        }
    }
}
