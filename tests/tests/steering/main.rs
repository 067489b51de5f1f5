//! Which new connections reach the gateway, on the real kernel: the agent's data path in a lab, a plain listener
//! in the gateway's place, nginx as the application.
//!
//! What the gateway does with a connection is not looked at here. Beside it what else the kernel does for proxied
//! requests: heads that are only watched, and sources that go around the proxies.

mod ends;
mod failure;
mod observe;
mod origins;
mod source;
mod stand_in;
mod world;

fn main() {
    // The same binary as the process that a test kills.
    if let Some(directory) = std::env::var_os(stand_in::VARIABLE) {
        stand_in::run(directory.as_ref());
    }
    lab::run_tests(
        [
            source::tests(),
            failure::tests(),
            ends::tests(),
            observe::tests(),
            origins::tests(),
        ]
        .concat(),
    );
}
