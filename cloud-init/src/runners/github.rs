//! GitHub: the Actions Runner Controller in both of its forms, and workflows on machines of one's own.

use super::{DIND, Inner, kubernetes};
use crate::document::Document;
use crate::yaml_tree::{Value, list, map, text, with};

/// A `RunnerDeployment` or `RunnerSet`: it takes one mirror.
pub(super) fn arc(inner: &Inner) -> Vec<Document> {
    let mirror = inner.mirrors.first().map(String::as_str).unwrap_or_default();
    let spec = map([("dockerRegistryMirror", mirror.into())]);
    let spec = with(spec, "dockerVolumeMounts", kubernetes::mount(inner).map(|mount| list([mount])));
    let spec = with(spec, "volumes", kubernetes::volume(inner).map(|volume| list([volume])));
    let patch = map([("spec", map([("template", map([("spec", spec)]))]))]);
    let about = "The Docker beside each runner pulls through the mirror. Lists of your own have to be in these: such a patch puts its lists in place of yours.";
    let patch =
        Document::new("runner-patch.yaml", "`kubectl patch runnerdeployment NAME --type merge --patch-file`", text(about, &[patch]));
    std::iter::once(patch).chain(object(inner)).collect()
}

/// A scale set: what its chart makes for `containerMode: dind`, with the mirror in it, since it has no value for that.
pub(super) fn arc_scale_set(inner: &Inner) -> Vec<Document> {
    let mount = |name: &str, path: &str| map([("name", name.into()), ("mountPath", path.into())]);
    let variable = |name: &str, value: &str| map([("name", name.into()), ("value", value.into())]);
    let empty = |name: &str| map([("name", name.into()), ("emptyDir", map([]))]);
    let externals = map([
        ("name", "init-dind-externals".into()),
        ("image", RUNNER.into()),
        ("command", list(["cp", "-r", "/home/runner/externals/.", "/home/runner/tmpDir/"])),
        ("volumeMounts", list([mount("dind-externals", "/home/runner/tmpDir")])),
    ]);
    let own = ["dockerd", "--host=unix:///var/run/docker.sock", "--group=$(DOCKER_GROUP_GID)"];
    let mounts = [mount("work", WORK), mount("dind-sock", "/var/run"), mount("dind-externals", "/home/runner/externals")];
    let dind = map([
        ("name", "dind".into()),
        ("image", DIND.into()),
        ("args", list(own.into_iter().chain(inner.arguments.iter().map(String::as_str)))),
        ("env", list([variable("DOCKER_GROUP_GID", "123")])),
        ("securityContext", map([("privileged", true.into())])),
        ("restartPolicy", "Always".into()),
        ("startupProbe", probe()),
        ("volumeMounts", list(mounts.into_iter().chain(kubernetes::mount(inner)))),
    ]);
    let runner = map([
        ("name", "runner".into()),
        ("image", RUNNER.into()),
        ("command", list(["/home/runner/run.sh"])),
        ("env", list([variable("DOCKER_HOST", "unix:///var/run/docker.sock"), variable("RUNNER_WAIT_FOR_DOCKER_IN_SECONDS", "120")])),
        ("volumeMounts", list([mount("work", WORK), mount("dind-sock", "/var/run")])),
    ]);
    let volumes = [empty("work"), empty("dind-sock"), empty("dind-externals")].into_iter().chain(kubernetes::volume(inner));
    let spec = map([("initContainers", list([externals, dind])), ("containers", list([runner])), ("volumes", list(volumes))]);
    let values = map([("template", map([("spec", spec)]))]);
    let about = "The Docker beside each runner pulls through the mirror. `containerMode` stays unset: this is what it would make for dind (Kubernetes 1.29 or newer), and the mirror.";
    let values = Document::new("values.yaml", "`helm upgrade -f`, for the chart gha-runner-scale-set", text(about, &[values]));
    std::iter::once(values).chain(object(inner)).collect()
}

/// A workflow: the machine's own Docker is behind the mirror already, the builder of `setup-buildx-action` is told here.
pub(super) fn self_hosted(inner: &Inner) -> Vec<Document> {
    let buildx = map([
        ("uses", "docker/setup-buildx-action@v3".into()),
        ("with", map([("buildkitd-config-inline", inner.buildkitd.as_str().into())])),
    ]);
    let build = map([("run", "docker buildx build .".into())]);
    let job = map([("runs-on", "self-hosted".into()), ("steps", list([map([("uses", "actions/checkout@v4".into())]), buildx, build]))]);
    let workflow = map([("name", "image".into()), ("on", "push".into()), ("jobs", map([("build", job)]))]);
    let about = "The step of setup-buildx-action is what this is about: its builder reads nothing of the machine's Docker, which `chandler apply` has put behind the mirror.";
    vec![Document::new("workflow.yaml", "its step goes to your workflows", text(about, &[workflow]))]
}

fn object(inner: &Inner) -> Option<Document> {
    let object = kubernetes::object(inner)?;
    let text = text("In the namespace of the runners: `kubectl apply -f`.", &[object]);
    Some(Document::new("chandler-mirror.yaml", "`kubectl apply -f`, in the namespace of the runners", text).with_secret(inner.has_key()))
}

fn probe() -> Value {
    map([
        ("exec", map([("command", list(["docker", "info"]))])),
        ("initialDelaySeconds", 0.into()),
        ("failureThreshold", 24.into()),
        ("periodSeconds", 5.into()),
    ])
}

const RUNNER: &str = "ghcr.io/actions/actions-runner:latest";
const WORK: &str = "/home/runner/_work";

#[cfg(test)]
mod tests {
    use super::super::tests::{plain, secure, shown};
    use super::*;

    #[test]
    fn the_controller_of_runner_deployments() {
        insta::assert_snapshot!(shown(&arc(&secure(false))), @r#"
        # ==== runner-patch.yaml: `kubectl patch runnerdeployment NAME --type merge --patch-file`
        # The Docker beside each runner pulls through the mirror. Lists of your own have to be in these: such a patch puts its lists in place of yours.
        spec:
          template:
            spec:
              dockerRegistryMirror: https://mirror.example:5000
              dockerVolumeMounts:
              - name: chandler-mirror
                mountPath: /etc/docker/certs.d
                readOnly: true
              volumes:
              - name: chandler-mirror
                configMap:
                  name: chandler-mirror
                  items:
                  - key: 0-chandler-ca.crt
                    path: mirror.example:5000/chandler-ca.crt

        # ==== chandler-mirror.yaml: `kubectl apply -f`, in the namespace of the runners
        # In the namespace of the runners: `kubectl apply -f`.
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: chandler-mirror
        data:
          0-chandler-ca.crt: |
            what is in chandler-ca.crt
        "#);
    }

    #[test]
    fn the_controller_of_scale_sets() {
        insta::assert_snapshot!(shown(&arc_scale_set(&secure(false))), @r#"
        # ==== values.yaml: `helm upgrade -f`, for the chart gha-runner-scale-set
        # The Docker beside each runner pulls through the mirror. `containerMode` stays unset: this is what it would make for dind (Kubernetes 1.29 or newer), and the mirror.
        template:
          spec:
            initContainers:
            - name: init-dind-externals
              image: ghcr.io/actions/actions-runner:latest
              command:
              - cp
              - -r
              - /home/runner/externals/.
              - /home/runner/tmpDir/
              volumeMounts:
              - name: dind-externals
                mountPath: /home/runner/tmpDir
            - name: dind
              image: docker:dind
              args:
              - dockerd
              - --host=unix:///var/run/docker.sock
              - --group=$(DOCKER_GROUP_GID)
              - --registry-mirror=https://mirror.example:5000
              env:
              - name: DOCKER_GROUP_GID
                value: '123'
              securityContext:
                privileged: true
              restartPolicy: Always
              startupProbe:
                exec:
                  command:
                  - docker
                  - info
                initialDelaySeconds: 0
                failureThreshold: 24
                periodSeconds: 5
              volumeMounts:
              - name: work
                mountPath: /home/runner/_work
              - name: dind-sock
                mountPath: /var/run
              - name: dind-externals
                mountPath: /home/runner/externals
              - name: chandler-mirror
                mountPath: /etc/docker/certs.d
                readOnly: true
            containers:
            - name: runner
              image: ghcr.io/actions/actions-runner:latest
              command:
              - /home/runner/run.sh
              env:
              - name: DOCKER_HOST
                value: unix:///var/run/docker.sock
              - name: RUNNER_WAIT_FOR_DOCKER_IN_SECONDS
                value: '120'
              volumeMounts:
              - name: work
                mountPath: /home/runner/_work
              - name: dind-sock
                mountPath: /var/run
            volumes:
            - name: work
              emptyDir: {}
            - name: dind-sock
              emptyDir: {}
            - name: dind-externals
              emptyDir: {}
            - name: chandler-mirror
              configMap:
                name: chandler-mirror
                items:
                - key: 0-chandler-ca.crt
                  path: mirror.example:5000/chandler-ca.crt

        # ==== chandler-mirror.yaml: `kubectl apply -f`, in the namespace of the runners
        # In the namespace of the runners: `kubectl apply -f`.
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: chandler-mirror
        data:
          0-chandler-ca.crt: |
            what is in chandler-ca.crt
        "#);
        assert!(shown(&arc_scale_set(&plain())).contains("- --insecure-registry=http://10.0.0.7:5000\n"));
    }

    #[test]
    fn a_workflow_on_a_machine_of_ones_own() {
        insta::assert_snapshot!(shown(&self_hosted(&plain())), @r#"
        # The step of setup-buildx-action is what this is about: its builder reads nothing of the machine's Docker, which `chandler apply` has put behind the mirror.
        name: image
        on: push
        jobs:
          build:
            runs-on: self-hosted
            steps:
            - uses: actions/checkout@v4
            - uses: docker/setup-buildx-action@v3
              with:
                buildkitd-config-inline: |
                  [registry."docker.io"]
                  mirrors = ["mirror.example:5000"]
            - run: docker buildx build .
        "#);
    }
}
