//! The agent's units for systemd, and its configuration to start from. Pure.
//!
//! The drop-in runs before every start of Docker, so that a `daemon.json` which somebody else's script has just overwritten names the mirror again when the engine reads it. Nothing
//! here may keep an engine from starting: what fails is passed over, and what hangs is ended.

use std::path::Path;

use super::units::word;

/// `chandler-agent.service`: once at each boot, before any engine.
pub(crate) fn service(program: &Path, config: &Path) -> String {
    format!(
        "\
[Unit]
Description=chandler agent: this machine's container engines pull through the mirror
# As the engines wait for it themselves. The order alone: they start also where this fails.
Wants=network-online.target
After=network-online.target local-fs.target
Before=docker.service containerd.service podman.service crio.service buildkit.service k3s.service nomad.service

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=90
ExecStart={}

[Install]
WantedBy=multi-user.target
",
        apply(program, config, "")
    )
}

/// `docker.service.d/10-chandler.conf`
pub(crate) fn drop_in(program: &Path, config: &Path) -> String {
    format!(
        "\
# Before each start of Docker the mirror is put into its configuration again, whoever wrote that anew. Docker starts also where this fails (-), or hangs.
[Service]
ExecStartPre=-/usr/bin/timeout --kill-after=5 60 {}
",
        apply(program, config, " --no-reload")
    )
}

fn apply(program: &Path, config: &Path, more: &str) -> String {
    let named = if config == Path::new(CONFIG) { String::new() } else { format!(" --config {}", word(config)) };
    format!("{} apply engines{more} --yes{named}", word(program))
}

/// Its configuration, where none is named.
pub(crate) const CONFIG: &str = "/etc/chandler/agent.yaml";
/// The unit's name.
pub(crate) const SERVICE: &str = "chandler-agent.service";
/// Where Docker's drop-ins are, and ours among them: early, so that anybody else's stands behind it.
pub(crate) const DROP_INS: &str = "/etc/systemd/system/docker.service.d";
/// The drop-in's name.
pub(crate) const DROP_IN: &str = "10-chandler.conf";

/// The template in which some keys are set.
pub(crate) fn template_with(said: &[(&str, Option<String>)]) -> String {
    let value = |line: &str| {
        let key = line.strip_prefix('#')?.split_once(':')?.0;
        said.iter().find(|(name, _)| *name == key)?.1.as_deref().map(|value| format!("{key}: {value}\n"))
    };
    TEMPLATE.lines().map(|line| value(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

/// A configuration in which everything is a comment.
pub(crate) const TEMPLATE: &str = "\
## chandler on this machine: which mirrors its container engines pull through. `chandler plan` shows what that changes, `chandler apply` does it.
## Remove the first # of a line to set it; <…> says what is written there. A flag beats this file.

## The mirrors, in the order in which they are asked.
#mirrors: [https://<mirror.example.com>]

## Or the one on this machine that `chandler install mirror --local` made.
#local: true

## By what they are known over HTTPS: a PEM file, or the fingerprint that `chandler ca export` prints beside the mirror. Without it, by the system's own roots.
#ca: sha256:<64 hexadecimal digits>

## The whole system is to trust this CA, not the engines alone: curl, git and what else reads the system's store.
#system_trust: true

## A client's certificate, for a mirror that asks for one.
#client: {certificate: /etc/chandler/client.cert, key: /etc/chandler/client.key}

## These engines alone, of docker, podman, containerd and buildkit. Without it, all that are found.
#engines: [docker]

## Registries beside Docker Hub that are pulled through the mirrors, where the engine can.
#registries: [ghcr.io]

## What becomes of mirrors that are configured already: prepend puts ours before them, replace takes them out.
#others: prepend
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_units() {
        let (program, config) = (Path::new("/usr/local/bin/chandler"), Path::new(CONFIG));
        insta::assert_snapshot!(format!("{}---\n{}", service(program, config), drop_in(program, config)), @r#"
        [Unit]
        Description=chandler agent: this machine's container engines pull through the mirror
        # As the engines wait for it themselves. The order alone: they start also where this fails.
        Wants=network-online.target
        After=network-online.target local-fs.target
        Before=docker.service containerd.service podman.service crio.service buildkit.service k3s.service nomad.service

        [Service]
        Type=oneshot
        RemainAfterExit=yes
        TimeoutStartSec=90
        ExecStart=/usr/local/bin/chandler apply engines --yes

        [Install]
        WantedBy=multi-user.target
        ---
        # Before each start of Docker the mirror is put into its configuration again, whoever wrote that anew. Docker starts also where this fails (-), or hangs.
        [Service]
        ExecStartPre=-/usr/bin/timeout --kill-after=5 60 /usr/local/bin/chandler apply engines --no-reload --yes
        "#);
    }

    #[test]
    fn a_configuration_elsewhere_is_named() {
        let drop_in = drop_in(Path::new("/usr/bin/chandler"), Path::new("/srv/our agent.yaml"));
        assert!(drop_in.contains("/usr/bin/chandler apply engines --no-reload --yes --config \"/srv/our agent.yaml\"\n"), "{drop_in}");
    }

    #[test]
    fn what_was_named_stands_in_the_templates_place() {
        let text = template_with(&[("mirrors", Some("[\"https://m\"]".to_owned())), ("ca", Some("sha256:12".to_owned())), ("local", None)]);
        let said: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert_eq!(said, ["mirrors: [\"https://m\"]", "ca: sha256:12"]);
        assert_eq!(template_with(&[]), TEMPLATE);
    }

    #[test]
    fn the_template_says_nothing_by_itself() {
        assert!(TEMPLATE.lines().all(|line| line.is_empty() || line.starts_with('#')));
    }
}
