//! What a record says. MaxMind nests (`country.iso_code`), ip-location-db and IPinfo do not (`country_code`); one type
//! reads all of them, so a file need not say which it is.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{Anonymous, Kind, Place};

/// One record; what is not named here is skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    country: Named<'a>,
    #[serde(borrow)]
    registered_country: Named<'a>,
    #[serde(borrow)]
    city: Named<'a>,
    #[serde(borrow)]
    subdivisions: Vec<Named<'a>>,
    #[serde(borrow)]
    postal: Named<'a>,
    location: Location,
    country_code: Option<&'a str>,
    country_name: Option<&'a str>,
    state1: Option<&'a str>,
    region: Option<&'a str>,
    postcode: Option<&'a str>,
    postal_code: Option<&'a str>,
    latitude: Degrees,
    longitude: Degrees,
    lat: Degrees,
    lng: Degrees,
    autonomous_system_number: Number,
    autonomous_system_organization: Option<&'a str>,
    asn: Number,
    as_name: Option<&'a str>,
    as_domain: Option<&'a str>,
    isp: Option<&'a str>,
    domain: Option<&'a str>,
    #[serde(borrow)]
    traits: Traits<'a>,
    is_anonymous: bool,
    is_anonymous_vpn: bool,
    is_hosting_provider: bool,
    is_public_proxy: bool,
    is_residential_proxy: bool,
    is_tor_exit_node: bool,
}

/// What MaxMind's larger databases put a level deeper.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Traits<'a> {
    autonomous_system_number: Number,
    autonomous_system_organization: Option<&'a str>,
    isp: Option<&'a str>,
    domain: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location {
    latitude: Degrees,
    longitude: Degrees,
}

/// Text, or a table with a code and English names.
#[derive(Debug, Default)]
struct Named<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
}

/// A number, also where it is written as text.
#[derive(Clone, Copy, Debug, Default)]
struct Degrees(Option<f64>);

/// A number of an autonomous system, also where it is written as `AS64500`.
#[derive(Clone, Copy, Debug, Default)]
struct Number(Option<u32>);

impl Record<'_> {
    /// The number of the autonomous system; 0 is nobody's.
    pub(super) fn asn(&self) -> Option<u32> {
        let named = self.autonomous_system_number.0;
        named
            .or(self.traits.autonomous_system_number.0)
            .or(self.asn.0)
            .filter(|number| *number > 0)
    }

    /// Whether it holds what files of a kind are there for.
    pub(super) fn tells(&self, kind: Kind) -> bool {
        match kind {
            Kind::City => self.iso_code().is_some(),
            Kind::Asn => self.asn().is_some(),
            Kind::Anonymous => self.anonymous().any,
        }
    }

    /// Adds what is not known yet.
    pub(super) fn fill(&self, place: &mut Place) {
        let traits = &self.traits;
        // Of two databases that disagree one is believed as a whole: a city of one in a country of the other is nowhere.
        if place.country.is_none() {
            set(&mut place.country, self.iso_code());
            set(&mut place.country_name, self.country_name());
            let state = self.subdivisions.first().and_then(|state| state.name);
            set(&mut place.state, state.or(self.state1).or(self.region));
            set(&mut place.city, self.city.name);
            let postal = self.postal.code.or(self.postal.name);
            set(
                &mut place.postal,
                postal.or(self.postcode).or(self.postal_code),
            );
            let location = &self.location;
            let latitude = location.latitude.or(self.latitude).or(self.lat);
            let longitude = location.longitude.or(self.longitude).or(self.lng);
            if let (Some(latitude), Some(longitude)) =
                (latitude.within(90.0), longitude.within(180.0))
            {
                place.latitude = Some(latitude);
                place.longitude = Some(longitude);
            }
        }
        if place.asn.is_none() {
            place.asn = self.asn();
            let named = self.autonomous_system_organization;
            let named = named.or(traits.autonomous_system_organization);
            set(&mut place.as_org, named.or(self.as_name));
        }
        set(&mut place.isp, self.isp.or(traits.isp));
        set(
            &mut place.domain,
            self.domain.or(traits.domain).or(self.as_domain),
        );
        place.anonymous = place.anonymous.or(self.anonymous());
    }

    fn iso_code(&self) -> Option<&str> {
        let nested = self.country.code.or(self.registered_country.code);
        let plain = self.country.name.filter(|text| is_iso_code(text));
        self.country_code
            .or(nested)
            .or(plain)
            .filter(|code| is_iso_code(code))
    }

    fn country_name(&self) -> Option<&str> {
        let plain = self.country.name.filter(|text| !is_iso_code(text));
        self.country_name.or(plain).or_else(|| {
            self.registered_country
                .name
                .filter(|_| self.country.code.is_none())
        })
    }

    fn anonymous(&self) -> Anonymous {
        let named = Anonymous {
            any: self.is_anonymous,
            vpn: self.is_anonymous_vpn,
            hosting: self.is_hosting_provider,
            public_proxy: self.is_public_proxy,
            residential_proxy: self.is_residential_proxy,
            tor: self.is_tor_exit_node,
        };
        Anonymous::default().or(named)
    }
}

impl Anonymous {
    /// What either says.
    const fn or(self, other: Self) -> Self {
        let vpn = self.vpn || other.vpn;
        let hosting = self.hosting || other.hosting;
        let public_proxy = self.public_proxy || other.public_proxy;
        let residential_proxy = self.residential_proxy || other.residential_proxy;
        let tor = self.tor || other.tor;
        let named = vpn || hosting || public_proxy || residential_proxy || tor;
        Self {
            any: self.any || other.any || named,
            vpn,
            hosting,
            public_proxy,
            residential_proxy,
            tor,
        }
    }
}

impl Degrees {
    fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }

    fn within(self, most: f64) -> Option<f64> {
        self.0.filter(|degrees| degrees.abs() <= most)
    }
}

fn set(place: &mut Option<String>, text: Option<&str>) {
    if place.is_none() {
        *place = text
            .filter(|text| !text.is_empty())
            .map(|text| text.chars().take(TEXT_CHARS_MAX).collect());
    }
}

fn is_iso_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Named<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a table with names")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Named {
                    code: None,
                    name: Some(text),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut named = Named::default();
                while let Some(key) = map.next_key::<&'de str>()? {
                    match key {
                        "iso_code" | "code" => named.code = Some(map.next_value()?),
                        "names" => named.name = map.next_value::<Names<'de>>()?.en,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(named)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

/// A visitor of numbers and of text that is one.
macro_rules! number {
    ($type:ident, $float:expr, $integer:expr, $text:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Any;
                impl Visitor<'_> for Any {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a number, or text that is one")
                    }

                    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                        Ok($type($float(value)))
                    }

                    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                        Ok($type($integer(value)))
                    }

                    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                        Ok($type(i64::try_from(value).ok().and_then($integer)))
                    }

                    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                        Ok($type($text(text.trim())))
                    }
                }
                deserializer.deserialize_any(Any)
            }
        }
    };
}

number!(
    Degrees,
    |value: f64| Some(value),
    |value: i64| i32::try_from(value).ok().map(f64::from),
    |text: &str| text.parse().ok()
);
number!(
    Number,
    |_| None,
    |value: i64| u32::try_from(value).ok(),
    |text: &str| text.strip_prefix("AS").unwrap_or(text).parse().ok()
);

/// Longest text that is taken over, characters.
const TEXT_CHARS_MAX: usize = 200;
