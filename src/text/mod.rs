//! Text rules shared by every layer: numbers as the wire spells them, glob patterns.
