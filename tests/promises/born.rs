//! "Machines are born behind the mirror: their first boot takes seconds longer at most, nothing of others' user data is replaced, and a mirror that is down keeps none from starting."
//!
//! The real cloud-init runs its four stages on a private machine, with user data that is made here; what is there afterwards is compared to the byte, and real engines pull by it.

mod contents;
mod engines;
mod enrolled;
mod fetched;
mod known;

use std::time::{SystemTime, UNIX_EPOCH};

use cloud_init::user_data::{Order, Provider, Theirs, packed, user_data};
use cloud_init::{CaSpelling, Content, DockerKeys, Means, Others, PlacedFile, Provision, Wish};
use serde_json::{Value, json};
use tests::dead_end::DeadEnd;
use tests::engine::MachineConfig;
use tests::newborn::Newborn;

#[tokio::test(flavor = "multi_thread")]
async fn ours_is_there_to_the_byte_and_cloud_init_has_nothing_to_say_of_it() {
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    newborn.machine().write("/etc/docker/daemon.json", "{\"log-driver\": \"json-file\"}\n");
    let mut provision = docker("https://mirror.test:5000");
    let odd = "[[registry]]\n  prefix = \"docker.io\"\t# 100% \u{e4}\\ 'x'\n\n";
    provision.files.push(file("/etc/containers/registries.conf.d/chandler.conf", 0o644, odd));
    provision.files.push(file("/etc/docker/certs.d/mirror.test:5000/chandler.key", 0o600, "KEY\r\nKEY"));
    let document = user_data(&order(&provision, &wish("https://mirror.test:5000"))).expect("made");
    valid(&newborn, &document).await;
    newborn.boot(document.as_bytes()).await.assert_clean();
    for placed in &provision.files {
        assert_eq!((newborn.read(&placed.path), newborn.mode(&placed.path)), (placed.content.text.clone(), placed.mode), "{}", placed.path);
    }
    assert_eq!(daemon_json(&newborn), json!({"log-driver": "json-file", "registry-mirrors": ["https://mirror.test:5000"]}));
    let text = newborn.read("/etc/docker/daemon.json");

    newborn.boot_again().await.assert_clean();
    assert_eq!(newborn.read("/etc/docker/daemon.json"), text, "a second boot changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn theirs_stays_and_finds_the_mirror_in_place_also_where_it_wrote_the_file_anew() {
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    let config = "#cloud-config\nwrite_files:\n- path: /etc/docker/daemon.json\n  content: '{\"debug\": true}'\n- path: /etc/theirs\n  content: \"100% $HOME\"\n\
        runcmd:\n- cp /etc/docker/daemon.json /run/seen-by-runcmd\n- [sh, -c, 'echo runcmd >>/run/order']\n";
    let second = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\
        --b\nContent-Type: text/x-shellscript\nContent-Disposition: attachment; filename=a.sh\n\n#!/bin/sh\necho a.sh >>/run/order\n--b--\n";
    let with = [
        Theirs { name: "base.yaml".to_owned(), bytes: config.into() },
        Theirs { name: "more".to_owned(), bytes: second.into() },
        Theirs { name: "first.sh".to_owned(), bytes: "#!/bin/sh\necho '\u{1f6a2} 100%' >>/run/order\n".into() },
    ];
    let (provision, wish) = (docker("http://192.0.2.1:5000"), wish("http://192.0.2.1:5000"));
    let document = user_data(&Order { with: &with, ..order(&provision, &wish) }).expect("made");
    let (bytes, size) = packed(&document, true, Provider::Ec2);
    assert!(size.fits(), "{size}");
    newborn.boot(&bytes).await.assert_clean();
    let wanted = json!({"debug": true, "registry-mirrors": ["http://192.0.2.1:5000"]});
    assert_eq!(serde_json::from_str::<Value>(&newborn.read("/run/seen-by-runcmd")).expect("JSON"), wanted, "before their commands");
    assert_eq!(daemon_json(&newborn), wanted);
    assert_eq!(newborn.read("/etc/theirs"), "100% $HOME");
    assert_eq!(newborn.read("/run/order"), "runcmd\na.sh\n\u{1f6a2} 100%\n");
    for placed in &provision.files {
        assert_eq!(newborn.read(&placed.path), placed.content.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_trusts_the_mirrors_ca_where_that_is_asked_for() {
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    let desk = super::client_certificates::Desk::new();
    let provision = Provision { docker: None, ..docker("https://mirror.test:5000") };
    let wish = Wish { anchors: Some(desk.read("trust/ca.pem")), ..wish("https://mirror.test:5000") };
    let document = user_data(&Order { system_roots: Some(CaSpelling::Underscored), ..order(&provision, &wish) }).expect("made");
    valid(&newborn, &document).await;
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    newborn.boot(document.as_bytes()).await.assert_clean();
    let ca = desk.read("trust/ca.pem");
    assert!(newborn.read(bundle).contains(ca.trim()), "{bundle}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_down_keeps_no_machine_from_starting() {
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    // Packets to it are lost; and nobody listens at the other.
    let nobody = "https://127.0.0.1:9";
    let dead = DeadEnd::new().await;
    let lost = dead.url().replace("http:", "https:");
    let wish = Wish { mirrors: [&*lost, nobody].map(|url| url.parse().expect("a mirror")).to_vec(), ..wish(nobody) };
    let provision = Provision { means: Means::Agent("ab".repeat(32).parse().expect("a digest")), ..docker(nobody) };
    let with = [Theirs { name: "x.sh".to_owned(), bytes: "#!/bin/sh\necho done >/run/theirs\n".into() }];
    let document = user_data(&Order { with: &with, ..order(&provision, &wish) }).expect("made");
    let boot = newborn.boot(document.as_bytes()).await;
    assert_eq!(newborn.read("/run/theirs"), "done\n", "{}", boot.output);
    assert!(boot.output.contains("chandler-fetch: there is no chandler; the next boot tries again"), "{}", boot.output);
    assert!(!newborn.has("/usr/local/bin/chandler"));
    boot.assert_clean(); // who waits for `cloud-init status --wait` has a machine
}

/// What `cloud-init schema` takes without a word of anything deprecated.
async fn valid(newborn: &Newborn, document: &str) {
    let answer = newborn.schema(document).await;
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(answer.is_success() && said.contains("Valid cloud-config") && !said.to_lowercase().contains("deprecat"), "{said}\n{document}");
}

fn daemon_json(newborn: &Newborn) -> Value {
    serde_json::from_str(&newborn.read("/etc/docker/daemon.json")).expect("JSON")
}

fn wish(mirror: &str) -> Wish {
    Wish { mirrors: vec![mirror.parse().expect("a mirror")], anchors: None, client: None, registries: Vec::new(), others: Others::Keep }
}

fn file(path: &str, mode: u32, text: &str) -> PlacedFile {
    PlacedFile { path: path.to_owned(), mode, content: Content { text: text.to_owned(), secret: mode == 0o600 } }
}

/// For Docker, told of one mirror by the script.
fn docker(mirror: &str) -> Provision {
    let keys = DockerKeys { mirrors: vec![mirror.to_owned()], insecure: Vec::new() };
    Provision {
        files: vec![file("/etc/docker/certs.d/mirror.test:5000/chandler-ca.crt", 0o644, "PEM\nPEM\n")],
        docker: Some(keys),
        means: Means::Script,
    }
}

fn order<'a>(provision: &'a Provision, wish: &'a Wish) -> Order<'a> {
    Order { provision, wish, engines: &[], enrolment: None, system_roots: None, with: &[], multipart: false }
}

/// 32 hexadecimal digits that nobody else asks for.
fn nonce() -> String {
    format!("{:032x}", SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()))
}
