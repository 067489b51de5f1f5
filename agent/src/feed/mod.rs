//! Feeds: reputation from outside. Files and URLs, CrowdSec local APIs, TAXII servers and Okta System Logs are
//! read on a thread of their own; what they say becomes a table that the keeper merges with everything else.

pub(crate) mod parse;
