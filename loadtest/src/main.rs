//! The `godwit-load` command.

fn main() {}
