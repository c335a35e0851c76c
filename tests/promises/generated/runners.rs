//! Other CI systems' runners: their schemas, and the parsers of their files' formats.

use super::{Made, read_by_python, run};
use tests::tools;

const SECURE: &str = "--mirror https://mirror.example:5000 --ca CA.pem";

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_what_their_systems_schemas_allow() {
    let Some(check) = tools::require("check-jsonschema") else { return };
    for (system, file, schema) in [
        ("buildkite-kubernetes", "pipeline.yaml", "vendor.buildkite"),
        ("drone", "drone.yaml", "vendor.drone-ci"),
        ("github-self-hosted", "workflow.yaml", "vendor.github-workflows"),
        ("woodpecker", "woodpecker.yaml", "vendor.woodpecker-ci"),
    ] {
        // Of the one that makes a single document, that is the file itself.
        let alone = (system == "github-self-hosted").then_some(file);
        let made = Made::by(&format!("runner {system} {SECURE}"), alone).await;
        run(&check, &["--builtin-schema", schema, &made.path(file).display().to_string()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlabs_runner_is_told_in_toml_of_the_mirror_and_of_its_certificate() {
    let made = Made::by(&format!("runner gitlab-docker {SECURE}"), Some("config.toml")).await;
    let Some(config) = read_by_python("tomllib", &made.path("config.toml")).await else { return };
    let docker = &config["runners"][0]["docker"];
    assert_eq!(docker["services"][0]["command"], serde_json::json!(["--registry-mirror=https://mirror.example:5000"]), "{config}");
    assert_eq!(docker["volumes"][2], "/etc/docker/certs.d:/etc/docker/certs.d:ro", "{config}");

    let made = Made::by(&format!("runner gitlab-machine {SECURE}"), None).await;
    let Some(config) = read_by_python("tomllib", &made.path("config.template.toml")).await else { return };
    // In the user data, since dockerd does not start where a flag says it as well.
    let options = &config["runners"][0]["machine"]["MachineOptions"];
    assert_eq!(*options, serde_json::json!(["amazonec2-userdata=/etc/gitlab-runner/chandler-user-data.yaml"]), "{config}");
    assert!(made.text("chandler-user-data.yaml").starts_with("#cloud-config\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_kubernetes_has_the_certificate_and_the_pod_finds_it_where_docker_looks() {
    let made = Made::by(&format!("runner gitlab-kubernetes {SECURE}"), None).await;
    let Some(config) = read_by_python("tomllib", &made.path("config.template.toml")).await else { return };
    let volume = &config["runners"][0]["kubernetes"]["volumes"]["config_map"][0];
    let (key, path) = volume["items"]
        .as_object()
        .and_then(|items| items.iter().find(|(_, path)| path.as_str().is_some_and(|path| path.ends_with("/chandler-ca.crt"))))
        .expect("a certificate");
    assert_eq!((volume["mount_path"].as_str(), path.as_str()), (Some("/etc/docker/certs.d"), Some("mirror.example:5000/chandler-ca.crt")));
    let object = made.text("chandler-mirror.yaml");
    assert!(object.contains("kind: ConfigMap\n") && object.contains(&format!("  {key}: |\n    -----BEGIN CERTIFICATE-----\n")), "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_objects_are_what_kubernetes_takes() {
    let Some(validate) = tools::require("kubernetes-validate") else { return };
    for (system, files) in
        [("jenkins-kubernetes", ["pod.yaml", "chandler-mirror.yaml"].as_slice()), ("github-arc", &["chandler-mirror.yaml"])]
    {
        let made = Made::by(&format!("runner {system} {SECURE}"), None).await;
        for file in files {
            run(&validate, &["--strict", &made.path(file).display().to_string()]).await;
        }
    }
}
