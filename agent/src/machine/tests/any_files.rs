//! Whatever valid file an engine has, apply and undo are the identity on bytes; whatever it could not read stays as it is.

use std::fs;

use proptest::prelude::*;

use super::{Tree, wish};
use crate::edit::{buildkitd, hosts, registries};
use crate::engines::{Engine, Weight};

/// Of containerd, `BuildKit` and Podman; Docker's is in the tests beside these.
const FILES: [(Engine, &str); 3] = [
    (Engine::Containerd, "etc/containerd/certs.d/docker.io/hosts.toml"),
    (Engine::BuildKit, "etc/buildkit/buildkitd.toml"),
    (Engine::Podman, "etc/containers/registries.conf.d/10-theirs.conf"),
];

fn contents() -> impl Strategy<Value = [String; 3]> {
    (hosts::tests::some_document(), buildkitd::tests::some_document(), registries::tests::some_document())
        .prop_map(|(hosts, buildkitd, registries)| [hosts, buildkitd, registries])
}

fn tree(contents: &[String; 3]) -> Tree {
    let files: Vec<(&str, &str)> = FILES.iter().zip(contents).map(|((_, path), text)| (*path, text.as_str())).collect();
    Tree::with(&files)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn apply_then_undo_is_the_identity_and_apply_twice_is_apply_once(contents in contents(), secure in any::<bool>()) {
        let tree = tree(&contents);
        let before = tree.files();
        let wish = wish(&[if secure { "https://mirror.example:5000" } else { "http://mirror.example:5000" }, "http://127.0.0.1:5000"]);
        tree.apply(&wish);
        let applied = tree.files();
        prop_assert_ne!(&applied, &before);
        let again = tree.draft(&wish);
        prop_assert!(again.is_empty(), "a second apply finds nothing to do: {:?}", again);
        tree.apply(&wish);
        prop_assert_eq!(&tree.files(), &applied);
        tree.undo();
        prop_assert_eq!(&tree.files(), &before);
    }

    #[test]
    fn what_an_engine_would_not_read_is_never_changed(mut contents in contents(), which in 0_usize..3, broken in prop::sample::select(vec!["[[registry", "x = ", "\"", "[host.\"a\"", "a = 1\na = 2\n"])) {
        let (engine, path) = FILES[which];
        contents[which].extend(["\n", broken]);
        let tree = tree(&contents);
        let wish = wish(&["http://mirror.example:5000"]);
        let draft = tree.draft(&wish);
        prop_assert!(draft.plan.findings.iter().any(|finding| finding.engine == Some(engine) && finding.weight == Weight::Blocks), "{:?}", draft.plan.findings);
        prop_assert!(draft.plan.steps.iter().all(|step| step.engine() != engine));
        tree.apply(&wish);
        prop_assert_eq!(fs::read_to_string(tree.folder.path().join(path)).expect("it is there"), contents[which].clone());
        tree.undo();
        prop_assert_eq!(fs::read_to_string(tree.folder.path().join(path)).expect("it is there"), contents[which].clone());
    }
}
