//! Kernel events against the real kernel: what the generator caused is what the tracer says.
//!
//! Each test has a cgroup subtree of its own and a tracer of its own. Without root, BTF or (for OOM) a
//! memory controller in cgroup v2 a test says `SKIPPED` and why.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod trace {
    mod budgets;
    mod capability;
    mod cgroup;
    mod child;
    mod exits;
    mod floods;
    mod listens;
    mod oom;
    mod scenarios;
    mod senders;
    mod starts;
    mod survival;
    mod timelines;
    mod watch;
    mod zombies;
}
