//! Buildkite: its elastic stack on AWS, whose machines run a script at their first boot, and its stack for Kubernetes.

use super::{DIND, Inner, kubernetes as k8s};
use crate::document::Document;
use crate::yaml_tree::{list, map, text, with};

/// The stack's `BootstrapScriptUrl`.
pub(super) fn aws(inner: &Inner) -> Vec<Document> {
    let program =
        Document::program("bootstrap.sh", "is put where the stack's BootstrapScriptUrl leads, such as a bucket", inner.program.clone());
    vec![program.with_secret(inner.has_key())]
}

/// A step's pod with a Docker of its own.
pub(super) fn kubernetes(inner: &Inner) -> Vec<Document> {
    let variable = map([("name", "DOCKER_TLS_CERTDIR".into()), ("value", "".into())]);
    let sidecar = map([
        ("image", DIND.into()),
        ("command", list(["dockerd-entrypoint.sh"])),
        ("args", list(inner.arguments.iter().map(String::as_str))),
        ("env", list([variable])),
        ("securityContext", map([("privileged", true.into()), ("allowPrivilegeEscalation", true.into())])),
    ]);
    let sidecar = with(sidecar, "volumeMounts", k8s::mount(inner).map(|mount| list([mount])));
    let patch = k8s::volume(inner).map(|volume| map([("volumes", list([volume]))]));
    let plugin = with(map([("sidecars", list([sidecar]))]), "podSpecPatch", patch);
    let step = map([
        ("label", "image".into()),
        ("image", "docker:cli".into()),
        ("env", map([("DOCKER_HOST", "tcp://localhost:2375".into())])),
        ("command", "docker build .".into()),
        ("plugins", list([map([("kubernetes", plugin)])])),
    ]);
    let about =
        "The Docker beside the step pulls through the mirror. The step's own images are pulled by the node: `chandler apply` is for that.";
    let pipeline = Document::new("pipeline.yaml", "its plugin goes to your steps", text(about, &[map([("steps", list([step]))])]));
    let object = k8s::object(inner).map(|object| {
        let text = text("In the namespace of the jobs: `kubectl apply -f`.", &[object]);
        Document::new("chandler-mirror.yaml", "`kubectl apply -f`, in the namespace of the jobs", text).with_secret(inner.has_key())
    });
    std::iter::once(pipeline).chain(object).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{secure, shown};
    use super::*;

    #[test]
    fn a_step_with_a_docker_of_its_own() {
        insta::assert_snapshot!(shown(&kubernetes(&secure(false))), @r#"
        # ==== pipeline.yaml: its plugin goes to your steps
        # The Docker beside the step pulls through the mirror. The step's own images are pulled by the node: `chandler apply` is for that.
        steps:
        - label: image
          image: docker:cli
          env:
            DOCKER_HOST: tcp://localhost:2375
          command: docker build .
          plugins:
          - kubernetes:
              sidecars:
              - image: docker:dind
                command:
                - dockerd-entrypoint.sh
                args:
                - --registry-mirror=https://mirror.example:5000
                env:
                - name: DOCKER_TLS_CERTDIR
                  value: ''
                securityContext:
                  privileged: true
                  allowPrivilegeEscalation: true
                volumeMounts:
                - name: chandler-mirror
                  mountPath: /etc/docker/certs.d
                  readOnly: true
              podSpecPatch:
                volumes:
                - name: chandler-mirror
                  configMap:
                    name: chandler-mirror
                    items:
                    - key: 0-chandler-ca.crt
                      path: mirror.example:5000/chandler-ca.crt

        # ==== chandler-mirror.yaml: `kubectl apply -f`, in the namespace of the jobs
        # In the namespace of the jobs: `kubectl apply -f`.
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
    fn the_elastic_stack_runs_a_program() {
        assert_eq!(aws(&secure(true))[0].text, "#!/bin/sh\ntrue\n");
        assert!(aws(&secure(true))[0].secret);
    }
}
