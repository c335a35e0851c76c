//! `tests/bench`: measures chandler against its peers and prints one Markdown table.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tempfile::TempDir;
use tests::bench::{self, Outcome, ROWS, Request};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Runs chandler, distribution, nginx and a bare hyper loop side by side on this machine and prints one Markdown table with ratios.
#[derive(Debug, Parser)]
#[command(name = "tests/bench")]
struct Arguments {
    /// The program to measure.
    #[arg(long, default_value = "target/release/chandler")]
    chandler: PathBuf,
    /// Two or three minutes instead of 25: fewer rows, rounds and peers.
    #[arg(long)]
    quick: bool,
    /// Only these rows: big, mid, small, digest, tag, cold, herd16, herd200, docker, start.
    #[arg(value_parser = ROWS)]
    rows: Vec<String>,
    /// A folder for content and stores, about 3 GB; removed at the end.
    #[arg(long, default_value = "target")]
    within: PathBuf,
}

fn main() -> ExitCode {
    let outcome = rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "TLS has a provider already".into())
        .and_then(|()| Builder::new_multi_thread().enable_all().build().map_err(Into::into))
        .and_then(|runtime| runtime.block_on(act()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            bench::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The bare loop is this program once more: `--bare ROUTES HTTP HTTPS CERTIFICATE KEY`.
async fn act() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [bare, routes, http, https, certificate, key] = &arguments[..]
        && bare == "--bare"
    {
        return bench::bare::serve(Path::new(routes), http.parse()?, https.parse()?, Path::new(certificate), Path::new(key)).await;
    }
    let Arguments { chandler, quick, rows, within } = Arguments::parse();
    let folder = TempDir::with_prefix_in("bench-", within.canonicalize()?)?;
    let request = Request { chandler, folder: folder.path().to_owned(), quick, rows };
    let (mut interrupt, mut end) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Dropping the run ends every process that it started.
    tokio::select! {
        table = bench::run(&request) => Ok(std::io::stdout().write_all(table?.as_bytes())?),
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = end.recv() => Err("told to end".into()),
    }
}
