//! Text rules shared by every layer: numbers as the wire spells them, glob patterns, words in quotes.

mod float;
pub mod glob;
pub mod long_double;
pub mod number;
pub mod words;
