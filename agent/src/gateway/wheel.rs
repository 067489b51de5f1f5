//! Time limits of a worker. Alarms are looked through at every tick, so that setting one costs a store and
//! no request pays for a timer of its own; they ring up to a tick late, never early.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use slab::Slab;

/// The alarms of one worker.
#[derive(Debug, Default)]
pub(super) struct Wheel(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tick: u64,
    alarms: Slab<Entry>,
}

#[derive(Debug)]
struct Entry {
    due: u64,
    waker: Option<Waker>,
}

/// Rings once its time has come; its place is freed when it is dropped.
#[derive(Debug)]
pub(super) struct Alarm {
    wheel: Arc<Wheel>,
    key: usize,
}

impl Wheel {
    /// A tick has passed: wakes everybody whose time has come.
    pub(super) fn tick(&self) {
        let mut inner = self.lock();
        inner.tick += 1;
        let now = inner.tick;
        let due: Vec<Waker> = inner
            .alarms
            .iter_mut()
            .filter(|(_, entry)| entry.due <= now)
            .filter_map(|(_, entry)| entry.waker.take())
            .collect();
        drop(inner);
        due.into_iter().for_each(Waker::wake);
    }

    /// Wakes everybody, whatever the time: something has changed for all.
    pub(super) fn wake_all(&self) {
        let mut inner = self.lock();
        let all: Vec<Waker> = inner
            .alarms
            .iter_mut()
            .filter_map(|(_, entry)| entry.waker.take())
            .collect();
        drop(inner);
        all.into_iter().for_each(Waker::wake);
    }

    /// What becomes of the future in that time; `None` if nothing has.
    pub(super) async fn within<T>(
        self: &Arc<Self>,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let alarm = Alarm::new(self);
        alarm.set(limit);
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if alarm.rings(cx) {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Ticks so far.
    pub(super) fn now(&self) -> u64 {
        self.lock().tick
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alarm {
    /// An alarm without a time.
    pub(super) fn new(wheel: &Arc<Wheel>) -> Self {
        let key = wheel.lock().alarms.insert(Entry {
            due: NEVER,
            waker: None,
        });
        Self {
            wheel: Arc::clone(wheel),
            key,
        }
    }

    /// Rings after that time from now, instead of when it would have.
    pub(super) fn set(&self, after: Duration) {
        self.with(|now, entry| entry.due = now + ticks(after));
    }

    /// Never rings.
    pub(super) fn clear(&self) {
        self.with(|_, entry| entry.due = NEVER);
    }

    /// Whether it rings. If not, the task is woken when it does, and whenever everybody is.
    pub(super) fn rings(&self, cx: &Context<'_>) -> bool {
        self.with(|now, entry| {
            if entry.due <= now {
                return true;
            }
            match &entry.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                _ => entry.waker = Some(cx.waker().clone()),
            }
            false
        })
        .unwrap_or(true)
    }

    fn with<T>(&self, change: impl FnOnce(u64, &mut Entry) -> T) -> Option<T> {
        let mut inner = self.wheel.lock();
        let now = inner.tick;
        inner
            .alarms
            .get_mut(self.key)
            .map(|entry| change(now, entry))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.wheel.lock().alarms.try_remove(self.key);
    }
}

/// Whole ticks, and one more for the one that has begun.
fn ticks(after: Duration) -> u64 {
    let ticks = after.as_millis().div_ceil(TICK.as_millis());
    u64::try_from(ticks).unwrap_or(NEVER / 2).saturating_add(1)
}

/// How often [`Wheel::tick`] is called.
pub(super) const TICK: Duration = Duration::from_millis(250);
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_late_rather_than_early_and_frees_its_place() {
        let wheel = Arc::new(Wheel::default());
        let alarm = Alarm::new(&wheel);
        let cx = Context::from_waker(Waker::noop());
        assert!(!alarm.rings(&cx));
        alarm.set(TICK * 2);
        for _ in 0..2 {
            wheel.tick();
            assert!(!alarm.rings(&cx));
        }
        wheel.tick();
        assert!(alarm.rings(&cx));
        alarm.set(TICK);
        assert!(!alarm.rings(&cx));
        alarm.clear();
        (0..10).for_each(|_| wheel.tick());
        assert!(!alarm.rings(&cx));
        drop(alarm);
        assert!(wheel.lock().alarms.is_empty());
    }
}
