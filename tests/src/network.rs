//! `Lab`: builds the hosts of [`crate::topology`], owns what they leave on the machine, and takes it away again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::Context;

use crate::host::Host;
use crate::identity::{self, BPFFS};
use crate::site::Site;
use crate::topology::{
    self, CLIENT_INTERFACE, EDGE, LOGIN, LOGIN_V4, LOGIN_V6, NET, PLANS, ROUTER_V4, ROUTER_V6, WIRE,
};
use crate::wire::{EdgeTap, Wire};
use crate::{Result, shell, sys};

/// A whole lab of its own. Dropping it removes everything, also while a test panics.
#[derive(Debug)]
pub struct Lab {
    tag: String,
    directory: PathBuf,
    /// The host people sign in to: `edge0`, [`Lab::site`], the agent.
    pub login: Host,
    /// The Internet: the router between the clients and the login host.
    pub net: Host,
    /// A client with bad intent.
    pub attacker: Host,
    /// A client with none.
    pub innocent: Host,
    /// A proxy that forwards the requests of others.
    pub proxy: Host,
    /// A client that the operator exempts.
    pub exempt: Host,
}

impl Lab {
    /// Builds a lab; `name` appears in its directory's name only. The first call of a process sweeps leftovers.
    ///
    /// # Errors
    /// When a step cannot be done; what was built before it is removed.
    pub fn new(name: &str) -> Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(identity::sweep);
        let tag = identity::new_tag();
        let directory = identity::directory(&tag);
        let host = |plan_name: &str, v4, v6| Host::new(&tag, plan_name, v4, v6, &directory);
        let [attacker, innocent, proxy, exempt] =
            PLANS.map(|plan| host(plan.name, plan.v4, plan.v6));
        let lab = Self {
            login: host(LOGIN, LOGIN_V4, LOGIN_V6),
            net: host(NET, ROUTER_V4, ROUTER_V6),
            attacker,
            innocent,
            proxy,
            exempt,
            tag: tag.clone(),
            directory: directory.clone(),
        };
        // From here on an error drops `lab`, which removes what exists so far.
        lab.build()
            .with_context(|| format!("cannot build the lab {name:?} ({tag})"))?;
        Ok(lab)
    }

    /// Removes what labs of killed runs left on the machine. Labs of living processes are not touched.
    pub fn sweep() {
        identity::sweep();
    }

    /// The clients: attacker, innocent, proxy, exempt.
    #[must_use]
    pub fn clients(&self) -> [&Host; 4] {
        [&self.attacker, &self.innocent, &self.proxy, &self.exempt]
    }

    /// The lab's own directory; it goes with the lab.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The lab's own bpffs mount.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.directory.join(BPFFS)
    }

    /// The network namespaces this lab has on the machine right now.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        identity::namespaces_of(&self.tag)
    }

    /// Writes a file into the lab's directory, making folders on the way.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// A certificate that signs itself, for these names (`DNS:…,IP:…`), as `<name>.pem` with `<name>.key` in the
    /// lab's directory; the former's path.
    ///
    /// # Errors
    /// OpenSSL is missing or refuses.
    pub fn certificate(&self, name: &str, names: &str) -> Result<PathBuf> {
        let [certificate, key] =
            ["pem", "key"].map(|kind| self.directory().join(format!("{name}.{kind}")));
        let argv = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            &format!("/CN={name}.example"),
            "-addext",
            &format!("subjectAltName={names}"),
            "-keyout",
            &key.display().to_string(),
            "-out",
            &certificate.display().to_string(),
        ];
        self.login.run(&argv)?.success()?;
        Ok(certificate)
    }

    /// Starts the sign-in site (nginx) on the login host.
    ///
    /// # Errors
    /// When nginx does not answer in both families.
    pub fn site(&self) -> Result<Site> {
        Site::start(self)
    }

    /// The router's end of the login host's wire: what is sent there arrives at `edge0` as it is.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn wire(&self) -> Result<Wire> {
        Wire::open(&self.net, WIRE)
    }

    /// Both ends of the login host's wire, to tell what passes from what does not.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn edge_tap(&self) -> Result<EdgeTap> {
        EdgeTap::open(self)
    }

    fn build(&self) -> Result<()> {
        fs::create_dir_all(self.bpffs())?;
        // A test may run a command as another user, who has to get through to the socket.
        fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o755))?;
        sys::mount_bpffs(&self.bpffs()).context("cannot mount a bpffs")?;
        self.add_namespaces()?;
        for host in self.hosts() {
            host.in_ns(|| set_kernel_options(host.name() == NET))??;
        }
        self.ip(
            &self.net,
            &topology::router_links(|host| format!("{}-{host}", self.tag)),
        )?;
        self.set_offloads()?;
        self.ip(&self.login, &topology::login_lines())?;
        for (host, plan) in self.clients().into_iter().zip(&PLANS) {
            self.ip(host, &topology::client_lines(plan))?;
        }
        self.ip(&self.net, &topology::router_routes())
    }

    fn add_namespaces(&self) -> Result<()> {
        // iproute2 makes /run/netns a shared mount on first use; two at a time trip over each other.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.hosts()
            .into_iter()
            .try_for_each(|host| identity::add_namespace(host.namespace_name()))
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        [&self.net, &self.login].into_iter().chain(self.clients())
    }

    /// Runs lines of `ip -batch` in a host.
    #[expect(clippy::unused_self, reason = "a lab's hosts only")]
    fn ip(&self, host: &Host, lines: &str) -> Result<()> {
        shell::feed(&["ip", "-n", host.namespace_name(), "-batch", "-"], lines).map(drop)
    }

    /// Makes veth behave like a wire: whole checksums, tags inside the frame, and NAPI for XDP at both ends.
    fn set_offloads(&self) -> Result<()> {
        let mut ends = vec![(&self.net, WIRE.to_owned()), (&self.login, EDGE.to_owned())];
        for (client, plan) in self.clients().into_iter().zip(&PLANS) {
            ends.push((&self.net, plan.router_interface()));
            ends.push((client, CLIENT_INTERFACE.to_owned()));
        }
        for (host, interface) in ends {
            // With `tx on` frames travel without checksums, and what XDP sends back would be wrong. With `txvlan
            // on` a tag travels beside the frame, and XDP does not see it. Without `gro on` there is no NAPI, and
            // XDP_TX and live frames towards this end are dropped silently.
            let switches = [
                "tx",
                "off",
                "txvlan",
                "off",
                "tx-vlan-stag-hw-insert",
                "off",
                "gro",
                "on",
            ];
            let argv = [&["ethtool", "-K", interface.as_str()], &switches[..]].concat();
            host.run(&argv)?
                .success()
                .with_context(|| format!("ethtool -K {interface}"))?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in identity::namespaces_of(&self.tag) {
            identity::remove_namespace(&name);
        }
        identity::remove_directory(&self.directory);
    }
}

/// Kernel options of the calling thread's namespace, set before there are interfaces that take them over.
fn set_kernel_options(router: bool) -> Result<()> {
    let forwarding = if router { "1" } else { "0" };
    for (name, value) in [
        ("ipv4/ip_forward", forwarding),
        ("ipv6/conf/all/forwarding", forwarding),
        // Sources that no route leads back to must reach the program all the same.
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ] {
        let path = Path::new("/proc/sys/net").join(name);
        fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
