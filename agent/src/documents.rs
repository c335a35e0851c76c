//! `chandler cloud-init`: documents for machines that are not there yet, for other CI systems and for firewalls. The library `cloud_init` writes them; what is wanted, and what the planners make of it, comes from here.
//!
//! Nothing of this machine is changed, and nothing of it gets into a document but what flags and `agent.yaml` name.

mod born;
mod written;

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;

use cloud_init::firewall::{self, NoRules, Rules, aws};
use cloud_init::helm::{self, Server, VmImage};
use cloud_init::program::{self, Failing};
use cloud_init::runners::{Inner, NoRunner};
use cloud_init::terraform::{self, Image};
use cloud_init::user_data::{self, TheirsError};
use cloud_init::vm_service::customizations::Refusal;
use cloud_init::vm_service::template::Unusable;
use cloud_init::{CaSpelling, Document, Means, document, packer};
use mirror::oci::{Algorithm, Digest};
use serde_json::json;

use crate::birth::{self, Birth, BirthError};
use crate::cli::cloud_init::{
    BirthArgs, Firewall, FirewallArgs, HelmArgs, Kind, OutArgs, PackerArgs, PackerForm, Program, RunnerArgs, Terraform,
};
use crate::cli::machine::EngineChoice;
use crate::engines::{Engine, Finding, Wish};
use crate::host::{HostError, Root};
use crate::report::{Said, plain};
use crate::settings::{Settings, SettingsError};

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentsFailure {
    #[error(transparent)]
    Birth(#[from] BirthError),
    #[error("{}: {source}", path.display())]
    Customizations { path: PathBuf, source: Refusal },
    #[error("a machine that is given this is not as it was meant")]
    Faulty,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("a security group's rules need the mirror's group")]
    NoGroup,
    #[error(transparent)]
    Rules(#[from] NoRules),
    #[error(transparent)]
    Runner(#[from] NoRunner),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{} is no token of `chandler ca token`", .0.display())]
    NoToken(PathBuf),
    #[error("a client's certificate is had from a mirror over HTTPS, and none that is named speaks it")]
    NoSecureMirror,
    #[error("{}: the shell does not take it with our lines at its end: {said}", path.display())]
    Shell { path: PathBuf, said: String },
    #[error("no machine can be given this: {0}")]
    TooLarge(String),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the service could make no machine of this template: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Template(Vec<Unusable>),
    #[error(transparent)]
    Theirs(#[from] TheirsError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl DocumentsFailure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoGroup => Some("--group sg-…, the group of the machine on which the mirror runs"),
            Self::Rules(NoRules::Nobody) => Some("--client 10.0.0.0/16 names a network; on AWS --client-group sg-… a group"),
            Self::Rules(NoRules::NoPort) => Some("--mirror https://mirror.example:443, or --port 443"),
            Self::Host(error) => error.hint(),
            Self::Settings(error) => error.hint(),
            _ => None,
        }
    }

    /// It is a matter of what was written, and nothing was tried.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Settings(error) => error.is_usage(),
            Self::Birth(_)
            | Self::Customizations { .. }
            | Self::NoGroup
            | Self::NoSecureMirror
            | Self::NoToken(_)
            | Self::Shell { .. }
            | Self::TooLarge(_)
            | Self::Rules(_)
            | Self::Runner(_)
            | Self::Template(_)
            | Self::Theirs(_) => true,
            Self::Faulty | Self::Host(_) | Self::Read { .. } | Self::Write { .. } => false,
        }
    }
}

/// Makes them, and puts them where they are wanted. What is said, and beside it whether something is wrong with what was looked at.
pub(crate) fn run(kind: &Kind) -> Result<(Said, Option<DocumentsFailure>), DocumentsFailure> {
    let (made, out) = match kind {
        Kind::Lint(args) => return born::lint(args),
        Kind::UserData(args) => return Ok((born::user_data(args)?, None)),
        Kind::VmService(args) => (born::vm_service(args)?, &args.out),
        Kind::Packer(args) => (packer_step(args)?, &args.out),
        Kind::Terraform(args) => match &args.what {
            Terraform::Aws { owner, name, out } => (of_image(&Image::Amazon { owners: owner.clone(), names: name.clone() }), out),
            Terraform::Gcp { project, family, out } => (of_image(&Image::Google { project: project.clone(), family: family.clone() }), out),
            Terraform::Part { birth, out } => (part(birth)?, out),
        },
        Kind::Helm(args) => (helm_values(args), &args.out),
        Kind::Firewall(args) => (firewall_rules(args)?, &args.out),
        Kind::Runner(args) => (runner(args)?, &args.out),
    };
    Ok((made.told(out)?, None))
}

/// Documents, and what a person must know of them.
#[derive(Debug, Default)]
struct Made {
    documents: Vec<Document>,
    findings: Vec<Finding>,
}

impl Made {
    fn told(self, out: &OutArgs) -> Result<Said, DocumentsFailure> {
        let notes = self.notes();
        let data = match (&out.output, out.json) {
            (Some(path), _) => {
                written::all(path, &self.documents)?;
                String::new()
            }
            (None, true) => format!("{:#}\n", self.json()),
            (None, false) => document::joined(&self.documents),
        };
        Ok(Said { data, notes })
    }

    fn notes(&self) -> Vec<String> {
        let one =
            |finding: &Finding| if finding.mend.is_empty() { finding.what.clone() } else { format!("{}; {}", finding.what, finding.mend) };
        self.findings.iter().map(|finding| plain(&one(finding))).collect()
    }

    fn json(&self) -> serde_json::Value {
        let document =
            |one: &Document| json!({ "name": one.name, "what": one.what, "text": one.text, "program": one.program, "secret": one.secret });
        let finding = |one: &Finding| json!({ "engine": one.engine.map(Engine::word), "what": one.what, "mend": one.mend });
        json!({ "documents": self.documents.iter().map(document).collect::<Vec<_>>(), "findings": self.findings.iter().map(finding).collect::<Vec<_>>() })
    }
}

impl From<Document> for Made {
    fn from(document: Document) -> Self {
        Self { documents: vec![document], findings: Vec::new() }
    }
}

/// What flags and `agent.yaml` say.
struct Order {
    wish: Wish,
    engines: Vec<Engine>,
    means: Means,
}

impl Order {
    fn of(args: &BirthArgs) -> Result<Self, DocumentsFailure> {
        let settings = Settings::read(args.config.as_deref(), &Root::machine())?;
        let engines = match settings.engines(args.engine.as_ref())? {
            EngineChoice::Only(engines) => engines,
            // Nobody can look for them yet.
            EngineChoice::Found => vec![Engine::Docker],
        };
        Ok(Self { wish: settings.wish(&args.wish, &[])?, engines, means: means(args.agent.as_ref())? })
    }

    fn birth(&self) -> Result<Birth, DocumentsFailure> {
        Ok(birth::birth(&self.wish, &self.engines, self.means.clone())?)
    }

    fn cloud_config(&self, birth: &Birth) -> String {
        user_data::cloud_config(&self.user_data(birth, None)).to_string()
    }

    fn user_data<'a>(&'a self, birth: &'a Birth, system_roots: Option<CaSpelling>) -> user_data::Order<'a> {
        let Self { wish, engines, .. } = self;
        user_data::Order { provision: &birth.provision, wish, engines, enrolment: None, system_roots, with: &[], multipart: false }
    }

    fn program(&self, birth: &Birth, failing: Failing) -> String {
        program::script(&birth.provision, &self.wish, &self.engines, failing)
    }

    fn has_key(&self) -> bool {
        self.wish.client.is_some()
    }
}

/// A file that somebody names: a pipe too, but nothing without end.
fn bounded(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    if read as u64 == LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has no end, or is far larger than such a file is"));
    }
    Ok(bytes)
}

/// More than any program of ours.
const LARGEST: u64 = 512 << 20;

fn means(agent: Option<&Program>) -> Result<Means, DocumentsFailure> {
    match agent {
        None => Ok(Means::Script),
        Some(Program::Digest(digest)) => Ok(Means::Agent(digest.clone())),
        Some(Program::File(path)) => {
            let bytes = bounded(path).map_err(|source| DocumentsFailure::Read { path: path.clone(), source })?;
            Ok(Means::Agent(Digest::of(Algorithm::Sha256, &bytes).hex().parse().expect("it is a SHA-256")))
        }
    }
}

fn packer_step(args: &PackerArgs) -> Result<Made, DocumentsFailure> {
    let order = Order::of(&args.birth)?;
    let birth = order.birth()?;
    let form = match args.form {
        PackerForm::Hcl => packer::Form::Hcl,
        PackerForm::Yaml => packer::Form::Yaml,
    };
    let step = packer::document(&order.program(&birth, Failing::Ends), order.has_key(), form);
    Ok(Made { documents: vec![step], findings: birth.findings })
}

fn of_image(image: &Image) -> Made {
    terraform::variables(image).into()
}

fn part(args: &BirthArgs) -> Result<Made, DocumentsFailure> {
    let order = Order::of(args)?;
    let birth = order.birth()?;
    let part = terraform::part(&order.cloud_config(&birth), order.has_key());
    Ok(Made { documents: vec![part], findings: birth.findings })
}

fn helm_values(args: &HelmArgs) -> Made {
    let server = if args.before_4_3 { Server::UntilFourTwo } else { Server::SinceFourThree };
    // clap sees to it that one of the two is there.
    let image = match (&args.ami, &args.gcp_image) {
        (Some(ami), _) => VmImage::Amazon(ami.clone()),
        (None, name) => VmImage::Google(name.clone().unwrap_or_default()),
    };
    helm::values(server, &image).into()
}

fn firewall_rules(args: &FirewallArgs) -> Result<Made, DocumentsFailure> {
    let mirrors = if args.port.is_empty() {
        Settings::read(args.config.as_deref(), &Root::machine())?.wish_without_ca(&args.wish)?.mirrors
    } else {
        Vec::new()
    };
    let is_known_otherwise = match args.system {
        Firewall::AwsCli | Firewall::AwsTerraform => !args.client_group.is_empty(),
        Firewall::GcpTerraform => !args.client_tag.is_empty(),
        Firewall::Firewalld | Firewall::Nftables | Firewall::Ufw => false,
    };
    let rules = if args.client.is_empty() && is_known_otherwise {
        Rules::of_ports(&args.port, &mirrors)?
    } else {
        Rules::new(&args.port, &mirrors, &args.client)?
    };
    let documents = match args.system {
        Firewall::Nftables => vec![firewall::nftables::document(&rules)],
        Firewall::Ufw => firewall::ufw::documents(&rules),
        Firewall::Firewalld => firewall::firewalld::documents(&rules, args.zone.as_ref()),
        Firewall::GcpTerraform => vec![firewall::google::document(&rules, &args.network, &args.tag, &args.client_tag)],
        Firewall::AwsCli | Firewall::AwsTerraform => {
            let mirror = args.group.as_ref().ok_or(DocumentsFailure::NoGroup)?;
            let ingress = aws::Ingress { mirror, clients: &args.client_group, rules: &rules };
            vec![if args.system == Firewall::AwsCli { ingress.command_line() } else { ingress.terraform() }]
        }
    };
    Ok(Made { documents, findings: Vec::new() })
}

fn runner(args: &RunnerArgs) -> Result<Made, DocumentsFailure> {
    let order = Order::of(&args.birth)?;
    // A Docker inside of a job, whatever the machine around it has.
    let order = Order { engines: vec![Engine::Docker], ..order };
    let birth = order.birth()?;
    let (buildkitd, cloud_config) = (birth::buildkitd(&order.wish)?, order.cloud_config(&birth));
    let program = order.program(&birth, Failing::GoesOn);
    let inner = Inner::new(&birth.provision, &order.wish.mirrors, buildkitd, cloud_config, program)?;
    Ok(Made { documents: args.system.documents(&inner), findings: birth.findings })
}
