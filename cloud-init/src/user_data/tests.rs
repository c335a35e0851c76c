//! Documents as they are handed over.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::lint::{Weight, lint};
use crate::provision::{Content, DockerKeys, PlacedFile};
use crate::{Others, Sha256};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

fn wish() -> Wish {
    let mirrors = vec!["https://mirror.example:5000".parse().expect("a mirror")];
    Wish { mirrors, anchors: Some(PEM.to_owned()), client: None, registries: Vec::new(), others: Others::Keep }
}

fn file(path: &str, mode: u32, text: &str) -> PlacedFile {
    PlacedFile { path: path.to_owned(), mode, content: Content { text: text.to_owned(), secret: mode == 0o600 } }
}

fn docker() -> Provision {
    let keys = DockerKeys { mirrors: vec!["https://mirror.example:5000".to_owned()], insecure: Vec::new() };
    Provision {
        files: vec![file("/etc/docker/certs.d/mirror.example:5000/chandler-ca.crt", 0o644, PEM)],
        docker: Some(keys),
        means: Means::Script,
    }
}

fn order<'a>(provision: &'a Provision, wish: &'a Wish) -> Order<'a> {
    Order { provision, wish, engines: &[], enrolment: None, system_roots: None, with: &[], multipart: false }
}

fn theirs(name: &str, text: &str) -> Theirs {
    Theirs { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
}

/// Without the program, which is long and has tests of its own.
fn shortened(document: &str) -> String {
    let mut lines = Vec::new();
    let mut within = false;
    for line in document.lines() {
        let is_program = line.trim_start() == "#!/usr/bin/env python3";
        within = (within || is_program) && (line.trim().is_empty() || line.starts_with("    "));
        if is_program {
            lines.push(line.replace("#!/usr/bin/env python3", "(the program)"));
        } else if !within {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

/// Nothing that is made here may have a fault that the linter knows.
#[track_caller]
fn is_clean(document: &str) {
    let findings: Vec<String> = lint(document.as_bytes(), Provider::NoCloud).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{findings:#?}\n{document}");
}

#[test]
fn docker_alone_is_a_cloud_config() {
    let (provision, wish) = (docker(), wish());
    let document = user_data(&order(&provision, &wish)).expect("made");
    assert_snapshot!(shortened(&document), @r#"
    #cloud-config
    merge_how: "list(append)+dict(recurse_list,no_replace)+str()"
    bootcmd:
    - - "cloud-init-per"
      - "instance"
      - "chandler_first_boot"
      - "sh"
      - "-c"
      - "mkdir -p /usr/local/sbin && printf %s \"$0\" > /usr/local/sbin/chandler-first-boot && chmod 755 /usr/local/sbin/chandler-first-boot && exec \"$(command -v python3 || echo /usr/libexec/platform-python)\" /usr/local/sbin/chandler-first-boot"
      - |
        (the program)
    write_files:
    - path: "/etc/docker/certs.d/mirror.example:5000/chandler-ca.crt"
      owner: "root:root"
      permissions: "0644"
      content: |
        -----BEGIN CERTIFICATE-----
        MIIB
        -----END CERTIFICATE-----
    runcmd:
    - - "sh"
      - "-c"
      - "exec \"$(command -v python3 || echo /usr/libexec/platform-python)\" /usr/local/sbin/chandler-first-boot"
    "#);
    is_clean(&document);
}

#[test]
fn theirs_stay_as_they_are_and_ours_come_behind_but_run_before() {
    let (provision, wish) = (docker(), wish());
    let with =
        [theirs("base.yaml", "#cloud-config\nruncmd:\n- [docker, pull, private/x]\n"), theirs("go.sh", "#!/bin/sh\necho \"$HOME\" 100%\n")];
    let document = user_data(&Order { with: &with, ..order(&provision, &wish) }).expect("made");
    assert_snapshot!(shortened(&document), @r#"
    Content-Type: multipart/mixed; boundary="==chandler-1=="
    MIME-Version: 1.0

    --==chandler-1==
    Content-Type: text/cloud-config; charset="us-ascii"
    MIME-Version: 1.0
    Content-Transfer-Encoding: 7bit
    Content-Disposition: attachment; filename="user-01-base.yaml"

    #cloud-config
    runcmd:
    - [docker, pull, private/x]

    --==chandler-1==
    Content-Type: text/x-shellscript; charset="us-ascii"
    MIME-Version: 1.0
    Content-Transfer-Encoding: 7bit
    Content-Disposition: attachment; filename="user-02-go.sh"

    #!/bin/sh
    echo "$HOME" 100%

    --==chandler-1==
    Content-Type: text/x-shellscript; charset="us-ascii"
    MIME-Version: 1.0
    Content-Transfer-Encoding: 7bit
    Content-Disposition: attachment; filename="00-chandler-first-boot"

    #!/bin/sh
    exec "$(command -v python3 || echo /usr/libexec/platform-python)" /usr/local/sbin/chandler-first-boot

    --==chandler-1==
    Content-Type: text/cloud-config; charset="us-ascii"
    MIME-Version: 1.0
    Content-Transfer-Encoding: 7bit
    Content-Disposition: attachment; filename="chandler.yaml"

    #cloud-config
    merge_how: "list(append)+dict(recurse_list,no_replace)+str()"
    bootcmd:
    - - "cloud-init-per"
      - "instance"
      - "chandler_first_boot"
      - "sh"
      - "-c"
      - "mkdir -p /usr/local/sbin && printf %s \"$0\" > /usr/local/sbin/chandler-first-boot && chmod 755 /usr/local/sbin/chandler-first-boot && exec \"$(command -v python3 || echo /usr/libexec/platform-python)\" /usr/local/sbin/chandler-first-boot"
      - |
        (the program)
    write_files:
    - path: "/etc/docker/certs.d/mirror.example:5000/chandler-ca.crt"
      owner: "root:root"
      permissions: "0644"
      content: |
        -----BEGIN CERTIFICATE-----
        MIIB
        -----END CERTIFICATE-----
    runcmd:
    - - "sh"
      - "-c"
      - "exec \"$(command -v python3 || echo /usr/libexec/platform-python)\" /usr/local/sbin/chandler-first-boot"

    --==chandler-1==--
    "#);
    is_clean(&document);
}

#[test]
fn the_system_trusts_the_mirrors_ca_under_the_key_that_its_release_reads() {
    let (provision, wish) = (docker(), wish());
    for (spelling, keys) in
        [(CaSpelling::Underscored, &["ca_certs"][..]), (CaSpelling::Dashed, &["ca-certs"]), (CaSpelling::Both, &["ca-certs", "ca_certs"])]
    {
        let document = user_data(&Order { system_roots: Some(spelling), ..order(&provision, &wish) }).expect("made");
        let value: serde_yaml::Value = serde_yaml::from_str(&document).expect("YAML");
        for key in ["ca_certs", "ca-certs"] {
            let trusted = value.get(key).map(|below| below["trusted"][0].as_str().expect("a text").to_owned());
            assert_eq!(trusted, keys.contains(&key).then(|| PEM.to_owned()), "{key}");
        }
        assert!(lint(document.as_bytes(), Provider::Ec2).iter().all(|finding| finding.weight == Weight::Warning));
    }
}

#[test]
fn a_machine_that_gets_the_agent_gets_nothing_else() {
    let digest: Sha256 = "ab".repeat(32).parse().expect("a digest");
    let (provision, wish) = (Provision { means: Means::Agent(digest), ..docker() }, wish());
    let document = user_data(&order(&provision, &wish)).expect("made");
    let value: serde_yaml::Value = serde_yaml::from_str(&document).expect("YAML");
    let paths: Vec<&str> = value["write_files"].as_sequence().expect("files").iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(
        paths,
        [
            "/etc/chandler/mirror-ca.pem",
            "/etc/chandler/agent.yaml",
            "/usr/local/sbin/chandler-fetch",
            "/var/lib/cloud/scripts/per-boot/01-chandler-fetch"
        ]
    );
    assert!(value.get("bootcmd").is_none() && value.get("runcmd").is_none());
    is_clean(&document);
}

#[test]
fn an_enrolment_takes_the_place_of_the_pair() {
    let pair = enrolment::to_come();
    let wish = Wish { client: Some(pair.clone()), ..wish() };
    let enrolment = Enrolment { mirrors: wish.mirrors.clone(), token: "chandler1.a.b.c".to_owned(), anchors: wish.anchors.clone() };
    let folder = "/etc/docker/certs.d/mirror.example:5000";
    let mut provision = docker();
    provision.files.push(file(&format!("{folder}/chandler.key"), 0o600, &pair.key));
    provision.files.push(file(&format!("{folder}/chandler.cert"), 0o644, &pair.chain));
    for means in [Means::Script, Means::Agent("ab".repeat(32).parse().expect("a digest"))] {
        let provision = Provision { means: means.clone(), ..provision.clone() };
        let document = user_data(&Order { enrolment: Some(&enrolment), ..order(&provision, &wish) }).expect("made");
        assert!(!document.contains(pair.key.trim()) && !document.contains(pair.chain.trim()), "{document}");
        let place = if means == Means::Script { folder } else { "/etc/chandler" };
        assert!(document.contains(place) && document.contains("chandler1.a.b.c"));
        // What names the certificate waits for it.
        assert_eq!(document.contains("/etc/chandler/agent.yaml.chandler-enrolling"), means != Means::Script);
        is_clean(&document);
    }
}

#[test]
fn a_size_is_counted_as_it_is_handed_over() {
    let text = "#cloud-config\n".repeat(2000);
    let (plain, size) = packed(&text, false, Provider::Ec2);
    assert!(plain == text.as_bytes() && size.bytes == text.len() && !size.fits());
    let (small, size) = packed(&text, true, Provider::Ec2);
    assert!(size.fits() && size.bytes == small.len() && gzip::unpack(&small).as_deref() == Some(text.as_bytes()));
}

proptest! {
    #[test]
    fn what_is_placed_and_what_is_theirs_arrives(content in "([%$'\"\\\\`{}#:@-]|\\PC|\r?\n|[ \t]){0,60}", script in "([%$'\"\\\\]|\\PC|\n){0,40}") {
        let wish = wish();
        let provision = Provision { files: vec![file("/x", 0o640, &content)], ..docker() };
        let script = format!("#!/bin/sh\n{script}");
        let with = [theirs("s", &script)];
        let document = user_data(&Order { with: &with, ..order(&provision, &wish) }).expect("made");
        let read = multipart::read(&document).expect("a message");
        prop_assert_eq!(&read.parts[0].text, &script);
        let ours: serde_yaml::Value = serde_yaml::from_str(&read.parts[2].text).expect("YAML");
        prop_assert_eq!(ours["write_files"][0]["content"].as_str(), Some(content.as_str()));
    }
}
