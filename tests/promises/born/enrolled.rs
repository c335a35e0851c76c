//! A machine that gets its client certificate by the token in its user data: with Python and openssl, and no agent.

use cloud_init::user_data::enrolment::{Enrolment, to_come};
use cloud_init::user_data::{Order, user_data};
use cloud_init::{Provision, Wish};
use http::StatusCode;
use tests::engine::MachineConfig;
use tests::hub::Hub;
use tests::newborn::Newborn;
use tests::program::Program;

use super::{docker, file, order, valid, wish};
use crate::client_certificates::{APP, Desk, Pair, RULES, hub};
use crate::tokens::TOKENS;

const FOLDER: &str = "/etc/docker/certs.d/mirror.test:5000";
const HOSTS: &str = "/etc/docker/certs.d/docker.io/hosts.toml";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_its_certificate_at_its_first_boot_and_its_key_stays_there() {
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    let token = desk.token("runner-1.ci.test", "");
    let document = document(mirror.url(), &token);
    valid(&newborn, &document).await;
    newborn.boot(document.as_bytes()).await.assert_clean();
    let pair = Pair { chain: newborn.read(&format!("{FOLDER}/chandler.cert")), key: newborn.read(&format!("{FOLDER}/chandler.key")) };
    assert_eq!(newborn.mode(&format!("{FOLDER}/chandler.key")), 0o600);
    assert_eq!(desk.ask_as(&mirror, Some(&pair)).get(APP).await.status, StatusCode::OK);
    assert!(newborn.read(HOSTS).contains("chandler.cert"), "what names it is in place");
    for gone in ["/etc/chandler/enrolment.json", "/etc/chandler/enrolment.key", &format!("{HOSTS}.chandler-enrolling")] {
        assert!(!newborn.has(gone), "{gone}");
    }

    newborn.boot_again().await.assert_clean();
    assert_eq!(newborn.read(&format!("{FOLDER}/chandler.cert")), pair.chain, "nothing is asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_mirror_is_down_starts_all_the_same_and_gets_its_certificate_at_the_next_boot() {
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    let token = desk.token("runner-1.ci.test", "");
    let address = mirror.host().to_owned();
    let document = document(mirror.url(), &token);
    drop(mirror);
    let boot = newborn.boot(document.as_bytes()).await;
    assert!(boot.output.contains("chandler-enrol: no mirror gave a certificate; the next boot tries again"), "{}", boot.output);
    assert!(!newborn.has(HOSTS) && !newborn.has(&format!("{FOLDER}/chandler.cert")), "engines ask as nobody until then");
    boot.assert_clean();
    assert!(!boot.output.contains(&token) && !boot.log.contains(&token));

    let another = Desk::new();
    let stranger = at(&another, &hub, &address);
    let boot = newborn.boot_again().await;
    assert!(boot.output.contains("is not the mirror that the token was made for"), "{}", boot.output);
    drop(stranger);

    let _mirror = at(&desk, &hub, &address);
    newborn.boot_again().await;
    assert!(newborn.has(HOSTS) && newborn.has(&format!("{FOLDER}/chandler.cert")));
}

/// A mirror in the place of one that has gone.
fn at(desk: &Desk, hub: &Hub, address: &str) -> Program {
    let [chain, key] = ["mirror/fullchain.pem", "mirror/privkey.pem"].map(|name| desk.path(name).display().to_string());
    let listeners = format!("[{{address: \"{address}\", tls: {{certificate: \"{chain}\", key: \"{key}\"}}}}]");
    desk.mirror(hub, TOKENS, RULES).listeners(&listeners).start()
}

/// For a machine that knows the mirror by its token alone.
fn document(mirror: &str, token: &str) -> String {
    let pair = to_come();
    let mut provision: Provision = docker(mirror);
    provision.files.push(file(&format!("{FOLDER}/chandler.key"), 0o600, &pair.key));
    provision.files.push(file(&format!("{FOLDER}/chandler.cert"), 0o644, &pair.chain));
    let hosts = format!("[host.\"{mirror}\"]\n  client = [[\"{FOLDER}/chandler.cert\", \"{FOLDER}/chandler.key\"]]\n");
    provision.files.push(file(HOSTS, 0o644, &hosts));
    let wish = Wish { client: Some(pair), ..wish(mirror) };
    let enrolment = Enrolment { mirrors: wish.mirrors.clone(), token: token.to_owned(), anchors: None };
    user_data(&Order { enrolment: Some(&enrolment), ..order(&provision, &wish) }).expect("made")
}
