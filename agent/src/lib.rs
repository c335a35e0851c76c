//! chandler: the command line.
//!
//! `cli` says what may be written, `load` finds and resolves the configuration, `logging` starts the log, `mirror` runs the service, `image`
//! makes the container image and `debian` the package, `ca` is the private CA, `cert` a person's word about certificates, `acme` about the account that orders them, `machine` puts engines behind the mirror and takes them out (by `engines`, `edit`, `host`, `record` and `apply`), `local` is a mirror between one machine's engines and the site's, `install` puts this program in place as a service, `documents` writes what machines are born with (by `birth` and the library `cloud_init`), `report` is the one place that prints an error, `terminal` the one that knows whether a person looks. Nothing but [`main`] decides the exit code: 0 done, 1 failed, 2 usage or configuration, 3 `--check` found changes to make.

mod acme;
pub mod apply;
mod birth;
mod ca;
mod cert;
mod cli;
mod debian;
mod documents;
pub mod edit;
pub mod engines;
pub mod host;
mod image;
mod install;
mod load;
mod local;
mod logging;
mod machine;
mod mirror;
mod reach;
pub mod record;
mod report;
mod settings;
mod terminal;
mod trust;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cert::CertFailure;
use crate::cli::machine::Task;
use crate::cli::{Cli, Invocation, Run};
use crate::load::{LoadError, Loader};
use crate::machine::Verdict;
use crate::report::{Failure, Said};

/// Runs the program: `main` of the binary, and of the copy that tests start.
pub fn main() -> ExitCode {
    // Once for the whole process; an embedding test may have done it already, with the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match cli::parse(std::env::args_os()) {
        Ok(invocation) => run(invocation).unwrap_or_else(|failure| failure.report()),
        Err(error) => report::usage(&error),
    }
}

/// On the machine's engines; 3: `--check` found changes to make.
fn machine(task: &Task) -> Result<ExitCode, Failure> {
    let answer = machine::run(task)?;
    tell(&answer.said)?;
    match answer.verdict {
        Verdict::Done => Ok(ExitCode::SUCCESS),
        Verdict::HasChanges => Ok(ExitCode::from(3)),
        Verdict::Failed(failure) => Err(failure.into()),
    }
}

fn run(invocation: Invocation) -> Result<ExitCode, Failure> {
    let done = match invocation {
        Invocation::Acme(args) => {
            let resolved = Loader::without_accounts(args.config.source()).load()?;
            tell(&acme::run(&args.task, &resolved.config)?)
        }
        Invocation::Ca(args) => {
            let folder = match &args.state {
                Some(state) => state.join("ca"),
                None if args.task.is_elsewhere() => PathBuf::new(),
                None => Loader::without_accounts(args.config.source()).load()?.config.acme.private_ca(),
            };
            tell(&ca::run(&args.task, &folder)?)
        }
        Invocation::Cert(args) => {
            let resolved = Loader::without_accounts(args.config.source()).load()?;
            let done = cert::run(&args, &resolved.config);
            if let Err(CertFailure::Faults(json)) = &done {
                print(json)?;
            }
            print(&done?)
        }
        Invocation::CloudInit(args) => {
            let (said, failure) = documents::run(&args.kind)?;
            tell(&said)?;
            failure.map_or(Ok(()), |failure| Err(failure.into()))
        }
        Invocation::Completions(shell) => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "chandler", &mut out);
            print(&String::from_utf8_lossy(&out))
        }
        Invocation::ConfigReference => print(&::mirror::config::markdown()),
        Invocation::Debian(order) => {
            report::notes(&[debian::make(&order)?]);
            Ok(())
        }
        Invocation::DefaultConfig => print(&::mirror::config::default_file()),
        Invocation::Help => print(&Cli::command().render_help().to_string()),
        Invocation::Image(order) => {
            let made = image::make(&order)?;
            report::notes(&made.notes(&order));
            Ok(())
        }
        Invocation::Install(args) => {
            let done = install::install(&args.what)?;
            tell(&done.said)?;
            return Ok(if done.has_changes { ExitCode::from(3) } else { ExitCode::SUCCESS });
        }
        Invocation::Machine(task) => return machine(&task),
        Invocation::Mirror(run) => mirror(run),
        Invocation::Uninstall(args) => tell(&install::uninstall(&args.what)?.said),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The mirror, or a look at its configuration.
fn mirror(run: Run) -> Result<(), Failure> {
    let loader = Loader::new(run.source, run.flags);
    let resolved = loader.load()?;
    if run.show {
        print(&resolved.show())?;
    }
    if run.check {
        report::notes(&resolved.notes);
        logging::check(&resolved.config.log)?;
        ::mirror::check_files(&resolved).map_err(LoadError::Wrong)?;
        return if run.show { Ok(()) } else { print("the configuration is valid\n") };
    }
    let log = logging::init(&resolved.config.log)?;
    for note in &resolved.notes {
        tracing::warn!("{note}");
    }
    Ok(mirror::run_mirror(resolved.config, &loader, &log)?)
}

/// Data, and notes beside it.
fn tell(said: &Said) -> Result<(), Failure> {
    print(&said.data)?;
    report::notes(&said.notes);
    Ok(())
}

/// Data goes to standard output; a reader that left early (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Print(error)),
        _ => Ok(()),
    }
}
