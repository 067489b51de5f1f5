//! The way in: batches of signals from whoever sees sign-ins end, bounded, so that a source waits or is told
//! to come back, and nothing is dropped in silence.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::policy::signal::Signal;

/// Where signals go. Cheap to clone, one for each source.
#[derive(Clone, Debug)]
pub(crate) struct Intake(mpsc::Sender<Batch>);

/// Signals that belong together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the order of their source.
    pub(crate) signals: Vec<Signal>,
    /// Where the source has got to once these are counted. Written down with them in one piece, so that neither a
    /// restart nor kill -9 loses or doubles a line.
    pub(crate) position: Option<Position>,
    /// Told when the batch is written down.
    pub(crate) taken: Option<oneshot::Sender<()>>,
}

/// Where a source has got to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The name of the source, unique in the configuration.
    pub(crate) source: Arc<str>,
    /// Whatever the source finds its place by; at most [`CURSOR_BYTES_MAX`] bytes.
    pub(crate) cursor: Vec<u8>,
}

impl Intake {
    /// An intake and the end where batches come out.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Batch>) {
        let (sender, receiver) = mpsc::channel(BATCHES_QUEUED_MAX);
        (Self(sender), receiver)
    }

    /// Hands a batch over; waits while there is no room. Gives it back when detection has ended.
    ///
    /// # Errors
    /// Detection has ended.
    pub(crate) async fn put(&self, batch: Batch) -> Result<(), Batch> {
        self.0.send(batch).await.map_err(|refused| refused.0)
    }

    /// Hands a batch over if there is room.
    ///
    /// # Errors
    /// There is no room, or detection has ended; the same batch may be taken later.
    pub(crate) fn try_put(&self, batch: Batch) -> Result<(), Batch> {
        self.0
            .try_send(batch)
            .map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// Batches that wait for detection.
const BATCHES_QUEUED_MAX: usize = 64;
/// Signals that one batch may hold: a source makes more of them instead.
pub(crate) const BATCH_SIGNALS_MAX: usize = 4_096;
/// Longest cursor, bytes.
pub(crate) const CURSOR_BYTES_MAX: usize = 1_024;
