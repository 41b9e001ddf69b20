//! The migrations are compiled into the program, and cargo does not see new files in a directory by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
