//! Jenkins with its Kubernetes plugin: a pod whose builds have a Docker of their own. On machines, agents use the machine's Docker, and `chandler apply` is all.

use super::{Inner, kubernetes as k8s};
use crate::document::Document;
use crate::yaml_tree::{list, map, text, with};

/// A pod's template: `agent { kubernetes { yamlFile 'pod.yaml' } }`.
pub(super) fn kubernetes(inner: &Inner) -> Vec<Document> {
    let docker = map([
        ("name", "docker".into()),
        ("image", "docker:cli".into()),
        ("command", list(["sleep"])),
        ("args", list(["99d"])),
        ("env", list([map([("name", "DOCKER_HOST".into()), ("value", "tcp://localhost:2375".into())])])),
    ]);
    let spec = with(map([("containers", list([docker, k8s::sidecar(inner)]))]), "volumes", k8s::volume(inner).map(|volume| list([volume])));
    let pod =
        map([("apiVersion", "v1".into()), ("kind", "Pod".into()), ("metadata", map([("name", "docker-builds".into())])), ("spec", spec)]);
    let about = "Builds in the container `docker` pull through the mirror. The containers' own images are pulled by the node: `chandler apply` is for that.";
    let pod = Document::new("pod.yaml", "a Jenkinsfile names it: agent { kubernetes { yamlFile 'pod.yaml' } }", text(about, &[pod]));
    let object = k8s::object(inner).map(|object| {
        let text = text("In the namespace of the agents: `kubectl apply -f`.", &[object]);
        Document::new("chandler-mirror.yaml", "`kubectl apply -f`, in the namespace of the agents", text).with_secret(inner.has_key())
    });
    std::iter::once(pod).chain(object).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{secure, shown};
    use super::*;

    #[test]
    fn a_pod_with_a_docker_of_its_own() {
        insta::assert_snapshot!(shown(&kubernetes(&secure(true))), @r#"
        # ==== pod.yaml: a Jenkinsfile names it: agent { kubernetes { yamlFile 'pod.yaml' } }
        # Builds in the container `docker` pull through the mirror. The containers' own images are pulled by the node: `chandler apply` is for that.
        apiVersion: v1
        kind: Pod
        metadata:
          name: docker-builds
        spec:
          containers:
          - name: docker
            image: docker:cli
            command:
            - sleep
            args:
            - 99d
            env:
            - name: DOCKER_HOST
              value: tcp://localhost:2375
          - name: dind
            image: docker:dind
            args:
            - --registry-mirror=https://mirror.example:5000
            env:
            - name: DOCKER_TLS_CERTDIR
              value: ''
            securityContext:
              privileged: true
            volumeMounts:
            - name: chandler-mirror
              mountPath: /etc/docker/certs.d
              readOnly: true
          volumes:
          - name: chandler-mirror
            secret:
              secretName: chandler-mirror
              items:
              - key: 0-chandler-ca.crt
                path: mirror.example:5000/chandler-ca.crt
              - key: 1-chandler.key
                path: mirror.example:5000/chandler.key

        # ==== chandler-mirror.yaml: `kubectl apply -f`, in the namespace of the agents
        # In the namespace of the agents: `kubectl apply -f`.
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
