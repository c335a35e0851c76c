//! Drone: `plugins/docker` has a Docker of its own, and one setting for its mirror.

use super::{CERTS_D, Inner};
use crate::document::Document;
use crate::yaml_tree::{list, map, text};

/// A step, and the runner's variable by which it sees certificates.
pub(super) fn documents(inner: &Inner) -> Vec<Document> {
    let mirror = inner.mirrors.first().map(String::as_str).unwrap_or_default();
    let settings = map([("dry_run", true.into()), ("repo", "example/image".into()), ("mirror", mirror.into())]);
    let step = map([("name", "image".into()), ("image", "plugins/docker".into()), ("settings", settings)]);
    let pipeline = map([("kind", "pipeline".into()), ("type", "docker".into()), ("name", "default".into()), ("steps", list([step]))]);
    let about =
        "The setting mirror is what this is about. The steps' own images are pulled by the runner's machine: `chandler apply` is for that.";
    let pipeline = Document::new("drone.yaml", "its setting goes to your steps", text(about, &[pipeline]));
    let runner = (!inner.files.is_empty()).then(|| {
        let text = format!("# The machine's own certificates, which `chandler apply` puts there, for every step.\nDRONE_RUNNER_VOLUMES={CERTS_D}:{CERTS_D}\n");
        Document::new("drone-runner.env", "goes to the runner's environment", text)
    });
    std::iter::once(pipeline).chain(runner).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{secure, shown};
    use super::*;

    #[test]
    fn a_step_and_the_runners_variable() {
        insta::assert_snapshot!(shown(&documents(&secure(false))), @r#"
        # ==== drone.yaml: its setting goes to your steps
        # The setting mirror is what this is about. The steps' own images are pulled by the runner's machine: `chandler apply` is for that.
        kind: pipeline
        type: docker
        name: default
        steps:
        - name: image
          image: plugins/docker
          settings:
            dry_run: true
            repo: example/image
            mirror: https://mirror.example:5000

        # ==== drone-runner.env: goes to the runner's environment
        # The machine's own certificates, which `chandler apply` puts there, for every step.
        DRONE_RUNNER_VOLUMES=/etc/docker/certs.d:/etc/docker/certs.d
        "#);
    }
}
