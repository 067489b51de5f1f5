//! What the workers have in common, and what is one worker's own.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    Beat,
    cause::{Cause, Causes},
    http1::Pool,
    http2::Muxes,
    share::Load,
    sign_in::Outbox,
    tls::Material,
    wheel::Wheel,
};
use crate::gate::{Gate, Via};

/// See the module.
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) workers: Box<[Arc<Worker>]>,
    material: RwLock<Arc<Material>>,
    causes: Causes,
    /// By service name: a reload changes places, not names.
    loads: Mutex<HashMap<String, Arc<Load>>>,
    stage: AtomicU8,
    /// Changes with every reload.
    epoch: AtomicU64,
    /// Ticks of each worker at the last beat.
    beaten: Mutex<Vec<u64>>,
    beat: Beat,
}

/// One worker's own; others only look at its load and wake it.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) wheel: Arc<Wheel>,
    pub(super) pool: Arc<Pool>,
    pub(super) muxes: Muxes,
    pub(super) connections: AtomicUsize,
    /// Outcomes of sign-ins on their way to detection.
    pub(super) outbox: Outbox,
}

/// How far the gateway is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving = 0,
    /// No connection is accepted any more.
    Closed = 1,
    /// Connections end with the request that they are at.
    Draining = 2,
    /// Connections end.
    Over = 3,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(gate: Gate, material: Material, workers: usize, beat: Beat) -> Self {
        Self {
            gate,
            workers: (0..workers).map(|_| Arc::default()).collect(),
            material: RwLock::new(Arc::new(material)),
            causes: Causes::default(),
            loads: Mutex::default(),
            stage: AtomicU8::new(Stage::Serving as u8),
            epoch: AtomicU64::new(0),
            beaten: Mutex::new(vec![0; workers]),
            beat,
        }
    }

    /// The certificates in force.
    pub(super) fn material(&self) -> Arc<Material> {
        Arc::clone(&self.material.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes other certificates; everybody looks again whether its service is still there.
    pub(super) fn install(&self, material: Material) {
        *self
            .material
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
        self.epoch.fetch_add(1, Relaxed);
        self.wake_all();
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Serving,
            1 => Stage::Closed,
            2 => Stage::Draining,
            _ => Stage::Over,
        }
    }

    /// Goes on to a stage; never back.
    pub(super) fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Relaxed);
        self.wake_all();
    }

    /// Counts what went wrong after a request was judged, or before there was one.
    pub(super) fn count(&self, cause: Cause, peer: Option<IpAddr>) {
        tracing::debug!(cause = cause.word(), ?peer, "gateway");
        self.causes.count(cause);
    }

    /// Counts a request that never came to a judgement.
    pub(super) fn reject(&self, cause: Cause, peer: IpAddr) {
        self.causes.count(cause);
        self.gate.rejected(Via::Gateway, cause.word(), Some(peer));
    }

    /// The load of a service, made when it is asked for first.
    pub(super) fn load(&self, service: &str) -> Arc<Load> {
        let mut loads = lock(&self.loads);
        if let Some(load) = loads.get(service) {
            return Arc::clone(load);
        }
        let load = Arc::<Load>::default();
        loads.insert(service.to_owned(), Arc::clone(&load));
        load
    }

    /// Service, connections, requests.
    pub(super) fn loads(&self) -> Vec<(String, usize, usize)> {
        let mut loads: Vec<_> = lock(&self.loads)
            .iter()
            .map(|(name, load)| (name.clone(), load.connections(), load.requests()))
            .collect();
        loads.sort_unstable();
        loads
    }

    pub(super) fn causes(&self) -> Vec<(&'static str, u64)> {
        self.causes.report()
    }

    /// Connections of all workers.
    pub(super) fn connections(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.connections.load(Relaxed))
            .sum()
    }

    /// A worker has ticked: beats if all of them have since the last beat, so that one that hangs is
    /// enough for the kernel to stop sending connections here.
    pub(super) fn ticked(&self) {
        let now: Vec<u64> = self
            .workers
            .iter()
            .map(|worker| worker.wheel.now())
            .collect();
        let mut beaten = lock(&self.beaten);
        if now
            .iter()
            .zip(beaten.iter())
            .all(|(now, beaten)| now > beaten)
        {
            *beaten = now;
            drop(beaten);
            (self.beat)();
        }
    }

    fn wake_all(&self) {
        self.workers
            .iter()
            .for_each(|worker| worker.wheel.wake_all());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
