//! The gateway beside nginx `proxy_pass` and HAProxy: the same client host, the same application, the same cores.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use lab::{Agent, AgentConfig, Lab, Process, Result};

use super::{
    Pace, idle, line, ready, usage,
    wrk::{self, Load},
};
use crate::{
    contenders::start_agent,
    stats::{median, megabytes},
    targets::Target,
};

/// All contenders with their figures.
#[derive(Debug, Clone)]
pub(crate) struct Gateways {
    contenders: Vec<Contender>,
    idle_connections: usize,
}

#[derive(Debug, Clone)]
struct Contender {
    name: &'static str,
    port: u16,
    loads: Vec<Load>,
    /// Processor time of a request, µs, by run; none for the application itself.
    processor_us: Vec<f64>,
    /// Resident bytes before and with the idle connections; none for the application itself.
    memory: Option<(u64, u64)>,
}

struct Stage {
    // The agent first: it is killed before its lab goes.
    agent: Agent,
    nginx: Process,
    haproxy: Process,
    _application: Process,
    lab: Lab,
}

impl Gateways {
    pub(crate) fn measure(pace: Pace) -> Result<Self> {
        eprintln!("gateway: nginx, HAProxy and Edgeward before the same application");
        let stage = Stage::new(pace)?;
        let mut contenders: Vec<Contender> = [
            ("the application itself", APPLICATION),
            (NGINX_NAME, NGINX),
            (HAPROXY_NAME, HAPROXY),
            (EDGEWARD_NAME, EDGEWARD),
        ]
        .into_iter()
        .map(|(name, port)| Contender {
            name,
            port,
            loads: Vec::new(),
            processor_us: Vec::new(),
            memory: None,
        })
        .collect();
        for round in 0..=pace.rounds {
            for contender in &mut contenders {
                let url = format!("http://{}:{}/login", stage.lab.login.v4(), contender.port);
                let pid = stage.pid(contender.port);
                let before = pid.map(usage::processor_ns).transpose()?;
                let load = wrk::run(&stage.lab.proxy, &url, CONNECTIONS, pace.seconds)?;
                let after = pid.map(usage::processor_ns).transpose()?;
                // The first round only warms up.
                if round > 0 {
                    contender.loads.push(load);
                    let spent = before.zip(after).map(|(before, after)| {
                        Duration::from_nanos(after.saturating_sub(before)).as_secs_f64() * 1e6
                    });
                    let of_one = spent.map(|spent| spent / load.requests.max(1.0));
                    contender.processor_us.extend(of_one);
                }
            }
        }
        for contender in &mut contenders {
            contender.memory = stage.idle_memory(contender, pace.idle_connections)?;
        }
        Ok(Self {
            contenders,
            idle_connections: pace.idle_connections,
        })
    }

    pub(crate) fn targets(&self, targets: &mut Vec<Target>) {
        let (Some(nginx), Some(edgeward)) = (self.named(NGINX_NAME), self.named(EDGEWARD_NAME))
        else {
            return;
        };
        let times = |ratio: f64| format!("{ratio:.2} ×");
        targets.push(Target::at_least(
            "gateway: requests a second, of nginx `proxy_pass`".to_owned(),
            1.0,
            edgeward.rate() / nginx.rate().max(1.0),
            times,
        ));
        targets.push(Target::at_most(
            "gateway: 99th percentile of the latency, of nginx's".to_owned(),
            1.5,
            edgeward.p99() / nginx.p99().max(0.001),
            times,
        ));
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        line(
            text,
            "\n## Gateway\n\n`wrk` with 64 keep-alive connections on the trusted proxy's host, an nginx that answers 200 at once as the\napplication, and before it one reverse proxy at a time; all on the same cores. CPU time and resident memory are\nof all processes of a server; idle connections have made a request each and been quiet for three seconds.\n",
        );
        let idle = self.idle_connections;
        line(
            text,
            &format!(
                "| Reverse proxy | requests/s | of nginx | p50 ms | p99 ms | CPU µs a request | memory idle | with {idle} idle connections | a connection |\n|---|---|---|---|---|---|---|---|---|"
            ),
        );
        let nginx = self.named(NGINX_NAME).map_or(1.0, Contender::rate);
        for contender in &self.contenders {
            let memory = contender.memory.map_or_else(
                || "– | – | –".to_owned(),
                |(before, with)| {
                    let each =
                        with.saturating_sub(before) / u64::try_from(idle).unwrap_or(1).max(1);
                    format!(
                        "{} | {} | {:.1} kB",
                        megabytes(before),
                        megabytes(with),
                        f64::from(u32::try_from(each).unwrap_or(u32::MAX)) / 1e3
                    )
                },
            );
            let processor = match contender.processor_us.as_slice() {
                [] => "–".to_owned(),
                runs => format!("{:.1}", median(runs)),
            };
            line(
                text,
                &format!(
                    "| {} | {:.0} | {:.2} × | {:.2} | {:.2} | {processor} | {memory} |",
                    contender.name,
                    contender.rate(),
                    contender.rate() / nginx.max(1.0),
                    contender.median_of(|load| load.p50_ms),
                    contender.p99(),
                ),
            );
        }
    }

    fn named(&self, name: &str) -> Option<&Contender> {
        self.contenders
            .iter()
            .find(|contender| contender.name == name)
    }
}

impl Contender {
    fn median_of(&self, field: impl Fn(&Load) -> f64) -> f64 {
        median(&self.loads.iter().map(field).collect::<Vec<_>>())
    }

    fn rate(&self) -> f64 {
        self.median_of(|load| load.rate)
    }

    fn p99(&self) -> f64 {
        self.median_of(|load| load.p99_ms)
    }
}

impl Stage {
    fn new(pace: Pace) -> Result<Self> {
        let lab = Lab::new("bench-gateway")?;
        let folder = lab.directory().display().to_string();
        let login = &lab.login;
        let path = lab.write("application.conf", &application(&folder))?;
        let path = path.display().to_string();
        let application = login.spawn(&["nginx", "-e", "stderr", "-p", &folder, "-c", &path])?;
        let path = lab.write("nginx-proxy.conf", &nginx(&folder))?;
        let path = path.display().to_string();
        let nginx = login.spawn(&["nginx", "-e", "stderr", "-p", &folder, "-c", &path])?;
        let path = lab.write("haproxy.cfg", &haproxy(pace.idle_connections + 50))?;
        let path = path.display().to_string();
        let haproxy = login.spawn(&["haproxy", "-db", "-f", &path])?;
        let config = AgentConfig::new("block")
            .zone("cdn", &["trusted-proxy"], &["198.51.100.64/26"])
            .list("bad", 90, &["203.0.113.64/26"])
            .push(
                "service",
                [
                    ("name", "login".into()),
                    ("ports", vec![i64::from(EDGEWARD)].into()),
                    ("gateway", gateway()),
                ],
            );
        let agent = start_agent(&lab, &config)?;
        for port in [APPLICATION, NGINX, HAPROXY, EDGEWARD] {
            ready(&lab.proxy, SocketAddr::new(lab.login.v4().into(), port))?;
        }
        Ok(Self {
            agent,
            nginx,
            haproxy,
            _application: application,
            lab,
        })
    }

    /// The process of whoever listens there; none for the application itself.
    fn pid(&self, port: u16) -> Option<u32> {
        match port {
            NGINX => Some(self.nginx.id()),
            HAPROXY => Some(self.haproxy.id()),
            EDGEWARD => self.agent.id(),
            _ => None,
        }
    }

    fn idle_memory(&self, contender: &Contender, connections: usize) -> Result<Option<(u64, u64)>> {
        let Some(pid) = self.pid(contender.port) else {
            return Ok(None);
        };
        let before = usage::resident(pid)?;
        let address = SocketAddr::new(self.lab.login.v4().into(), contender.port);
        // Sources of their own: ports of the contender before are not free yet.
        let own = u32::from(contender.port - NGINX) * SOURCES_EACH;
        let first = Ipv4Addr::from(u32::from(self.lab.proxy.v4()) + own);
        let open = idle::open(&self.lab.proxy, first, address, connections)?;
        let with = usage::resident(pid)?;
        drop(open);
        Ok(Some((before, with)))
    }
}

fn gateway() -> toml::Value {
    let mut table = toml::Table::new();
    table.insert(
        "upstream".to_owned(),
        format!("127.0.0.1:{APPLICATION}").into(),
    );
    table.insert("connections_max".to_owned(), 20_000.into());
    table.into()
}

fn application(folder: &str) -> String {
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/application.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 18000; }}\n\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type text/plain;\n\
         server {{ listen {APPLICATION} backlog=4096; location / {{ return 200 \"signed in\\n\"; }} }} }}\n"
    )
}

fn nginx(folder: &str) -> String {
    format!(
        "daemon off;\nworker_processes 2;\npid {folder}/nginx-proxy.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 18000; }}\n\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
         client_body_temp_path {folder}/np-body; proxy_temp_path {folder}/np-proxy;\n\
         fastcgi_temp_path {folder}/np-fastcgi; uwsgi_temp_path {folder}/np-uwsgi; scgi_temp_path {folder}/np-scgi;\n\
         upstream application {{ server 127.0.0.1:{APPLICATION}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen {NGINX} backlog=4096; location / {{ proxy_pass http://application; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }} }}\n"
    )
}

fn haproxy(connections: usize) -> String {
    format!(
        "global\n  nbthread 2\n  maxconn {connections}\n\
defaults\n  mode http\n  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n  http-reuse always\n\
frontend f\n  bind :8082\n  default_backend b\nbackend b\n  server a 127.0.0.1:8080\n"
    )
}

const CONNECTIONS: usize = 64;
/// Source addresses that a contender's idle connections come from.
const SOURCES_EACH: u32 = 4;
const APPLICATION: u16 = 8080;
const NGINX: u16 = 8081;
const HAPROXY: u16 = 8082;
/// Where the application itself could listen: steering hands the connections to the gateway.
const EDGEWARD: u16 = 8083;
const NGINX_NAME: &str = "nginx `proxy_pass`";
const HAPROXY_NAME: &str = "HAProxy";
const EDGEWARD_NAME: &str = "**Edgeward** gateway";
