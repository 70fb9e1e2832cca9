//! Kernel events: loading the BPF programs, decoding and attributing what they report.
