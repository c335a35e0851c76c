//! What CircleCI's Terraform modules for Nomad clients (server-terraform, 3.x and 4.x) are told: the variables that name an image with the mirror in it, and for a fork of the module one more part of user data.

use std::fmt;
use std::str::FromStr;

use crate::document::Document;
use crate::hcl::Body;

/// An image that was built with the mirror in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Image {
    /// On AWS: whose, and patterns of its name.
    Amazon {
        /// Account ids.
        owners: Vec<Account>,
        /// With `*`, of which the newest image is taken.
        names: Vec<String>,
    },
    /// On Google's cloud.
    Google {
        /// The project that has it.
        project: String,
        /// Its family, of which the newest image is taken.
        family: String,
    },
}

/// An account of AWS, or `self`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account(String);

/// AWS knows no such account.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no account of AWS: write its 12 digits, or self")]
pub struct NoAccount(String);

/// The module's variables, as a `*.tfvars` file and as lines of a `module` block.
pub fn variables(image: &Image) -> Document {
    let body = match image {
        Image::Amazon { owners, names } => {
            let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
            Body::default().set("machine_image_owners", owners).set("machine_image_names", names.clone())
        }
        Image::Google { project, family } => {
            Body::default().set("machine_image_project", project.as_str()).set("machine_image_family", family.as_str())
        }
    };
    let text = format!(
        "# Nomad clients of the image that has the mirror in it: no fork is needed. Clients that run keep theirs until they are replaced.\n{}",
        body.text()
    );
    Document::new("nomad-image.tfvars", "its lines go to the `module` block of nomad-aws or nomad-gcp", text)
}

/// One more part of `data.cloudinit_config.nomad_user_data`, where the module is a fork of yours.
pub fn part(cloud_config: &str, secret: bool) -> Document {
    let part = Body::default().set("content_type", "text/cloud-config").set("filename", "10-chandler.yaml").set("content", cloud_config);
    let text = format!(
        "# A part of user data, before CircleCI's own: cloud-init does it before any script, and merges it by what its merge_how says.\n{}",
        Body::default().block("part", &[], part).text()
    );
    Document::new("nomad-part.tf", "its block goes to `data \"cloudinit_config\" \"nomad_user_data\"` of your fork", text)
        .with_secret(secret)
}

impl FromStr for Account {
    type Err = NoAccount;

    fn from_str(text: &str) -> Result<Self, NoAccount> {
        let is_id = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_id || text == "self" { Ok(Self(text.to_owned())) } else { Err(NoAccount(text.to_owned())) }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_as_the_modules_do() {
        let owners = vec!["123456789012".parse().expect("an account")];
        insta::assert_snapshot!(variables(&Image::Amazon { owners, names: vec!["nomad-behind-the-mirror-*".to_owned()] }).text, @r#"
        # Nomad clients of the image that has the mirror in it: no fork is needed. Clients that run keep theirs until they are replaced.
        machine_image_owners = ["123456789012"]
        machine_image_names  = ["nomad-behind-the-mirror-*"]
        "#);
        insta::assert_snapshot!(variables(&Image::Google { project: "ci".to_owned(), family: "nomad".to_owned() }).text, @r#"
        # Nomad clients of the image that has the mirror in it: no fork is needed. Clients that run keep theirs until they are replaced.
        machine_image_project = "ci"
        machine_image_family  = "nomad"
        "#);
        assert!("12345678901".parse::<Account>().is_err() && "self".parse::<Account>().is_ok());
    }

    #[test]
    fn a_part_carries_the_text_as_it_is() {
        insta::assert_snapshot!(part("#cloud-config\nruncmd:\n- \"echo ${HOME} 100%\"\n", false).text, @r#"
        # A part of user data, before CircleCI's own: cloud-init does it before any script, and merges it by what its merge_how says.
        part {
          content_type = "text/cloud-config"
          filename     = "10-chandler.yaml"
          content      = <<EOT
        #cloud-config
        runcmd:
        - "echo $${HOME} 100%"
        EOT
        }
        "#);
    }
}
