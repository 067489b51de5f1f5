//! The proxies that ask a decision endpoint, each with the configuration that is shipped for it.

use std::net::SocketAddr;

use lab::{
    Agent, AgentConfig, Lab, Need, Origin, RealProxy, Result, needs_nothing, shipped, unpacked,
};

use super::world::{ATTACKER, ATTACKER_V6, cdn, ready, zones};

/// A sort of proxy.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    profile: &'static str,
    /// Name of the Unix socket, or a loopback address.
    listen: &'static str,
    start: fn(&Lab) -> Result<RealProxy>,
    /// Whether requests outside of `/admin/` go on while there is no agent.
    pub(crate) opens: bool,
    /// What requests below `/admin/` are answered while there is no agent, and while it hangs.
    pub(crate) closed: [u16; 2],
    /// What the test needs beside a lab.
    pub(crate) need: Need,
}

/// A proxy that runs, with all that is around it.
pub(crate) struct World {
    pub(crate) caller: Caller,
    pub(crate) agent: Agent,
    pub(crate) proxy: RealProxy,
    pub(crate) origin: Origin,
    _cdn: RealProxy,
    // Dropped last: processes go before their namespaces.
    pub(crate) lab: Lab,
}

impl Caller {
    /// Starts the proxy, the agent in block mode, the application and the CDN; the attackers are blocked.
    pub(crate) fn start(self, name: &str) -> Result<World> {
        let lab = Lab::new(name)?;
        let origin = Origin::start(&lab, &lab.login)?;
        let agent = Agent::start(&lab, &self.config())?;
        agent.cli_ok(&["block", ATTACKER])?;
        agent.cli_ok(&["block", ATTACKER_V6])?;
        let proxy = (self.start)(&lab)?;
        let cdn = cdn(&lab)?;
        ready(&lab, &agent, &[&proxy, &cdn])?;
        Ok(World {
            caller: self,
            agent,
            proxy,
            origin,
            _cdn: cdn,
            lab,
        })
    }

    fn config(&self) -> AgentConfig {
        let listen = if self.listen.contains(':') {
            self.listen.to_owned()
        } else {
            format!("unix:{{lab}}/{}", self.listen)
        };
        let profile = self.profile;
        zones(AgentConfig::new("block")).toml(&format!(
            "[[service]]\nname = \"login\"\nports = [80]\n\
             [[service.limit]]\nname = \"sign-in\"\npaths = [\"/limited\"]\nrequests = {LIMIT}\n\
             window = \"1h\"\n\
             [[endpoint]]\nname = \"proxy\"\nprofile = \"{profile}\"\nlisten = \"{listen}\"\n"
        ))
    }
}

/// Requests a window to `/limited`.
pub(crate) const LIMIT: i64 = 3;

pub(crate) const NGINX: Caller = Caller {
    profile: "auth-request",
    listen: "auth-request.sock",
    start: |lab| {
        let folder = shipped(lab, "nginx", &[(RUN, &run(lab))])?;
        RealProxy::nginx(&lab.login, &folder, "include login.conf;", &listens(lab))
    },
    opens: true,
    closed: [500, 500],
    need: needs_nothing,
};

pub(crate) const HAPROXY: Caller = Caller {
    profile: "spoe",
    listen: "spoe.sock",
    start: |lab| {
        let own = format!("{}/haproxy", run(lab));
        let folder = shipped(lab, "haproxy", &[(RUN, &run(lab)), ("/etc/haproxy", &own)])?;
        let file = folder.join("haproxy.cfg").display().to_string();
        RealProxy::start(&lab.login, &["haproxy", "-db", "-f", &file], &listens(lab))
    },
    opens: true,
    closed: [503, 503],
    need: || program("haproxy", "haproxy"),
};

pub(crate) const ENVOY_HTTP: Caller = Caller {
    profile: "ext-authz",
    listen: "ext-authz.sock",
    start: |lab| envoy(lab, "ext-authz-http.yaml"),
    opens: true,
    closed: [403, 403],
    need: || wheel("envoy"),
};

pub(crate) const ENVOY_GRPC: Caller = Caller {
    profile: "ext-authz-grpc",
    listen: "ext-authz-grpc.sock",
    start: |lab| envoy(lab, "ext-authz-grpc.yaml"),
    ..ENVOY_HTTP
};

pub(crate) const TRAEFIK: Caller = Caller {
    profile: "forward-auth",
    listen: "127.0.0.1:9401",
    start: |lab| {
        let own = format!("{}/traefik", run(lab));
        let mut replacements = TRUSTED.to_vec();
        replacements.push(("/etc/traefik", &own));
        let folder = shipped(lab, "traefik", &replacements)?;
        let option = format!("--configFile={}", folder.join("traefik.yml").display());
        let program = unpacked("traefik")?.display().to_string();
        RealProxy::start(&lab.login, &[&program, &option], &listens(lab))
    },
    opens: false,
    // While the agent hangs Traefik waits for half a minute, longer than these tests.
    closed: [500, 0],
    need: || wheel("traefik"),
};

pub(crate) const CADDY: Caller = Caller {
    profile: "forward-auth",
    listen: "forward-auth.sock",
    start: |lab| {
        let run = run(lab);
        let mut replacements = TRUSTED.to_vec();
        replacements.push((RUN, &run));
        let folder = shipped(lab, "caddy", &replacements)?;
        let file = folder.join("Caddyfile").display().to_string();
        let program = unpacked("caddy")?.display().to_string();
        let arguments = [&program, "run", "--adapter", "caddyfile", "--config", &file];
        RealProxy::start(&lab.login, &arguments, &listens(lab))
    },
    opens: true,
    closed: [502, 504],
    need: || wheel("caddy"),
};

fn envoy(lab: &Lab, name: &str) -> Result<RealProxy> {
    let folder = shipped(lab, "envoy", &[(RUN, &run(lab))])?;
    let file = folder.join(name).display().to_string();
    let program = unpacked("envoy")?.display().to_string();
    let arguments = [
        &program,
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--config-path",
        &file,
    ];
    RealProxy::start(&lab.login, &arguments, &listens(lab))
}

/// Where every shipped configuration listens.
fn listens(lab: &Lab) -> [SocketAddr; 2] {
    lab.login.addresses().map(|address| (address, 80).into())
}

/// The folder that takes the place of [`RUN`].
fn run(lab: &Lab) -> String {
    lab.directory().display().to_string()
}

fn program(name: &str, package: &str) -> std::result::Result<(), String> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .any(|folder| std::path::Path::new(folder).join(name).exists());
    found
        .then_some(())
        .ok_or_else(|| format!("install the package {package}"))
}

fn wheel(name: &str) -> std::result::Result<(), String> {
    unpacked(name)
        .map(drop)
        .map_err(|error| format!("{error:#}"))
}

/// The sockets' folder in the shipped configurations.
const RUN: &str = "/run/edgeward";
/// The networks of the operator's proxies in the shipped configurations.
const TRUSTED: [(&str, &str); 2] = [
    ("192.0.2.0/24", "198.51.100.64/26"),
    ("2001:db8:1::/48", "2001:db8:9::/48"),
];
