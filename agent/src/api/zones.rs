//! `/api/v1/zones`: the zones in Okta's shape. A zone of its type `IP` has gateways, which are judged as themselves, and
//! proxies, which are trusted. What the configuration defines can be read; the others can be changed.

use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    desk::{Answer, Desk, done, link, told},
    fault::Fault,
};
use crate::{
    control::{
        Request, Target,
        zones::{ZoneDraft, ZoneFact, ZoneFacts},
    },
    journal::published,
    lapi::Query,
};

/// What a client sends; fields that it may only read are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    usage: Option<String>,
    status: Option<String>,
    gateways: Option<Vec<Address>>,
    proxies: Option<Vec<Address>>,
}

#[derive(Debug, Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
}

/// Zones of one page if the request does not say, and at most.
const PAGE_MAX: usize = 200;

pub(super) async fn list(
    desk: &Desk,
    token: &str,
    parts: &Parts,
    base: &str,
) -> Result<Answer, Fault> {
    let query = Query::new(parts.uri.query().unwrap_or_default());
    let given = |name: &str| query.first(name).filter(|value| !value.is_empty());
    let limit = match given("limit").as_deref() {
        // Okta's word for no limit.
        None | Some("-1") => PAGE_MAX,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|limit| *limit > 0)
            .ok_or_else(|| Fault::invalid("limit", "must be a positive number."))?
            .min(PAGE_MAX),
    };
    let filter = given("filter").map(|text| Wish::read(&text)).transpose()?;
    let mut zones = facts(desk, token).await?;
    zones.retain(|zone| filter.as_ref().is_none_or(|wish| wish.holds(zone)));
    let begin = match given("after") {
        None => 0,
        Some(after) => zones
            .iter()
            .position(|zone| zone.id == after)
            .map(|at| at + 1)
            .ok_or_else(|| Fault::invalid("after", "is no cursor."))?,
    };
    let page: Vec<&ZoneFact> = zones.iter().skip(begin).take(limit).collect();
    let shown: Vec<Value> = page.iter().map(|zone| shape(zone, base)).collect();
    let mut answer = told(&Value::Array(shown));
    let url = |more: String| format!("{base}/api/v1/zones?limit={limit}{more}");
    let wish = filter.as_ref().map(Wish::written).unwrap_or_default();
    let last = page.last().filter(|_| begin + page.len() < zones.len());
    let next = last.map(|last| url(format!("{wish}&after={}", last.id)));
    link(&mut answer, &url(wish), next);
    Ok(answer)
}

pub(super) async fn show(desk: &Desk, token: &str, base: &str, id: &str) -> Result<Answer, Fault> {
    let zones = facts(desk, token).await?;
    let zone = zones.iter().find(|zone| zone.id == id);
    zone.map(|zone| told(&shape(zone, base)))
        .ok_or_else(|| Fault::not_found(&format!("{id} (NetworkZone)")))
}

/// Makes a zone, or gives one another content.
pub(super) async fn put(
    desk: &Desk,
    token: &str,
    base: &str,
    id: Option<&str>,
    body: &Value,
) -> Result<Answer, Fault> {
    let wanted = Wanted::deserialize(body).map_err(|error| Fault::body(&error.to_string()))?;
    let request = Request::ZonePut {
        id: id.map(str::to_owned),
        zone: draft(wanted)?,
    };
    changed(desk, token, base, request).await
}

pub(super) async fn switch(
    desk: &Desk,
    token: &str,
    base: &str,
    id: &str,
    active: bool,
) -> Result<Answer, Fault> {
    let id = id.to_owned();
    changed(desk, token, base, Request::ZoneActive { id, active }).await
}

pub(super) async fn delete(desk: &Desk, token: &str, id: &str) -> Result<Answer, Fault> {
    let id = id.to_owned();
    desk.ask(Request::ZoneDelete { id }, token).await?;
    Ok(done())
}

async fn changed(desk: &Desk, token: &str, base: &str, request: Request) -> Result<Answer, Fault> {
    let data = desk.ask(request, token).await?;
    let zone: ZoneFact =
        serde_json::from_value(data).map_err(|error| Fault::internal(&error.to_string()))?;
    Ok(told(&shape(&zone, base)))
}

async fn facts(desk: &Desk, token: &str) -> Result<Vec<ZoneFact>, Fault> {
    let data = desk.ask(Request::ZoneFacts, token).await?;
    let facts: ZoneFacts =
        serde_json::from_value(data).map_err(|error| Fault::internal(&error.to_string()))?;
    Ok(facts.zones)
}

fn draft(wanted: Wanted) -> Result<ZoneDraft, Fault> {
    match wanted.kind.as_deref() {
        None | Some("IP") => {}
        Some("DYNAMIC" | "DYNAMIC_V2") => {
            return Err(Fault::invalid(
                "type",
                "only zones of the type IP can be made; places and networks are not looked up here",
            ));
        }
        Some(_) => return Err(Fault::invalid("type", "must be IP")),
    }
    let blocked = match wanted.usage.as_deref() {
        None | Some("POLICY") => false,
        Some("BLOCKLIST") => true,
        Some(_) => return Err(Fault::invalid("usage", "must be POLICY or BLOCKLIST")),
    };
    let active = match wanted.status.as_deref() {
        None => None,
        Some("ACTIVE") => Some(true),
        Some("INACTIVE") => Some(false),
        Some(_) => return Err(Fault::invalid("status", "must be ACTIVE or INACTIVE")),
    };
    let Some(name) = wanted.name else {
        return Err(Fault::invalid("name", "The field cannot be left blank"));
    };
    Ok(ZoneDraft {
        name,
        blocked,
        active,
        gateways: targets("gateways", wanted.gateways)?,
        proxies: targets("proxies", wanted.proxies)?,
    })
}

fn targets(field: &str, addresses: Option<Vec<Address>>) -> Result<Vec<Target>, Fault> {
    let addresses = addresses.unwrap_or_default().into_iter();
    addresses
        .map(|address| {
            if !matches!(address.kind.as_deref(), None | Some("CIDR" | "RANGE")) {
                return Err(Fault::invalid(field, "the type must be CIDR or RANGE"));
            }
            let value = address.value.unwrap_or_default();
            let parsed = value.parse::<Target>();
            parsed.map_err(|what| Fault::invalid(field, &what))
        })
        .collect()
}

/// Fields beyond Okta's say what it has no words for.
fn shape(zone: &ZoneFact, base: &str) -> Value {
    let has = |one: &str| zone.uses.iter().any(|known| known == one);
    let addresses = |texts: &[String]| -> Value {
        let address = |text: &String| {
            let kind = if text.contains('-') { "RANGE" } else { "CIDR" };
            json!({ "type": kind, "value": cidr(text) })
        };
        texts.iter().map(address).collect()
    };
    let href = format!("{base}/api/v1/zones/{}", zone.id);
    let switch = if zone.active {
        "deactivate"
    } else {
        "activate"
    };
    let mut links = json!({ "self": { "href": href, "hints": { "allow": ["GET"] } } });
    if !zone.configured {
        links = json!({
            "self": { "href": href, "hints": { "allow": ["GET", "PUT", "DELETE"] } },
            switch: { "href": format!("{href}/lifecycle/{switch}"), "hints": { "allow": ["POST"] } },
        });
    }
    json!({
        "type": "IP",
        "id": zone.id,
        "name": zone.name,
        "status": if zone.active { "ACTIVE" } else { "INACTIVE" },
        "usage": if has("blocked") { "BLOCKLIST" } else { "POLICY" },
        "created": published(zone.created_ms),
        "lastUpdated": published(zone.updated_ms),
        // Okta's word for what cannot be changed here.
        "system": zone.configured,
        "gateways": addresses(&zone.gateways),
        "proxies": addresses(&zone.proxies),
        "uses": zone.uses,
        "networks": zone.networks,
        "_links": links,
    })
}

/// A single address as a prefix, as Okta gives it back.
fn cidr(text: &str) -> String {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv4() => format!("{address}/32"),
        Ok(address) => format!("{address}/128"),
        Err(_) => text.to_owned(),
    }
}

/// What Okta can be asked for in a list of zones: `usage eq "BLOCKLIST"`, or `id eq "…"`, several with `or`.
#[derive(Debug)]
struct Wish {
    text: String,
    usage: Vec<String>,
    ids: Vec<String>,
}

impl Wish {
    fn read(text: &str) -> Result<Self, Fault> {
        let mut wish = Self {
            text: text.to_owned(),
            usage: Vec::new(),
            ids: Vec::new(),
        };
        for term in text.split(" or ") {
            let mut words = term.split_whitespace();
            let parts = (words.next(), words.next(), words.next(), words.next());
            let (Some(name), Some(operator), Some(value), None) = parts else {
                return Err(Fault::search());
            };
            let value = value
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            let (true, Some(value)) = (operator.eq_ignore_ascii_case("eq"), value) else {
                return Err(Fault::search());
            };
            match name {
                "usage" => wish.usage.push(value.to_owned()),
                "id" => wish.ids.push(value.to_owned()),
                _ => return Err(Fault::search()),
            }
        }
        Ok(wish)
    }

    fn holds(&self, zone: &ZoneFact) -> bool {
        let blocked = zone.uses.iter().any(|one| one == "blocked");
        let usage = if blocked { "BLOCKLIST" } else { "POLICY" };
        self.ids.contains(&zone.id) || self.usage.iter().any(|one| one == usage)
    }

    fn written(&self) -> String {
        let text = self
            .text
            .replace('%', "%25")
            .replace(' ', "%20")
            .replace('"', "%22");
        format!("&filter={}", text.replace('&', "%26").replace(',', "%2C"))
    }
}

#[cfg(test)]
#[path = "zones_tests.rs"]
mod tests;
