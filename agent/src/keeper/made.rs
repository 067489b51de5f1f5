//! What is known of zones that were made: how they become zones of a configuration, and what they may be.

use ipnet::IpNet;
use tracing::error;

use crate::{
    api::secret,
    config::{Config, Networks, Uses, Zone},
    control::{
        Failure, FailureKind, Target,
        zones::{ZoneDraft, ZoneFact},
    },
    store::MadeZone,
};

/// The zones that were made, and how many of the configuration's come before them in [`Config::zones`].
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) zones: Vec<MadeZone>,
    configured: usize,
}

/// Most zones that are made.
const MADE_MAX: usize = 256;
/// Most networks of one of them.
const NETWORKS_MAX: usize = 5_000;
/// Most networks of all of them: they are written down as a whole with each change.
const NETWORKS_ALL_MAX: usize = 20_000;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;

impl Made {
    pub(super) const fn new(zones: Vec<MadeZone>) -> Self {
        Self {
            zones,
            configured: 0,
        }
    }

    /// Adds the zones that were made to a configuration that has none of them yet. One whose name the configuration has
    /// taken does not count; what is said of it is given back.
    pub(super) fn join(&mut self, config: &mut Config) -> Vec<String> {
        self.configured = config.zones.len();
        let mut notes = Vec::new();
        for made in self.zones.iter().filter(|made| made.active) {
            if config.zones.iter().any(|zone| zone.name == made.name) {
                notes.push(format!(
                    "the zone \"{}\" that was made does not count: the configuration has one of this name",
                    made.name
                ));
                continue;
            }
            config.zones.extend(expanded(made));
        }
        notes
    }

    /// The configuration's own zones.
    pub(super) fn configured<'c>(&self, config: &'c Config) -> &'c [Zone] {
        config.zones.get(..self.configured).unwrap_or_default()
    }

    pub(super) const fn configured_count(&self) -> usize {
        self.configured
    }

    pub(super) const fn set_configured_count(&mut self, count: usize) {
        self.configured = count;
    }
}

/// A zone that was made as the zones of a configuration: one for each of its lists.
pub(super) fn expanded(made: &MadeZone) -> Vec<Zone> {
    let gateways = match (made.blocked, made.exempt) {
        (true, _) => Uses::BLOCKED,
        (false, true) => Uses::GATEWAY.with(Uses::EXEMPT),
        (false, false) => Uses::GATEWAY,
    };
    let mut out = Vec::new();
    for (uses, texts) in [
        (gateways, &made.gateways),
        (Uses::TRUSTED_PROXY, &made.proxies),
    ] {
        if texts.is_empty() {
            continue;
        }
        let networks = texts.iter().flat_map(|text| match text.parse::<Target>() {
            Ok(target) => target.networks().to_vec(),
            Err(error) => {
                error!(
                    "a network of the zone \"{}\" is left out: {error}",
                    made.name
                );
                Vec::new()
            }
        });
        let name = if out.is_empty() {
            made.name.clone()
        } else {
            format!("{} (proxies)", made.name)
        };
        out.push(Zone {
            name,
            uses,
            networks: Networks::from_networks(networks),
        });
    }
    out
}

/// Whether a zone may become what the draft says.
pub(super) fn check(
    draft: &ZoneDraft,
    old: Option<&MadeZone>,
    config: &Config,
    made: &Made,
) -> Result<(), Failure> {
    let name = draft.name.as_str();
    let odd = name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name.trim() != name
        || name.chars().any(char::is_control);
    if odd {
        return Err(usage(format!(
            "name: must be 1 to {NAME_BYTES_MAX} bytes of printable text"
        )));
    }
    let mut taken = config.zones.iter().map(|zone| &zone.name);
    let mut others = made.zones.iter().map(|zone| &zone.name);
    let is_taken = taken.any(|known| known == name) || others.any(|known| known == name);
    if is_taken && old.is_none_or(|old| old.name != name) {
        let what = format!("name: there is already a zone \"{name}\"");
        return Err(Failure::new(FailureKind::Conflict, what));
    }
    let exempt = old.is_some_and(|old| old.exempt);
    let proxies = !draft.proxies.is_empty();
    let fault = match (draft.blocked, exempt) {
        _ if draft.gateways.is_empty() && !proxies => "gateways: a zone needs at least one network",
        (true, _) if proxies => "proxies: a block list has none",
        (true, true) => "usage: an exempt zone is no block list",
        (false, true) if proxies => "proxies: an exempt zone has none",
        _ => return trust_has_an_end(draft, old, config),
    };
    Err(usage(fault.to_owned()))
}

/// Whoever trusts every address believes a forwarding header from anybody.
fn trust_has_an_end(
    draft: &ZoneDraft,
    old: Option<&MadeZone>,
    config: &Config,
) -> Result<(), Failure> {
    let own: Vec<Zone> = old.map(expanded).unwrap_or_default();
    let others = config
        .zones
        .iter()
        .filter(|zone| zone.uses.contains(Uses::TRUSTED_PROXY))
        .filter(|zone| !own.iter().any(|own| own.name == zone.name));
    let mut every: Vec<IpNet> = others
        .flat_map(|zone| zone.networks.prefixes.iter().copied())
        .collect();
    every.extend(draft.proxies.iter().flat_map(Target::networks));
    let whole = IpNet::aggregate(&every)
        .into_iter()
        .find(|network| network.prefix_len() == 0);
    match whole {
        None => Ok(()),
        Some(whole) => Err(usage(format!(
            "proxies: {whole}, every address there is, would be trusted, and anybody could forge the client"
        ))),
    }
}

pub(super) fn made_fact(zone: &MadeZone) -> ZoneFact {
    let uses = expanded(zone)
        .iter()
        .fold(Uses::default(), |all, one| all.with(one.uses));
    ZoneFact {
        id: zone.id.clone(),
        name: zone.name.clone(),
        uses: names(uses),
        configured: false,
        active: zone.active,
        gateways: zone.gateways.clone(),
        proxies: zone.proxies.clone(),
        networks: (zone.gateways.len() + zone.proxies.len()) as u64,
        created_ms: zone.created_ms,
        updated_ms: zone.updated_ms,
    }
}

pub(super) fn names(uses: Uses) -> Vec<String> {
    uses.names().into_iter().map(str::to_owned).collect()
}

pub(super) fn few_enough(zones: &[MadeZone]) -> Result<(), Failure> {
    let networks = |zone: &MadeZone| zone.gateways.len() + zone.proxies.len();
    if zones.len() > MADE_MAX {
        return Err(usage(format!("name: there are {MADE_MAX} zones already")));
    }
    if zones.iter().any(|zone| networks(zone) > NETWORKS_MAX) {
        return Err(usage(format!(
            "gateways: a zone has at most {NETWORKS_MAX} networks; longer lists belong into files of the configuration"
        )));
    }
    if zones.iter().map(networks).sum::<usize>() > NETWORKS_ALL_MAX {
        return Err(usage(format!(
            "gateways: all zones that are made have at most {NETWORKS_ALL_MAX} networks together"
        )));
    }
    Ok(())
}

/// The id of a zone that the configuration defines: its name's.
pub(super) fn configured_id(name: &str) -> String {
    let hash = secret::hex(&secret::hash(name));
    format!("nzo{}", hash.get(..ID_DIGITS).unwrap_or_default())
}

pub(super) fn new_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    secret::random(&mut bytes).map_err(|what| Failure::new(FailureKind::Internal, what))?;
    let hex = secret::hex(&bytes);
    Ok(format!("nzo{}", hex.get(..ID_DIGITS).unwrap_or_default()))
}

/// With the three letters before them, as long as Okta's.
const ID_DIGITS: usize = 17;

pub(super) fn usage(what: String) -> Failure {
    Failure::new(FailureKind::Usage, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> MadeZone {
        MadeZone {
            id: format!("nzo-{name}"),
            name: name.to_owned(),
            blocked: false,
            exempt: false,
            active: true,
            gateways: vec![
                "192.0.2.0/24".to_owned(),
                "198.51.100.1-198.51.100.2".to_owned(),
            ],
            proxies: Vec::new(),
            created_ms: 1,
            updated_ms: 1,
            actor: "token x".to_owned(),
        }
    }

    fn config(text: &str) -> Config {
        Config::parse(text, std::path::Path::new("/"), "test.toml").unwrap()
    }

    const OFFICE: &str =
        "[[zone]]\nname = \"office\"\nuses = [\"exempt\"]\nnetworks = [\"203.0.113.0/24\"]\n";

    #[test]
    fn a_zone_becomes_zones_by_what_its_lists_are_for() {
        let uses = |zone: &MadeZone| -> Vec<(String, Uses, usize)> {
            let all = expanded(zone).into_iter();
            all.map(|one| (one.name, one.uses, one.networks.len()))
                .collect()
        };
        let plain = made("a");
        assert_eq!(uses(&plain), [("a".to_owned(), Uses::GATEWAY, 3)]);
        let exempt = MadeZone {
            exempt: true,
            ..made("a")
        };
        assert_eq!(
            uses(&exempt),
            [("a".to_owned(), Uses::GATEWAY.with(Uses::EXEMPT), 3)]
        );
        let blocked = MadeZone {
            blocked: true,
            ..made("a")
        };
        assert_eq!(uses(&blocked), [("a".to_owned(), Uses::BLOCKED, 3)]);
        let both = MadeZone {
            proxies: vec!["10.0.0.1".to_owned()],
            ..made("a")
        };
        let proxies = ("a (proxies)".to_owned(), Uses::TRUSTED_PROXY, 1);
        assert_eq!(uses(&both), [("a".to_owned(), Uses::GATEWAY, 3), proxies]);
    }

    #[test]
    fn zones_stand_behind_the_configuration_and_give_way_to_its_names() {
        let mut config = config(OFFICE);
        let off = MadeZone {
            active: false,
            ..made("off")
        };
        let mut zones = Made::new(vec![made("a"), made("office"), off]);
        let notes = zones.join(&mut config);
        let names: Vec<&str> = config.zones.iter().map(|zone| zone.name.as_str()).collect();
        assert_eq!(names, ["office", "a"]);
        assert_eq!(zones.configured(&config).len(), 1);
        assert!(
            notes.len() == 1 && notes[0].contains("\"office\""),
            "{notes:?}"
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_its_field() {
        let mut config = config(OFFICE);
        let mut zones = Made::new(vec![made("a")]);
        zones.join(&mut config);
        let targets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let draft = |name: &str, blocked, gateways: &[&str], proxies: &[&str]| ZoneDraft {
            name: name.to_owned(),
            blocked,
            active: None,
            gateways: targets(gateways),
            proxies: targets(proxies),
        };
        let exempt = MadeZone {
            exempt: true,
            ..made("a")
        };
        let net = ["10.0.0.0/8"];
        let cases = [
            (draft("", false, &net, &[]), None, "name: must be"),
            (draft(" x", false, &net, &[]), None, "name: must be"),
            (
                draft("office", false, &net, &[]),
                None,
                "name: there is already",
            ),
            (draft("a", false, &net, &[]), None, "name: there is already"),
            (draft("b", false, &[], &[]), None, "gateways: "),
            (draft("b", true, &net, &net), None, "proxies: a block list"),
            (draft("a", true, &net, &[]), Some(&exempt), "usage: "),
            (
                draft("a", false, &net, &net),
                Some(&exempt),
                "proxies: an exempt zone",
            ),
            (
                draft("b", false, &[], &["0.0.0.0/1", "128.0.0.0/1"]),
                None,
                "proxies: 0.0.0.0/0",
            ),
        ];
        for (draft, old, said) in cases {
            let failure = check(&draft, old, &config, &zones).expect_err(said);
            assert!(failure.message.starts_with(said), "{}", failure.message);
        }
        for (draft, old) in [
            (draft("b", false, &net, &net), None),
            (draft("b", true, &net, &[]), None),
            (draft("a", false, &net, &[]), Some(&exempt)),
        ] {
            check(&draft, old, &config, &zones).unwrap();
        }
    }

    #[test]
    fn ids_are_as_long_as_oktas_and_those_of_names_stay() {
        assert_eq!(configured_id("office"), configured_id("office"));
        assert_ne!(configured_id("office"), configured_id("cdn"));
        assert_eq!(configured_id("office").len(), 20);
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert!(one != other && one.len() == 20 && one.starts_with("nzo"));
    }
}
