//! What may be written on the command line, and what it means.
//!
//! Pure: arguments in, an [`Invocation`] out. `chandler serve FILE` and a bare `chandler FILE` are how the `registry` image is called.

pub(crate) mod acme;
pub(crate) mod ca;
pub(crate) mod cert;
pub(crate) mod cloud_init;
pub(crate) mod install;
pub(crate) mod machine;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use mirror::config::Flag;

use crate::debian;
use crate::image::{ImageName, Order};
use crate::load::Source;

/// Keeps container images next to the machines that pull them.
#[derive(Debug, Parser)]
#[command(name = "chandler", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// A config.yml of the `registry` image: starts the mirror in its place
    file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mirror Docker Hub and other registries
    Mirror(Box<MirrorArgs>),
    /// Stand in for the `registry` image, with its config.yml
    Serve {
        /// A config.yml of the `registry` image
        file: Option<PathBuf>,
    },
    /// Write a container image of this program, for `docker load` and its like
    Image(ImageArgs),
    /// Write a Debian package of this program, for apt and dpkg
    Debian(DebianArgs),
    /// A CA of your own: for the mirror's certificate, and for clients'
    Ca(ca::CaArgs),
    /// The mirror's certificates: how they stand, renew, roll back, import, export
    Cert(cert::CertArgs),
    /// The account that orders the mirror's certificates, and what its CA offers
    Acme(acme::AcmeArgs),
    /// Show what would put this machine's container engines behind the mirror, and change nothing
    Plan(machine::PlanArgs),
    /// Put this machine's container engines behind the mirror; whatever runs goes on
    Apply(machine::ApplyArgs),
    /// Prove by a pull that this machine's engines use the mirror
    Verify(machine::VerifyArgs),
    /// Take this machine's engines out again: every file as it was, to the byte
    Undo(machine::UndoArgs),
    /// Find what keeps this machine's engines from using the mirror
    Doctor(machine::DoctorArgs),
    /// Write what new machines, runners of other CI systems and firewalls are told of the mirror
    CloudInit(Box<cloud_init::CloudInitArgs>),
    /// Put this program in place as a service: the mirror, or the agent
    Install(install::InstallArgs),
    /// Take it out again
    Uninstall(install::UninstallArgs),
    /// Print a completion script
    Completions {
        /// For this shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
struct MirrorArgs {
    /// The configuration file [default: /etc/chandler/mirror.yaml, where it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read a config.yml of the `registry` image, with its defaults
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    registry_config: Option<PathBuf>,
    /// Where clients connect (repeatable) [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Serve HTTPS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// A registry to mirror (repeatable) [default: Docker Hub]
    #[arg(long, value_name = "[NAME=]URL")]
    upstream: Vec<String>,
    /// The account at the upstream named before it
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// A file with the account's password in its first line
    #[arg(long, value_name = "FILE")]
    password_file: Vec<String>,
    /// Private repositories of the account that may be served (repeatable) [default: all]
    #[arg(long, value_name = "PATTERN")]
    private: Vec<String>,
    /// Who may read: networks, or `open` for everybody (repeatable)
    #[arg(long, value_name = "CIDR,..|open")]
    allow: Vec<String>,
    /// The folder for content
    #[arg(long, value_name = "DIR")]
    store: Option<String>,
    /// Most that the store takes: a size (200GiB) or a share of the disk (80%)
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Say whether the configuration is right, and end
    #[arg(long)]
    check: bool,
    /// With --check: print the configuration and where each value comes from
    #[arg(long, requires = "check")]
    show: bool,
    /// Print a commented configuration file to start from
    #[arg(long)]
    print_default_config: bool,
    /// Print the reference of all keys as Markdown
    #[arg(long, hide = true)]
    config_reference: bool,
}

#[derive(Args, Debug)]
struct ImageArgs {
    /// Where the archive goes; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// What engines call the image
    #[arg(long, value_name = "NAME[:TAG]", default_value = "chandler:latest")]
    tag: ImageName,
    /// The program inside: one that is linked statically [default: this very one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct DebianArgs {
    /// Where the package goes; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// The program inside [default: this very one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Whose configuration says which certificates there are.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// The mirror's configuration file [default: /etc/chandler/mirror.yaml, where it is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// A config.yml of the `registry` image, by which the mirror runs
    #[arg(long, value_name = "FILE", conflicts_with = "config", global = true)]
    registry_config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Where it is.
    pub(crate) fn source(&self) -> Source {
        match &self.registry_config {
            Some(file) => Source::Registry(Some(file.clone())),
            None => Source::Own(self.config.clone()),
        }
    }
}

/// What is to be done.
pub(crate) enum Invocation {
    Acme(Box<acme::AcmeArgs>),
    Ca(Box<ca::CaArgs>),
    Cert(Box<cert::CertArgs>),
    CloudInit(Box<cloud_init::CloudInitArgs>),
    Completions(Shell),
    ConfigReference,
    Debian(debian::Order),
    DefaultConfig,
    Help,
    Image(Order),
    Install(install::InstallArgs),
    Machine(Box<machine::Task>),
    Mirror(Run),
    Uninstall(install::UninstallArgs),
}

/// A start of the mirror, or a look at its configuration.
pub(crate) struct Run {
    pub(crate) check: bool,
    pub(crate) flags: Vec<Flag>,
    pub(crate) show: bool,
    pub(crate) source: Source,
}

/// Reads the arguments, the program's name first. An `Err` may also be `--help` or `--version`.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    match (cli.command, cli.file) {
        (Some(Command::Acme(args)), _) => Ok(Invocation::Acme(Box::new(args))),
        (Some(Command::Ca(args)), _) => Ok(args.task.of_machine().map_or_else(|| Invocation::Ca(Box::new(args)), on_machine)),
        (Some(Command::Cert(args)), _) => Ok(Invocation::Cert(Box::new(args))),
        (Some(Command::Plan(args)), _) => Ok(on_machine(machine::Task::Plan(args))),
        (Some(Command::Apply(args)), _) => Ok(on_machine(machine::Task::Apply(args))),
        (Some(Command::Verify(args)), _) => Ok(on_machine(machine::Task::Verify(args))),
        (Some(Command::Undo(args)), _) => Ok(on_machine(machine::Task::Undo(args))),
        (Some(Command::Doctor(args)), _) => Ok(on_machine(machine::Task::Doctor(args))),
        (Some(Command::CloudInit(args)), _) => Ok(Invocation::CloudInit(args)),
        (Some(Command::Completions { shell }), _) => Ok(Invocation::Completions(shell)),
        (Some(Command::Debian(args)), _) => {
            let output = (args.output.as_os_str() != "-").then_some(args.output);
            Ok(Invocation::Debian(debian::Order { binary: args.binary, output }))
        }
        (Some(Command::Image(args)), _) => Ok(Invocation::Image(order(args))),
        (Some(Command::Install(args)), _) => Ok(Invocation::Install(args)),
        (Some(Command::Mirror(args)), _) => {
            let matches = matches.subcommand_matches("mirror").expect("clap parsed the subcommand mirror");
            mirror_run(*args, matches)
        }
        (Some(Command::Serve { file }), _) => Ok(stand_in(file)),
        (Some(Command::Uninstall(args)), _) => Ok(Invocation::Uninstall(args)),
        (None, Some(file)) if misspelt(&file) => {
            let text = format!("there is no command or file `{}`", file.display());
            Err(Cli::command().error(clap::error::ErrorKind::InvalidSubcommand, text))
        }
        (None, Some(file)) => Ok(stand_in(Some(file))),
        (None, None) => Ok(bare(crate::load::is_drop_in())),
    }
}

fn on_machine(task: machine::Task) -> Invocation {
    Invocation::Machine(Box::new(task))
}

/// Without any argument: the container image's start, or a person who wants to know.
fn bare(in_place_of_registry: bool) -> Invocation {
    if in_place_of_registry { stand_in(None) } else { Invocation::Help }
}

/// A word that is neither a path nor a file there is: a command that was meant.
fn misspelt(file: &std::path::Path) -> bool {
    file.components().count() == 1 && file.extension().is_none() && !file.exists()
}

fn stand_in(file: Option<PathBuf>) -> Invocation {
    Invocation::Mirror(Run { check: false, flags: Vec::new(), show: false, source: Source::Registry(file) })
}

fn order(args: ImageArgs) -> Order {
    let output = (args.output.as_os_str() != "-").then_some(args.output);
    Order { binary: args.binary, name: args.tag, output }
}

fn mirror_run(args: MirrorArgs, matches: &ArgMatches) -> Result<Invocation, clap::Error> {
    if args.print_default_config {
        return Ok(Invocation::DefaultConfig);
    }
    if args.config_reference {
        return Ok(Invocation::ConfigReference);
    }
    let flags = flags(&args, matches)?;
    let source = match args.registry_config {
        Some(file) => Source::Registry(Some(file)),
        None => Source::Own(args.config),
    };
    Ok(Invocation::Mirror(Run { check: args.check, flags, show: args.show, source }))
}

/// Whole lists first, then what goes into their items.
fn flags(args: &MirrorArgs, matches: &ArgMatches) -> Result<Vec<Flag>, clap::Error> {
    let mut flags = Vec::new();
    let lists = [("listeners", "--listen", &args.listen), ("upstreams", "--upstream", &args.upstream)];
    flags.extend(lists.into_iter().filter(|(_, _, values)| !values.is_empty()).map(|(key, flag, values)| Flag::list(key, flag, values)));
    if !args.allow.is_empty() {
        flags.push(Flag::one("access", "--allow", args.allow.join(",")));
    }
    let single = [
        ("listeners.[].tls.certificate", "--tls-cert", &args.tls_cert),
        ("listeners.[].tls.key", "--tls-key", &args.tls_key),
        ("store.path", "--store", &args.store),
        ("store.max_size", "--max-size", &args.max_size),
    ];
    flags.extend(single.into_iter().filter_map(|(key, flag, value)| Some(Flag::one(key, flag, value.as_deref()?))));
    for (id, key, flag, values) in
        [("user", "account.user", "--user", &args.user), ("password_file", "account.password_file", "--password-file", &args.password_file)]
    {
        let of: Vec<usize> = upstreams_of(matches, id).collect();
        if of.windows(2).any(|pair| pair[0] == pair[1]) {
            let text = format!("{flag} is given twice for one upstream; it stands behind the --upstream that it belongs to");
            return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text));
        }
        flags.extend(of.into_iter().zip(values).map(|(index, value)| Flag::one(format!("upstreams.{index}.{key}"), flag, value)));
    }
    let mut patterns: std::collections::BTreeMap<usize, Vec<&str>> = std::collections::BTreeMap::new();
    for (index, pattern) in upstreams_of(matches, "private").zip(&args.private) {
        patterns.entry(index).or_default().push(pattern);
    }
    flags.extend(patterns.into_iter().map(|(index, patterns)| Flag::list(format!("upstreams.{index}.private"), "--private", patterns)));
    Ok(flags)
}

/// For each occurrence of a flag, the number of the upstream named last before it.
fn upstreams_of<'a>(matches: &'a ArgMatches, id: &str) -> impl Iterator<Item = usize> + use<'a> {
    let upstreams: Vec<usize> = matches.indices_of("upstream").into_iter().flatten().collect();
    let places: Vec<usize> = matches.indices_of(id).into_iter().flatten().collect();
    places.into_iter().map(move |place| upstreams.iter().filter(|upstream| **upstream < place).count().saturating_sub(1))
}

#[cfg(test)]
mod tests;
