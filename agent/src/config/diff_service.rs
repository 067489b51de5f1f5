//! What a reload changes in services, endpoints and logs, in words.

use std::{fmt::Display, path::Path, time::Duration};

use super::value;
use crate::config::{
    Certificate, Endpoint, FailurePolicy, Gateway, LimitKey, LimitMode, Listen, PeerSource,
    RefusalPages, RequestLimit, Service, SignalPlace, SignalSource, UnknownClient,
    UpstreamProtocol, duration, service::word,
};
use crate::policy::{
    sign_in::{Repeated, SignIn, UserPlace},
    signal::Flow,
};

pub(super) fn service(old: &Service, new: &Service) -> Vec<String> {
    let mut out = Vec::new();
    let unknown = |service: &Service| word(&UnknownClient::NAMED, service.unknown_client);
    value(&mut out, "ports", &joined(&old.ports), &joined(&new.ports));
    value(&mut out, "header", &old.header, &new.header);
    value(&mut out, "restricted", &old.restricted, &new.restricted);
    value(
        &mut out,
        "restricted_except",
        &joined(&old.restricted_except),
        &joined(&new.restricted_except),
    );
    value(&mut out, "unknown_client", &unknown(old), &unknown(new));
    value(&mut out, "hops_max", &old.hops_max, &new.hops_max);
    value(
        &mut out,
        "header_bytes_max",
        &old.header_bytes_max,
        &new.header_bytes_max,
    );
    value(&mut out, "observe", &old.observe, &new.observe);
    gateway(&mut out, old.gateway.as_ref(), new.gateway.as_ref());
    refusals(&mut out, &old.refusals, &new.refusals);
    limits(&mut out, &old.limits, &new.limits);
    sign_ins(&mut out, &old.sign_ins, &new.sign_ins);
    out
}

fn joined<T: Display>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(" ")
    }
}

fn gateway(out: &mut Vec<String>, old: Option<&Gateway>, new: Option<&Gateway>) {
    let (old, new) = match (old, new) {
        (None, None) => return,
        (None, Some(_)) => return out.push("gateway on".to_owned()),
        (Some(_), None) => return out.push("gateway off".to_owned()),
        (Some(old), Some(new)) => (old, new),
    };
    let mut text = |name: &str, of: &dyn Fn(&Gateway) -> String| {
        value(out, &format!("gateway.{name}"), &of(old), &of(new));
    };
    text("fail", &|gateway| {
        word(&FailurePolicy::NAMED, gateway.fail).to_owned()
    });
    text("upstream", &|gateway| {
        let own = || "the connection's own destination".to_owned();
        gateway
            .upstream
            .map_or_else(own, |address| address.to_string())
    });
    text("upstream_protocol", &|gateway| {
        word(&UpstreamProtocol::NAMED, gateway.upstream_protocol).to_owned()
    });
    text("upstream_tls", &|gateway| gateway.upstream_tls.to_string());
    text("upstream_ca", &|gateway| {
        file(gateway.upstream_ca.as_deref())
    });
    text("upstream_proxy_protocol", &|gateway| {
        gateway.upstream_proxy_protocol.to_string()
    });
    text("certificates", &|gateway| {
        certificates(&gateway.certificates)
    });
    let times: [Named<Duration>; 5] = [
        ("head_timeout", |gateway| gateway.limits.head_timeout),
        ("body_timeout", |gateway| gateway.limits.body_timeout),
        ("idle_timeout", |gateway| gateway.limits.idle_timeout),
        ("upstream_timeout", |gateway| {
            gateway.limits.upstream_timeout
        }),
        ("drain_timeout", |gateway| gateway.limits.drain_timeout),
    ];
    for (name, of) in times {
        text(name, &|gateway| duration::format(of(gateway)));
    }
    let counts: [Named<String>; 5] = [
        ("head_bytes_max", |gateway| {
            gateway.limits.head_bytes_max.to_string()
        }),
        ("headers_max", |gateway| {
            gateway.limits.headers_max.to_string()
        }),
        ("connections_max", |gateway| {
            gateway.limits.connections_max.to_string()
        }),
        ("requests_max", |gateway| {
            gateway.limits.requests_max.to_string()
        }),
        ("streams_max", |gateway| {
            gateway.limits.streams_max.to_string()
        }),
    ];
    for (name, of) in counts {
        text(name, &of);
    }
}

/// A setting of the gateway by its name.
type Named<T> = (&'static str, fn(&Gateway) -> T);

fn file(path: Option<&Path>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

fn certificates(all: &[Certificate]) -> String {
    let names: Vec<String> = all
        .iter()
        .map(|one| format!("{} with {}", one.certificate.display(), one.key.display()))
        .collect();
    joined(&names)
}

/// Pages are told by their length: they are too long for a sentence.
fn refusals(out: &mut Vec<String>, old: &RefusalPages, new: &RefusalPages) {
    value(out, "refusal.status", &old.status, &new.status);
    value(
        out,
        "refusal.limit_status",
        &old.limit_status,
        &new.limit_status,
    );
    let length = |page: &Option<String>| {
        let built_in = || "built-in".to_owned();
        page.as_ref()
            .map_or_else(built_in, |page| format!("{} bytes", page.len()))
    };
    for (name, old, new) in [
        ("html", &old.html, &new.html),
        ("json", &old.json, &new.json),
    ] {
        if old != new {
            out.push(format!("refusal.{name}: {} → {}", length(old), length(new)));
        }
    }
}

fn limits(out: &mut Vec<String>, old: &[RequestLimit], new: &[RequestLimit]) {
    for before in old {
        let name = &before.name;
        match new.iter().find(|after| after.name == *name) {
            None => out.push(format!("limit \"{name}\" removed")),
            Some(after) => limit(out, before, after),
        }
    }
    for after in new {
        if !old.iter().any(|before| before.name == after.name) {
            out.push(format!("limit \"{}\" added", after.name));
        }
    }
}

fn limit(out: &mut Vec<String>, old: &RequestLimit, new: &RequestLimit) {
    let mut text = |name: &str, of: &dyn Fn(&RequestLimit) -> String| {
        value(
            out,
            &format!("limit \"{}\" {name}", old.name),
            &of(old),
            &of(new),
        );
    };
    let count = |count: Option<u32>| count.map_or_else(|| "no limit".to_owned(), |n| n.to_string());
    text("paths", &|limit| match limit.paths.as_slice() {
        [] => "all".to_owned(),
        paths => joined(paths),
    });
    text("key", &|limit| word(&LimitKey::NAMED, limit.key).to_owned());
    text("requests", &|limit| count(limit.requests));
    text("concurrent", &|limit| count(limit.concurrent));
    text("window", &|limit| duration::format(limit.window));
    text("mode", &|limit| {
        word(&LimitMode::NAMED, limit.mode).to_owned()
    });
}

fn sign_ins(out: &mut Vec<String>, old: &[SignIn], new: &[SignIn]) {
    let name = |one: &SignIn| format!("sign_in \"{} {}\"", one.method, one.path);
    for before in old {
        match new.iter().find(|after| after.is_same_request(before)) {
            None => out.push(format!("{} removed", name(before))),
            Some(after) => sign_in(out, &name(before), before, after),
        }
    }
    for after in new {
        if !old.iter().any(|before| before.is_same_request(after)) {
            out.push(format!("{} added", name(after)));
        }
    }
    // The first that matches counts.
    let kept = |all: &[SignIn], others: &[SignIn]| -> Vec<String> {
        let both = |one: &&SignIn| others.iter().any(|other| other.is_same_request(one));
        all.iter().filter(both).map(name).collect()
    };
    if kept(old, new) != kept(new, old) {
        out.push("sign_in in another order".to_owned());
    }
}

fn sign_in(out: &mut Vec<String>, name: &str, old: &SignIn, new: &SignIn) {
    let mut text = |key: &str, of: &dyn Fn(&SignIn) -> String| {
        value(out, &format!("{name} {key}"), &of(old), &of(new));
    };
    text("flow", &|one| word(&Flow::NAMED, one.flow).to_owned());
    text("user", &|one| match &one.user {
        UserPlace::Nowhere => "none".to_owned(),
        UserPlace::Field(field, take) => format!("{field} ({})", word(&Repeated::NAMED, *take)),
        UserPlace::Basic => "basic".to_owned(),
    });
    text("body_bytes_max", &|one| one.body_bytes_max.to_string());
    text("statuses", &|one| one.answer.statuses.to_string());
    text("outcome", &|one| one.answer.place.to_string());
    text("outcomes", &|one| {
        let words = one.answer.words.iter();
        let words: Vec<String> = words
            .map(|(word, outcome)| format!("{}={word}", outcome.name()))
            .collect();
        joined(&words)
    });
}

pub(super) fn endpoint(old: &Endpoint, new: &Endpoint) -> Vec<String> {
    let mut out = Vec::new();
    value(&mut out, "listen", &place(&old.listen), &place(&new.listen));
    let mode = |endpoint: &Endpoint| match &endpoint.listen {
        Listen::Unix(_, mode) => format!("{mode:04o}"),
        Listen::Tcp(_) => "none".to_owned(),
    };
    value(&mut out, "listen_mode", &mode(old), &mode(new));
    value(
        &mut out,
        "profile",
        &old.profile.name(),
        &new.profile.name(),
    );
    value(&mut out, "service", &old.service, &new.service);
    value(&mut out, "peer", &peer(&old.peer), &peer(&new.peer));
    value(&mut out, "resolved", &old.resolved, &new.resolved);
    let user = |endpoint: &Endpoint| endpoint.user_header.clone().unwrap_or_default();
    value(&mut out, "user_header", &user(old), &user(new));
    out
}

fn place(listen: &Listen) -> String {
    match listen {
        Listen::Unix(path, _) => format!("unix:{}", path.display()),
        Listen::Tcp(address) => address.to_string(),
    }
}

fn peer(source: &PeerSource) -> String {
    match source {
        PeerSource::Header(name) => format!("header:{name}"),
        PeerSource::LastHop => "last-hop".to_owned(),
        PeerSource::Protocol => "protocol".to_owned(),
    }
}

pub(super) fn signal(old: &SignalSource, new: &SignalSource) -> Vec<String> {
    let mut out = Vec::new();
    let service = |source: &SignalSource| source.service.clone().unwrap_or_default();
    value(&mut out, "service", &service(old), &service(new));
    let place = |source: &SignalSource| match &source.place {
        SignalPlace::File(path) => path.display().to_string(),
        SignalPlace::Journal(units) => format!("journal of {}", joined(units)),
    };
    value(&mut out, "place", &place(old), &place(new));
    value(&mut out, "format", &old.format.name(), &new.format.name());
    value(&mut out, "start", &old.start.name(), &new.start.name());
    if old.recipe != new.recipe && old.format == new.format {
        out.push("its options changed".to_owned());
    }
    out
}
