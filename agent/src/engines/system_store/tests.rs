//! Plans for stores that a test makes up.

use std::fs;

use certs::ca::{Authority, Ca, CaKey, Founding, Permit};
use certs::{Clock as _, SystemClock};
use tempfile::TempDir;

use super::{Facts, bodies, look, plan, rebuilt_without};
use crate::engines::{Engine, Others, Plan, Step, Weight, Wish};
use crate::host::Root;

/// A tree of a family that is known by its folder and tool.
fn tree(tool: &str, folder: &str) -> (TempDir, Root) {
    let tree = TempDir::new().expect("a folder");
    fs::create_dir_all(tree.path().join("usr/sbin")).expect("made");
    fs::create_dir_all(tree.path().join(&folder[1..])).expect("made");
    fs::write(tree.path().join("usr/sbin").join(tool), "").expect("written");
    let root = Root::below(tree.path()).expect("it is there");
    (tree, root)
}

fn write(tree: &TempDir, path: &str, text: &str) {
    let path = tree.path().join(&path[1..]);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

fn ca(name: &str) -> String {
    let folder = TempDir::new().expect("a folder");
    let permits = [format!("{name}.test").parse::<Permit>().expect("a name")].into_iter().collect();
    let founding = Founding { key: CaKey::P256, name: name.to_owned(), organization: None, permits };
    let now = SystemClock.now();
    let ca = Ca::found(&folder.path().join("ca"), &founding, now).expect("founded");
    ca.anchors(now).expect("it has a root").iter().map(Authority::pem).collect()
}

fn wish(anchors: Option<&str>) -> Wish {
    Wish { mirrors: Vec::new(), anchors: anchors.map(str::to_owned), client: None, registries: Vec::new(), others: Others::Keep }
}

fn told(plan: &Plan) -> Vec<String> {
    let step = |step: &Step| match step {
        Step::Write(change) => {
            change.path.parent().expect("a folder").join("…").with_extension(change.path.extension().expect("one")).display().to_string()
        }
        Step::Rebuild(rebuild) => format!("{rebuild} makes {}", rebuild.bundle.display()),
        Step::Reload(_) => "reload".to_owned(),
    };
    let findings = plan.findings.iter().map(|finding| format!("{:?}: {}", finding.weight, finding.what));
    plan.steps.iter().map(step).chain(findings).collect()
}

const DEBIAN: &str = "/usr/local/share/ca-certificates";

#[test]
fn each_family_of_systems_has_its_folder_and_its_tool() {
    let both = ca("one") + &ca("two");
    for (tool, folder, expected) in [
        ("update-ca-certificates", DEBIAN, "/usr/sbin/update-ca-certificates makes /etc/ssl/certs/ca-certificates.crt"),
        (
            "update-ca-trust",
            "/etc/pki/ca-trust/source/anchors",
            "/usr/sbin/update-ca-trust extract makes /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        ),
        (
            "update-ca-trust",
            "/etc/ca-certificates/trust-source/anchors",
            "/usr/sbin/update-ca-trust extract makes /etc/ca-certificates/extracted/tls-ca-bundle.pem",
        ),
        (
            "update-ca-certificates",
            "/etc/pki/trust/anchors",
            "/usr/sbin/update-ca-certificates makes /var/lib/ca-certificates/ca-bundle.pem",
        ),
    ] {
        let (_tree, root) = tree(tool, folder);
        let told = told(&plan(&look(&root, true), &wish(Some(&both))));
        assert!(told.len() == 3 && told[..2].iter().all(|path| path.starts_with(folder)) && told[2] == expected, "{told:?}");
    }
    let nowhere = TempDir::new().expect("a folder");
    let facts = look(&Root::below(nowhere.path()).expect("there"), true);
    let plan = plan(&facts, &wish(Some(&both)));
    assert!(plan.steps.is_empty() && plan.findings[0].weight == Weight::Blocks, "{plan:?}");
}

#[test]
fn a_ca_that_somebody_put_there_already_is_not_put_there_twice() {
    let (tree, root) = tree("update-ca-certificates", DEBIAN);
    let (one, two) = (ca("one"), ca("two"));
    write(&tree, &format!("{DEBIAN}/corp.crt"), &format!("# theirs\n{one}"));
    let plan = plan(&look(&root, true), &wish(Some(&(one + &two))));
    let written: Vec<&[u8]> = plan.steps.iter().filter_map(Step::change).filter_map(|change| change.after.as_deref()).collect();
    assert_eq!(written.len(), 1);
    assert_eq!(bodies(written[0]), bodies(two.as_bytes()));
    let Some(Step::Rebuild(rebuild)) = plan.steps.last() else { panic!("{plan:?}") };
    assert_eq!(rebuild.holds.len(), 2);
}

#[test]
fn a_bundle_with_something_that_is_in_no_file_is_left_alone() {
    let (tree, root) = tree("update-ca-certificates", DEBIAN);
    let (ours, system, astray) = (ca("ours"), ca("system"), ca("astray"));
    write(&tree, "/usr/share/ca-certificates/mozilla/system.crt", &system);
    write(&tree, "/etc/ssl/certs/ca-certificates.crt", &format!("{system}{ours}"));
    assert_eq!(plan(&look(&root, true), &wish(Some(&ours))).findings, [], "ours is only what a run that was broken off left");
    write(&tree, "/etc/ssl/certs/ca-certificates.crt", &format!("{system}{astray}"));
    let plan = plan(&look(&root, true), &wish(Some(&ours)));
    assert!(
        plan.steps.is_empty() && plan.findings[0].engine == Some(Engine::System) && plan.findings[0].weight == Weight::Blocks,
        "{plan:?}"
    );
}

#[test]
fn the_tool_runs_on_the_way_out_where_a_file_goes_or_one_that_went_still_counts() {
    let (tree, root) = tree("update-ca-certificates", DEBIAN);
    let (ours, other) = (ca("ours"), ca("other"));
    write(&tree, "/etc/ssl/certs/ca-certificates.crt", &ours);
    let facts = look(&root, true);
    let rebuilt = |has_changed, text: &str| rebuilt_without(&facts, has_changed, &[text.as_bytes()]).map(|rebuild| rebuild.to_string());
    let fresh = Some("/usr/sbin/update-ca-certificates --fresh".to_owned());
    assert_eq!((rebuilt(true, &other), rebuilt(false, &ours), rebuilt(false, &other)), (fresh.clone(), fresh, None));
    assert_eq!(rebuilt_without(&Facts::default(), true, &[]), None, "there is no tool");
}
