//! The attributes of an event that an expression may name.

use std::fmt;

/// A path into an event as Okta's LogEvent has it: names joined by points, known to exist or below a free-form object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute(Box<str>);

/// Why a path is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// There is no such attribute.
    Field,
    /// The time of an event is asked for by since and until.
    Published,
    /// An object: it can be present or not, but not compared.
    Complex,
}

impl Attribute {
    /// The whole path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path as it was written, for a comparison. `snake_case`, which old clients write, is read as what it stands for.
    pub(super) fn compared(path: &str) -> Result<Self, Unknown> {
        match known(path) {
            Some(Kind::Value) => Ok(Self(path.into())),
            Some(Kind::Object) => Err(Unknown::Complex),
            None if path == "published" => Err(Unknown::Published),
            None if path.contains('_') => Self::compared(&camel(path)),
            None => Err(Unknown::Field),
        }
    }

    /// A path as it was written, for `pr`, which objects may have too.
    pub(super) fn present(path: &str) -> Result<Self, Unknown> {
        match Self::compared(path) {
            Err(Unknown::Complex) if known(path).is_some() => Ok(Self(path.into())),
            Err(Unknown::Complex) => Ok(Self(camel(path).into())),
            other => other,
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character can stand in a name; the point separates names.
pub(super) const fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '$' | '.')
}

enum Kind {
    Value,
    Object,
}

fn known(path: &str) -> Option<Kind> {
    if VALUES.contains(&path) {
        return Some(Kind::Value);
    }
    let below = |of: &str| {
        path.strip_prefix(of)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|rest| rest.split('.').all(|name| !name.is_empty()))
    };
    if FREE.into_iter().any(below) {
        return Some(Kind::Value);
    }
    let above = |attribute: &&str| {
        attribute
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    (FREE.contains(&path) || VALUES.iter().chain(&FREE).any(above)).then_some(Kind::Object)
}

/// `event_type` is `eventType`.
fn camel(path: &str) -> String {
    let mut written = String::with_capacity(path.len());
    let mut raise = false;
    for character in path.chars() {
        if character == '_' {
            raise = true;
        } else if raise {
            written.push(character.to_ascii_uppercase());
            raise = false;
        } else {
            written.push(character);
        }
    }
    written
}

/// Objects whose members differ from event to event.
const FREE: [&str; 6] = [
    "debugContext.debugData",
    "transaction.detail",
    "actor.detailEntry",
    "target.detailEntry",
    "target.changeDetails.from",
    "target.changeDetails.to",
];

/// The attributes of a LogEvent with values of their own. `published` is not among them.
const VALUES: [&str; 88] = [
    "uuid",
    "eventType",
    "version",
    "severity",
    "displayMessage",
    "legacyEventType",
    "actor.id",
    "actor.type",
    "actor.alternateId",
    "actor.displayName",
    "client.id",
    "client.ipAddress",
    "client.zone",
    "client.device",
    "client.userAgent.rawUserAgent",
    "client.userAgent.os",
    "client.userAgent.browser",
    "client.geographicalContext.city",
    "client.geographicalContext.state",
    "client.geographicalContext.country",
    "client.geographicalContext.postalCode",
    "client.geographicalContext.geolocation.lat",
    "client.geographicalContext.geolocation.lon",
    "device.id",
    "device.name",
    "device.os_platform",
    "device.os_version",
    "device.managed",
    "device.registered",
    "device.device_integrator",
    "device.disk_encryption_type",
    "device.screen_lock_type",
    "device.jailbreak",
    "device.secure_hardware_present",
    "request.ipChain.ip",
    "request.ipChain.version",
    "request.ipChain.source",
    "request.ipChain.geographicalContext.city",
    "request.ipChain.geographicalContext.state",
    "request.ipChain.geographicalContext.country",
    "request.ipChain.geographicalContext.postalCode",
    "request.ipChain.geographicalContext.geolocation.lat",
    "request.ipChain.geographicalContext.geolocation.lon",
    "request.ipChain.ipDetails.asNumber",
    "request.ipChain.ipDetails.asOrg",
    "request.ipChain.ipDetails.isp",
    "request.ipChain.ipDetails.domain",
    "request.ipChain.ipDetails.ipServiceCategories",
    "outcome.result",
    "outcome.reason",
    "target.id",
    "target.type",
    "target.alternateId",
    "target.displayName",
    "transaction.id",
    "transaction.type",
    "authenticationContext.authenticationProvider",
    "authenticationContext.authenticationStep",
    "authenticationContext.credentialProvider",
    "authenticationContext.credentialType",
    "authenticationContext.externalSessionId",
    "authenticationContext.rootSessionId",
    "authenticationContext.interface",
    "authenticationContext.issuer.id",
    "authenticationContext.issuer.type",
    "securityContext.asNumber",
    "securityContext.asOrg",
    "securityContext.isp",
    "securityContext.domain",
    "securityContext.isProxy",
    "securityContext.ipDetails.asNumber",
    "securityContext.ipDetails.asOrg",
    "securityContext.ipDetails.isp",
    "securityContext.ipDetails.domain",
    "securityContext.ipDetails.isProxy",
    "securityContext.ipDetails.ipServiceCategories",
    "securityContext.ipDetails.geographicalContext.city",
    "securityContext.ipDetails.geographicalContext.state",
    "securityContext.ipDetails.geographicalContext.country",
    "securityContext.risk.level",
    "securityContext.risk.previousLevel",
    "securityContext.risk.reasons",
    "securityContext.risk.detectionName",
    "securityContext.risk.issuer",
    "securityContext.userBehaviors.id",
    "securityContext.userBehaviors.name",
    "securityContext.userBehaviors.result",
    "securityContext.botProtection.level",
];
