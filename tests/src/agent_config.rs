//! The agent's configuration for a test, put together key by key; paths inside the lab are filled in.

use std::path::Path;

use toml::{Table, Value};

use crate::topology::EDGE;

/// A configuration in the making. Where nothing is said the agent's own defaults hold.
///
/// `AgentConfig::new("block").zone("office", &["exempt"], &["198.51.100.128/26"]).set("refusal", "reset")`
#[derive(Debug, Clone)]
#[must_use]
pub struct AgentConfig {
    table: Table,
    raw: Option<String>,
    /// Tables as text, behind the others.
    appended: String,
    instance: String,
}

/// Where one agent keeps its things.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) config_name: String,
    pub(crate) socket: std::path::PathBuf,
    pub(crate) state: std::path::PathBuf,
    pub(crate) bpffs: std::path::PathBuf,
}

impl AgentConfig {
    /// Attached to `edge0`, first starting in this mode: `off`, `log` or `block`.
    pub fn new(mode: &str) -> Self {
        let empty = Self {
            table: Table::new(),
            raw: None,
            appended: String::new(),
            instance: "edgeward".to_owned(),
        };
        empty.set("mode", mode).set("interfaces", vec![EDGE])
    }

    /// A configuration as text. `{socket}`, `{state_dir}` and `{bpffs_dir}` become quoted paths inside the lab,
    /// `{lab}` becomes the lab's folder, without quotes.
    pub fn raw(text: &str) -> Self {
        Self {
            raw: Some(text.to_owned()),
            ..Self::new("log")
        }
    }

    /// Adds tables as text, as often as needed: `[[service]]` with its gateway and limits, `[[endpoint]]`.
    /// `{lab}` becomes the lab's folder, where the configuration is: `listen = "unix:{lab}/authz.sock"`.
    pub fn toml(mut self, tables: &str) -> Self {
        self.appended.push_str(tables);
        self.appended.push('\n');
        self
    }

    /// A name for its files, for a test with more than one agent.
    pub fn instance(mut self, name: &str) -> Self {
        name.clone_into(&mut self.instance);
        self
    }

    /// Sets a key; dots lead into tables, as in `rate_limit.window`.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        set_in(&mut self.table, key, value.into());
        self
    }

    /// Adds a zone with its uses and networks.
    pub fn zone(self, name: &str, uses: &[&str], networks: &[&str]) -> Self {
        let entry = [
            ("name", name.into()),
            ("uses", texts(uses)),
            ("networks", texts(networks)),
        ];
        self.push("zone", entry)
    }

    /// Adds a zone whose networks are in files, relative to the configuration.
    pub fn zone_files(self, name: &str, uses: &[&str], files: &[&str]) -> Self {
        let entry = [
            ("name", name.into()),
            ("uses", texts(uses)),
            ("files", texts(files)),
        ];
        self.push("zone", entry)
    }

    /// Adds a list of networks with a reputation.
    pub fn list(self, name: &str, score: u8, networks: &[&str]) -> Self {
        let score = Value::from(i64::from(score));
        self.push(
            "list",
            [
                ("name", name.into()),
                ("score", score),
                ("networks", texts(networks)),
            ],
        )
    }

    /// Adds a list whose networks are in files, relative to the configuration.
    pub fn list_files(self, name: &str, score: u8, files: &[&str]) -> Self {
        let score = Value::from(i64::from(score));
        self.push(
            "list",
            [
                ("name", name.into()),
                ("score", score),
                ("files", texts(files)),
            ],
        )
    }

    /// Adds a service; a restricted one is open to trusted proxies and allowed origins only.
    pub fn service(self, name: &str, ports: &[u16], restricted: bool) -> Self {
        let ports = Value::from(ports.iter().copied().map(i64::from).collect::<Vec<_>>());
        self.push(
            "service",
            [
                ("name", name.into()),
                ("ports", ports),
                ("restricted", restricted.into()),
            ],
        )
    }

    /// Adds an entry to an array of tables, for keys that have no method here.
    pub fn push<const N: usize>(mut self, array: &str, entry: [(&str, Value); N]) -> Self {
        let entry: Table = entry
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let slot = self
            .table
            .entry(array)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(entries) = slot {
            entries.push(Value::Table(entry));
        }
        self
    }

    pub(crate) fn paths(&self, lab: &Path, bpffs: &Path) -> Paths {
        let name = &self.instance;
        Paths {
            config_name: format!("{name}.toml"),
            socket: lab.join(format!("{name}.sock")),
            state: lab.join(format!("{name}-state")),
            bpffs: bpffs.join(name),
        }
    }

    /// The text for an agent with these paths.
    pub(crate) fn text(&self, paths: &Paths) -> String {
        let places = [
            ("socket", &paths.socket),
            ("state_dir", &paths.state),
            ("bpffs_dir", &paths.bpffs),
        ];
        let own = match &self.raw {
            Some(raw) => places.iter().fold(raw.clone(), |text, (key, path)| {
                let quoted = Value::from(path.display().to_string()).to_string();
                text.replace(&format!("{{{key}}}"), &quoted)
            }),
            None => {
                let mut table = self.table.clone();
                for (key, path) in places {
                    // What a test set itself stays, also a path that is wrong on purpose.
                    table
                        .entry(key)
                        .or_insert_with(|| path.display().to_string().into());
                }
                table.to_string()
            }
        };
        let lab = paths.socket.parent().unwrap_or(Path::new(""));
        format!("{own}{}", self.appended).replace("{lab}", &lab.display().to_string())
    }
}

fn set_in(table: &mut Table, key: &str, value: Value) {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let slot = table
        .entry(first)
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = slot {
        set_in(inner, rest, value);
    }
}

fn texts(items: &[&str]) -> Value {
    items.to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_zones_and_paths_come_out_as_toml() {
        let config = AgentConfig::new("log")
            .set("rate_limit.packets", 200)
            .set("rate_limit.window", "10s")
            .zone("cdn", &["trusted-proxy"], &["192.0.2.0/24"])
            .list("bad", 90, &["203.0.113.0/24"])
            .service("login", &[443, 8443], true);
        let text = config.text(&config.paths(Path::new("/lab"), Path::new("/lab/bpf")));
        let read: Table = text.parse().unwrap();
        let at = |path: &[&str]| {
            path.iter().fold(Value::Table(read.clone()), |value, key| {
                match key.parse::<usize>() {
                    Ok(index) => value.get(index).unwrap().clone(),
                    Err(_) => value.get(key).unwrap().clone(),
                }
            })
        };
        assert_eq!(at(&["rate_limit", "packets"]), 200.into());
        assert_eq!(at(&["zone", "0", "networks", "0"]), "192.0.2.0/24".into());
        assert_eq!(at(&["list", "0", "score"]), 90.into());
        assert_eq!(at(&["service", "0", "ports", "1"]), 8443.into());
        assert_eq!(at(&["socket"]), "/lab/edgeward.sock".into());
        assert_eq!(at(&["bpffs_dir"]), "/lab/bpf/edgeward".into());
    }

    #[test]
    fn appended_tables_join_the_others() {
        let config = AgentConfig::new("log")
            .service("login", &[443], false)
            .toml(
                "[[service]]\nname = \"admin\"\nports = [80]\n[service.gateway]\nfail = \"closed\"",
            )
            .toml("[[endpoint]]\nname = \"e\"\nlisten = \"unix:{lab}/e.sock\"")
            .zone("cdn", &["trusted-proxy"], &["192.0.2.0/24"]);
        let text = config.text(&config.paths(Path::new("/lab"), Path::new("/lab/bpf")));
        let read: Table = text.parse().unwrap();
        let services = read["service"].as_array().unwrap();
        assert_eq!(services.len(), 2, "{text}");
        assert_eq!(services[1]["gateway"]["fail"], "closed".into());
        assert_eq!(read["endpoint"][0]["listen"], "unix:/lab/e.sock".into());
        assert_eq!(read["zone"][0]["name"], "cdn".into());
    }

    #[test]
    fn raw_text_keeps_its_mistakes_and_gets_its_paths() {
        let config = AgentConfig::raw("mode = 7\nsocket = {socket}\n").instance("b");
        let text = config.text(&config.paths(Path::new("/lab"), Path::new("/lab/bpf")));
        assert_eq!(text, "mode = 7\nsocket = \"/lab/b.sock\"\n");
    }
}
