//! What `chandler apply` and `verify` do with Docker, one verb at a time: for tests that run it on an engine's own machine.
//!
//! ```text
//! docker-engine plan   WISH       findings and steps
//! docker-engine apply  WISH       the same, carried out
//! docker-engine set    FILE       its text becomes daemon.json, and the engine reads it
//! docker-engine verify WISH       what a canary proves
//! WISH: [--ca FILE] [--client CHAIN KEY] [--registry HOST]... MIRROR...
//! ```

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "what it is for")]

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use agent::engines::canary::Witness;
use agent::engines::docker::{Facts, look, plan, plan::reload_for, reload, verify};
use agent::engines::wish::ClientPair;
use agent::engines::{Change, MirrorUrl, Others, Plan, Step, Wish};
use agent::host::Root;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let mut found = look(&Root::machine()).await?;
    println!("engines {}", found.len());
    let facts = found.pop().ok_or("no Docker is here")?;
    match verb.as_str() {
        "set" => set(&facts, &arguments.next().ok_or("which file?")?).await,
        "verify" => {
            let answer = facts.running.as_ref().ok_or("it does not run")?.answer.clone()?;
            let witness = Witness::new(&wish(arguments)?)?;
            println!("{:?}", verify(&answer.daemon.socket, &witness, Duration::from_secs(90)).await?);
            Ok(())
        }
        _ => {
            let plan = plan(&facts, &wish(arguments)?, &[] as &[MirrorUrl]);
            show(&plan);
            if verb == "apply" { carry_out(&plan).await } else { Ok(()) }
        }
    }
}

fn wish(mut arguments: impl Iterator<Item = String>) -> Result<Wish, Box<dyn Error>> {
    let mut wish = Wish { mirrors: Vec::new(), anchors: None, client: None, registries: Vec::new(), others: Others::Keep };
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--ca" => wish.anchors = Some(fs::read_to_string(next()?)?),
            "--client" => wish.client = Some(ClientPair { chain: fs::read_to_string(next()?)?, key: fs::read_to_string(next()?)? }),
            "--registry" => wish.registries.push(next()?),
            mirror => wish.mirrors.push(mirror.parse()?),
        }
    }
    Ok(wish)
}

fn show(plan: &Plan) {
    for finding in &plan.findings {
        println!("{:?}: {}; {}", finding.weight, finding.what, finding.mend);
    }
    for step in &plan.steps {
        match step {
            Step::Write(change) => println!("write {}", change.path.display()),
            Step::Reload(reload) => println!("reload {:?}", reload.mirrors),
        }
    }
}

async fn carry_out(plan: &Plan) -> Result<(), Box<dyn Error>> {
    for step in &plan.steps {
        match step {
            Step::Write(change) => write(change)?,
            Step::Reload(order) => println!("shows {:?}", reload(order).await?.mirrors),
        }
    }
    Ok(())
}

fn write(Change { path, after, mode, .. }: &Change) -> Result<(), Box<dyn Error>> {
    let Some(after) = after else { return Ok(fs::remove_file(path)?) };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(path, after)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(*mode))?)
}

async fn set(facts: &Facts, file: &str) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    fs::write(&facts.config_file, &text)?;
    match reload_for(facts, &text, &[])? {
        Some(order) => println!("shows {:?}", reload(&order).await?.mirrors),
        None => println!("as it is"),
    }
    Ok(())
}
