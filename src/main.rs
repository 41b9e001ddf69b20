//! Parses the command line, dispatches, and chooses the exit code.

fn main() {}
