//! Who owns a key: the members of a cluster, the map of its partitions, and how both change.
//!
//! What decides here is pure: [`metadata`] is the state all members agree on and the changes it can suffer, [`plan`] is
//! what a leader wants changed. [`lease`] is how long who may serve, [`lead`] what a leader does about its members. Sockets, files and
//! clocks are in [`link`] and [`consensus`] alone; `server/member.rs` drives it all.

pub mod consensus;
pub mod joining;
pub mod lead;
pub mod lease;
pub mod link;
pub mod metadata;
pub mod plan;
