//! HTTP: metrics, and the root-only socket that podbox's own commands ask.
