//! Which pod has which address, in memory. Pure: who remembers it over a crash is `net::lease`.
//!
//! Addresses go round: the next one is looked for after the last one given out, so that a freed address rests for
//! as long as the range allows before another pod has it.
//!
//! **Invariant**: never one address for two pods, and never the network's, the broadcast or the gateway's.

use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Addresses of every range that no pod gets: the network's own, the gateway's and the broadcast.
const RESERVED: u32 = 3;

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// The range has no room for a single pod.
    #[error("the pod range {0} is too small: it needs at least 4 addresses, a /30 (--pod-cidr)")]
    TooSmall(Ipv4Net),
    /// Every address is given out.
    #[error(
        "the pod range {cidr} is used up: all {used} addresses are held by pods; remove pods, or choose a larger \
         range (--pod-cidr)"
    )]
    Exhausted {
        /// The range.
        cidr: Ipv4Net,
        /// How many pods hold one.
        used: usize,
    },
    /// An address that a pod holds is not one this range gives out.
    #[error(
        "pod {uid} holds {address}, which the pod range {cidr} does not give out (--pod-cidr was changed?)"
    )]
    Outside {
        /// The pod.
        uid: String,
        /// What it holds.
        address: Ipv4Addr,
        /// The range.
        cidr: Ipv4Net,
    },
    /// Two pods hold the same address.
    #[error("pods {first} and {second} both hold {address}")]
    Twice {
        /// The address.
        address: Ipv4Addr,
        /// One pod.
        first: String,
        /// The other.
        second: String,
    },
}

/// The addresses of one range.
#[derive(Debug, Clone)]
pub struct Ipam {
    cidr: Ipv4Net,
    /// By pod uid.
    leases: BTreeMap<String, Ipv4Addr>,
    /// The same addresses, ordered: the next free one is the first gap.
    used: BTreeSet<u32>,
    /// The last one given out: the next is looked for above it.
    last: u32,
}

impl Ipam {
    /// A range with no address given out.
    pub fn new(cidr: Ipv4Net) -> Result<Ipam, IpamError> {
        let cidr = cidr.trunc();
        if cidr.prefix_len() > 30 {
            return Err(IpamError::TooSmall(cidr));
        }
        // The gateway's: the first pod gets the one above it.
        let last = u32::from(cidr.network()) + 1;
        Ok(Ipam { cidr, leases: BTreeMap::new(), used: BTreeSet::new(), last })
    }

    /// The lowest and the highest address a pod can have.
    fn bounds(&self) -> (u32, u32) {
        (u32::from(self.cidr.network()) + 2, u32::from(self.cidr.broadcast()) - 1)
    }

    /// How many pods hold an address.
    pub fn leased(&self) -> usize {
        self.leases.len()
    }

    /// How many more pods can have one.
    pub fn free(&self) -> usize {
        let all = (1u64 << (32 - self.cidr.prefix_len())) - u64::from(RESERVED);
        all as usize - self.leases.len()
    }

    /// Every pod's uid and address.
    pub fn leases(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        self.leases.iter().map(|(uid, address)| (uid.as_str(), *address))
    }

    /// The last address given out.
    pub fn last(&self) -> Ipv4Addr {
        self.last.into()
    }

    /// Goes on after this address, as an earlier run left off.
    pub fn resume(&mut self, last: Ipv4Addr) {
        if self.cidr.contains(&last) {
            self.last = last.into();
        }
    }

    /// A pod's address.
    pub fn get(&self, uid: &str) -> Option<Ipv4Addr> {
        self.leases.get(uid).copied()
    }

    /// Gives the pod an address: the one it has, or the next free one.
    pub fn acquire(&mut self, uid: &str) -> Result<Ipv4Addr, IpamError> {
        if let Some(address) = self.get(uid) {
            return Ok(address);
        }
        let address =
            self.next_free().ok_or(IpamError::Exhausted { cidr: self.cidr, used: self.leases.len() })?;
        self.insert(uid, address);
        Ok(address.into())
    }

    /// Notes an address that a pod holds already.
    pub fn hold(&mut self, uid: &str, address: Ipv4Addr) -> Result<(), IpamError> {
        let (low, high) = self.bounds();
        if !(low..=high).contains(&u32::from(address)) {
            return Err(IpamError::Outside { uid: uid.to_owned(), address, cidr: self.cidr });
        }
        if self.used.contains(&u32::from(address)) && self.get(uid) != Some(address) {
            let first = self.leases.iter().find(|(_, held)| **held == address);
            let first = first.map(|(uid, _)| uid.clone()).unwrap_or_default();
            return Err(IpamError::Twice { address, first, second: uid.to_owned() });
        }
        self.release(uid);
        self.insert(uid, address.into());
        Ok(())
    }

    /// Takes a pod's address back. One that has none is no error.
    pub fn release(&mut self, uid: &str) -> Option<Ipv4Addr> {
        let address = self.leases.remove(uid)?;
        self.used.remove(&address.into());
        Some(address)
    }

    fn insert(&mut self, uid: &str, address: u32) {
        self.leases.insert(uid.to_owned(), address.into());
        self.used.insert(address);
        self.last = address;
    }

    fn next_free(&self) -> Option<u32> {
        let (low, high) = self.bounds();
        let start = (self.last + 1).clamp(low, high);
        self.first_gap(start, high).or_else(|| self.first_gap(low, start))
    }

    /// The first free address in a span: walks what is used, not what there is.
    fn first_gap(&self, from: u32, to: u32) -> Option<u32> {
        let mut candidate = from;
        for &used in self.used.range(from..=to) {
            if used != candidate {
                break;
            }
            candidate = used.checked_add(1)?;
        }
        (candidate <= to).then_some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ipam(cidr: &str) -> Ipam {
        Ipam::new(cidr.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_first_pod_gets_the_address_after_the_gateway() {
        let mut ipam = ipam("10.85.0.0/16");
        assert_eq!(ipam.acquire("a"), Ok(Ipv4Addr::new(10, 85, 0, 2)));
        assert_eq!(ipam.acquire("b"), Ok(Ipv4Addr::new(10, 85, 0, 3)));
        assert_eq!(ipam.acquire("a"), Ok(Ipv4Addr::new(10, 85, 0, 2)), "asked again");
    }

    #[test]
    fn a_freed_address_rests_until_the_range_has_gone_round() {
        let mut ipam = ipam("10.0.0.0/29");
        let freed = ipam.acquire("a").unwrap();
        ipam.release("a");
        let next: Vec<_> = ["b", "c", "d", "e", "f"].map(|uid| ipam.acquire(uid).unwrap()).into();
        assert_eq!(next.iter().position(|address| *address == freed), Some(4), "{next:?}");
    }

    #[test]
    fn a_used_up_range_says_so_with_its_numbers() {
        let mut ipam = ipam("10.0.0.0/30");
        assert_eq!(ipam.free(), 1);
        ipam.acquire("a").unwrap();
        let error = ipam.acquire("b").unwrap_err();
        assert_eq!(error, IpamError::Exhausted { cidr: "10.0.0.0/30".parse().unwrap(), used: 1 });
        assert!(error.to_string().contains("10.0.0.0/30") && error.to_string().contains("--pod-cidr"));
        ipam.release("a");
        assert_eq!(ipam.acquire("b"), Ok(Ipv4Addr::new(10, 0, 0, 2)));
    }

    #[test]
    fn a_range_without_room_is_refused() {
        for cidr in ["10.0.0.0/31", "10.0.0.0/32"] {
            assert!(matches!(Ipam::new(cidr.parse().unwrap()), Err(IpamError::TooSmall(_))), "{cidr}");
        }
    }

    #[test]
    fn a_held_address_must_be_one_of_the_range_and_free() {
        let mut ipam = ipam("10.0.0.0/24");
        for outside in ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.2"] {
            let held = ipam.hold("a", outside.parse().unwrap());
            assert!(matches!(held, Err(IpamError::Outside { .. })), "{outside}");
        }
        ipam.hold("a", Ipv4Addr::new(10, 0, 0, 9)).unwrap();
        ipam.hold("a", Ipv4Addr::new(10, 0, 0, 9)).unwrap();
        let twice = ipam.hold("b", Ipv4Addr::new(10, 0, 0, 9));
        assert!(matches!(twice, Err(IpamError::Twice { .. })));
        assert_eq!(ipam.acquire("b"), Ok(Ipv4Addr::new(10, 0, 0, 10)));
    }

    #[test]
    fn the_ends_of_the_address_space_do_not_overflow() {
        let mut ipam = ipam("255.255.255.252/30");
        assert_eq!(ipam.acquire("a"), Ok(Ipv4Addr::new(255, 255, 255, 254)));
        assert!(ipam.acquire("b").is_err());
        let mut all = Ipam::new("0.0.0.0/0".parse().unwrap()).unwrap();
        assert_eq!(all.acquire("a"), Ok(Ipv4Addr::new(0, 0, 0, 2)));
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_addresses_stay_distinct_and_inside(
            prefix in 24u8..=30,
            steps in proptest::collection::vec((any::<bool>(), 0u8..40), 0..200),
        ) {
            let cidr = Ipv4Net::new(Ipv4Addr::new(10, 1, 2, 0), prefix).unwrap();
            let mut ipam = Ipam::new(cidr).unwrap();
            for (acquire, pod) in steps {
                let uid = pod.to_string();
                let free = ipam.free();
                if acquire {
                    let had = ipam.get(&uid);
                    match ipam.acquire(&uid) {
                        Ok(address) => prop_assert!(had.is_none_or(|had| had == address)),
                        Err(_) => prop_assert_eq!(free, 0),
                    }
                } else {
                    ipam.release(&uid);
                }
                let addresses: BTreeSet<_> = ipam.leases().map(|(_, address)| address).collect();
                prop_assert_eq!(addresses.len(), ipam.leased());
                for address in addresses {
                    prop_assert!(cidr.contains(&address) && address != cidr.network());
                    prop_assert!(address != cidr.broadcast() && address != Ipv4Addr::new(10, 1, 2, 1));
                }
            }
        }
    }
}
