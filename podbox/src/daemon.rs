//! Where the real parts meet.
