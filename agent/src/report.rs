//! The one place that prints errors: the chain of causes, then one `hint:` line. Nothing else writes to standard error but the log.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use certs::ca::concealed;

use crate::acme::AcmeFailure;
use crate::ca::CaFailure;
use crate::cert::CertFailure;
use crate::debian::DebianError;
use crate::documents::DocumentsFailure;
use crate::image::ImageError;
use crate::install::InstallError;
use crate::load::LoadError;
use crate::logging::LogError;
use crate::machine::MachineFailure;
use crate::mirror::RunError;

/// What is printed: data, and notes beside it.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) data: String,
    pub(crate) notes: Vec<String>,
}

/// Why the program ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Acme(#[from] AcmeFailure),
    #[error(transparent)]
    Ca(#[from] CaFailure),
    #[error(transparent)]
    Cert(#[from] CertFailure),
    #[error(transparent)]
    Debian(#[from] DebianError),
    #[error(transparent)]
    Documents(#[from] DocumentsFailure),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Install(InstallError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Machine(#[from] MachineFailure),
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<InstallError> for Failure {
    /// A configuration that is wrong is told as everywhere.
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Load(error) => Self::Load(error),
            error => Self::Install(error),
        }
    }
}

impl Failure {
    /// Prints what happened, and says the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // With standard error closed there is nobody to tell.
        let _ = io::stderr().lock().write_all(self.text().as_bytes());
        ExitCode::from(self.code())
    }

    /// 1 failed, 2 usage or configuration.
    fn code(&self) -> u8 {
        match self {
            Self::Acme(AcmeFailure::Sure { .. } | AcmeFailure::WhichAccount(_))
            | Self::Ca(CaFailure::Which { .. } | CaFailure::Token { .. } | CaFailure::TokenItself)
            | Self::Cert(
                CertFailure::NoCertificates
                | CertFailure::NoListener(..)
                | CertFailure::NoDns
                | CertFailure::NoSuch(..)
                | CertFailure::Nowhere
                | CertFailure::WhichListener(_)
                | CertFailure::WhichPair,
            )
            | Self::Debian(DebianError::Terminal)
            | Self::Image(ImageError::Terminal)
            | Self::Load(_)
            | Self::Log(_) => 2,
            Self::Documents(error) if error.is_usage() => 2,
            Self::Install(error) if error.is_usage() => 2,
            Self::Machine(failure) if failure.is_usage() => 2,
            Self::Acme(_)
            | Self::Ca(_)
            | Self::Cert(_)
            | Self::Debian(_)
            | Self::Documents(_)
            | Self::Image(_)
            | Self::Install(_)
            | Self::Machine(_)
            | Self::Print(_)
            | Self::Run(_) => 1,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Acme(error) => return error.hint(),
            Self::Ca(failure) => return failure.hint(),
            Self::Cert(error) => return error.hint(),
            Self::Documents(error) => return error.hint().map(str::to_owned),
            Self::Machine(error) => return error.hint().map(str::to_owned),
            Self::Install(error) => return error.hint(),
            Self::Run(RunError::Start(error)) => return error.hint(),
            _ => {}
        }
        self.fixed_hint().map(str::to_owned)
    }

    fn fixed_hint(&self) -> Option<&'static str> {
        match self {
            Self::Debian(DebianError::Library { .. } | DebianError::Elf { .. } | DebianError::Static { .. }) => Some(
                "in chandler's sources `.ci/release` builds a program for old and new releases and makes the package of it; --binary takes any other",
            ),
            Self::Debian(DebianError::Terminal) => Some("`chandler debian --output chandler.deb`"),
            Self::Image(ImageError::Dynamic { .. } | ImageError::Elf { .. }) => Some(
                "in chandler's sources `cargo image --output FILE` builds a static program and makes the image of it; --binary takes any other",
            ),
            Self::Image(ImageError::Terminal) => Some("`chandler image | docker load`, or `chandler image --output FILE`"),
            Self::Load(LoadError::Both { .. } | LoadError::BothThere { .. }) => Some(
                "leave one of them out; `chandler mirror` alone runs by chandler's own, and CHANDLER_… variables and flags work beside either",
            ),
            Self::Load(LoadError::NotText { .. }) => Some("save it as UTF-8"),
            Self::Load(LoadError::Read { source, .. }) => Some(match source.kind() {
                io::ErrorKind::IsADirectory => {
                    "it is a folder; a container engine makes one where the file to mount is missing: remove it, and mount the file"
                }
                io::ErrorKind::PermissionDenied => "let the user that chandler runs as read it",
                _ => "`chandler mirror --print-default-config` prints a file to start from",
            }),
            Self::Load(LoadError::Variable(_)) => Some("set it to text, or unset it"),
            Self::Load(LoadError::Wrong(_)) => {
                Some("`chandler mirror --print-default-config` shows every key; `chandler mirror --check` tries a change")
            }
            Self::Log(_) => Some("log.level is error, warn, info, debug or trace, or a filter such as info,mirror::upstream=debug"),
            Self::Acme(_)
            | Self::Ca(_)
            | Self::Cert(_)
            | Self::Debian(_)
            | Self::Documents(_)
            | Self::Image(_)
            | Self::Install(_)
            | Self::Load(LoadError::Thread(_))
            | Self::Machine(_)
            | Self::Print(_)
            | Self::Run(_) => None,
        }
    }

    /// The chain, one cause a line, and the hint; nothing of a token that was given in place of something else.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {self}\n");
        let mut cause = self.source();
        while let Some(error) = cause {
            text.extend(["  caused by: ", &error.to_string(), "\n"]);
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text.extend(["hint: ", &hint, "\n"]);
        }
        plain(&concealed(&text))
    }
}

/// Others' words as a terminal may have them: what a file or a server says must not move its cursor.
pub(crate) fn plain(text: &str) -> String {
    let one = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { c.escape_unicode().collect() } else { c.to_string() };
    text.chars().map(one).collect()
}

/// What an operator should know, on standard error.
pub(crate) fn notes(notes: &[impl Display]) {
    let mut stderr = io::stderr().lock();
    for note in notes {
        // With standard error closed there is nobody to tell.
        let _ = writeln!(stderr, "note: {note}");
    }
}

/// Help and version go to standard output and are no failure; clap's own errors say what was meant, and repeat what was given, but no token and nothing of
/// an account in a URL.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let plain = error.to_string();
    let told = without_accounts(&plain);
    let told = concealed(&told);
    let _ = if told == plain { error.print() } else { io::stderr().lock().write_all(told.as_bytes()) };
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// The text, with `…` for user and password in each URL: all before the last `@`, since who writes a password into one may not know what must be escaped.
fn without_accounts(text: &str) -> Cow<'_, str> {
    let (mut told, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let account = after[..end].rfind('@').unwrap_or(0);
        told += before;
        told += if account > 0 { "…" } else { "" };
        rest = &after[account..];
    }
    if told.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(told + rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_in_a_url_is_not_repeated() {
        for (given, told) in [
            ("invalid value 'https://user:pw@ca/dir' for", "invalid value 'https://…@ca/dir' for"),
            ("'https://user:p@w/?@ca' and http://pw@[::1]:80", "'https://…@ca' and http://…@[::1]:80"),
            ("'https://ca/dir' for a@b", "'https://ca/dir' for a@b"),
            ("no URL: a@b", "no URL: a@b"),
            ("://", "://"),
        ] {
            assert_eq!(without_accounts(given), told);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_around_it_no_password_is_repeated(before in "\\PC{0,20}", user in "[a-z]{0,5}", after in "\\PC{0,20}") {
            let text = format!("{before}://{user}:geheim77@ca{after}");
            proptest::prop_assert!(!without_accounts(&text).contains("geheim77"), "{}", without_accounts(&text));
        }
    }
}
