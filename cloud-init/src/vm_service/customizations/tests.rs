//! Files as operators leave them: with the guide's block, its undo, heap flags, and edits around ours.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::vm_service::tests::GUIDE;

const TEMPLATE: &str = "#cloud-config\nname: \"%1$s\"\nkey: \"%2$s\"\n";

fn block() -> Block {
    Block::new(TEMPLATE, &["https://mirror.example".parse().expect("a URL")]).expect("a template")
}

fn lines() -> String {
    block().lines(false)
}

fn installed(text: &str) -> String {
    let out = install(Some(text), &block()).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"));
    assert_eq!(install(Some(&out), &block()).as_deref(), Ok(out.as_str()), "a second time changes something");
    assert_eq!(remove(&out).as_deref(), Ok(text), "undo does not give the file back");
    out
}

fn told(text: &str) -> String {
    findings(text).iter().flat_map(|one| [one.to_string(), "\n".to_owned()]).collect()
}

#[test]
fn lines_of_others_stay_and_the_block_comes_last() {
    let others = "#!/bin/sh\n# ours\nexport JAVA_OPTS='-Xmx1g'\n\tX=\"a\nb\"\n";
    assert_eq!(installed(others), format!("{others}{}", lines()));
    assert_eq!(install(None, &block()), Ok(lines()));
    assert_eq!(installed(""), lines());
}

#[test]
fn a_last_line_without_an_end_has_none_again_after_undo() {
    let out = installed("A=b");
    assert!(out.starts_with("A=b\n# BEGIN chandler"), "{out}");
    assert_eq!(remove(&format!("{out}C=d\n")).as_deref(), Ok("A=b\nC=d\n"));
}

#[test]
fn a_block_of_another_release_is_replaced_wherever_it_stands() {
    let old = "A=b\n# BEGIN chandler 7 (whatever)\ncat << EOD\n# END chandler\nEOD\nold\n# END chandler\nC=d\n";
    assert_eq!(install(Some(old), &block()), Ok(format!("A=b\nC=d\n{}", lines())));
    let twice = format!("{}A=b\n{}", lines(), lines());
    assert_eq!(install(Some(&twice), &block()), Ok(format!("A=b\n{}", lines())));
}

#[test]
fn edits_around_the_block_stay_when_it_is_taken_out() {
    let out = installed("A=b\n");
    let edited = out.replace("A=b\n", "A=c\nB=d\n") + "# mine\n";
    assert_eq!(remove(&edited).as_deref(), Ok("A=c\nB=d\n# mine\n"));
}

#[test]
fn the_guides_block_is_commented_out_where_it_stands_and_comes_back() {
    let out = installed(&format!("A=b\n{GUIDE}C=d\n"));
    let taken: String = GUIDE.split_inclusive('\n').flat_map(|line| ["#chandler# ", line]).collect();
    assert_eq!(out, format!("A=b\n{taken}C=d\n{}", lines()));
    assert_eq!(
        told(&format!("A=b\n{GUIDE}")),
        "chandler's block is not in the file\nlines 2 to 16 are the guide's, made by hand: the block does the work of them, so they are commented out, and given back by undo\n"
    );
    assert_eq!(told(&out), "");
}

#[test]
fn of_the_guides_block_what_is_needed_elsewhere_stays() {
    let used = format!("{GUIDE}echo $DOCKER_MIRROR_HOSTNAME\n");
    assert!(installed(&used).contains("\nexport DOCKER_MIRROR_HOSTNAME="));
    let flags = GUIDE.replace("'-cp", "'-Xmx1g -cp");
    assert!(installed(&flags).starts_with("export JAVA_OPTS='-Xmx1g -cp"));
    let inside = format!("if true; then\n{GUIDE}fi\n");
    assert_eq!(installed(&inside), format!("{inside}{}", lines()));
    let alone = "export JAVA_OPTS='-cp /resources:/service/app.jar'\nmkdir -p /resources/ec2\n";
    assert_eq!(installed(alone), format!("{alone}{}", lines()));
}

#[test]
fn a_template_of_ones_own_is_lost_only_when_asked() {
    let own = GUIDE.replace("runcmd:", "packages: [jq]\nruncmd:");
    assert_eq!(install(Some(&own), &block()), Err(Refusal::OwnTemplate(4)));
    assert_snapshot!(told(&own), @r"
    chandler's block is not in the file
    line 4 writes a template of your own, which says more than the guide's: what it says beyond ours would be lost. Put that into the machines' image and take the template out, or have it replaced
    ");
    let over = install(Some(&own), &block().over_own_template()).expect("it is asked for");
    assert!(over.contains("\n#chandler# packages: [jq]\n"));
    assert_eq!(remove(&over).as_ref(), Ok(&own));
    // Nothing is left of an `if` whose only command is a comment.
    let inside = format!("if true; then\n{own}fi\n");
    assert_eq!(install(Some(&inside), &block()), Err(Refusal::OwnTemplate(5)));
    assert_eq!(install(Some(&inside), &block().over_own_template()), Ok(format!("{inside}{}", lines())));
}

#[test]
fn commented_lines_of_which_a_part_is_gone_stay_comments() {
    let out = installed(GUIDE).replace("#chandler# EOD\n", "");
    let left = remove(&out).expect("it is whole");
    assert!(left.starts_with("#chandler# export JAVA_OPTS=") && !left.contains(BEGIN), "{left}");
}

#[test]
fn a_file_in_which_something_is_not_closed_is_refused_by_line_and_reason() {
    for text in ["A='b\n", "A=b\ncat << X\n", "A=b \\\n"] {
        assert!(matches!(install(Some(text), &block()), Err(Refusal::Broken(_))), "{text}");
    }
    assert_snapshot!(install(Some("A=b\nexport X=\"c\n"), &block()).expect_err("it is broken"), @r#"the file is no whole shell script: line 2: a double quote (") is opened here and not closed; mend it first"#);
}

#[test]
fn a_block_that_lost_one_of_its_ends_is_refused() {
    let out = installed("A=b\n");
    assert_snapshot!(remove(&out.replace("# END chandler\n", "")).expect_err("no end"), @"line 2: `# BEGIN chandler` has no `# END chandler` behind it, so what is ours cannot be told; put that line back, or take the rest of the block out");
    assert_snapshot!(remove("A=b\n# END chandler\n").expect_err("no begin"), @"line 2: `# END chandler` has no `# BEGIN chandler` before it, so what is ours cannot be told; put that line back, or take the rest of the block out");
    assert!(remove(&out.replace("\nEOD\n", "\n")).is_err());
    assert_eq!(remove("# BEGIN chandlers\n").as_deref(), Ok("# BEGIN chandlers\n"));
}

#[test]
fn the_line_that_the_guides_undo_leaves_is_found() {
    let undone = format!("export JAVA_OPTS=-Xmx1g\n{GUIDE}unset JAVA_OPTS\n");
    assert_snapshot!(told(&installed(&undone)), @"line 17 unsets JAVA_OPTS, as the guide's undo does: options that are set above it are lost. The block, which comes behind it, sets JAVA_OPTS again, so the mirror is used; take the line out if those options are wanted");
    let out = installed("A=b\n");
    assert_snapshot!(told(&format!("{out}unset JAVA_OPTS\n")), @"line 39 unsets JAVA_OPTS behind the block, so the service does not see the template: `chandler cloud-init vm-service --onto FILE` puts the block last again");
    assert_eq!(install(Some(&format!("{out}unset JAVA_OPTS\n")), &block()), Ok(format!("A=b\nunset JAVA_OPTS\n{}", lines())));
}

#[test]
fn what_else_keeps_machines_from_the_mirror_is_found() {
    let out = installed("A=b\n");
    let before = "export JAVA_OPTS='-jar /x.jar'\nexec 2> /log\nexit 0\nA=b\r\n";
    let behind = "export JAVA_OPTS=-Xmx1g\nexport JAVA_OPTS=\"$JAVA_OPTS -Xms1g\"\ncat > /resources/ec2/linux_cloud_init.yaml << X\nX\n";
    assert_snapshot!(told(&format!("{before}{out}{behind}")), @r"
    line 45 writes a template of your own, which says more than the guide's: what it says beyond ours would be lost. Put that into the machines' image and take the template out, or have it replaced
    line 1 starts a program by `-jar`, for which Java leaves the class path aside, and the template with it
    line 3 says `exit`: nothing below it is read, and the block comes last
    line 43 sets JAVA_OPTS behind the block, so the service may not see the template: `chandler cloud-init vm-service --onto FILE` puts the block last again
    line 45 writes /resources/ec2/linux_cloud_init.yaml behind the block, over its template: `chandler cloud-init vm-service --onto FILE` puts the block last again
    line 4 ends with a carriage return, which a shell takes for a part of its last word
    ");
    assert_eq!(findings(""), [Finding::NoBlock]);
    assert_eq!(findings(&out), []);
    assert_snapshot!(told("A='b"), @"the file is no whole shell script: line 1: a single quote (') is opened here and not closed; mend it first");
}

proptest! {
    #[test]
    fn what_others_wrote_is_there_to_the_byte_after_install_and_undo(text in "(?s)(export A='b\nc'\n|# x\n|cat << E\n[a-z#' ]{0,9}\nE\n|unset JAVA_OPTS\n|[a-z=$;| é]{0,9}\n|\n){0,8}[a-z]{0,3}", guide in 0..4usize) {
        let guide = ["", GUIDE, "mkdir -p /resources/ec2\n", "export JAVA_OPTS='-cp /resources:/service/app.jar'\n"][guide];
        installed(&format!("{guide}{text}"));
    }

    #[test]
    fn any_text_is_refused_or_given_back(text in "(?s)(# BEGIN chandler\n|# END chandler\n|#chandler#|['\"\\\\$<`]|[a-z#]{0,5}\n|.){0,20}") {
        findings(&text);
        if let Ok(base) = remove(&text) {
            let out = install(Some(&base), &block());
            prop_assert!(out.is_err() || remove(&out.unwrap_or_default()) == remove(&base), "{text:?}");
        }
    }
}
