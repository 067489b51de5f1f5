//! The login host with the agent's data path, a gateway's stand-in and nginx; and who answers whom.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edgeward::config::{Config, Interfaces};
use edgeward::datapath::{Datapath, Sizes, SteeringCounts, Wanted};
use edgeward::policy::clock::Now;
use edgeward::policy::listing::Desired;
use edgeward::policy::zone::ZoneTable;
use edgeward_ebpf::abi::{ABI_VERSION, Limits, PolicyWord, mode, port, profile};
use lab::{EDGE, Host, Lab, Request, Site};

use super::stand_in::{GREETING, StandIn};

pub(crate) struct World {
    /// `None` while the agent is gone.
    datapath: Option<Datapath>,
    /// Where it runs.
    host: Host,
    pub(crate) gateway: Option<StandIn>,
    pub(crate) site: Site,
    rules: u64,
    zones: String,
    // Dropped last: the namespaces must outlive what runs in them.
    pub(crate) lab: Lab,
}

/// Who answered a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The stand-in, with its idea of both ends.
    Gateway {
        local: SocketAddr,
        peer: IpAddr,
    },
    Application,
    Refused,
}

impl World {
    /// An agent whose port 80 has these rules ([`port`]), with the zones of [`ZONES`] and no gateway yet.
    pub(crate) fn new(name: &str, rules: u64) -> Result<Self> {
        let lab = Lab::new(name)?;
        let site = lab.site()?;
        let mut world = Self {
            datapath: None,
            host: lab.login.clone(),
            gateway: None,
            site,
            rules,
            zones: ZONES.to_owned(),
            lab,
        };
        world.launch()?;
        Ok(world)
    }

    /// The same with a gateway that serves.
    pub(crate) fn served(name: &str, rules: u64) -> Result<Self> {
        let mut world = Self::new(name, rules)?;
        world.serve()?;
        Ok(world)
    }

    /// Starts a gateway and has connections handed to it.
    pub(crate) fn serve(&mut self) -> Result<()> {
        let gateway = StandIn::start(&self.lab.login, self.datapath().heartbeat())?;
        gateway.take_over(self.datapath())?;
        self.gateway = Some(gateway);
        Ok(())
    }

    /// Starts the agent that is not running.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let login = self.lab.login.clone();
        self.launch_in(&login, EDGE)
    }

    /// The same somewhere else.
    pub(crate) fn launch_in(&mut self, host: &Host, interface: &str) -> Result<()> {
        let config = Config::parse("", Path::new("/"), "built in").map_err(as_error)?;
        let wanted = self.wanted()?;
        let pins = self.root();
        let datapath = host.in_ns(|| -> Result<Datapath> {
            let mut datapath = Datapath::open(&pins, &Sizes::of(&config), 7)?;
            datapath.apply(&wanted)?;
            datapath.set_policy(policy(mode::BLOCK));
            datapath.attach(&Interfaces::Named(vec![interface.to_owned()]))?;
            Ok(datapath)
        })??;
        self.datapath = Some(datapath);
        self.host = host.clone();
        Ok(())
    }

    /// The agent goes, as if killed: nothing is said to the kernel.
    pub(crate) fn lose_agent(&mut self) {
        self.datapath = None;
    }

    #[expect(
        clippy::expect_used,
        reason = "a test that asks without an agent is wrong"
    )]
    pub(crate) fn datapath(&self) -> &Datapath {
        self.datapath.as_ref().expect("the agent runs")
    }

    /// Does something to the data path inside the host.
    pub(crate) fn inside<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Datapath) -> T + Send,
    ) -> Result<T> {
        let datapath = self.datapath.as_mut().context("the agent does not run")?;
        self.host.in_ns(|| work(datapath))
    }

    /// What a reload does: other rules for port 80, other zones.
    pub(crate) fn reload(&mut self, rules: u64, zones: &str) -> Result<()> {
        self.rules = rules;
        zones.clone_into(&mut self.zones);
        let wanted = self.wanted()?;
        self.inside(|datapath| -> Result<()> {
            datapath.apply(&wanted)?;
            datapath.attach(&Interfaces::Named(vec![EDGE.to_owned()]))?;
            Ok(())
        })?
    }

    /// What an exempt decision or a changed zone does.
    pub(crate) fn set_zones(&mut self, zones: &str) -> Result<()> {
        zones.clone_into(&mut self.zones);
        let table = self.wanted()?.zones;
        self.inside(|datapath| datapath.set_zones(&table).map(drop))?
    }

    /// Everything that verify finds.
    pub(crate) fn differences(&mut self) -> Result<Vec<String>> {
        let wanted = self.wanted()?;
        let found = self.inside(|datapath| datapath.verify(&wanted))??;
        ensure!(found.checked > 0, "nothing was compared");
        Ok(found.differences)
    }

    pub(crate) fn counts(&self) -> Result<SteeringCounts> {
        Ok(self.datapath().steering()?.counts)
    }

    /// The directory that the configuration names.
    pub(crate) fn root(&self) -> PathBuf {
        self.lab.bpffs().join("edgeward")
    }

    /// Where the pins are.
    pub(crate) fn pins(&self) -> PathBuf {
        self.root().join(format!("v{ABI_VERSION}"))
    }

    /// Who answers on port 80.
    pub(crate) fn answer(&self, host: &Host, source: IpAddr) -> Result<Answer> {
        self.answer_on(host, source, self.site.address(source))
    }

    /// Who answers there.
    pub(crate) fn answer_on(
        &self,
        host: &Host,
        source: IpAddr,
        target: SocketAddr,
    ) -> Result<Answer> {
        let response = match host.http(source, target, &Request::get("/"), ANSWER_MAX) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return Ok(Answer::Refused);
            }
            other => other.with_context(|| format!("{source} to {target}"))?,
        };
        if response.body == Site::ANSWER {
            return Ok(Answer::Application);
        }
        let Some((local, peer)) = response
            .body
            .strip_prefix(GREETING)
            .and_then(|ends| ends.split_once(' '))
        else {
            bail!("{source} to {target}: {response:?}");
        };
        Ok(Answer::Gateway {
            local: local.parse()?,
            peer: peer.parse::<SocketAddr>()?.ip(),
        })
    }

    /// Checks who answers a host in both families.
    pub(crate) fn expect(&self, host: &Host, wanted: &str) -> Result<()> {
        for source in host.addresses() {
            let found = self.answer(host, source)?;
            let right = match wanted {
                "gateway" => {
                    found
                        == Answer::Gateway {
                            local: self.site.address(source),
                            peer: source,
                        }
                }
                "application" => found == Answer::Application,
                "refused" => found == Answer::Refused,
                other => bail!("nobody is called {other}"),
            };
            ensure!(right, "{source} should be answered by {wanted}: {found:?}");
        }
        Ok(())
    }

    fn wanted(&self) -> Result<Wanted> {
        let config = Config::parse(&self.zones, Path::new("/"), "zones").map_err(as_error)?;
        let flags = self.rules | port::PROTECTED;
        Ok(Wanted {
            entries: Desired::default(),
            zones: ZoneTable::build(&config.zones, [], Now::default()),
            ports: vec![(Site::HTTP, flags)],
            limits: [Limits::default(); profile::COUNT as usize],
            hidden: false,
        })
    }
}

/// The policy word of a mode.
pub(crate) const fn policy(mode: u8) -> PolicyWord {
    PolicyWord::new(mode, 80, 50, false, false, false, 0)
}

/// Polls until it is so; the time only bounds a failure.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so()? {
        if Instant::now() >= deadline {
            bail!("never: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn as_error(mistakes: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{mistakes}")
}

/// The lab's proxy is a trusted proxy, its exempt host is exempt.
pub(crate) const ZONES: &str = r#"
[[zone]]
name = "cdn"
uses = ["trusted-proxy"]
networks = ["198.51.100.64/26", "2001:db8:9::/48"]
[[zone]]
name = "office"
uses = ["exempt"]
networks = ["198.51.100.128/26", "2001:db8:e::/48"]
"#;
/// Longest an answer may take: only a failure does.
const ANSWER_MAX: Duration = Duration::from_secs(10);
