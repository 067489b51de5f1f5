//! What events there are: their severity, and what is said of them to people. Words of Okta's event catalogue where it
//! has the type, our own in the same manner where it has not.

/// What is known of an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The event type.
    pub(crate) name: &'static str,
    /// How grave it is.
    pub(crate) severity: Severity,
    /// What it says to people.
    pub(crate) message: &'static str,
    /// What it is about.
    pub(crate) subject: Subject,
}

/// The System Log's severities that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Nothing to do.
    Info,
    /// Somebody should look.
    Warn,
    /// Something is lost or does not work.
    Error,
}

/// What an event is about, which decides who its actor is and whether a flood of it is summarised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A source was judged: the address is the actor.
    Judgement,
    /// Somebody signed in or tried to.
    SignIn,
    /// Something was changed, by whoever the event names.
    Change,
    /// The agent tells how it is.
    Health,
}

impl Severity {
    /// The word of the System Log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

impl Kind {
    /// What is known of a type. Of one that is not in the catalogue nothing is: it is a change of state.
    pub(crate) fn of(name: &str) -> Self {
        let known = KINDS.iter().find(|kind| kind.name == name);
        known.copied().unwrap_or(UNKNOWN)
    }
}

const UNKNOWN: Kind = Kind {
    name: "",
    severity: Severity::Info,
    message: "Event",
    subject: Subject::Change,
};

const fn kind(
    name: &'static str,
    severity: Severity,
    subject: Subject,
    message: &'static str,
) -> Kind {
    Kind {
        name,
        severity,
        message,
        subject,
    }
}

/// Every type that the agent makes.
pub(crate) const KINDS: &[Kind] = {
    use Severity::{Error, Info, Warn};
    use Subject::{Change, Health, Judgement, SignIn};
    &[
        kind(
            "security.threat.detected",
            Warn,
            Judgement,
            "Request from suspicious actor",
        ),
        kind(
            "security.request.blocked",
            Warn,
            Judgement,
            "Request blocked",
        ),
        kind(
            "security.request.client_unknown",
            Warn,
            Judgement,
            "Client of a request is unknown",
        ),
        kind(
            "system.client.rate_limit.violation",
            Warn,
            Judgement,
            "Client rate limit violation",
        ),
        kind(
            "system.client.rate_limit.notification",
            Info,
            Judgement,
            "Client rate limit notification",
        ),
        kind("user.session.start", Info, SignIn, "User login"),
        kind(
            "user.account.reset_password",
            Info,
            SignIn,
            "Fired when the user's password is reset",
        ),
        kind("user.lifecycle.create", Info, SignIn, "Create user"),
        kind(
            "security.attack.start",
            Warn,
            Health,
            "Service is under attack",
        ),
        kind(
            "security.attack.end",
            Info,
            Health,
            "Service is not under attack any more",
        ),
        kind(
            "security.threat.configuration.update",
            Info,
            Change,
            "Update ThreatInsight configuration",
        ),
        kind("zone.create", Info, Change, "Create network zone"),
        kind("zone.update", Info, Change, "Update network zone"),
        kind("zone.delete", Info, Change, "Delete network zone"),
        kind("zone.activate", Info, Change, "Activate network zone"),
        kind("zone.deactivate", Info, Change, "Deactivate network zone"),
        kind(
            "zone.make_blacklist",
            Info,
            Change,
            "Mark network zone as block list",
        ),
        kind(
            "zone.remove_blacklist",
            Info,
            Change,
            "Remove block list mark from network zone",
        ),
        kind("decision.create", Info, Change, "Create decision"),
        kind("decision.delete", Info, Change, "Delete decision"),
        kind("decision.end", Info, Change, "Decision has ended"),
        kind("feed.create", Info, Change, "Create feed"),
        kind("feed.update", Info, Change, "Update feed"),
        kind("feed.delete", Info, Change, "Delete feed"),
        kind("feed.fetched", Info, Health, "Feed has changed"),
        kind("feed.failed", Warn, Health, "Feed could not be fetched"),
        kind("feed.refused", Warn, Health, "Feed was not believed"),
        kind("feed.recovered", Info, Health, "Feed is well again"),
        kind(
            "system.log_stream.lifecycle.create",
            Info,
            Change,
            "Create log stream",
        ),
        kind(
            "system.log_stream.lifecycle.update",
            Info,
            Change,
            "Update log stream",
        ),
        kind(
            "system.log_stream.lifecycle.activate",
            Info,
            Change,
            "Activate log stream",
        ),
        kind(
            "system.log_stream.lifecycle.deactivate",
            Info,
            Change,
            "Deactivate log stream",
        ),
        kind(
            "system.log_stream.lifecycle.delete",
            Info,
            Change,
            "Delete log stream",
        ),
        kind(
            "system.log_stream.fail",
            Warn,
            Health,
            "Log stream cannot deliver",
        ),
        kind(
            "system.log_stream.recover",
            Info,
            Health,
            "Log stream delivers again",
        ),
        kind(
            "system.log_stream.gap",
            Error,
            Health,
            "Events were gone before a log stream could deliver them",
        ),
        kind(
            "system.log_stream.dead_letter",
            Error,
            Health,
            "A receiver refused an event of a log stream",
        ),
        kind(
            "system.log_stream.pause",
            Error,
            Health,
            "Log stream waits for somebody to mend it",
        ),
        kind(
            "system.log_stream.replay",
            Info,
            Change,
            "Send events of a log stream again",
        ),
        kind("system.log_stream.test", Info, Change, "Test log stream"),
        kind(
            "system.log.gap",
            Error,
            Health,
            "Events could not be written to the System Log",
        ),
        kind(
            "system.log.damaged",
            Error,
            Health,
            "Part of the System Log was damaged and moved aside",
        ),
        kind(
            "system.signal_source.fail",
            Warn,
            Health,
            "Source of signals cannot be read",
        ),
        kind(
            "system.signal_source.recover",
            Info,
            Health,
            "Source of signals can be read again",
        ),
        kind(
            "system.signal_source.gap",
            Warn,
            Health,
            "Part of a source of signals is not read",
        ),
        kind("system.agent.start", Info, Health, "Agent has started"),
        kind("system.agent.stop", Info, Health, "Agent stops"),
        kind("system.agent.upgrade", Info, Health, "Agent was upgraded"),
        kind(
            "system.agent.crash",
            Error,
            Health,
            "Agent had ended without stopping",
        ),
        kind(
            "system.agent.reload",
            Info,
            Change,
            "Configuration was reloaded",
        ),
        kind("system.agent.detach", Warn, Change, "Enforcement was ended"),
        kind("system.api_token.create", Info, Change, "Create API token"),
        kind("system.api_token.revoke", Info, Change, "Revoke API token"),
        kind(
            "system.operation.rate_limit.violation",
            Warn,
            Health,
            "Operation rate limit violation",
        ),
        kind("system.posture.update", Info, Health, "Posture has changed"),
    ]
};
