//! Types shared by podbox and its BPF programs: events, map keys, limits.
#![no_std]
