//! Woodpecker: `plugin-docker-buildx` has a Docker and a builder of its own, and settings for both.

use super::{CERTS_D, Inner};
use crate::document::Document;
use crate::yaml_tree::{list, map, text};

/// A step, and the agent's variable by which it sees certificates.
pub(super) fn documents(inner: &Inner) -> Vec<Document> {
    let mirror = inner.mirrors.first().map(String::as_str).unwrap_or_default();
    let settings = map([
        ("dry-run", true.into()),
        ("repo", "example/image".into()),
        ("mirror", mirror.into()),
        ("buildkit_config", inner.buildkitd.as_str().into()),
    ]);
    let step = map([("name", "image".into()), ("image", "woodpeckerci/plugin-docker-buildx".into()), ("settings", settings)]);
    let about = "The settings mirror and buildkit_config are what this is about. The steps' own images are pulled by the agent's machine: `chandler apply` is for that.";
    let pipeline = Document::new("woodpecker.yaml", "its settings go to your steps", text(about, &[map([("steps", list([step]))])]));
    let agent = (!inner.files.is_empty()).then(|| {
        let text = format!("# The machine's own certificates, which `chandler apply` puts there, for every step.\nWOODPECKER_BACKEND_DOCKER_VOLUMES={CERTS_D}:{CERTS_D}:ro\n");
        Document::new("woodpecker-agent.env", "goes to the agent's environment", text)
    });
    std::iter::once(pipeline).chain(agent).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{secure, shown};
    use super::*;

    #[test]
    fn a_step_and_the_agents_variable() {
        insta::assert_snapshot!(shown(&documents(&secure(false))), @r#"
        # ==== woodpecker.yaml: its settings go to your steps
        # The settings mirror and buildkit_config are what this is about. The steps' own images are pulled by the agent's machine: `chandler apply` is for that.
        steps:
        - name: image
          image: woodpeckerci/plugin-docker-buildx
          settings:
            dry-run: true
            repo: example/image
            mirror: https://mirror.example:5000
            buildkit_config: |
              [registry."docker.io"]
              mirrors = ["mirror.example:5000"]

        # ==== woodpecker-agent.env: goes to the agent's environment
        # The machine's own certificates, which `chandler apply` puts there, for every step.
        WOODPECKER_BACKEND_DOCKER_VOLUMES=/etc/docker/certs.d:/etc/docker/certs.d:ro
        "#);
    }
}
