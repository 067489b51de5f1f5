//! From an accepted connection to its end.

use std::{pin::pin, sync::Arc};

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Semaphore, watch};

use super::{
    CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX, IDLE_TIMEOUT,
    desk::Desk,
    grpc::Calls,
    http::Answers,
    listen::{Acceptor, Stream},
    spoe,
    timed::{Phase, Timed, Times},
};
use crate::{
    config::{Endpoint, Profile},
    gate::Gate,
    signal::outcomes::Outcomes,
};

/// Accepts until the endpoint's settings are gone, which also ends the connections once they are idle.
pub(super) async fn accept(
    acceptor: Acceptor,
    (gate, outcomes): (Gate, Outcomes),
    mut settings: watch::Receiver<Arc<Endpoint>>,
    permits: Arc<Semaphore>,
) {
    let desk = Arc::new(Desk::new(gate, outcomes, settings.clone()));
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = acceptor.accept() => accepted,
            changed = settings.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                let endpoint = desk.endpoint();
                tracing::warn!(%error, endpoint = endpoint.name, "a connection could not be accepted");
                // Out of descriptors, most likely: an immediate retry would spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            desk.overrun();
            continue;
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            serve(stream, desk).await;
            drop(permit);
        });
    }
}

async fn serve(stream: Stream, desk: Arc<Desk>) {
    let profile = desk.endpoint().profile;
    let phase = Arc::new(Phase::default());
    match profile {
        Profile::AuthRequest | Profile::ForwardAuth | Profile::ExtAuthz | Profile::Signals => {
            let stream = Timed::new(stream, Some(Arc::clone(&phase)), TIMES);
            let answers = Answers {
                desk: Arc::clone(&desk),
                profile,
                phase,
            };
            serve_http1(stream, answers, &desk, profile).await;
        }
        // Frames of a connection have no beginning and end that its silence could be told from.
        Profile::ExtAuthzGrpc => serve_http2(Timed::new(stream, None, TIMES), desk).await,
        Profile::Spoe => {
            let stream = Timed::new(stream, Some(Arc::clone(&phase)), TIMES);
            spoe::serve(stream, &desk, &phase).await;
        }
    }
}

async fn serve_http1(stream: Timed<Stream>, answers: Answers, desk: &Desk, profile: Profile) {
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), answers);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = desk.moved_on(profile) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        desk.broken(&error);
    }
}

async fn serve_http2(stream: Timed<Stream>, desk: Arc<Desk>) {
    let calls = Calls {
        desk: Arc::clone(&desk),
    };
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(CALL_HEAD_BYTES_MAX)
        .max_concurrent_streams(CALLS_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), calls);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = desk.moved_on(Profile::ExtAuthzGrpc) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        desk.broken(&error);
    }
}

const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

const TIMES: Times = Times {
    head: HEAD_TIMEOUT,
    idle: IDLE_TIMEOUT,
};
/// Calls of one connection at a time; the window of a connection bounds what they hold together.
const CALLS_MAX: u32 = 256;
/// Bytes of a call's own head; what it asks about is in the message.
const CALL_HEAD_BYTES_MAX: u32 = 16 << 10;

/// Places for connections of one endpoint.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS_MAX))
}
