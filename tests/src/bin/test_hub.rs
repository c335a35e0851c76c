//! The test Hub, alone, with demo images: for trying the mirror without a network.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use tests::hub::{Fault, Host, Hub, KIB, MIB, StartError, any, noise};

/// Starts a server that behaves like Docker Hub, with demo images
#[derive(Debug, Parser)]
#[command(name = "test-hub")]
struct Options {
    /// Address of the registry; its token service takes the next port, its CDN the one after
    #[arg(long, default_value = "127.0.0.1:5555")]
    listen: SocketAddr,
    /// Pulls (GETs of manifests) that those without an account may do; those with one may do twice as many
    #[arg(long, default_value_t = 100)]
    quota: u64,
    /// Bytes a second on each response; as fast as it goes when not given
    #[arg(long)]
    bytes_per_second: Option<u64>,
    /// Speak https, with a CA that is printed to stdout
    #[arg(long)]
    tls: bool,
    /// Also serve demo/big:latest, with a blob of so many MiB
    #[arg(long)]
    big: Option<usize>,
}

fn main() -> ExitCode {
    match start(&Options::parse()) {
        Ok(hub) => wait(&hub),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            // Nothing is left to do when stderr is gone.
            drop(writeln!(io::stderr(), "error: {error}{cause}\nhint: choose another address with --listen"));
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<Hub, StartError> {
    let builder = Hub::builder().listen(options.listen);
    let hub = if options.tls { builder.tls() } else { builder }.start()?;
    fill(&hub, options.big);
    hub.quota(None, Some(options.quota));
    hub.quota(Some("demo"), Some(options.quota * 2));
    if let Some(rate) = options.bytes_per_second {
        hub.faults().set(Fault::BytesPerSecond(rate), any());
    }
    Ok(hub)
}

fn fill(hub: &Hub, big: Option<usize>) {
    hub.add_account("demo", "demo");
    hub.image("library/hello").tag("latest").tag("1.0").layers([64 * KIB]).seed(1).push();
    hub.image("library/layers").tag("latest").layers([MIB; 8]).seed(2).docker().push();
    let amd = hub.image("library/multi").layers([256 * KIB, 2 * MIB]).seed(3).push();
    let arm = hub.image("library/multi").platform("linux/arm64").layers([256 * KIB, 2 * MIB]).seed(4).push();
    hub.index("library/multi").tag("latest").image(&amd).image(&arm).attestation(&amd).attestation(&arm).push();
    hub.image("demo/private").tag("latest").layers([512 * KIB]).seed(5).push();
    hub.private("demo/private");
    hub.allow("demo", "demo/private");
    if let Some(size) = big {
        hub.put_blob("demo/big", noise(6, size * MIB));
        hub.image("demo/big").tag("latest").layers([size * MIB]).seed(6).push();
    }
}

fn wait(hub: &Hub) -> ExitCode {
    if let Some(pem) = hub.ca_pem() {
        drop(write!(io::stdout(), "{pem}"));
    }
    drop(write!(io::stderr(), "{}", next_steps(hub)));
    loop {
        std::thread::park();
    }
}

fn next_steps(hub: &Hub) -> String {
    let (url, token) = (hub.url(), hub.url_of(Host::Token));
    format!(
        "A registry that behaves like Docker Hub: {url} (tokens: {token}, blobs: {cdn}). Ctrl-C ends it.

Public   library/hello:latest  library/layers:latest  library/multi:latest (amd64, arm64, attestations)
Private  demo/private:latest   account demo, password demo

A mirror in front of it:
  printf demo > demo-password
  cargo run --release -- mirror --upstream docker.io={url} --user demo --password-file demo-password

Pulls through that mirror:
  docker pull 127.0.0.1:5000/library/hello
  docker pull 127.0.0.1:5000/demo/private

Asking it without a mirror:
  TOKEN=$(curl -s '{token}/token?service=registry.docker.io&scope=repository:library/hello:pull' | sed 's/.*\"token\":\"\\([^\"]*\\).*/\\1/')
  curl -i -H \"Authorization: Bearer $TOKEN\" {url}/v2/library/hello/manifests/latest
",
        cdn = hub.url_of(Host::Cdn),
    )
}
