//! HTTP/2 towards the upstream: one multiplexed connection for each worker and upstream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

use super::{
    body::UpBody,
    cause::Cause,
    upstream::{self, Key, Target},
    wheel::Wheel,
};

/// The connections of one worker.
#[derive(Default)]
pub(super) struct Muxes(StdMutex<HashMap<Key, Slot>>);

/// Requests that come while a connection is being made wait for that one.
type Slot = Arc<Mutex<Option<SendRequest<UpBody>>>>;

impl Muxes {
    /// The connection to the target, made if there is none.
    pub(super) async fn sender(
        &self,
        target: &Target,
        wheel: &Arc<Wheel>,
    ) -> Result<SendRequest<UpBody>, Cause> {
        let slot = self.slot(&target.key);
        let mut slot = slot.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = upstream::connect(target, wheel).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Cause::UpstreamBroken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to the upstream has ended");
            }
        });
        *slot = Some(sender.clone());
        Ok(sender)
    }

    /// Forgets connections that have ended.
    pub(super) fn sweep(&self) {
        self.lock().retain(|_, slot| match slot.try_lock() {
            Ok(sender) => sender.as_ref().is_some_and(|sender| !sender.is_closed()),
            Err(_) => true,
        });
    }

    /// Lets them all end.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn slot(&self, key: &Key) -> Slot {
        Arc::clone(self.lock().entry(key.clone()).or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
