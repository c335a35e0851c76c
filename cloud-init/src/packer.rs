//! Steps of an image's build: for CircleCI Server 3.x and 4.x, whose VMs can be told of a mirror by their image alone (`linuxAMI`, `linuxImage`), and for Nomad clients' images.
//!
//! Packer reads two forms: HCL, and the older one, which CircleCI's own image builder has as YAML. In both it goes through a text for templates of its own once more, so that `{{` is not left as it is.

use crate::document::Document;
use crate::hcl::{Body, Value};
use crate::yaml_tree::{list, map, text};

/// In which form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `*.pkr.hcl`, Packer 1.7 and newer.
    Hcl,
    /// The older one as YAML: `packer.yaml` of circleci-server-linux-image-builder.
    Yaml,
}

/// A provisioner that runs the [program](crate::program::script).
pub fn document(program: &str, secret: bool, form: Form) -> Document {
    let program = plain(program);
    match form {
        Form::Hcl => {
            let shell = Body::default().set("execute_command", EXECUTE).set("inline", Value::List(vec![program.into()]));
            let text = Body::default().block("provisioner", &["shell"], shell).text();
            Document::new("chandler.pkr.hcl", "its block goes to the end of your `build`", format!("# {ABOUT}\n{text}"))
        }
        Form::Yaml => {
            let step = map([("type", "shell".into()), ("execute_command", EXECUTE.into()), ("inline", list([program]))]);
            let text = text(ABOUT, &[map([("provisioners", list([step]))])]);
            Document::new("packer.yaml", "its item goes to `provisioners` of packer.yaml, behind the one that runs provision.sh", text)
        }
    }
    .with_secret(secret)
}

/// A text in which Packer finds no template.
fn plain(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// Its user may be any that has sudo without a password, as on cloud images.
const EXECUTE: &str = "chmod +x {{ .Path }}; sudo -n sh -c '{{ .Vars }} {{ .Path }}'";

const ABOUT: &str = "Behind the steps that install Docker: machines of this image pull through the mirror from their first start.";

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "#!/bin/sh\necho \"${HOME}\" '{{ x }}' %{y}\n";

    #[test]
    fn the_program_is_a_step_in_both_forms() {
        insta::assert_snapshot!(document(PROGRAM, false, Form::Hcl).text, @r#"
        # Behind the steps that install Docker: machines of this image pull through the mirror from their first start.
        provisioner "shell" {
          execute_command = "chmod +x {{ .Path }}; sudo -n sh -c '{{ .Vars }} {{ .Path }}'"
          inline = [<<EOT
        #!/bin/sh
        echo "$${HOME}" '{{ "{{" }} x }}' %%{y}
        EOT
          ]
        }
        "#);
        insta::assert_snapshot!(document(PROGRAM, false, Form::Yaml).text, @r#"
        # Behind the steps that install Docker: machines of this image pull through the mirror from their first start.
        provisioners:
        - type: shell
          execute_command: chmod +x {{ .Path }}; sudo -n sh -c '{{ .Vars }} {{ .Path }}'
          inline:
          - |
            #!/bin/sh
            echo "${HOME}" '{{ "{{" }} x }}' %{y}
        "#);
    }
}
