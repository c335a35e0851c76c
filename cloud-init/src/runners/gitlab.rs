//! GitLab's runner: templates for `gitlab-runner register --template-config`, which are parts of its `config.toml`.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::{CERTS_D, DIND, Inner, kubernetes as k8s};
use crate::document::Document;
use crate::yaml_tree;

/// The executor `docker`: a service beside each job.
pub(super) fn docker(inner: &Inner) -> Vec<Document> {
    let mut docker = Table::new();
    docker["privileged"] = value(true);
    let mut volumes = vec!["/cache".to_owned(), "/certs/client".to_owned()];
    if !inner.files.is_empty() {
        volumes.push(format!("{CERTS_D}:{CERTS_D}:ro"));
    }
    docker["volumes"] = value(array(&volumes));
    docker["services"] = services(inner);
    let host = if inner.files.is_empty() {
        ""
    } else {
        "\nThe machine's own certificates are those of the service: `chandler apply` puts them there."
    };
    vec![template("docker", ("docker", docker), host)]
}

/// The executor `docker+machine`: each machine that it makes.
pub(super) fn machine(inner: &Inner) -> Vec<Document> {
    let keys = inner.arguments.iter().filter_map(|argument| argument.strip_prefix("--"));
    let mut options: Vec<String> = keys.map(|argument| format!("engine-{argument}")).collect();
    if !inner.files.is_empty() {
        // The user data says so in `daemon.json`, and dockerd does not start where a flag says it as well.
        options.clear();
        options.push(format!("amazonec2-userdata=/etc/gitlab-runner/{USER_DATA}"));
    }
    let mut machine = Table::new();
    machine["MachineOptions"] = value(array(&options));
    let driver = if inner.files.is_empty() {
        ""
    } else {
        "\nWith another driver than Amazon's, the last option is that driver's own for user data."
    };
    let mut documents = vec![template("docker+machine", ("machine", machine), driver)];
    if !inner.files.is_empty() {
        let user_data = Document::new(USER_DATA, "goes to /etc/gitlab-runner/ on the machine of the runner", inner.cloud_config.clone());
        documents.push(user_data.with_secret(inner.has_key()));
    }
    documents
}

/// The executor `kubernetes`: a service in each job's pod.
pub(super) fn kubernetes(inner: &Inner) -> Vec<Document> {
    let mut kubernetes = Table::new();
    kubernetes["privileged"] = value(true);
    kubernetes["services"] = services(inner);
    if !inner.files.is_empty() {
        let mut volume = Table::new();
        volume["name"] = value(k8s::NAME);
        volume["mount_path"] = value(CERTS_D);
        volume["read_only"] = value(true);
        let mut items = Table::new();
        for (key, path, _) in k8s::items(&inner.files) {
            items[&key] = value(path);
        }
        volume["items"] = Item::Table(items);
        let mut volumes = Table::new();
        volumes.set_implicit(true);
        volumes[if inner.has_key() { "secret" } else { "config_map" }] = tables(volume);
        kubernetes["volumes"] = Item::Table(volumes);
    }
    let mut documents = vec![template("kubernetes", ("kubernetes", kubernetes), "\nThe same text is `runners.config` of the Helm chart.")];
    if let Some(object) = k8s::object(inner) {
        let text = yaml_tree::text("In the namespace of the jobs: `kubectl apply -f`.", &[object]);
        documents.push(
            Document::new("chandler-mirror.yaml", "`kubectl apply -f`, in the namespace of the jobs", text).with_secret(inner.has_key()),
        );
    }
    documents
}

fn template(executor: &str, (name, section): (&str, Table), more: &str) -> Document {
    let mut runner = Table::new();
    runner["executor"] = value(executor);
    runner[name] = Item::Table(section);
    let mut document = DocumentMut::new();
    document["runners"] = tables(runner);
    let comment = yaml_tree::comment(&format!("{ABOUT}{more}"));
    Document::new(
        "config.template.toml",
        "`gitlab-runner register --template-config`, or merged into config.toml",
        comment + &document.to_string(),
    )
}

/// The Docker that jobs build by.
fn services(inner: &Inner) -> Item {
    let mut service = Table::new();
    service["name"] = value(DIND);
    service["alias"] = value("docker");
    service["command"] = value(array(&inner.arguments));
    tables(service)
}

fn tables(one: Table) -> Item {
    Item::ArrayOfTables(ArrayOfTables::from_iter([one]))
}

fn array(items: &[String]) -> Array {
    items.iter().map(String::as_str).collect()
}

const ABOUT: &str = "Builds inside of jobs pull through the mirror. The jobs' own images are pulled by the engine of the machine or node: `chandler apply` is for that.";
const USER_DATA: &str = "chandler-user-data.yaml";

#[cfg(test)]
mod tests {
    use super::super::tests::{plain, secure, shown};
    use super::*;

    #[test]
    fn the_executor_docker() {
        insta::assert_snapshot!(shown(&docker(&plain())), @r#"
        # Builds inside of jobs pull through the mirror. The jobs' own images are pulled by the engine of the machine or node: `chandler apply` is for that.
        [[runners]]
        executor = "docker"

        [runners.docker]
        privileged = true
        volumes = ["/cache", "/certs/client"]

        [[runners.docker.services]]
        name = "docker:dind"
        alias = "docker"
        command = ["--registry-mirror=http://10.0.0.7:5000", "--registry-mirror=https://mirror.example", "--insecure-registry=http://10.0.0.7:5000"]
        "#);
        insta::assert_snapshot!(shown(&docker(&secure(false))), @r#"
        # Builds inside of jobs pull through the mirror. The jobs' own images are pulled by the engine of the machine or node: `chandler apply` is for that.
        # The machine's own certificates are those of the service: `chandler apply` puts them there.
        [[runners]]
        executor = "docker"

        [runners.docker]
        privileged = true
        volumes = ["/cache", "/certs/client", "/etc/docker/certs.d:/etc/docker/certs.d:ro"]

        [[runners.docker.services]]
        name = "docker:dind"
        alias = "docker"
        command = ["--registry-mirror=https://mirror.example:5000"]
        "#);
    }

    #[test]
    fn the_executor_docker_machine() {
        insta::assert_snapshot!(shown(&machine(&secure(false))), @r#"
        # ==== config.template.toml: `gitlab-runner register --template-config`, or merged into config.toml
        # Builds inside of jobs pull through the mirror. The jobs' own images are pulled by the engine of the machine or node: `chandler apply` is for that.
        # With another driver than Amazon's, the last option is that driver's own for user data.
        [[runners]]
        executor = "docker+machine"

        [runners.machine]
        MachineOptions = ["amazonec2-userdata=/etc/gitlab-runner/chandler-user-data.yaml"]

        # ==== chandler-user-data.yaml: goes to /etc/gitlab-runner/ on the machine of the runner
        #cloud-config
        {}
        "#);
    }

    #[test]
    fn the_executor_kubernetes() {
        insta::assert_snapshot!(shown(&kubernetes(&secure(true))), @r#"
        # ==== config.template.toml: `gitlab-runner register --template-config`, or merged into config.toml
        # Builds inside of jobs pull through the mirror. The jobs' own images are pulled by the engine of the machine or node: `chandler apply` is for that.
        # The same text is `runners.config` of the Helm chart.
        [[runners]]
        executor = "kubernetes"

        [runners.kubernetes]
        privileged = true

        [[runners.kubernetes.services]]
        name = "docker:dind"
        alias = "docker"
        command = ["--registry-mirror=https://mirror.example:5000"]

        [[runners.kubernetes.volumes.secret]]
        name = "chandler-mirror"
        mount_path = "/etc/docker/certs.d"
        read_only = true

        [runners.kubernetes.volumes.secret.items]
        "0-chandler-ca.crt" = "mirror.example:5000/chandler-ca.crt"
        "1-chandler.key" = "mirror.example:5000/chandler.key"

        # ==== chandler-mirror.yaml: `kubectl apply -f`, in the namespace of the jobs
        # In the namespace of the jobs: `kubectl apply -f`.
        apiVersion: v1
        kind: Secret
        metadata:
          name: chandler-mirror
        stringData:
          0-chandler-ca.crt: |
            what is in chandler-ca.crt
          1-chandler.key: |
            what is in chandler.key
        "#);
    }
}
