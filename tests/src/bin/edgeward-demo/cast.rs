//! Who takes part: clients good and bad with their addresses, the operator's configuration, and one round of
//! sign-ins by everybody at the same time.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use lab::{Host, Lab, Process, Request, Result, Site};

use crate::page::Style;

/// One client with one address.
pub(crate) struct Actor {
    /// As the table names it.
    pub(crate) who: &'static str,
    pub(crate) source: IpAddr,
    pub(crate) part: Part,
    host: Host,
    /// The CDN's address, for a client that signs in through it.
    through: Option<SocketAddr>,
    /// Sign-ins that the site has answered, in each round.
    rounds: Vec<Round>,
}

/// What a client does in the play.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// An attacker whom the configuration names.
    Known,
    /// An attacker whom only the operator can name.
    Unknown,
    /// Nobody may ever refuse it.
    Good,
}

/// Who is refused in a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enforced {
    /// Attackers whose own packets arrive.
    pub(crate) direct: bool,
    /// Attackers behind the CDN.
    pub(crate) proxied: bool,
}

impl Enforced {
    pub(crate) const NOBODY: Self = Self {
        direct: false,
        proxied: false,
    };
    pub(crate) const EVERYWHERE: Self = Self {
        direct: true,
        proxied: true,
    };
    pub(crate) const DIRECT_ONLY: Self = Self {
        direct: true,
        proxied: false,
    };
}

/// How one sign-in ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    SignedIn,
    /// 403 with an event's id.
    Refused,
    Nothing,
}

#[derive(Clone, Copy)]
struct Round {
    /// Sign-ins that the client saw answered.
    answered: usize,
    /// Sign-ins that were answered with a refusal.
    refused: usize,
    /// Sign-ins that the site's own log shows.
    logged: usize,
    right: bool,
}

/// Everybody, and the names of the rounds played so far.
pub(crate) struct Cast {
    pub(crate) actors: Vec<Actor>,
    titles: Vec<&'static str>,
}

impl Cast {
    /// The clients of the lab, in the order of the table.
    ///
    /// # Errors
    /// An address below is no address.
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        let cdn = [lab.proxy.v4().into(), lab.proxy.v6().into()]
            .map(|address| SocketAddr::new(address, Site::HTTP));
        let actors = parts(lab).into_iter().map(|(who, host, source, part)| {
            let source = source
                .parse()
                .with_context(|| format!("no address: {source}"))?;
            let through = (who == CUSTOMER_PROXIED || who == ATTACKER_PROXIED)
                .then(|| {
                    cdn.into_iter()
                        .find(|address| address.is_ipv4() == IpAddr::is_ipv4(&source))
                })
                .flatten();
            Ok(Actor {
                who,
                source,
                part,
                host: host.clone(),
                through,
                rounds: Vec::new(),
            })
        });
        Ok(Self {
            actors: actors.collect::<Result<_>>()?,
            titles: Vec::new(),
        })
    }

    /// Everybody signs in [`TRIES`] times at the same time. Whether everything went as it should: where it is
    /// `enforced` the bad ones get no answer, or behind the CDN a refusal, and the site never hears of them; everybody
    /// else always gets in.
    ///
    /// # Errors
    /// A host of the lab is gone, or the site's log does not show what it has answered.
    pub(crate) fn round(
        &mut self,
        site: &Site,
        title: &'static str,
        enforced: Enforced,
    ) -> Result<bool> {
        self.titles.push(title);
        let rounds = thread::scope(|scope| {
            let playing: Vec<_> = self
                .actors
                .iter()
                .map(|actor| scope.spawn(|| actor.play(site, enforced)))
                .collect();
            playing
                .into_iter()
                .map(|one| {
                    one.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let mut right = true;
        for (actor, round) in self.actors.iter_mut().zip(rounds) {
            right &= round.right;
            actor.rounds.push(round);
        }
        Ok(right)
    }

    /// Everybody's rounds so far.
    pub(crate) fn table(&self) -> Vec<Vec<(String, Style)>> {
        let mut header = vec![
            ("WHO".to_owned(), Style::Plain),
            ("FROM".to_owned(), Style::Plain),
        ];
        header.extend(
            self.titles
                .iter()
                .map(|title| (title.to_uppercase(), Style::Plain)),
        );
        let mut rows = vec![header];
        for actor in &self.actors {
            let mut row = vec![
                (actor.who.to_owned(), Style::Plain),
                (actor.source.to_string(), Style::Plain),
            ];
            row.extend(actor.rounds.iter().map(Round::cell));
            rows.push(row);
        }
        rows
    }
}

/// Who they are, where they are, and which part they play.
fn parts(lab: &Lab) -> [(&'static str, &Host, &'static str, Part); 13] {
    const LISTED: &str = "attacker, on your list";
    const UNKNOWN: &str = "attacker, known to nobody";
    const OFFICE: &str = "your office, exempt";
    let (attacker, customer, office) = (&lab.attacker, &lab.innocent, &lab.exempt);
    [
        (
            "attacker, in your blocked zone",
            attacker,
            BLOCKED_V4,
            Part::Known,
        ),
        (LISTED, attacker, LISTED_V6, Part::Known),
        (LISTED, office, NEIGHBOUR_V4, Part::Known),
        (UNKNOWN, attacker, UNKNOWN_V4, Part::Unknown),
        (UNKNOWN, attacker, UNKNOWN_V6, Part::Unknown),
        ("customer", customer, CUSTOMER_V4, Part::Good),
        ("customer", customer, "2001:db8:600d::10", Part::Good),
        (OFFICE, office, OFFICE_V4, Part::Good),
        (OFFICE, office, "2001:db8:e::130", Part::Good),
        (CUSTOMER_PROXIED, customer, "198.51.100.11", Part::Good),
        (CUSTOMER_PROXIED, customer, "2001:db8:600d::11", Part::Good),
        (ATTACKER_PROXIED, attacker, PROXIED_V4, Part::Known),
        (ATTACKER_PROXIED, attacker, PROXIED_V6, Part::Known),
    ]
}

impl Actor {
    fn play(&self, site: &Site, enforced: Enforced) -> Result<Round> {
        let enforced = match self.through {
            Some(_) => enforced.proxied,
            None => enforced.direct,
        };
        let bad = enforced && self.part != Part::Good;
        let before = self.arrived(site);
        // Who is dropped waits for nothing, so a short wait will do; who is not gets all the time a busy machine takes.
        let dropped = bad && self.through.is_none();
        let patience = if dropped { PATIENCE_DROPPED } else { PATIENCE };
        let ends: Vec<Ended> = thread::scope(|scope| {
            let tries: Vec<_> = (0..TRIES)
                .map(|number| scope.spawn(move || self.sign_in(site, number, patience)))
                .collect();
            tries
                .into_iter()
                .map(|one| one.join().unwrap_or(Ended::Nothing))
                .collect()
        });
        let count = |end: Ended| ends.iter().filter(|one| **one == end).count();
        let (answered, refused) = (count(Ended::SignedIn), count(Ended::Refused));
        // nginx logs a request after it has answered it.
        let deadline = Instant::now() + LOGGED_MAX;
        while self.arrived(site) < before + answered && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        let logged = self.arrived(site).saturating_sub(before);
        let expected = match (bad, self.through) {
            (false, _) => (TRIES, 0),
            (true, None) => (0, 0),
            (true, Some(_)) => (0, TRIES),
        };
        Ok(Round {
            answered,
            refused,
            logged,
            right: (answered, refused) == expected && logged == answered,
        })
    }

    /// Sign-ins of this client that the site has logged.
    fn arrived(&self, site: &Site) -> usize {
        match self.through {
            Some(_) => site.requests_for(self.source),
            None => site.requests_from(self.source),
        }
    }

    /// A sign-in as a browser sends it, and how it ended.
    fn sign_in(&self, site: &Site, number: usize, patience: Duration) -> Ended {
        let form = format!("user=user{number}@example.org&password=Spring2026!");
        let request = Request::post("/login", &form);
        let address = self.through.unwrap_or_else(|| site.address(self.source));
        match self.host.http(self.source, address, &request, patience) {
            Ok(answer) if answer.status == 200 && answer.body == Site::ANSWER => Ended::SignedIn,
            Ok(answer) if answer.status == 403 && answer.body.contains("Event ") => Ended::Refused,
            _ => Ended::Nothing,
        }
    }
}

impl Round {
    fn cell(&self) -> (String, Style) {
        let text = match (self.answered, self.refused, self.logged) {
            (0, 0, 0) => "cut off".to_owned(),
            (0, TRIES, 0) => "got 403".to_owned(),
            (TRIES, 0, TRIES) => "got in".to_owned(),
            // The two ends disagree, or only some got in: never as it should be.
            (answered, refused, logged) => {
                format!("{answered} answered, {refused} refused, {logged} arrived")
            }
        };
        match (self.right, self.answered) {
            (false, _) => (format!("{text} (WRONG)"), Style::Bad),
            (true, 0) => (text, Style::Bad),
            (true, _) => (text, Style::Good),
        }
    }
}

/// Sign-ins of each client in a round.
pub(crate) const TRIES: usize = 3;
/// Longest a sign-in that should be answered may take: only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a client that is to be dropped waits for an answer.
const PATIENCE_DROPPED: Duration = Duration::from_millis(900);

/// Longest until the site has logged what it has answered: only a failure takes it.
const LOGGED_MAX: Duration = Duration::from_secs(10);

const CUSTOMER_PROXIED: &str = "customer behind your CDN";
const ATTACKER_PROXIED: &str = "attacker behind your CDN";
/// In no zone and on no list.
pub(crate) const CUSTOMER_V4: &str = "198.51.100.10";
/// In the blocked zone.
pub(crate) const PROXIED_V4: &str = "203.0.113.99";
/// On the list.
const PROXIED_V6: &str = "2001:db8:bad::99";
const BLOCKED_V4: &str = "203.0.113.66";
const LISTED_V6: &str = "2001:db8:bad::66";
/// A neighbour of the office in the same hosting network.
pub(crate) const NEIGHBOUR_V4: &str = "198.51.100.131";
/// In no zone and on no list.
pub(crate) const UNKNOWN_V4: &str = "203.0.113.9";
const UNKNOWN_V6: &str = "2001:db8:bad:9::9";
/// What the operator blocks to stop it.
pub(crate) const UNKNOWN_V6_NETWORK: &str = "2001:db8:bad:9::/64";
/// The exempt office.
pub(crate) const OFFICE_V4: &str = "198.51.100.130";
/// The trusted proxy.
pub(crate) const PROXY_V4: &str = "198.51.100.70";

/// The operator's configuration. Office and CDN lie inside networks of bad repute on purpose.
pub(crate) const CONFIGURATION: &str = r#"mode = "log"                        # look first, refuse later
interfaces = ["edge0"]

[[zone]]
name = "office"
uses = ["exempt"]                   # never refused, whatever else says so
networks = ["198.51.100.130", "2001:db8:e::130"]

[[zone]]
name = "cdn"
uses = ["trusted-proxy"]            # stands for many people: never dropped
networks = ["198.51.100.70", "2001:db8:9::70"]

[[zone]]
name = "never"
uses = ["blocked"]
networks = ["203.0.113.64/26"]

[[list]]                            # networks that attacks have come from
name = "bad-hosting"
score = 90
networks = ["198.51.100.64-198.51.100.191", "2001:db8:bad::/64", "2001:db8:9::/48", "2001:db8:e::/48"]

[[service]]
name = "login"
ports = [80, 443]

[service.gateway]                   # what comes through the CDN is judged by the client behind it
fail = "open"                       # without the agent it reaches nginx unjudged

[[signal]]                          # where sign-ins are seen to fail
name = "access log"
file = "/var/log/nginx/access.log"
format = "nginx"
routes = ["POST /sign-in success=302 failure=401"]
"#;

/// The CDN: a real nginx that forwards to the login host and says for whom.
pub(crate) fn cdn(lab: &Lab) -> Result<Process> {
    let folder = lab.directory().display().to_string();
    let server = |listen: IpAddr, upstream: IpAddr| {
        let listen = SocketAddr::new(listen, Site::HTTP);
        let upstream = SocketAddr::new(upstream, Site::HTTP);
        format!(
            "server {{ listen {listen}; location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}\n"
        )
    };
    let (v4, v6) = (
        server(lab.proxy.v4().into(), lab.login.v4().into()),
        server(lab.proxy.v6().into(), lab.login.v6().into()),
    );
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {folder}/cdn.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n\
         client_body_temp_path {folder}/cdn-body; proxy_temp_path {folder}/cdn-proxy;\n\
         fastcgi_temp_path {folder}/cdn-fastcgi; uwsgi_temp_path {folder}/cdn-uwsgi; scgi_temp_path {folder}/cdn-scgi;\n\
         {v4}{v6} }}\n"
    );
    let path = lab.write("cdn.conf", &configuration)?;
    let path = path.display().to_string();
    lab.proxy
        .spawn(&["nginx", "-e", "stderr", "-p", &folder, "-c", &path])
}

/// Where this agent keeps its things; hidden from the reader, who has the defaults.
pub(crate) const PLACES: &str =
    "socket = {socket}\nstate_dir = {state_dir}\nbpffs_dir = {bpffs_dir}\n";
