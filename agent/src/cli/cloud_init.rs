//! What may be written behind `chandler cloud-init`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand, ValueEnum};
use cloud_init::Sha256;
use cloud_init::firewall::Client;
use cloud_init::firewall::aws::Group;
use cloud_init::firewall::firewalld::Zone;
use cloud_init::firewall::google::Name;
use cloud_init::helm::Ami;
use cloud_init::runners::System;
use cloud_init::terraform::Account;
use cloud_init::user_data::Provider;
use cloud_init::vm_service::Version;

use super::machine::{EngineChoice, WishArgs};

#[derive(Args, Debug)]
pub(crate) struct CloudInitArgs {
    #[command(subcommand)]
    pub(crate) kind: Kind,
}

/// Which documents.
#[derive(Debug, Subcommand)]
pub(crate) enum Kind {
    /// CircleCI Server 2.19 and later 2.x: the customizations file by which VMs are born behind the mirror
    VmService(VmServiceArgs),
    /// User data for cloud-init, alone or around what you have already
    UserData(UserDataArgs),
    /// Find what is wrong in user data, yours or ours
    Lint(LintArgs),
    /// A step for Packer: CircleCI Server's linuxAMI and linuxImage, and images of Nomad clients
    Packer(PackerArgs),
    /// For CircleCI's Terraform modules for Nomad clients: another image, or one more part of user data
    Terraform(TerraformArgs),
    /// CircleCI Server's Helm values that name the VMs' image
    Helm(HelmArgs),
    /// Rules by which the mirror's clients reach it, and nobody else does
    Firewall(FirewallArgs),
    /// What the runners of another CI system are told
    Runner(RunnerArgs),
}

/// Where documents go.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OutArgs {
    /// Into this file, instead of to standard output; several documents into this folder
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// As JSON
    #[arg(long, conflicts_with = "output")]
    pub(crate) json: bool,
}

/// What the new machine is told.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct BirthArgs {
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// The agent's configuration file, whose mirrors are taken where none is named here [default: /etc/chandler/agent.yaml, where it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The engines of the new machine [default: docker]
    #[arg(long, value_name = "docker,podman,containerd,buildkit")]
    pub(crate) engine: Option<EngineChoice>,
    /// By chandler itself, which the machine fetches from the mirror and believes by this digest, or by that of this file [default: by a small program that every such machine can run]
    #[arg(long, value_name = "sha256:HEX|FILE")]
    pub(crate) agent: Option<Program>,
}

/// `chandler cloud-init vm-service`.
#[derive(Args, Debug)]
pub(crate) struct VmServiceArgs {
    /// The server's version, to be sure
    #[arg(long, value_name = "2.19.0")]
    pub(crate) server_version: Option<Version>,
    /// The customizations file that is there: what others wrote in it stays, and ours comes last
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    pub(crate) onto: Option<PathBuf>,
    /// That file without what is ours, as it was before
    #[arg(long, requires = "onto", conflicts_with = "replace_template")]
    pub(crate) remove: bool,
    /// Also where it writes a template of its own
    #[arg(long)]
    pub(crate) replace_template: bool,
    /// The template alone
    #[arg(long)]
    pub(crate) template: bool,
    #[command(flatten)]
    pub(crate) birth: BirthArgs,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

/// `chandler cloud-init user-data`.
#[derive(Args, Debug)]
pub(crate) struct UserDataArgs {
    /// User data that you have already (repeatable): it stays as it is, and ours comes behind it
    #[arg(long, value_name = "FILE")]
    pub(crate) with: Vec<PathBuf>,
    /// As a MIME message of parts also where ours is the only one
    #[arg(long)]
    pub(crate) multipart: bool,
    /// In gzip, which cloud-init unpacks itself
    #[arg(long, requires = "output")]
    pub(crate) gzip: bool,
    /// By whose limit its size is measured: ec2, azure, gce, openstack, digitalocean, hetzner, nocloud
    #[arg(long, value_name = "NAME", default_value = "ec2")]
    pub(crate) provider: Provider,
    /// The mirror's CA is trusted by all programs of the machine: `ca_certs` of cloud-init 22.3 and newer, of older ones, or both
    #[arg(long, value_enum, value_name = "new|old|both")]
    pub(crate) system_roots: Option<Roots>,
    /// The machine gets a client certificate of its own by the token in this file, which `chandler ca token` prints
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client_cert", "client_key"])]
    pub(crate) enroll: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) birth: BirthArgs,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

/// As `--system-roots` takes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Roots {
    /// As new releases call it
    New,
    /// As old releases call it
    Old,
    /// Both
    Both,
}

/// `chandler cloud-init lint`.
#[derive(Args, Debug)]
pub(crate) struct LintArgs {
    /// User data, plain or in gzip
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// By whose limit its size is measured: ec2, azure, gce, openstack, digitalocean, hetzner, nocloud
    #[arg(long, value_name = "NAME", default_value = "ec2")]
    pub(crate) provider: Provider,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `chandler cloud-init packer`.
#[derive(Args, Debug)]
pub(crate) struct PackerArgs {
    /// HCL, or YAML as circleci-server-linux-image-builder has it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) form: PackerForm,
    #[command(flatten)]
    pub(crate) birth: BirthArgs,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

/// As `--form` takes it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum PackerForm {
    /// *.pkr.hcl
    #[default]
    Hcl,
    /// packer.yaml
    Yaml,
}

/// `chandler cloud-init terraform`.
#[derive(Args, Debug)]
pub(crate) struct TerraformArgs {
    #[command(subcommand)]
    pub(crate) what: Terraform,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Terraform {
    /// The variables of nomad-aws for an image that has the mirror in it
    Aws {
        /// The account that owns it (repeatable)
        #[arg(long, value_name = "ID|self", default_value = "self")]
        owner: Vec<Account>,
        /// A pattern of its name (repeatable); of all that fit the newest is taken
        #[arg(long, value_name = "NAME", required = true)]
        name: Vec<String>,
        #[command(flatten)]
        out: OutArgs,
    },
    /// The variables of nomad-gcp for an image that has the mirror in it
    Gcp {
        /// The project that has it
        #[arg(long, value_name = "PROJECT")]
        project: String,
        /// Its family
        #[arg(long, value_name = "FAMILY")]
        family: String,
        #[command(flatten)]
        out: OutArgs,
    },
    /// For a fork of the modules: one more part of the Nomad clients' user data
    Part {
        #[command(flatten)]
        birth: Box<BirthArgs>,
        #[command(flatten)]
        out: OutArgs,
    },
}

/// `chandler cloud-init helm`.
#[derive(Args, Debug)]
pub(crate) struct HelmArgs {
    /// The VMs' image on AWS
    #[arg(long, value_name = "AMI", required_unless_present = "gcp_image", conflicts_with = "gcp_image")]
    pub(crate) ami: Option<Ami>,
    /// The VMs' image on Google's cloud
    #[arg(long, value_name = "IMAGE")]
    pub(crate) gcp_image: Option<String>,
    /// CircleCI Server until 4.2, which names the key otherwise
    #[arg(long)]
    pub(crate) before_4_3: bool,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

/// `chandler cloud-init firewall`.
#[derive(Args, Debug)]
pub(crate) struct FirewallArgs {
    /// Whose rules
    #[arg(value_enum)]
    pub(crate) system: Firewall,
    /// A network of clients or VMs, or one address (repeatable)
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(crate) client: Vec<Client>,
    /// The port that clients connect to (repeatable) [default: the mirrors']
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Vec<u16>,
    /// AWS: the mirror's security group
    #[arg(long, value_name = "sg-…")]
    pub(crate) group: Option<Group>,
    /// AWS: a security group of clients or VMs (repeatable)
    #[arg(long, value_name = "sg-…")]
    pub(crate) client_group: Vec<Group>,
    /// Google: the network
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) network: Name,
    /// Google: the tag of the mirror's machine
    #[arg(long, value_name = "TAG", default_value = "chandler-mirror")]
    pub(crate) tag: Name,
    /// Google: a tag of clients or VMs (repeatable)
    #[arg(long, value_name = "TAG")]
    pub(crate) client_tag: Vec<Name>,
    /// firewalld: the zone [default: firewalld's default zone]
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<Zone>,
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// The agent's configuration file, whose mirrors are taken where none is named here [default: /etc/chandler/agent.yaml, where it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

/// Whose rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Firewall {
    /// nftables on the mirror's machine, published ports of containers included
    Nftables,
    /// ufw on the mirror's machine, and what closes published ports beside it
    Ufw,
    /// firewalld on the mirror's machine, and what closes published ports beside it
    Firewalld,
    /// A security group of AWS, by its command line
    AwsCli,
    /// A security group of AWS, by Terraform
    AwsTerraform,
    /// A network of Google's cloud, by Terraform
    GcpTerraform,
}

/// `chandler cloud-init runner`.
#[derive(Args, Debug)]
pub(crate) struct RunnerArgs {
    /// Whose runners
    #[arg(value_parser = systems())]
    pub(crate) system: System,
    #[command(flatten)]
    pub(crate) birth: BirthArgs,
    #[command(flatten)]
    pub(crate) out: OutArgs,
}

fn systems() -> impl clap::builder::TypedValueParser<Value = System> {
    let words = System::ALL.map(|system| PossibleValue::new(system.word()));
    let named = |word: String| System::ALL.into_iter().find(|system| system.word() == word).ok_or("no such system");
    PossibleValuesParser::new(words).try_map(named)
}

/// As `--agent` takes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    Digest(Sha256),
    File(PathBuf),
}

impl FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("sha256:") {
            return text.parse().map(Self::Digest).map_err(|error: cloud_init::provision::NoSha256| error.to_string());
        }
        Ok(Self::File(text.into()))
    }
}
