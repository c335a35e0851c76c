//! chandler in the place of the `registry` image: its variables, its `config.yml`, its arguments.
//!
//! The two files below are what people wrote for that image, taken as they are but for paths, ports and the registry's address.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::client::Client;
use tests::hub::Hub;
use tests::program::{Process, Starter};

use crate::https::{Files, client_of};

const USER: &str = "machine-account";
const PASSWORD: &str = "dckr_pat_0123456789";

fn hub() -> Hub {
    let hub = Hub::start();
    hub.add_account(USER, PASSWORD);
    hub.image("library/alpine").tag("latest").push();
    hub.image("acme/private").tag("1").seed(2).push();
    hub.private("acme/private");
    hub.allow(USER, "acme/private");
    hub
}

fn folder() -> TempDir {
    TempDir::with_prefix("chandler-drop-in-").expect("a folder")
}

/// The image's own variables and nothing else.
fn by_variables(hub: &Hub, folder: &Path) -> Starter {
    Starter::new([])
        .with("REGISTRY_PROXY_REMOTEURL", hub.url())
        .with("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .with("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", folder.join("data"))
        .with("REGISTRY_LOG_FORMATTER", "json")
        .with("CHANDLER_ADMIN_ADDRESS", "127.0.0.1:0")
}

fn is_stored_below(folder: &Path) -> bool {
    fs::read_dir(folder.join("blobs")).is_ok_and(|mut blobs| blobs.next().is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_variables_alone_are_enough() {
    let (hub, folder) = (hub(), folder());
    let mut program = by_variables(&hub, folder.path())
        .with("REGISTRY_PROXY_USERNAME", USER)
        .with("REGISTRY_PROXY_PASSWORD", PASSWORD)
        .with("REGISTRY_PROXY_TTL", "168h")
        .start();
    let client = Client::new(&program.url());
    client.pull("library/alpine", "latest").await;
    client.pull("acme/private", "1").await;
    assert!(is_stored_below(&folder.path().join("data")));
    program.signal("TERM");
    assert!(program.wait().success(), "{}", program.said());
    assert!(!program.said().contains(PASSWORD), "{}", program.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_user_is_anonymous_and_half_an_account_is_an_error() {
    let (hub, folder) = (hub(), folder());
    let empty = by_variables(&hub, folder.path()).with("REGISTRY_PROXY_USERNAME", "").with("REGISTRY_PROXY_PASSWORD", "").start();
    let client = Client::new(&empty.url());
    client.pull("library/alpine", "latest").await;
    assert_eq!(client.get("/v2/acme/private/manifests/1").await.status.as_u16(), 404);
    let mut half = by_variables(&hub, folder.path()).with("REGISTRY_PROXY_USERNAME", USER).start();
    assert_eq!(half.wait().code(), Some(2), "{}", half.said());
    assert!(half.said().contains("REGISTRY_PROXY_PASSWORD") || half.said().contains("proxy.password"), "{}", half.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_https_variables_serve_https() {
    let (hub, folder) = (hub(), folder());
    let files = Files::write(folder.path(), "fullchain.pem", "privkey.pem", 1);
    let program = by_variables(&hub, folder.path())
        .with("REGISTRY_HTTP_TLS_CERTIFICATE", folder.path().join("fullchain.pem"))
        .with("REGISTRY_HTTP_TLS_KEY", folder.path().join("privkey.pem"))
        .start();
    let url = program.url();
    assert!(url.starts_with("https://"), "{url}");
    let answer = client_of(&files).get(format!("{url}/v2/library/alpine/manifests/latest")).send().await.expect("https");
    assert!(answer.status().is_success());
}

/// With `addr`, files and `remoteurl` of this test; everything else is the file's own.
fn mirroring_file(hub: &Hub, folder: &Path) -> PathBuf {
    let config = format!(
        "proxy:
  remoteurl: {}
  username: {USER}
  password: {PASSWORD}
version: 0.1
log: {{formatter: json}}
storage: {{filesystem: {{rootdirectory: {}}}}}
http: {{addr: \"127.0.0.1:0\", debug: {{addr: \"127.0.0.1:0\"}}}}
",
        hub.url(),
        folder.join("data").display()
    );
    write(folder, &config)
}

fn post_file(hub: &Hub, folder: &Path) -> PathBuf {
    let config = format!(
        "version: 0.1
log:
  formatter: json
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: {root}
http:
  addr: 127.0.0.1:0
  debug:
    addr: 127.0.0.1:0
  tls:
    certificate: {folder}/proxy.altus5.local.pem
    key: {folder}/proxy.altus5.local-key.pem
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
proxy:
  remoteurl: {hub}
",
        root = folder.join("registry").display(),
        folder = folder.display(),
        hub = hub.url(),
    );
    write(folder, &config)
}

fn write(folder: &Path, config: &str) -> PathBuf {
    let path = folder.join("config.yml");
    fs::write(&path, config).expect("it is ours");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_with_an_account_is_taken_as_it_is_however_the_image_is_called() {
    for arguments in [vec!["serve"], vec![], vec!["mirror", "--registry-config"]] {
        let (hub, folder) = (hub(), folder());
        let path = mirroring_file(&hub, folder.path());
        let program = Starter::new(arguments.iter().copied().chain([path.to_str().expect("text")])).start();
        let client = Client::new(&program.url());
        client.pull("acme/private", "1").await;
        client.pull("library/alpine", "latest").await;
        assert!(is_stored_below(&folder.path().join("data")), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_with_tls_headers_and_health_is_taken_as_it_is() {
    let (hub, folder) = (hub(), folder());
    let files = Files::write(folder.path(), "proxy.altus5.local.pem", "proxy.altus5.local-key.pem", 1);
    let path = post_file(&hub, folder.path());
    let program = Starter::new(["serve", path.to_str().expect("text")]).start();
    let url = program.url();
    let client = client_of(&files);
    let head = client.head(format!("{url}/v2/")).send().await.expect("https"); // `curl -I https://proxy.altus5.local:5000/v2/`
    assert_eq!(head.status().as_u16(), 200);
    assert_eq!(head.headers()["x-content-type-options"], "nosniff");
    assert!(client.get(format!("{url}/v2/library/alpine/manifests/latest")).send().await.expect("https").status().is_success());
    assert!(is_stored_below(&folder.path().join("registry")));
    assert!(program.wait_for("\"path\"").contains("\"service\":\"registry\""), "the log has the configured field");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_guard_or_move_data_is_refused_by_name() {
    let hub = hub();
    for (name, value) in [
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_STORAGE_S3_BUCKET", "images"),
        ("REGISTRY_HTTP_TLS_CLIENTAUTH", "request-client-cert"),
        ("REGISTRY_HTTP_PREFIX", "/registry/"),
    ] {
        let folder = folder();
        let mut program = by_variables(&hub, folder.path()).with(name, value).start();
        assert_eq!(program.wait().code(), Some(2), "{name}: {}", program.said());
        assert!(program.said().contains(name), "{name}: {}", program.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_that_others_reach_says_whose_images_are_open_and_what_closes_them() {
    let (hub, folder) = (hub(), folder());
    let program = by_variables(&hub, folder.path())
        .with("REGISTRY_HTTP_ADDR", "0.0.0.0:0")
        .with("REGISTRY_PROXY_USERNAME", USER)
        .with("REGISTRY_PROXY_PASSWORD", PASSWORD)
        .start();
    let said = program.wait_for("are open to everybody");
    assert!(said.contains(USER) && said.contains("CHANDLER_ACCESS"), "{said}");
    let ready = readiness(&program).await;
    assert!(ready.contains(USER) && ready.contains("CHANDLER_ACCESS=open ends this warning"), "{ready}");

    let told = by_variables(&hub, &folder.path().join("told"))
        .with("REGISTRY_HTTP_ADDR", "0.0.0.0:0")
        .with("REGISTRY_PROXY_USERNAME", USER)
        .with("REGISTRY_PROXY_PASSWORD", PASSWORD)
        .with("CHANDLER_ACCESS", "open")
        .start();
    assert_eq!(readiness(&told).await, "ready\n");
    assert!(!told.said().contains("are open to"), "{}", told.said());
}

/// What `/readyz` says, once it serves.
async fn readiness(program: &Process) -> String {
    let line = program.wait_for("the mirror serves");
    let admin = line.rsplit_once("\"admin\":\"").and_then(|(_, rest)| rest.split_once('"')).expect("an admin URL").0.to_owned();
    String::from_utf8_lossy(&Client::new(&admin).get("/readyz").await.whole()).into_owned()
}

#[test]
fn our_own_configuration_refuses_to_open_an_account_to_others_without_a_word() {
    let folder = folder();
    let path = folder.path().join("mirror.yaml");
    let config = "listeners: [{address: \"0.0.0.0:0\"}]\nupstreams: [{name: docker.io, account: {user: ci, password: x}}]\nadmin: off\n";
    fs::write(&path, config).expect("it is ours");
    let mut program = Starter::new(["mirror", "--config", path.to_str().expect("text")]).start();
    assert_eq!(program.wait().code(), Some(2), "{}", program.said());
    assert!(program.said().contains("access"), "{}", program.said());
}
