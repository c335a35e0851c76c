//! Image builds and CircleCI's own Terraform and Helm: HCL is decoded by the library that both read it by, scripts are read by a linter of the shell and run.

use std::fs;

use serde_json::{Value, json};

use super::{Made, run};
use tests::tools;

/// What the decoder of that library makes of a file, by a specification of what is in it.
async fn decoded(made: &Made, file: &str, specification: &str) -> Option<Value> {
    let [decode, format] = tools::require_all(["hcldec", "hclfmt"])?;
    let path = made.path(file).display().to_string();
    run(&format, &["-check", "-require-no-change", &path]).await;
    let specified = made.path("specification.hcldec");
    fs::write(&specified, specification).expect("written");
    let said = run(&decode, &["--spec", &specified.display().to_string(), &path]).await;
    Some(serde_json::from_str(&said).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packer_step_carries_the_program_as_it_is_and_the_program_is_a_shells() {
    let made = Made::by("packer --mirror https://mirror.example:5000 --ca CA.pem", Some("chandler.pkr.hcl")).await;
    let specification = map("provisioner", &["kind"], &["execute_command = string", "inline = list(string)"]);
    let Some(hcl) = decoded(&made, "chandler.pkr.hcl", &specification).await else { return };
    let program = hcl["shell"]["inline"][0].as_str().expect("a program");
    assert!(program.starts_with("#!/bin/sh\n") && program.contains("-----BEGIN CERTIFICATE-----"), "{hcl}");

    let yaml = Made::by("packer --form yaml --mirror https://mirror.example:5000 --ca CA.pem", Some("packer.yaml")).await;
    assert!(yaml.text("packer.yaml").contains("provisioners:\n- type: shell\n"));
    let Some(shellcheck) = tools::require("shellcheck") else { return };
    let script = made.path("program");
    fs::write(&script, program).expect("written");
    run(&shellcheck, &["--shell=sh", &script.display().to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terraforms_modules_are_given_their_variables_and_a_fork_a_part_of_user_data() {
    let made = Made::by("terraform aws --owner 123456789012 --name nomad-behind-*", Some("nomad.tfvars")).await;
    let specification = object(&["machine_image_owners = list(string)", "machine_image_names = list(string)"]);
    let Some(variables) = decoded(&made, "nomad.tfvars", &specification).await else { return };
    assert_eq!(variables, json!({ "machine_image_owners": ["123456789012"], "machine_image_names": ["nomad-behind-*"] }));

    let made = Made::by("terraform part --mirror https://mirror.example:5000 --ca CA.pem", Some("part.tf")).await;
    let attributes = object(&["content_type = string", "filename = string", "content = string"]);
    let specification = format!("block {{\n  block_type = \"part\"\n{attributes}}}\n");
    let Some(part) = decoded(&made, "part.tf", &specification).await else { return };
    let content = part["content"].as_str().unwrap_or_default();
    assert!(content.starts_with("#cloud-config\n") && content.contains("merge_how: "), "{part}");
}

#[tokio::test(flavor = "multi_thread")]
async fn security_groups_let_in_each_client_by_a_rule_of_its_own() {
    let made = Made::by(
        "firewall aws-terraform --mirror https://mirror.example --group sg-01234567 --client-group sg-89abcdef --client 10.0.0.0/8",
        Some("rules.tf"),
    )
    .await;
    let texts = ["security_group_id", "cidr_ipv4", "referenced_security_group_id", "ip_protocol", "description"];
    let texts = texts.map(|name| format!("{name} = string"));
    let attributes: Vec<&str> = texts.iter().map(String::as_str).chain(["from_port = number", "to_port = number"]).collect();
    let specification = map("resource", &["type", "name"], &attributes);
    let Some(rules) = decoded(&made, "rules.tf", &specification).await else { return };
    let rules = rules["aws_vpc_security_group_ingress_rule"].as_object().expect("rules");
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules.values().all(|rule| rule["security_group_id"] == "sg-01234567" && rule["from_port"] == 443), "{rules:?}");
    let sources: Vec<&Value> = rules
        .values()
        .map(|rule| if rule["cidr_ipv4"].is_null() { &rule["referenced_security_group_id"] } else { &rule["cidr_ipv4"] })
        .collect();
    assert!(sources.contains(&&json!("sg-89abcdef")) && sources.contains(&&json!("10.0.0.0/8")), "{sources:?}");
}

/// A specification: an object of attributes, each `NAME = TYPE`.
fn object(attributes: &[&str]) -> String {
    let attribute = |text: &&str| text.split_once(" = ").map(|(name, kind)| format!("  attr \"{name}\" {{\n    type = {kind}\n  }}\n"));
    format!("object {{\n{}}}\n", attributes.iter().filter_map(attribute).collect::<Vec<_>>().concat())
}

/// A specification: blocks of one type, by their labels.
fn map(block: &str, labels: &[&str], attributes: &[&str]) -> String {
    format!("block_map {{\n  block_type = \"{block}\"\n  labels = {labels:?}\n{}}}\n", object(attributes))
}
