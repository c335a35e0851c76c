//! The mirror's units for systemd: a service of its own user that sees as little of the machine as its configuration lets it, and a socket for it on request. Pure.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::solve::Way;
use mirror::config::{Config, Issuer};

/// What a configuration asks of the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Needs {
    /// How long a stop waits.
    pub(crate) drain: Duration,
    /// Where clients connect.
    pub(crate) listeners: Vec<SocketAddr>,
    /// Where else it listens: the operator's pages, and proofs for CAs.
    pub(crate) others: Vec<SocketAddr>,
    /// What it keeps outside of its folders below [`STATE`].
    pub(crate) writes: Vec<PathBuf>,
}

impl Needs {
    /// Of the mirror with this configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let listeners: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.address).collect();
        let by_acme = config.certificates().iter().any(|names| names.issuer == Issuer::Acme);
        let proves = by_acme && config.acme.ways.contains(&Way::Http) && config.proving_listener().is_none();
        let others = config.admin.iter().map(|admin| admin.address).chain(proves.then_some(config.acme.http)).collect();
        let kept = [(config.store.root.clone(), CACHE), (config.acme.path.clone(), CERTS)];
        let writes = kept.into_iter().filter(|(path, usual)| path != Path::new(usual)).map(|(path, _)| path).collect();
        Self { drain: config.limits.drain, listeners, others, writes }
    }

    /// All addresses that it binds, but for those that the kernel chooses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().chain(&self.others).copied().filter(|address| address.port() != 0)
    }
}

/// How the service is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MirrorUnits<'a> {
    pub(crate) program: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) needs: &'a Needs,
    /// systemd holds the listeners' sockets.
    pub(crate) socket: bool,
}

impl MirrorUnits<'_> {
    /// `chandler-mirror.service`
    pub(crate) fn service(&self) -> String {
        let mut out = String::new();
        let Needs { drain, .. } = self.needs;
        let (program, config) = (word(self.program), word(self.config));
        out.push_str("[Unit]\nDescription=chandler, a pull-through mirror for container images\n");
        out.push_str(if self.waits_for_addresses() {
            "Wants=network-online.target\nAfter=network-online.target\n"
        } else {
            "After=network.target\n"
        });
        if self.socket {
            let _ = writeln!(out, "Requires={SOCKET}\nAfter={SOCKET}");
        }
        out.push_str("# It is tried for ever: private images have no other way.\nStartLimitIntervalSec=0\n");
        let _ = write!(out, "\n[Service]\nType=notify\nExecStart={program} mirror --config {config}\nExecReload=/bin/kill -HUP $MAINPID\n");
        let _ = write!(
            out,
            "Restart=always\nRestartSec=2\n# Running answers have limits.drain, and what hangs some seconds more.\nTimeoutStopSec={}\n",
            drain.as_secs() + 30
        );
        let _ = write!(out, "LimitNOFILE=1048576\n\nUser={USER}\nGroup={USER}\nUMask=0077\n");
        let _ = write!(
            out,
            "# What the configuration does not say lies below {STATE}, as it does for root.\nEnvironment=XDG_DATA_HOME=/var/lib\n"
        );
        out.push_str("StateDirectory=chandler/cache chandler/certs\nStateDirectoryMode=0700\n");
        self.rights(&mut out);
        out.push_str(CONFINED);
        let _ = write!(out, "\n[Install]\nWantedBy=multi-user.target\n");
        if self.socket {
            let _ = writeln!(out, "Also={SOCKET}");
        }
        out
    }

    /// `chandler-mirror.socket`: a restart refuses no connection.
    pub(crate) fn socket(&self) -> String {
        let mut out = String::from("[Unit]\nDescription=Sockets of chandler, a pull-through mirror for container images\n\n[Socket]\n");
        for address in self.held() {
            let _ = writeln!(out, "ListenStream={address}");
        }
        out.push_str("# As the mirror's own: [::] is for IPv4 too, and an address may come later than this.\nBindIPv6Only=both\nFreeBind=yes\nBacklog=4096\n");
        out.push_str("\n[Install]\nWantedBy=sockets.target\n");
        out
    }

    fn held(&self) -> impl Iterator<Item = &SocketAddr> {
        self.needs.listeners.iter().filter(|address| address.port() != 0)
    }

    fn own(&self) -> impl Iterator<Item = &SocketAddr> {
        let listeners: &[SocketAddr] = if self.socket { &[] } else { &self.needs.listeners };
        listeners.iter().chain(&self.needs.others)
    }

    /// One of the machine's addresses may come up late; all of them, and loopback, are always there.
    fn waits_for_addresses(&self) -> bool {
        self.own().any(|address| !address.ip().is_unspecified() && !address.ip().is_loopback())
    }

    fn rights(&self, out: &mut String) {
        for path in &self.needs.writes {
            let _ = writeln!(out, "ReadWritePaths={}", word(path));
        }
        if self.own().any(|address| (1..1024).contains(&address.port())) {
            out.push_str("# A listener's port is below 1024.\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n");
        } else {
            out.push_str("CapabilityBoundingSet=\n");
        }
    }
}

/// For a package, which knows no configuration: any port, the usual folders.
pub(crate) fn packaged(program: &Path) -> String {
    let needs =
        Needs { drain: Duration::from_secs(30), listeners: vec![([0, 0, 0, 0], 443).into()], others: Vec::new(), writes: Vec::new() };
    MirrorUnits { program, config: Path::new(CONFIG), needs: &needs, socket: false }.service().replace(
        "# A listener's port is below 1024.\n",
        "# For listeners at ports below 1024. Folders outside of /var/lib/chandler want ReadWritePaths=, in a drop-in.\n",
    )
}

/// The system user, for systemd-sysusers.
pub(crate) fn sysusers() -> String {
    format!("u {USER} - \"chandler, a mirror for container images\" {STATE}\n")
}

/// A path as units take it. What a shell would take for several words is quoted; `%` and `$` have meanings of systemd's own.
pub(crate) fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._@:+-=,".contains(c);
    if text.chars().all(plain) {
        return text.into_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' | '$' => quoted.extend([c, c]),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Who the mirror is.
pub(crate) const USER: &str = "chandler";
/// Its configuration, where none is named.
pub(crate) const CONFIG: &str = "/etc/chandler/mirror.yaml";
/// What it keeps.
pub(crate) const STATE: &str = "/var/lib/chandler";
/// Cached images.
pub(crate) const CACHE: &str = "/var/lib/chandler/cache";
/// Certificates, keys, accounts and the private CA.
pub(crate) const CERTS: &str = "/var/lib/chandler/certs";
/// The units' names.
pub(crate) const SERVICE: &str = "chandler-mirror.service";
pub(crate) const SOCKET: &str = "chandler-mirror.socket";

/// What no mirror needs.
const CONFINED: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
";

#[cfg(test)]
mod tests {
    use mirror::config::{Sources, resolve};

    use super::*;

    fn needs(yaml: &str) -> Needs {
        Needs::of(&resolve(&Sources::yaml(yaml)).expect("right").config)
    }

    fn service(yaml: &str, socket: bool) -> String {
        let needs = needs(yaml);
        MirrorUnits { program: Path::new("/usr/local/bin/chandler"), config: Path::new(CONFIG), needs: &needs, socket }.service()
    }

    #[test]
    fn the_service_of_a_mirror_that_nobody_configured() {
        insta::assert_snapshot!(service("", false), @r#"
        [Unit]
        Description=chandler, a pull-through mirror for container images
        After=network.target
        # It is tried for ever: private images have no other way.
        StartLimitIntervalSec=0

        [Service]
        Type=notify
        ExecStart=/usr/local/bin/chandler mirror --config /etc/chandler/mirror.yaml
        ExecReload=/bin/kill -HUP $MAINPID
        Restart=always
        RestartSec=2
        # Running answers have limits.drain, and what hangs some seconds more.
        TimeoutStopSec=60
        LimitNOFILE=1048576

        User=chandler
        Group=chandler
        UMask=0077
        # What the configuration does not say lies below /var/lib/chandler, as it does for root.
        Environment=XDG_DATA_HOME=/var/lib
        StateDirectory=chandler/cache chandler/certs
        StateDirectoryMode=0700
        CapabilityBoundingSet=
        NoNewPrivileges=yes
        ProtectSystem=strict
        ProtectHome=yes
        PrivateTmp=yes
        PrivateDevices=yes
        ProtectClock=yes
        ProtectControlGroups=yes
        ProtectHostname=yes
        ProtectKernelLogs=yes
        ProtectKernelModules=yes
        ProtectKernelTunables=yes
        ProtectProc=invisible
        LockPersonality=yes
        MemoryDenyWriteExecute=yes
        RemoveIPC=yes
        RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
        RestrictNamespaces=yes
        RestrictRealtime=yes
        RestrictSUIDSGID=yes
        SystemCallArchitectures=native
        SystemCallErrorNumber=EPERM
        SystemCallFilter=@system-service

        [Install]
        WantedBy=multi-user.target
        "#);
    }

    #[test]
    fn the_service_and_the_socket_of_a_site_with_https() {
        let yaml = "{listeners: [{address: '10.0.0.7:443', tls: {acme: [mirror.example.com]}}, {address: ':5000'}], store: {path: /srv/image cache}, limits: {drain: 2m}}";
        let service = service(yaml, false);
        let (own, _) = service.split_once("NoNewPrivileges=").expect("the rest is as ever");
        insta::assert_snapshot!(own, @r#"
        [Unit]
        Description=chandler, a pull-through mirror for container images
        Wants=network-online.target
        After=network-online.target
        # It is tried for ever: private images have no other way.
        StartLimitIntervalSec=0

        [Service]
        Type=notify
        ExecStart=/usr/local/bin/chandler mirror --config /etc/chandler/mirror.yaml
        ExecReload=/bin/kill -HUP $MAINPID
        Restart=always
        RestartSec=2
        # Running answers have limits.drain, and what hangs some seconds more.
        TimeoutStopSec=150
        LimitNOFILE=1048576

        User=chandler
        Group=chandler
        UMask=0077
        # What the configuration does not say lies below /var/lib/chandler, as it does for root.
        Environment=XDG_DATA_HOME=/var/lib
        StateDirectory=chandler/cache chandler/certs
        StateDirectoryMode=0700
        ReadWritePaths="/srv/image cache"
        # A listener's port is below 1024.
        AmbientCapabilities=CAP_NET_BIND_SERVICE
        CapabilityBoundingSet=CAP_NET_BIND_SERVICE
        "#);
        let needs = needs(yaml);
        let units = MirrorUnits { program: Path::new("/usr/local/bin/chandler"), config: Path::new(CONFIG), needs: &needs, socket: true };
        insta::assert_snapshot!(units.socket(), @r#"
        [Unit]
        Description=Sockets of chandler, a pull-through mirror for container images

        [Socket]
        ListenStream=10.0.0.7:443
        ListenStream=[::]:5000
        # As the mirror's own: [::] is for IPv4 too, and an address may come later than this.
        BindIPv6Only=both
        FreeBind=yes
        Backlog=4096

        [Install]
        WantedBy=sockets.target
        "#);
        assert!(units.service().contains("Requires=chandler-mirror.socket\n"));
    }

    #[test]
    fn a_port_below_1024_alone_brings_the_right_to_open_one() {
        let low = |yaml: &str, socket: bool| service(yaml, socket).contains("AmbientCapabilities=");
        assert!(!low("", false) && !low("listeners: ':5000'", false));
        assert!(low("listeners: ':443'", false) && low("listeners: ':80'", false) && low("admin: '127.0.0.1:999'", false));
        assert!(!low("listeners: ':443'", true), "systemd opens it");
        let acme = "{listeners: [{address: ':5443', tls: {acme: [mirror.example.com]}}], acme: {challenges: [http-01]}}";
        assert!(low(acme, false) && low(acme, true), "a CA asks port 80");
    }

    #[test]
    fn a_path_is_one_word_and_nothing_in_it_means_anything() {
        for (path, written) in [
            ("/etc/chandler/mirror.yaml", "/etc/chandler/mirror.yaml"),
            ("/srv/image cache", "\"/srv/image cache\""),
            ("/srv/100%\"$HOME\\", "\"/srv/100%%\\\"$$HOME\\\\\""),
        ] {
            assert_eq!(word(Path::new(path)), written);
        }
    }
}
