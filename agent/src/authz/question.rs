//! A question as every profile puts it, and how it is judged.

use std::time::Instant;

use super::{
    fault::Fault,
    headers::{self, Headers, shown},
};
use crate::{
    config::Endpoint,
    gate::{Decision, Gate, Head, Via, Wanted},
    policy::{
        chain::Forwarding, request::RequestFacts, sign_in, snapshot::Snapshot,
        suspects::SignInFacts,
    },
};

/// What a proxy asks about.
pub(super) struct Question<'a, H> {
    /// The original request's method.
    pub(super) method: &'a [u8],
    /// Its target, path and query.
    pub(super) target: &'a [u8],
    /// Its header lines.
    pub(super) headers: &'a H,
    /// `Host`, where it is not among the lines.
    pub(super) host: Option<&'a [u8]>,
    /// The peer, where the protocol itself names it.
    pub(super) peer: Option<std::net::IpAddr>,
}

/// A question judged.
pub(super) struct Judged {
    pub(super) decision: Decision,
    /// The form in which the client takes a refusal.
    pub(super) wanted: Wanted,
}

/// Judges a question by the endpoint's service.
pub(super) fn judge<H: Headers>(
    gate: &Gate,
    endpoint: &Endpoint,
    question: &Question<'_, H>,
) -> Result<Judged, Fault> {
    let began = Instant::now();
    let snapshot = gate.snapshot();
    let service = snapshot
        .service_named(&endpoint.service)
        .ok_or_else(|| Fault::Service(endpoint.service.clone()))?;
    let header = snapshot
        .services
        .get(service)
        .map(|service| service.header)
        .unwrap_or_default();
    let headers = question.headers;
    let origin = headers::origin(endpoint, header, headers, question.peer)?;
    let (method, target) = (shown(question.method), shown(question.target));
    let host = question.host.or_else(|| headers.first("host")).map(shown);
    let sign_in = sign_in(
        gate,
        endpoint,
        &snapshot,
        (service, &method, &target),
        headers,
    );
    let head = Head {
        facts: RequestFacts {
            service,
            peer: origin.peer,
            path: headers::path_of(&target),
            user_agent: headers.first("user-agent"),
            sign_in,
        },
        via: Via::Endpoint,
        method: &method,
        host: host.as_deref(),
    };
    let forwarding = match &origin.lines {
        Some(lines) => Forwarding::Lines(header, lines.iter().copied()),
        // The address that the proxy has found is judged as a peer that forwards nothing.
        None => Forwarding::Nothing,
    };
    let decision = gate.decide(&snapshot, &head, forwarding);
    let wanted = match &decision.refusal {
        Some(_) => Wanted::by_accept(headers.first("accept")),
        None => Wanted::Html,
    };
    gate.took(Via::Endpoint, began.elapsed());
    Ok(Judged { decision, wanted })
}

/// Who signs in, if the question is about a sign-in. The user is the proxy's word, where the endpoint says that there
/// is one; two of them are none.
fn sign_in<H: Headers>(
    gate: &Gate,
    endpoint: &Endpoint,
    snapshot: &Snapshot,
    (service, method, target): (usize, &str, &str),
    headers: &H,
) -> Option<SignInFacts> {
    let service = snapshot.services.get(service)?;
    sign_in::find(&service.sign_ins, method, target)?;
    let key = gate.sign_ins()?.key();
    let named = endpoint.user_header.as_deref();
    let user = named.and_then(|name| headers.only("user", name).ok());
    Some(SignInFacts {
        user: user.map(|name| key.user(name)),
        agent: sign_in::agent(key, headers.first("user-agent"), target),
    })
}
