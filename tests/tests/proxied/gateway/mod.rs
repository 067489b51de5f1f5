//! The gateway in the path of a real nginx: requests that the proxy host forwards, and clients that come straight.

mod chains;
mod clients;
mod failures;
mod handover;
mod load;
mod origins;
mod sign_ins;
mod streams;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use lab::{
    Agent, AgentConfig, KeptAlive, Lab, Need, Origin, RealProxy, Received, Request, Response,
    Result, TestFn,
};

use super::world::{ANSWER_MAX, ATTACKER, ATTACKER_V6, host_of, reaches, told, until, zones};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    [
        clients::tests(),
        streams::tests(),
        failures::tests(),
        handover::tests(),
        load::tests(),
        origins::tests(),
        chains::tests(),
        sign_ins::tests(),
    ]
    .concat()
}

/// Plain HTTP; without the gateway connections reach the application.
pub(crate) const OPEN: u16 = 80;
/// The same over TLS, which ends at the gateway and again at the application.
pub(crate) const TLS: u16 = 443;
/// Plain HTTP; without the gateway connections are refused.
pub(crate) const CLOSED: u16 = 8080;
/// PROXY protocol towards the gateway and towards the application.
pub(crate) const PROXIED: u16 = 8090;

/// The agent with its gateway, nginx as the application, and what the application tells.
pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) application: RealProxy,
    pub(crate) origin: Origin,
    pub(crate) lab: Lab,
}

impl World {
    /// Starts everything in block mode with the attackers blocked; returns once the gateway judges.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        certificate(&lab)?;
        let origin = Origin::start(&lab, &lab.login)?;
        let application = application(&lab)?;
        let agent = Agent::start(&lab, &config())?;
        agent.cli_ok(&["block", ATTACKER])?;
        agent.cli_ok(&["block", ATTACKER_V6])?;
        let world = Self {
            agent,
            application,
            origin,
            lab,
        };
        world.judges(OPEN)?;
        Ok(world)
    }

    /// Waits until the gateway judges connections to a port.
    pub(crate) fn judges(&self, port: u16) -> Result<()> {
        let mut last = String::new();
        until("the gateway judges", || {
            last = match self.forwarded(port, ATTACKER, &Request::get("/judged")) {
                Ok(answer) if answer.status == 403 => return Ok(true),
                Ok(answer) => format!("{}\n{}", answer.head, answer.body),
                Err(error) => format!("{error:#}"),
            };
            Ok(false)
        })
        .with_context(|| format!("{last}\nagent:\n{}", self.agent.log()))
    }

    /// See [`forwarded`].
    pub(crate) fn forwarded(&self, port: u16, client: &str, request: &Request) -> Result<Response> {
        forwarded(&self.lab, port, client, request)
    }

    /// As [`World::forwarded`]; the application must be told exactly who the client is.
    pub(crate) fn passes(&self, port: u16, client: &str, request: &Request) -> Result<Received> {
        let answer = self.forwarded(port, client, request)?;
        let received = reaches(&answer).with_context(|| format!("{client} at {port}"))?;
        told(&received, client, "pass")?;
        Ok(received)
    }

    /// A request of a client that comes straight.
    pub(crate) fn direct(&self, port: u16, client: &str, request: &Request) -> Result<Response> {
        let address: IpAddr = client.parse()?;
        let host = host_of(&self.lab, address)?;
        Ok(host.http(address, self.at(address, port), request, ANSWER_MAX)?)
    }

    /// See [`at`].
    pub(crate) fn at(&self, like: IpAddr, port: u16) -> SocketAddr {
        at(&self.lab, like, port)
    }

    /// The kernel has refused nothing so far: nobody but proxies and unblocked clients came.
    pub(crate) fn nothing_dropped(&self) -> Result<()> {
        let status = self.agent.cli_json(&["status"])?;
        ensure!(
            status["packets"]["refused"] == 0,
            "frames were refused: {}",
            status["packets"]
        );
        Ok(())
    }

    /// For the end of a failed test.
    pub(crate) fn logs(&self) -> String {
        format!(
            "application:\n{}\nagent:\n{}",
            super::world::tail(&self.application.output()),
            super::world::tail(&self.agent.log())
        )
    }
}

/// A request that the proxy host forwards for a client, on a connection of its own.
pub(crate) fn forwarded(lab: &Lab, port: u16, client: &str, request: &Request) -> Result<Response> {
    let client: IpAddr = client.parse()?;
    let request = request
        .clone()
        .header(&format!("X-Forwarded-For: {client}"));
    let source = lab.proxy.address_like(client);
    Ok(lab
        .proxy
        .http(source, at(lab, client, port), &request, ANSWER_MAX)?)
}

/// A connection of the proxy host, for several requests of several clients.
pub(crate) fn proxy_connection(lab: &Lab, port: u16) -> Result<KeptAlive> {
    let source = lab.proxy.v4().into();
    Ok(lab
        .proxy
        .keep_alive(source, at(lab, source, port), ANSWER_MAX)?)
}

/// A port of the login host, in the family of the other address.
pub(crate) fn at(lab: &Lab, like: IpAddr, port: u16) -> SocketAddr {
    (lab.login.address_like(like), port).into()
}

/// One request of a client on a connection that several share.
pub(crate) fn on(connection: &mut KeptAlive, client: &str, path: &str) -> Result<Response> {
    let request = Request::get(path).header(&format!("X-Forwarded-For: {client}"));
    Ok(connection.send(&request)?)
}

/// Four services, as a host may have them.
pub(crate) fn config() -> AgentConfig {
    zones(AgentConfig::new("block")).toml(&format!(
        r#"
        [[service]]
        name = "login"
        ports = [{OPEN}]
        [service.gateway]
        fail = "open"
        drain_timeout = "3s"
        [[service.limit]]
        name = "sign-in"
        paths = ["/limited"]
        requests = 3
        window = "1h"
        [[service.limit]]
        name = "at a time"
        paths = ["/slow/few"]
        concurrent = 2

        [[service]]
        name = "login over TLS"
        ports = [{TLS}]
        [service.gateway]
        upstream_tls = true
        certificates = [{{ certificate = "login.pem", key = "login.key" }}]
        drain_timeout = "3s"

        [[service]]
        name = "admin"
        ports = [{CLOSED}]
        [service.gateway]
        fail = "closed"
        drain_timeout = "3s"

        [[service]]
        name = "behind HAProxy"
        ports = [{PROXIED}]
        header = "proxy-protocol"
        [service.gateway]
        upstream_proxy_protocol = true
        drain_timeout = "3s"
        "#
    ))
}

/// nginx as an application: it tells what reached it, has a file of a gigabyte, and takes uploads and WebSockets.
pub(crate) fn application(lab: &Lab) -> Result<RealProxy> {
    let folder = lab.directory().join("application");
    std::fs::create_dir_all(&folder)?;
    let file = std::fs::File::create(folder.join("large"))?;
    // A hole: it takes no room on the disk.
    file.set_len(LARGE_BYTES)?;
    let directory = lab.directory().display();
    let port = Origin::PORT;
    let text = format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
         ssl_certificate {directory}/login.pem; ssl_certificate_key {directory}/login.key;\n\
         large_client_header_buffers 8 64k; client_max_body_size 0; keepalive_requests 100000;\n\
         server {{\n\
           listen {OPEN} backlog=4096; listen [::]:{OPEN} backlog=4096; listen {CLOSED}; listen [::]:{CLOSED};\n\
           listen {TLS} ssl http2; listen [::]:{TLS} ssl http2;\n\
           listen {PROXIED} proxy_protocol; listen [::]:{PROXIED} proxy_protocol;\n\
           location = /large {{ root {directory}/application; }}\n\
           location / {{\n\
             proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1;\n\
             proxy_set_header Host $http_host; proxy_set_header Connection $connection_upgrade;\n\
             proxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header X-Peer $remote_addr; proxy_set_header X-Scheme $scheme;\n\
             proxy_set_header X-Told-By-Proxy-Protocol $proxy_protocol_addr;\n\
             proxy_request_buffering off; proxy_buffering off;\n\
           }}\n\
         }}\n"
    );
    let [v4, v6] = lab.login.addresses();
    let listens = [OPEN, TLS, CLOSED]
        .map(|port| [(v4, port).into(), (v6, port).into()])
        .concat();
    RealProxy::nginx(&lab.login, &folder, &text, &listens)
}

/// A certificate for the login host, which signs itself.
pub(crate) fn certificate(lab: &Lab) -> Result<()> {
    let names = format!("DNS:{NAME},IP:{},IP:{}", lab.login.v4(), lab.login.v6());
    lab.certificate("login", &names).map(drop)
}

/// The name in the certificate.
pub(crate) const NAME: &str = "login.example";
/// Length of the large file.
pub(crate) const LARGE_BYTES: u64 = 1 << 30;
