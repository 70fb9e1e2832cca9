//! The node agent: pods that are to run here, and the loop that makes them.
