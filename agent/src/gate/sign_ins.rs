//! What the gate knows of sign-ins that pass it: the key of pseudonyms, the way to detection, and what was counted.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    detection::{Batch, Intake},
    policy::signal::{PseudonymKey, Signal},
};

/// Where sign-ins are told.
#[derive(Debug)]
pub(crate) struct SignIns {
    key: PseudonymKey,
    intake: Intake,
    counts: [AtomicU64; Noted::ALL.len()],
}

/// What is counted of sign-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// A signal was handed over to detection.
    Signal,
    /// Detection was too far behind to take it.
    Dropped,
    /// The answer told no outcome.
    Unclear,
    /// No user was found in the part of the body that is looked at.
    BodyCut,
    /// The body is compressed, or not what its type says.
    BodyUnreadable,
    /// The user was named several times, differently.
    UserRepeated,
    /// The answer's body is compressed in a way that is not read, or breaks off before the field.
    AnswerUnreadable,
}

impl Noted {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Signal, "signals"),
        (Self::Dropped, "signals_dropped"),
        (Self::Unclear, "outcome_unclear"),
        (Self::BodyCut, "body_cut"),
        (Self::BodyUnreadable, "body_unreadable"),
        (Self::UserRepeated, "user_repeated"),
        (Self::AnswerUnreadable, "answer_unreadable"),
    ];
}

impl SignIns {
    pub(super) const fn new(key: PseudonymKey, intake: Intake) -> Self {
        Self {
            key,
            intake,
            counts: [const { AtomicU64::new(0) }; Noted::ALL.len()],
        }
    }

    /// The secret under which names become pseudonyms.
    pub(crate) const fn key(&self) -> &PseudonymKey {
        &self.key
    }

    /// Counts something.
    pub(crate) fn note(&self, noted: Noted) {
        self.add(noted, 1);
    }

    /// Hands signals over to detection; gives them back where it is too far behind. Waits for nothing.
    pub(crate) fn hand_over(&self, signals: Vec<Signal>) -> Result<(), Vec<Signal>> {
        let count = signals.len() as u64;
        let batch = Batch {
            signals,
            ..Batch::default()
        };
        match self.intake.try_put(batch) {
            Ok(()) => {
                self.add(Noted::Signal, count);
                Ok(())
            }
            Err(batch) => Err(batch.signals),
        }
    }

    /// For `status`.
    pub(super) fn report(&self) -> BTreeMap<String, u64> {
        let counts = Noted::ALL.iter().zip(&self.counts);
        counts
            .map(|((_, name), count)| ((*name).to_owned(), count.load(Relaxed)))
            .collect()
    }

    fn add(&self, noted: Noted, count: u64) {
        if let Some(counter) = self.counts.get(noted as usize) {
            counter.fetch_add(count, Relaxed);
        }
    }
}
