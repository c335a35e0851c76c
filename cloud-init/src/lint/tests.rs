//! Faults, each with its place and its mend; and what is none.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn said(text: &str) -> String {
    let findings = lint(text.as_bytes(), Provider::Ec2);
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_good_document_has_no_finding() {
    for text in [
        "#cloud-config\n",
        "#cloud-config\n{}\n",
        "#!/bin/bash\n[[ -f x ]] && it\"s\n",
        "#include\nhttps://x\n",
        "#cloud-config\npackage_update: yes\nusers:\n- default\n- name: ci\n  sudo: ALL=(ALL) NOPASSWD:ALL\n  lock_passwd: true\nruncmd:\n- echo '1'\n- [systemctl, restart, docker]\n- [sh, -c, \"a | b && c\"]\n- |\n  cat <<EOF >/x\n  it's\n  EOF\nwrite_files:\n- path: /etc/x\n  permissions: '0644'\n  content: |\n    yes\n- path: /etc/y\n  encoding: b64\n  content: eWVz\n- {path: /etc/x, append: true, content: \"no\"}\npower_state: {mode: reboot}\n",
    ] {
        assert_eq!(said(text), "", "{text}");
    }
}

#[test]
fn names_are_told_with_what_was_meant() {
    let text = "#cloud-config\nwrite_file:\n- path: /a\nrun_cmd: []\nruncmds: []\nwibble: 1\nca-certs: {trusted: [a]}\nca_certs: {trusted: [b], remove-defaults: true}\nwrite_files:\n- path: /a\n  permission: '0644'\nnetwork: {version: 2}\n";
    assert_snapshot!(said(text), @r"
    2:1: error: cloud-init knows no key `write_file`, and passes over what is below it; did you mean `write_files`?
    4:1: error: cloud-init knows no key `run_cmd`, and passes over what is below it; did you mean `runcmd`?
    5:1: error: cloud-init knows no key `runcmds`, and passes over what is below it; did you mean `runcmd`?
    6:1: warning: cloud-init knows no key `wibble`, and passes over what is below it; take it out, unless a newer release or a part handler knows it
    7:1: warning: `ca-certs` is an old name, deprecated in 22.3; write `ca_certs`, unless older releases are to read it
    8:26: warning: `ca_certs.remove-defaults` is an old name; write `remove_defaults`, unless older releases are to read it
    11:3: error: `write_files` has no key `permission`; did you mean `permissions`?
    12:1: warning: `network` in user data is passed over: networks are set up before it is read; give it to the provider as network configuration
    ");
}

#[test]
fn a_document_that_cloud_init_passes_over_is_told() {
    assert_snapshot!(said("runcmd:\n- echo it's\n"), @r"
    1:1: error: the first line does not say what this is, so that cloud-init passes it over; write `#cloud-config`, with no space in it, on the first line of YAML, or `#!/bin/sh` on that of a script
    2:3: error: ' opens here and does not close: the shell takes the commands behind it for more of the same; close it, or put the whole below `- |` where YAML takes no quotes away
    ");
    assert_snapshot!(said("\u{feff}#cloud-config\n"), @"1:1: error: a byte order mark hides the first line, and cloud-init passes the document over; save it as UTF-8 without it");
    assert_snapshot!(said("# cloud-config\nhello\n"), @"1:1: error: the first line does not say what this is, so that cloud-init passes it over; write `#cloud-config`, with no space in it, on the first line of YAML, or `#!/bin/sh` on that of a script");
    assert_snapshot!(said("#cloud-config\nruncmd:\n\t- a\n"), @"3:2: error: not YAML: tabs disallowed within this context (block indentation); indent with spaces, tabs are none");
    assert_snapshot!(said("#cloud-config\na: 'b\n"), @"2:4: error: not YAML: while scanning a quoted scalar, found unexpected end of stream; mend the line, or the one before it: cloud-init takes nothing of a document that it cannot read");
    assert_snapshot!(said("#cloud-config\n- a\n"), @"2:1: error: a cloud-config is a map of keys; write `key: value` lines");
    assert_snapshot!(said("#cloud-config\nwrite_files:\n- path: /x\n  content: 'MIME-Version: 1.0'\n"), @"1:1: error: `MIME-Version:` is in the first 4096 bytes, so that cloud-init takes the whole for a message, and finds no parts in it; put what has this text in it further back, or into base64 (`encoding: b64`)");
    assert_snapshot!(said("#cloud-config\nruncmd: [a]\nruncmd: [b]\n"), @"3:1: error: `runcmd` is said twice, first in line 2: the last one counts, and what the first one says is lost; put both under one key");
}

#[test]
fn what_yaml_1_1_reads_otherwise_is_told_where_it_matters() {
    let text = "#cloud-config\nhostname: on\nfqdn: 12:30\npackages: [a, 1.10, no]\nntp: {pools: [22:22]}\nssh_pwauth: no\nusers:\n- name: 0123\n  shell: ~\nwrite_files:\n- path: /a\n  permissions: 0644\n  content: yes\n- path: /b\n  permissions: 644\n- path: /c\n  permissions: '0999'\n- path: /d\n  permissions: 0o600\nruncmd:\n- [mount, -o, on, 0755, 12:30, 5, 1.5, 1.10]\n- true\n";
    assert_snapshot!(said(text), @r"
    2:11: error: `on` in `hostname` is for cloud-init (YAML 1.1) the boolean true; put it in quotes: 'on'
    3:7: error: `12:30` in `fqdn` is for cloud-init (YAML 1.1) a number to the base of sixty; put it in quotes: '12:30'
    4:15: error: `1.10` in `packages` is for cloud-init (YAML 1.1) a number with a fraction, which loses its last zeros; put it in quotes: '1.10'
    4:21: error: `no` in `packages` is for cloud-init (YAML 1.1) the boolean false; put it in quotes: 'no'
    5:15: warning: `22:22` in `ntp.pools` is for cloud-init (YAML 1.1) a number to the base of sixty; put it in quotes: '22:22'
    8:9: error: `0123` in `users.name` is for cloud-init (YAML 1.1) a number to the base of eight; put it in quotes: '0123'
    12:16: warning: the mode 0644 without quotes is a number, which other readers of YAML take for the decimal 644; write it in quotes: permissions: '0644'
    13:12: error: the content without quotes is for cloud-init the boolean true, not this text; put it in quotes, or below `content: |`
    15:16: error: the mode 644 without quotes is a decimal number, which is the mode 1204; write it in quotes: permissions: '0644'
    17:16: error: `0999` is no mode, and the file gets 0644; write it in quotes: permissions: '0644'
    21:15: error: `on` is for cloud-init the boolean true, and the program is given something else; put it in quotes
    21:19: error: `0755` is for cloud-init a number to the base of eight, and the program is given something else; put it in quotes
    21:25: error: `12:30` is for cloud-init a number to the base of sixty, and the program is given something else; put it in quotes
    21:40: error: `1.10` is for cloud-init a number with a fraction, which loses its last zeros, and the program is given something else; put it in quotes
    22:3: error: `true` is the boolean true and no command: cloud-init stops at it and runs nothing of `runcmd`; put it in quotes
    ");
}

#[test]
fn commands_are_read_as_the_shell_reads_them() {
    let text = "#cloud-config\nruncmd:\n- echo it's\n- echo \"a: b\"\n- [echo, a, '>', /x]\n- [systemctl restart docker]\n- cat <<< $(jq . x)\n- cat <<EOF > x\n- [bash, -c, 'cat <<< \"a\" && echo \"b']\n- []\n- [a, {b: c}]\nbootcmd: echo\n";
    assert_snapshot!(said(text), @r#"
    3:3: error: ' opens here and does not close: the shell takes the commands behind it for more of the same; close it, or put the whole below `- |` where YAML takes no quotes away
    4:3: error: this command is a map, since `: ` within it makes what is before it a key: cloud-init stops at it and runs nothing of `runcmd`; put the line in quotes, or below `- |`
    5:13: error: `>` in a list is an argument of `echo`: no shell reads a list; write the command as one text, or as [sh, -c, …]
    6:3: error: a list is a program and its arguments, and there is no program `systemctl restart docker`; take the brackets off for a line of shell, or split it into words
    7:3: warning: `<<<` is bash's, and this is run by sh, which is another shell on Debian and Ubuntu; write it for sh, or as [bash, -c, …]
    8:3: error: the here-document has no line `EOF` at its end: the commands behind it are swallowed; put the whole below `- |`, with the last line by itself, or use write_files
    9:14: error: " opens here and does not close: the shell takes the commands behind it for more of the same; close it, or put the whole below `- |` where YAML takes no quotes away
    10:3: warning: an empty command in `runcmd`; take it out
    11:7: error: an argument is a list or a map; write it as one text in quotes
    12:10: error: `bootcmd` is no list, and none of it is run; begin each command with `- `
    "#);
}

#[test]
fn files_are_looked_at() {
    let text = "#cloud-config\nwrite_files:\n- content: a\n- path: etc/x\n- path: /tmp/x\n- path: /tmp/x\n- path: /a\n  owner: ci:ci\n- path: /b\n  owner: ci\n  defer: true\n- path: /c\n  encoding: base46\n- path: /d\n  encoding: gz+b64\n  content: '!!'\n- text\n";
    assert_snapshot!(said(text), @r"
    3:3: error: a file without a `path` is not written; say where it is to be
    4:9: error: `etc/x` does not begin with `/`: where it is written is chance; write the whole path
    5:9: warning: `/tmp/x` may be gone before it is used: the boot empties that folder at about the same time; write it below /run or /root
    6:3: warning: `/tmp/x` is written twice, and the later one is what is there; keep one of them
    6:9: warning: `/tmp/x` may be gone before it is used: the boot empties that folder at about the same time; write it below /run or /root
    8:10: warning: files are written before users are made and packages installed: where `ci` is one of those, the file gets no owner and what follows is not written; add `defer: true` (cloud-init 21.3 and later), or chown it in runcmd
    13:13: error: there is no encoding `base46`, and the content is written as it stands; write b64, gzip or gz+b64, or leave it out
    16:12: error: the content is not base64 (2 characters); encode it again: base64 -w0 FILE
    17:3: error: this file is no map of keys; write `path:` and `content:`
    ");
    assert_snapshot!(said("#cloud-config\nwrite_files: {path: /a}\n"), @"2:14: error: `write_files` is no list, and cloud-init writes none of them; begin each file with `- path:`");
}

fn message(parts: &[(&str, &str)]) -> String {
    let parts: Vec<String> = parts.iter().map(|(headers, text)| format!("--b\n{headers}\n{text}\n")).collect();
    format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n{}--b--\n", parts.concat())
}

const CONFIG: &str = "Content-Type: text/cloud-config\n";

#[test]
fn a_list_that_a_later_part_replaces_is_told() {
    let first = "#cloud-config\nruncmd: [a]\nhostname: x\n";
    assert_snapshot!(said(&message(&[(CONFIG, first), (CONFIG, "#cloud-config\nhostname: y\nruncmd: [b]\n")])), @"16:1: error: `runcmd` is in part 1 (part-001) too, and this one takes its place: what is there is lost; write merge_how: 'list(append)+dict(recurse_list,no_replace)+str()' into this part");
    let keeps = "#cloud-config\nmerge_how: 'dict()+list(append)'\nruncmd: [b]\n";
    assert_snapshot!(said(&message(&[(CONFIG, first), (CONFIG, keeps)])), @"16:1: error: `runcmd` is in part 1 (part-001) too, and by this part's merge_how that one stays: what is here is lost; write merge_how: 'list(append)+dict(recurse_list,no_replace)+str()' into this part");
    for joins in [
        "#cloud-config\nmerge_how: 'list(append)+dict(recurse_list,no_replace)+str()'\nruncmd: [b]\n",
        "#cloud-config\nmerge_how:\n- name: list\n  settings: [prepend]\n- name: dict\n  settings: [recurse_array, no_replace]\nruncmd: [b]\n",
    ] {
        assert_eq!(said(&message(&[(CONFIG, first), (CONFIG, joins)])), "");
    }
    assert_eq!(
        said(&message(&[
            (CONFIG, first),
            ("Content-Type: text/cloud-config\nMerge-Type: list(append)+dict(recurse_list)\n", "runcmd: [b]\n")
        ])),
        ""
    );
    assert_snapshot!(said("#cloud-config\nmerge_how: 'lists(append)+dict(recurse)'\n"), @r"
    2:12: error: there is no merger `lists`: cloud-init stops at it; write merge_how: 'list(append)+dict(recurse_list,no_replace)+str()'
    2:12: warning: `recurse` is nothing that `dict` can do in a merge; write merge_how: 'list(append)+dict(recurse_list,no_replace)+str()'
    ");
}

#[test]
fn a_part_that_nobody_would_run_is_told() {
    let parts = message(&[
        ("", "hello\n"),
        ("", "#!/bin/sh\n"),
        ("Content-Type: text/x-shellscript\n", "echo\n"),
        ("Content-Type: text/cloud-confg\n", "{}\n"),
        ("Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n", "!!\n"),
        (
            "Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=c.yaml\n",
            "I2Nsb3VkLWNvbmZpZwpydW5jbWRzOiBbXQo=\n",
        ),
    ]);
    assert_snapshot!(said(&parts), @r"
    5:1: error: this part has no content type that says what it is, and no first line that does: cloud-init passes it over; write `Content-Type: text/cloud-config` or `text/x-shellscript` into its headers
    9:1: warning: this part has no content type; its first line says that it is a script; write `Content-Type: text/x-shellscript` into its headers
    15:1: error: the script does not begin with `#!`: it cannot be started; write `#!/bin/sh` on its first line
    18:1: warning: cloud-init has nothing for a part of type `text/cloud-confg`; is it spelt right? A part handler may take it
    23:1: error: this part is lost: it cannot be decoded to text; encode it again, as base64
    part c.yaml: 2:1: error: cloud-init knows no key `runcmds`, and passes over what is below it; did you mean `runcmd`?
    ");
    assert!(said(parts.trim_end_matches("--b--\n")).contains("error: the message has no end: its last boundary"));
}

#[test]
fn a_size_that_the_provider_refuses_is_told() {
    let text = format!("#cloud-config\n# {}\n", "x".repeat(20_000));
    assert_snapshot!(said(&text), @"1:1: error: 20017 bytes of user data are more than the 16384 that EC2 takes (counted before base64); with --gzip they are 74, which fit; the provider refuses it as it is");
    assert_eq!(lint(&gzip::pack(text.as_bytes()), Provider::Ec2), []);
}

proptest! {
    #[test]
    fn nothing_panics(text in "(#cloud-config\n|runcmd:|write_files:|merge_how: |- |  |\n|\\[|\\]|\\{|\\}|'|\"|path: |permissions: |&a|\\*a|!|\\||>|: |\t|---\n|MIME-Version: 1.0\n|Content-Type: multipart/mixed; boundary=b\n|--b\n|\\PC){0,40}") {
        let _ = lint(text.as_bytes(), Provider::Ec2);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = lint(&bytes, Provider::Ec2);
        let _ = lint(&gzip::pack(&bytes), Provider::Ec2);
    }
}
