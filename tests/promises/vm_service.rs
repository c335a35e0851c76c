//! "What arrives in the VM is what went in": the customization for CircleCI's VM service through the real parts of its way: shells that source it, Java that finds the template and formats it, PyYAML that reads it.
//!
//! The service itself is not to be had. Its place takes `Service.java`, which does with its template what is known of it, in a [container](service::Container) with the service's own paths.

mod arrives;
mod real_files;
mod service;

use std::fs;
use std::process::Command;

use cloud_init::vm_service::customizations::{install, remove};
use cloud_init::vm_service::{Block, template};
use cloud_init::{CloudConfig, DockerKeys, Means, Provision};
use tests::tools;

use service::Container;

#[test]
fn the_service_makes_machines_of_our_template_with_every_shell() {
    let Some(container) = Container::start() else { return };
    let file = install(None, &block()).expect("a file of ours");
    let expected = cloud_init::layers::java::format(&ours(), "circleci", "ssh-rsa KEY").expect("a template");
    for run in container.run(&file, &[]) {
        assert_eq!(run.user_data, expected, "{}", run.shell);
    }
}

#[test]
fn before_it_and_after_undo_the_service_makes_machines_of_its_own() {
    let Some(container) = Container::start() else { return };
    let others = "export COLOUR=blue\n";
    let file = install(Some(others), &block()).expect("a file of others");
    for text in [others, &remove(&file).expect("ours is taken out")] {
        assert!(container.run(text, &[]).iter().all(|run| run.user_data == service::OWN), "{text}");
    }
}

#[test]
fn options_and_class_path_entries_of_the_operator_stay() {
    let Some(container) = Container::start() else { return };
    let file =
        install(Some("export JAVA_OPTS='-Dcolour=blue -cp /patches:/service/app.jar -Xmx64m'\n"), &block()).expect("a file of others");
    for run in container.run(&file, &[]) {
        assert_eq!((run.options.as_str(), run.is_ours()), ("colour=blue patch=true heap=64", true), "{}", run.shell);
    }
    // What the container's own environment says counts as well.
    let file = install(None, &block()).expect("a file of ours");
    for run in container.run(&file, &[("JAVA_OPTS", "-Dcolour=red"), ("CLASSPATH", "/patches")]) {
        assert!(run.options.starts_with("colour=red patch=true") && run.is_ours(), "{}: {}", run.shell, run.options);
    }
}

#[test]
fn a_hand_made_block_and_the_undo_of_it_do_not_keep_ours_from_the_service() {
    let Some(container) = Container::start() else { return };
    let file = install(Some(&format!("export JAVA_OPTS=-Dcolour=blue\n{GUIDE}unset JAVA_OPTS\n")), &block()).expect("a file of others");
    for run in container.run(&file, &[]) {
        assert!(run.is_ours() && run.options.starts_with("colour=null"), "{}: {}", run.shell, run.options);
    }
    let file = install(Some(&format!("export JAVA_OPTS=-Dcolour=blue\n{GUIDE}")), &block()).expect("a file of others");
    for run in container.run(&file, &[]) {
        assert!(run.is_ours() && run.options.starts_with("colour=blue"), "{}: {}", run.shell, run.options);
    }
}

#[test]
fn the_guides_own_block_is_what_we_take_it_for() {
    let Some(container) = Container::start() else { return };
    for run in container.run(GUIDE, &[]) {
        assert!(run.user_data.contains("\"registry-mirrors\\\" = [\\\"http://192.0.2.1\\\"]"), "{}: {}", run.shell, run.user_data);
    }
}

#[test]
fn a_service_that_cannot_write_the_template_starts_without_it() {
    let Some(container) = Container::start() else { return };
    let file = install(None, &block()).expect("a file of ours");
    for run in container.run(&format!(": > /resources\n{file}"), &[]) {
        assert_eq!(run.user_data, service::OWN, "{}", run.shell);
        assert!(run.said.contains("the template could not be written"), "{}: {}", run.shell, run.said);
    }
}

#[test]
fn cloud_init_finds_nothing_wrong_in_what_the_service_makes() {
    let Some(cloud_init) = tools::require("cloud-init") else { return };
    let Some(container) = Container::start() else { return };
    let made = container.folder().join("user-data");
    fs::write(&made, &container.run(&install(None, &block()).expect("a file of ours"), &[])[0].user_data)
        .expect("a file of ours can be written");
    let said = service::success(Command::new(cloud_init).args(["schema", "--config-file"]).arg(&made));
    assert!(said.contains("Valid cloud-config"), "{said}");
}

/// As `chandler cloud-init vm-service` makes it for one mirror.
fn ours() -> String {
    let docker = DockerKeys { mirrors: vec!["https://mirror.example:5000".to_owned()], insecure: Vec::new() };
    template::template(&CloudConfig::of(&Provision { files: Vec::new(), docker: Some(docker), means: Means::Script }))
}

fn block() -> Block {
    Block::new(ours(), &["https://mirror.example:5000".parse().expect("a URL")]).expect("a template")
}

/// As CircleCI's documentation has it.
const GUIDE: &str = r#"export JAVA_OPTS='-cp /resources:/service/app.jar'
export DOCKER_MIRROR_HOSTNAME="http://192.0.2.1"
mkdir -p /resources/ec2
cat > /resources/ec2/linux_cloud_init.yaml << EOD
#cloud-config
system_info:
  default_user:
    name: "%1\$s"
ssh_authorized_keys:
  - "%2\$s"
runcmd:
  - bash -c 'if [ ! -f /etc/docker/daemon.json ]; then mkdir -p /etc/docker; echo "{}" > /etc/docker/daemon.json; fi'
  - bash -c 'cat <<< \$(jq ".\"registry-mirrors\" = [\"$DOCKER_MIRROR_HOSTNAME\"]" /etc/docker/daemon.json) > /etc/docker/daemon.json'
  - systemctl restart docker.service
EOD
"#;
