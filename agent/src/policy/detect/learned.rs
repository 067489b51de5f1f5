//! What a model makes of a source, beside what the rules count.

use super::{
    super::{
        model::{Feature, Features, Model, Opinion, logarithm},
        signal::Signal,
    },
    Detection, Detectors, Observed, SourceKey,
    source::Change,
};

/// What a model was told of the latest attempt, and what it made of it.
#[derive(Clone, Copy, Debug)]
pub struct Considered {
    /// Whose attempt it was.
    pub source: SourceKey,
    /// What was known.
    pub features: Features,
    /// What the model says, if there is one.
    pub opinion: Option<Opinion>,
}

impl Detectors {
    /// Asks a model from now on, or none.
    pub const fn ask(&mut self, model: Option<Model>) {
        self.model = model;
    }

    /// Describes sources to whoever trains a model.
    pub const fn describe(&mut self) {
        self.describes = true;
    }

    /// What was considered about the latest attempt, where a model is asked or trained and the attempt failed or
    /// asked for an account.
    #[must_use]
    pub const fn considered(&self) -> Option<&Considered> {
        self.considered.as_ref()
    }

    /// What the model makes of the source, now that everything is counted.
    pub(super) fn consider(&mut self, signal: &Signal, change: &Change, observed: &mut Observed) {
        if self.model.is_none() && !self.describes {
            return;
        }
        let features = self.features(signal, change);
        let opinion = self.model.map(|model| model.consider(&features));
        let level = opinion.and_then(|opinion| opinion.level);
        // Who has done little by itself is refused for a short time only.
        let own = features.get(Feature::FailuresLong) >= logarithm(OWN_FAILURES_MIN)
            || features.get(Feature::Probes) >= logarithm(OWN_FAILURES_MIN);
        // Where people sign in, as behind the address of a mobile network, the model counts no more than a rule does.
        let source = self.sources.get(SourceKey::of(signal.client));
        let is_office =
            source.is_some_and(|source| source.is_office(signal.time_ms, &self.thresholds));
        // Where nobody is named, what a source did itself is all that tells it from a person.
        let too_few = !own && signal.user.is_none();
        let counts = !is_office && !change.is_device && !too_few;
        if counts && own {
            observed.source.add(Detection::LearnedModel, level);
        } else if counts && !change.trusted {
            observed.joined.add(Detection::LearnedModel, level);
        }
        self.considered = Some(Considered {
            source: SourceKey::of(signal.client),
            features,
            opinion,
        });
    }

    fn features(&self, signal: &Signal, change: &Change) -> Features {
        let (time_ms, thresholds) = (signal.time_ms, &self.thresholds);
        let mut features = Features::new(signal.user.is_some());
        let source = SourceKey::of(signal.client);
        let network = source.network();
        if let Some(source) = self.sources.get(source) {
            source.describe(time_ms, change, thresholds, &mut features);
        }
        if let Some(network) = self.networks.get(network) {
            network.describe(time_ms, thresholds, &mut features);
        }
        self.everything
            .describe_service(time_ms, thresholds, &mut features);
        if let Some(agent) = signal.agent.and_then(|agent| self.agents.get(agent.bits())) {
            agent.describe_agent(time_ms, thresholds, &mut features);
        }
        if let Some(watch) = signal.user.and_then(|user| self.users.get(user.bits())) {
            watch.describe(time_ms, network.0, thresholds, &mut features);
        }
        features.complete();
        features
    }

    /// Evidence about a source, with what the model says of its latest attempt.
    pub(super) fn with_opinion(&self, source: SourceKey, counted: String) -> String {
        let considered = self.considered.filter(|one| one.source == source);
        let opinion = considered.and_then(|considered| considered.opinion);
        match opinion.filter(|opinion| opinion.level.is_some()) {
            Some(opinion) => format!("{counted}; learned model: {opinion}"),
            None => counted,
        }
    }
}

/// Failures from which a source is judged by what it did itself.
const OWN_FAILURES_MIN: u32 = 5;
