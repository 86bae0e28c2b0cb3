//! Who owns a key: the members of a cluster, the map of its partitions, and how both change.
//!
//! What decides here is pure: [`metadata`] is the state all members agree on and the changes it can suffer, [`plan`] is
//! what a leader wants changed. Sockets, files and clocks are in `link`, `consensus` and `driver` alone.

pub mod consensus;
pub mod link;
pub mod metadata;
pub mod plan;
