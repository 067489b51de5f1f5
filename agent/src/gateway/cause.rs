//! Why the gateway did not serve a connection or a request as it was asked to: each has a word, a
//! counter and, where a client is left to be told, a status. The only place with statuses besides refusals.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

/// Defines the causes, their words and statuses once.
macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:literal;)*) => {
        /// See the module.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Cause { $($(#[$doc])* $name,)* }

        impl Cause {
            /// All of them, in the order of their discriminants.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The counter's label.
            pub(super) const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What the client is told.
            pub(super) fn status(self) -> StatusCode {
                let code: u16 = match self { $(Self::$name => $status,)* };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    };
}

causes! {
    /// The connection's port belongs to no service with a gateway.
    NotAService = "not_a_service", 503;
    /// The service has as many connections as it may.
    Connections = "too_many_connections", 503;
    /// The service has as many requests in progress as it may.
    Requests = "too_many_requests", 503;
    /// A connection could not be accepted or set up.
    Accept = "accept", 503;
    /// No PROXY protocol header where one is required, or one that cannot be read.
    ProxyHeader = "proxy_header", 400;
    /// The TLS handshake failed.
    TlsHandshake = "tls_handshake", 400;
    /// The service's certificates are not loaded.
    Certificates = "certificates", 503;
    /// A line of the head ends with a bare LF.
    BareLf = "bare_lf", 400;
    /// The request line cannot be read.
    RequestLine = "request_line", 400;
    /// A header line cannot be read.
    HeaderLine = "header_line", 400;
    /// A header line is folded.
    Folded = "folded_header", 400;
    /// A control character in the head.
    Control = "control_character", 400;
    /// No `Host`.
    HostMissing = "host_missing", 400;
    /// Two `Host` lines.
    HostTwice = "host_twice", 400;
    /// A `Host` that is none.
    HostInvalid = "host_invalid", 400;
    /// `Host` and the request's authority differ.
    HostMismatch = "host_mismatch", 400;
    /// `Content-Length` is no number.
    LengthInvalid = "length_invalid", 400;
    /// Two `Content-Length` lines.
    LengthTwice = "length_twice", 400;
    /// `Content-Length` together with `Transfer-Encoding`.
    LengthAndEncoding = "length_and_encoding", 400;
    /// A `Transfer-Encoding` that is not one `chunked`.
    Encoding = "transfer_encoding", 400;
    /// A method that makes no sense here.
    Method = "method", 405;
    /// The head is too long.
    HeadBytes = "head_bytes", 431;
    /// The head has too many lines.
    Headers = "too_many_headers", 431;
    /// The head took too long.
    HeadTimeout = "head_timeout", 408;
    /// A chunk of the body cannot be read.
    Chunk = "chunk", 400;
    /// The body came too slowly, or was read too slowly.
    BodyTimeout = "body_timeout", 408;
    /// Something of HTTP that hyper refuses.
    Http = "http", 400;
    /// The client went away before it had its answer.
    ClientGone = "client_gone", 400;
    /// The upstream takes no connection.
    UpstreamConnect = "upstream_connect", 502;
    /// Connecting to the upstream took too long.
    UpstreamConnectTimeout = "upstream_connect_timeout", 504;
    /// The upstream's TLS is not what it should be.
    UpstreamTls = "upstream_tls", 502;
    /// The upstream broke off or answered something that is not HTTP.
    UpstreamBroken = "upstream_broken", 502;
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", 504;
    /// The upstream's answer came too slowly.
    UpstreamBodyTimeout = "upstream_body_timeout", 504;
}

impl Cause {
    /// Whether the client is at fault, so that the request counts as never judged.
    pub(super) fn of_client(self) -> bool {
        self.status().is_client_error()
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for Cause {}

/// A counter for each cause.
#[derive(Debug)]
pub(super) struct Causes([AtomicU64; Cause::ALL.len()]);

impl Default for Causes {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Cause::ALL.len()])
    }
}

impl Causes {
    pub(super) fn count(&self, cause: Cause) {
        if let Some(counter) = self.0.get(cause as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Those that occurred.
    pub(super) fn report(&self) -> Vec<(&'static str, u64)> {
        Cause::ALL
            .iter()
            .zip(&self.0)
            .map(|(cause, counter)| (cause.word(), counter.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}
