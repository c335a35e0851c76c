//! What may be written behind `chandler acme`.

use clap::{Args, Subcommand};
use mirror::config::AcmeConfig;
use url::Url;

use super::ConfigArgs;

#[derive(Args, Debug)]
pub(crate) struct AcmeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// The account that orders certificates
    Account {
        #[command(subcommand)]
        task: AccountTask,
    },
    /// List the CA's profiles, of which acme.profile is one
    Profiles(WhereArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountTask {
    /// Show the account, and the TXT records by which dns-persist-01 proves names
    Show(ShowArgs),
    /// Register it, or tell the CA the mail address that the configuration has now
    Register(WhereArgs),
    /// Give it another key
    Rollover(WhereArgs),
    /// End it, for good
    Deactivate(DeactivateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct WhereArgs {
    /// At this CA [default: each of acme.directories]
    #[arg(long, value_name = "URL", value_parser = AcmeConfig::directory)]
    pub(crate) directory: Option<Url>,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) at: WhereArgs,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DeactivateArgs {
    #[command(flatten)]
    pub(crate) at: WhereArgs,
    /// It is meant: what is ended cannot be taken up again
    #[arg(long)]
    pub(crate) yes: bool,
}
