//! An `auth_request` to Edgeward beside one to an nginx `return 204`, from the same nginx to the same kind of socket.

use std::net::SocketAddr;

use lab::{Agent, AgentConfig, Lab, Process, Result};

use super::{
    Pace, line, ready,
    wrk::{self, Load},
};
use crate::{contenders::start_agent, stats::median, targets::Target};

/// The three ways with their figures.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    none: Vec<Load>,
    fixed: Vec<Load>,
    edgeward: Vec<Load>,
}

impl Endpoints {
    pub(crate) fn measure(pace: Pace) -> Result<Self> {
        eprintln!("endpoint: auth_request to Edgeward and to an nginx that answers 204");
        let lab = Lab::new("bench-endpoint")?;
        let (_agent, _nginx) = start(&lab)?;
        let mut all = Self {
            none: Vec::new(),
            fixed: Vec::new(),
            edgeward: Vec::new(),
        };
        for round in 0..=pace.rounds {
            for (path, loads) in [
                ("none", &mut all.none),
                ("fixed", &mut all.fixed),
                ("edgeward", &mut all.edgeward),
            ] {
                let url = format!("http://{}:{PORT}/{path}/page", lab.login.v4());
                let load = wrk::run(&lab.proxy, &url, CONNECTIONS, pace.seconds)?;
                // The first round only warms up.
                if round > 0 {
                    loads.push(load);
                }
            }
        }
        Ok(all)
    }

    /// What one question costs, µs of a request, over a request without one.
    fn cost_us(&self, loads: &[Load]) -> f64 {
        let a_request = |loads: &[Load]| {
            let rates: Vec<f64> = loads.iter().map(|load| load.rate).collect();
            1e6 / median(&rates).max(1.0)
        };
        a_request(loads) - a_request(&self.none)
    }

    pub(crate) fn targets(&self, targets: &mut Vec<Target>) {
        targets.push(Target::at_most(
            "an `auth_request` to Edgeward, of one to an nginx `return 204`".to_owned(),
            1.3,
            self.cost_us(&self.edgeward) / self.cost_us(&self.fixed).max(0.001),
            |ratio| format!("{ratio:.2} ×"),
        ));
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        line(
            text,
            "\n## Decision endpoint\n\nAn nginx with one worker that answers a small file, without a question, after one to an nginx `return 204`, and after\none to Edgeward's `auth-request` endpoint; both over keep-alive Unix sockets. The cost is the time of a request above\nthe one without a question, at full load on the same cores.\n",
        );
        line(
            text,
            "| Asked | requests/s | p50 ms | p99 ms | cost of the question, µs |\n|---|---|---|---|---|",
        );
        for (name, loads) in [
            ("nobody", &self.none),
            ("nginx `return 204`", &self.fixed),
            ("**Edgeward**", &self.edgeward),
        ] {
            let of = |field: fn(&Load) -> f64| median(&loads.iter().map(field).collect::<Vec<_>>());
            line(
                text,
                &format!(
                    "| {name} | {:.0} | {:.2} | {:.2} | {:.1} |",
                    of(|load| load.rate),
                    of(|load| load.p50_ms),
                    of(|load| load.p99_ms),
                    self.cost_us(loads),
                ),
            );
        }
    }
}

fn start(lab: &Lab) -> Result<(Agent, Process)> {
    let folder = lab.directory().display().to_string();
    let socket = format!("{folder}/authz.sock");
    let proxy = lab.proxy.v4().to_string();
    let config = AgentConfig::new("block")
        .zone("cdn", &["trusted-proxy"], &[&proxy])
        .list("bad", 90, &["203.0.113.64/26"])
        .service("login", &[PORT], false)
        .push(
            "endpoint",
            [
                ("name", "nginx".into()),
                ("listen", format!("unix:{socket}").into()),
                ("listen_mode", "0666".into()),
                ("profile", "auth-request".into()),
            ],
        );
    let agent = start_agent(lab, &config)?;
    lab.write("page", "signed in\n")?;
    let path = lab.write("nginx-auth.conf", &nginx(&folder, &socket))?;
    let path = path.display().to_string();
    let nginx = lab
        .login
        .spawn(&["nginx", "-e", "stderr", "-p", &folder, "-c", &path])?;
    ready(&lab.proxy, SocketAddr::new(lab.login.v4().into(), PORT))?;
    Ok((agent, nginx))
}

fn nginx(folder: &str, socket: &str) -> String {
    let ask = |name: &str, upstream: &str| {
        format!(
            "location /{name}/ {{ auth_request /ask-{name}; alias {folder}/; }}\n\
             location = /ask-{name} {{ internal; proxy_pass http://{upstream}/check; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_pass_request_body off; proxy_set_header Content-Length \"\";\n\
             proxy_set_header X-Edgeward-Peer $realip_remote_addr; proxy_set_header X-Original-URI $request_uri;\n\
             proxy_set_header X-Original-Method $request_method; }}\n"
        )
    };
    let (fixed, edgeward) = (ask("fixed", "fixed"), ask("edgeward", "edgeward"));
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx-auth.pid;\nerror_log stderr warn;\nuser root;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; default_type text/plain;\n\
         client_body_temp_path {folder}/na-body; proxy_temp_path {folder}/na-proxy;\n\
         fastcgi_temp_path {folder}/na-fastcgi; uwsgi_temp_path {folder}/na-uwsgi; scgi_temp_path {folder}/na-scgi;\n\
         upstream fixed {{ server unix:{folder}/fixed.sock; keepalive 128; keepalive_requests 1000000000; }}\n\
         upstream edgeward {{ server unix:{socket}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen unix:{folder}/fixed.sock; location / {{ return 204; }} }}\n\
         server {{ listen {PORT}; location / {{ return 200; }}\n\
         location /none/ {{ alias {folder}/; }}\n{fixed}{edgeward} }} }}\n"
    )
}

const CONNECTIONS: usize = 64;
const PORT: u16 = 8080;
