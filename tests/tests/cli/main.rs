//! The command line as an operator and a script meet it: exit codes, roles, what it refuses, and its facts in JSON.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values only: a missing key is null, not a panic"
)]

mod codes;
mod explain;
mod facts;
mod protections;
mod roles;
mod verify;
mod world;

fn main() {
    lab::run_tests(
        [
            codes::tests(),
            roles::tests(),
            protections::tests(),
            explain::tests(),
            facts::tests(),
            verify::tests(),
        ]
        .concat(),
    );
}
