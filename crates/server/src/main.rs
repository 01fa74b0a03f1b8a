//! The `guildhall` program.

fn main() {}
