//! The ranks of podbox's modules, and the exceptions, each with its reason. This table is the architecture:
//! ARCHITECTURE.md says why it is so.

/// A rank; a module imports from lower ones.
pub type Rank = u8;

/// Module and rank. `name::*` stands for a subject and all below it; a plain name for that one module, and for what it
/// re-exports.
const RANKS: &[(&str, Rank)] = &[
    // Vocabulary.
    ("api::*", 0),
    // For tests only: it reads recordings.
    ("api::recorded", 2),
    ("chance", 0),
    ("clock", 0),
    ("config", 0),
    ("limits", 0),
    ("metrics::*", 0),
    // What pods are made of, as data, and the seam to what makes them.
    ("sandbox::spec", 0),
    ("sandbox::runtime", 0),
    // Which kernel settings there are, for who admits pods and for who writes them.
    ("sandbox::sysctl", 0),
    // Pure cores.
    ("auth::*", 1),
    ("control::*", 1),
    ("pod::*", 1),
    ("net::diff", 1),
    ("net::ipam", 1),
    ("store::state", 1),
    ("store::history", 1),
    ("store::stage", 1),
    ("store::view", 1),
    ("sandbox::caps", 1),
    ("sandbox::launch", 1),
    ("sandbox::plan::*", 1),
    ("sandbox::step", 1),
    ("trace::attribute", 1),
    ("trace::decode", 1),
    ("trace::histogram", 1),
    // Hands.
    ("image::*", 2),
    ("net::*", 2),
    ("sandbox::*", 2),
    ("auth::authority", 2),
    ("auth::file", 2),
    ("auth::tls", 2),
    ("auth::unverified", 2),
    ("store::*", 2),
    ("trace::*", 2),
    // Loops.
    ("control::apply", 3),
    ("control::events", 3),
    ("control::follow", 3),
    ("control::intake", 3),
    ("control::manager", 3),
    ("control::scheduler::run", 3),
    ("control::volumes::run", 3),
    ("node::*", 3),
    ("server::*", 3),
    // Composition.
    ("cluster::*", 4),
    ("daemon", 4),
    ("fleet::*", 4),
    ("sim::*", 4),
    ("cli::*", 5),
];

/// Imports that break the rule for a reason: from, to, why.
pub const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "net::dataplane",
        "sandbox::link",
        "bridge and veth are links of one kind; there is one way to make them",
    ),
    ("net::dataplane", "sandbox::netlink", "one netlink socket type for both"),
    ("sandbox::apply", "net::nat", "ports of the node are in the table that the node's network has"),
    ("sandbox::apply", "net::masquerade", "the error of changing that table"),
    ("net::observe", "sandbox::netlink", "one netlink socket type for both"),
    ("api::rules::recorded", "api::recorded", "both are tests: one reads what the other compares with"),
    ("api::hostile", "api::recorded", "both are tests: one damages what the other reads"),
];

/// What pure modules must not use, and what they do instead.
pub const IMPURE: &[(&str, &str)] = &[
    ("tokio", "return what is to be done, and let a loop do it"),
    ("nix", "return a step, and let the interpreter apply it"),
    ("aya", "take decoded events"),
    ("std::fs", "take what was read"),
    ("std::process", "return what is to be run"),
];

/// The rank of the module that `path` names or lies in.
pub fn rank(path: &[String]) -> Option<Rank> {
    let exact = |depth: usize| {
        let name = path[..depth].join("::");
        RANKS.iter().find(|(row, _)| *row == name)
    };
    let below = |depth: usize| {
        let name = path[..depth].join("::") + "::*";
        RANKS.iter().find(|(row, _)| *row == name)
    };
    (1..=path.len()).rev().find_map(|depth| exact(depth).or_else(|| below(depth))).map(|(_, rank)| *rank)
}
