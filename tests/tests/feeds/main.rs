//! Feeds against real servers and the real kernel: files and URLs, CrowdSec's local API, TAXII, and Edgeward's own
//! local API for CrowdSec's bouncer.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values only: a missing key is null, not a panic"
)]

mod bouncer;
mod crowdsec;
mod hostile;
mod okta;
mod taxii;
mod whole;
mod world;

fn main() {
    lab::run_tests_needing(
        [
            whole::tests(),
            hostile::tests(),
            crowdsec::tests(),
            bouncer::tests(),
            taxii::tests(),
            okta::tests(),
        ]
        .concat(),
    );
}
