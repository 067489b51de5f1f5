//! One service: its present slot, what is usual there, and the charts that compare the two.

use serde::{Deserialize, Serialize};

use super::{
    SLOT_MS, Settings,
    chart::{Chart, Compared},
    lately::{Recent, Spread},
    posture::Posture,
    rhythm::{Counts, Expected, Measure, Rhythm, count},
    slot::Slot,
    statistic::{Evidence, STATISTICS, Statistic},
};

/// One service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Service {
    pub(super) slot: Slot,
    pub(super) posture: Posture,
    pub(super) rhythm: Rhythm,
    hour: Hour,
    charts: [Chart; STATISTICS],
    spreads: [Spread; STATISTICS],
    recent: Recent,
    /// Slots that ended in a row without a rise.
    calm_slots: u32,
    /// Evidence that it is over, in nats: a cumulative sum the other way round.
    calm: f32,
    /// The hour that an expectation was worked out for, and the expectation.
    #[serde(skip)]
    expected: Option<(u64, Expected)>,
}

/// The present hour so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Hour {
    number: u64,
    sums: Counts,
    slots: u16,
    /// Something in it was not ordinary.
    tainted: bool,
}

impl Service {
    /// Brings the service to a moment. Slots that nobody saw (the agent was not running) teach nothing.
    pub(super) fn advance(&mut self, now_ms: u64, settings: &Settings) {
        let now = now_ms / SLOT_MS;
        if self.slot.number == 0 {
            return self.open(now);
        }
        let Some(elapsed) = now.checked_sub(self.slot.number) else {
            if self.slot.number - now > BACK_SLOTS_MAX {
                self.open(now);
            }
            return;
        };
        if elapsed == 0 {
            return;
        }
        self.close(settings);
        if elapsed > GAP_SLOTS_MAX {
            if self.posture.model().is_none() {
                self.charts = Default::default();
            }
            return self.open(now);
        }
        for number in self.slot.number + 1..now {
            self.slot.clear(number);
            self.close(settings);
        }
        self.slot.clear(now);
    }

    /// Whether a signal of that time counts in the present slot.
    pub(super) const fn takes(&self, time_ms: u64) -> bool {
        (time_ms / SLOT_MS).saturating_add(BACK_SLOTS_MAX) >= self.slot.number
    }

    /// Whether the model sees an attack begin: sources of strangers and something else rise, the present slot counted
    /// as far as it got.
    pub(super) fn alarms(&mut self, settings: &Settings) -> bool {
        let charts = self.charts_now(settings);
        let limit = settings.limit();
        let [sources, others @ ..] = &charts;
        let sure = |chart: &Chart| chart.score >= limit;
        let enough = sources.observed - sources.expected >= settings.sources_min as f32;
        enough && sure(sources) && others.iter().any(sure)
    }

    /// The attack was declared: nothing since it began is ordinary.
    pub(super) fn declare(&mut self, settings: &Settings) {
        let [sources, ..] = self.charts_now(settings);
        let now = hour_of(self.slot.number);
        self.rhythm.forget(hour_of(sources.since), now);
        self.expected = None;
        self.hour.tainted = true;
        self.calm_slots = 0;
        self.calm = 0.0;
    }

    /// Whether nothing of an attack was seen for long enough, and by enough: what goes on around the middle between
    /// usual and attacked neither starts nor ends one.
    pub(super) fn is_calm(&self, settings: &Settings) -> bool {
        self.calm >= settings.limit() && u64::from(self.calm_slots) * SLOT_MS >= settings.quiet_ms
    }

    /// Whatever the charts say is over.
    pub(super) fn forget_charts(&mut self) {
        self.charts = Default::default();
        self.calm_slots = 0;
        self.calm = 0.0;
    }

    /// What the charts hold against what is usual.
    pub(super) fn evidence(&mut self, settings: &Settings) -> [Evidence; STATISTICS] {
        let charts = self.charts_now(settings);
        let mut evidence = Statistic::ALL.map(|statistic| Evidence {
            statistic,
            observed: 0.0,
            expected: 0.0,
            score: 0.0,
        });
        for (one, chart) in evidence.iter_mut().zip(charts) {
            one.observed = chart.observed;
            one.expected = chart.expected;
            one.score = chart.score;
        }
        evidence
    }

    /// When the rise of the sources began, milliseconds since the epoch.
    pub(super) fn rising_since(&mut self, settings: &Settings) -> Option<u64> {
        let [sources, ..] = self.charts_now(settings);
        (sources.score > 0.0).then(|| sources.since.saturating_mul(SLOT_MS))
    }

    /// What was read back, with whatever cannot be left out.
    pub(super) fn checked(mut self) -> Self {
        self.slot = self.slot.checked();
        self.rhythm = self.rhythm.checked();
        self.charts = self.charts.map(Chart::checked);
        let sound = self.hour.sums.iter().all(|it| it.is_finite() && *it >= 0.0);
        if !sound || self.hour.slots > SLOTS_AN_HOUR {
            self.hour = Hour::default();
        }
        self.spreads = self.spreads.map(Spread::checked);
        self.recent = self.recent.checked();
        self.calm = if self.calm.is_finite() {
            self.calm
        } else {
            0.0
        };
        self
    }

    fn open(&mut self, number: u64) {
        self.slot.clear(number);
        if self.hour.number != hour_of(number) {
            self.end_hour(hour_of(number));
        }
    }

    /// The present slot is over.
    fn close(&mut self, settings: &Settings) {
        let counts = self.slot.counts();
        let compared = self.compare(&counts, settings);
        self.recent.learn(&counts);
        let (limit, number) = (settings.limit(), self.slot.number);
        let quiet = self.posture.word(number.saturating_mul(SLOT_MS));
        if quiet.is_some_and(|word| !word.attacked) {
            // An operator said that this is no attack: it is what the service now looks like.
            self.charts = Default::default();
        } else {
            let declared = self.posture.model().is_some();
            for (chart, compared) in self.charts.iter_mut().zip(&compared) {
                *chart = if declared {
                    chart.held(number, compared, limit)
                } else {
                    chart.with(number, compared, limit)
                };
            }
        }
        let [sources, ..] = &compared;
        let evidence = sources.evidence();
        self.calm = (self.calm - evidence).clamp(0.0, limit);
        self.calm_slots = if evidence > 0.0 {
            0
        } else {
            self.calm_slots.saturating_add(1)
        };
        let hour = hour_of(number);
        if self.hour.number != hour {
            self.end_hour(hour);
        }
        let attacked = self.posture.attack().is_some();
        self.hour.tainted |= attacked;
        let rising = self.charts.iter().any(|chart| chart.score > limit / 2.0);
        if !attacked && !rising {
            self.learn(&counts, &compared);
        }
    }

    fn learn(&mut self, counts: &Counts, compared: &[Compared; STATISTICS]) {
        self.hour.slots = self.hour.slots.saturating_add(1);
        let mut ordinary = *counts;
        for (statistic, compared) in Statistic::ALL.iter().zip(compared) {
            if let Some(count) = ordinary.get_mut(statistic.measure() as usize) {
                *count = count.min(compared.attacked);
            }
        }
        for (sum, count) in self.hour.sums.iter_mut().zip(ordinary) {
            *sum += count;
        }
        for (spread, compared) in self.spreads.iter_mut().zip(compared) {
            spread.learn(compared);
        }
    }

    fn end_hour(&mut self, next: u64) {
        let ended = std::mem::take(&mut self.hour);
        self.hour.number = next;
        self.expected = None;
        if ended.tainted || ended.slots < SLOTS_AN_HOUR / 2 {
            return;
        }
        let slots = f32::from(ended.slots);
        self.rhythm
            .note(ended.number, ended.sums.map(|sum| sum / slots));
    }

    /// The charts with the present slot as far as it got: one that has only begun says nothing against an attack.
    fn charts_now(&mut self, settings: &Settings) -> [Chart; STATISTICS] {
        let counts = self.slot.counts();
        let compared = self.compare(&counts, settings);
        let (limit, number) = (settings.limit(), self.slot.number);
        let mut charts = self.charts;
        for (chart, compared) in charts.iter_mut().zip(&compared) {
            if compared.evidence() > 0.0 {
                *chart = chart.held(number, compared, limit);
            }
        }
        charts
    }

    /// What each statistic is, would usually be, and would be under an attack.
    fn compare(&mut self, counts: &Counts, settings: &Settings) -> [Compared; STATISTICS] {
        let expected = self.expected();
        let people = busier(counts, &expected.counts);
        let locked_out = count(counts, Measure::Newcomers) + self.recent.missing(counts);
        let unsure = 1.0 - expected.trust;
        let rise = settings.rise_percent.max(101) as f32 / 100.0;
        let base = DISPERSION + DISPERSION_UNSURE * unsure;
        let mut compared = [Compared {
            observed: 0.0,
            expected: EXPECTED_MIN,
            attacked: 1.0,
            dispersion: base,
        }; STATISTICS];
        let each = Statistic::ALL.iter().zip(&self.spreads);
        for (one, (statistic, spread)) in compared.iter_mut().zip(each) {
            let usual = count(&expected.counts, statistic.measure()).max(EXPECTED_MIN) * people;
            one.observed = count(counts, statistic.measure());
            one.expected = usual.max(locked_out * statistic.of_newcomer());
            one.attacked = one.expected * rise + statistic.rise_min() + RISE_UNSURE * unsure;
            one.dispersion = base.max(spread.dispersion());
        }
        compared
    }

    fn expected(&mut self) -> Expected {
        let hour = hour_of(self.slot.number);
        match self.expected {
            Some((number, expected)) if number == hour => expected,
            _ => {
                let expected = self.rhythm.expect(hour);
                self.expected = Some((hour, expected));
                expected
            }
        }
    }
}

/// How much busier people are than usual, at least 1: by those who get in, by those among them who are new, and by
/// those known who do not get in. A mailing brings more of the first two, a failing identity store of the third; in
/// each case strangers fail in proportion, and only what is beyond that can be an attack.
fn busier(counts: &Counts, usual: &Counts) -> f32 {
    let ratio = |measure| (count(counts, measure) + FEW) / (count(usual, measure) + FEW);
    [Measure::Good, Measure::Newcomers, Measure::Familiar]
        .map(ratio)
        .into_iter()
        .fold(1.0, f32::max)
}

const fn hour_of(slot: u64) -> u64 {
    slot / SLOTS_AN_HOUR as u64
}

const SLOTS_AN_HOUR: u16 = 12;
const _: () = assert!(SLOTS_AN_HOUR as u64 * SLOT_MS == 3_600_000);
/// Slots without any signal that are taken for quiet; after more of them nobody was looking. An hour.
const GAP_SLOTS_MAX: u64 = 12;
/// How far a clock may step back, and lines come late, and still count as now: two hours, twice what daylight saving
/// takes back.
const BACK_SLOTS_MAX: u64 = 24;
/// Variance beyond chance where everything is known, and what not knowing adds. Own.
const DISPERSION: f32 = 0.15;
const DISPERSION_UNSURE: f32 = 0.35;
/// What is expected of a slot at the least: a service where nobody ever fails would cry wolf at the first who does.
const EXPECTED_MIN: f32 = 0.5;
/// What an attack has to add to a slot of a service that nothing is known of. Own.
const RISE_UNSURE: f32 = 16.0;
/// Keeps a ratio of small numbers small.
pub(super) const FEW: f32 = 2.0;
