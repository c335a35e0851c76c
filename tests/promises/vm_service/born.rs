//! From the operator's file to a private image in a job's machine, with no login: shell, Java, cloud-init and Docker, all real.

use cloud_init::vm_service::customizations::install;
use cloud_init::vm_service::{Block, template};
use cloud_init::{CloudConfig, DockerKeys, Means, Provision};
use tests::engine::{Dockerd, MachineConfig, Release};
use tests::hub::Hub;
use tests::newborn::Newborn;
use tests::program::Program;

use super::GUIDE;
use super::service::Container;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_the_service_with_docker_20_pulls_a_private_image_with_no_login() {
    pulls(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_the_service_with_docker_29_pulls_a_private_image_with_no_login() {
    pulls(Release::V29).await;
}

async fn pulls(release: Release) {
    let hub = Hub::start();
    hub.add_account("ci", "secret");
    hub.private("acme/secret");
    hub.allow("ci", "acme/secret");
    hub.image("acme/secret").seed(9).layers([20_000]).tag("1").push();
    let mirror = Program::of_hub(&hub.url()).account("ci", "secret").start();

    let docker = DockerKeys { mirrors: vec![mirror.url().to_owned()], insecure: Vec::new() };
    let config = CloudConfig::of(&Provision { files: Vec::new(), docker: Some(docker), means: Means::Script });
    let block = Block::new(template::template(&config), &[mirror.url().parse().expect("a URL")]).expect("a template");
    let Some(container) = Container::start() else { return };
    let user_data = container.run(&install(Some(GUIDE), &block).expect("a file of others"), &[]).swap_remove(0).user_data;

    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    newborn.boot(user_data.as_bytes()).await.assert_clean();
    assert_eq!(newborn.mode("/usr/local/sbin/chandler-first-boot"), 0o755);
    let Some(docker) = Dockerd::start_on(newborn.into_machine(), release).await else { return };
    docker.pull("acme/secret:1").await.expect_success();
}
