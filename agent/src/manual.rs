//! What the command line says of itself: manual pages, one a command, and completions for shells. To print, and for packages.

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;

/// The page of `chandler WORDS`, for man; `None` where there is no such command.
pub(crate) fn page(words: &[String]) -> Option<String> {
    let mut all = commands();
    let command = words.iter().try_fold(&mut all, |command, word| command.find_subcommand_mut(word))?;
    Some(rendered(command))
}

/// All pages, by their files' names: `chandler-cert-renew.1`.
pub(crate) fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    collect(&commands(), &mut pages);
    pages
}

/// The script that completes chandler's commands and flags in a shell.
pub(crate) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "chandler", &mut script);
    String::from_utf8(script).expect("it is made of text")
}

/// Each knows its whole name. A page about `help` would say nothing.
fn commands() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

fn collect(command: &Command, pages: &mut Vec<(String, String)>) {
    pages.push((format!("{}.1", name(command)), rendered(command)));
    command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(|command| collect(command, pages));
}

fn rendered(command: &Command) -> String {
    let mut page = Vec::new();
    let source = concat!("chandler ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name(command)).source(source).manual("chandler");
    man.render(&mut page).expect("writing to memory cannot fail");
    String::from_utf8(page).expect("it is made of text")
}

/// `chandler-cert-renew`
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_that_help_lists_has_a_page_and_says_there_how_it_is_called() {
        let pages = pages();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert!(["chandler.1", "chandler-mirror.1", "chandler-cert-renew.1"].iter().all(|name| names.contains(name)), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        let page = page(&["cert".into(), "renew".into()]).expect("there is one");
        assert!(page.contains(".TH chandler-cert-renew 1") && page.contains("chandler cert renew"), "{page}");
        assert!(super::page(&["nothing".into()]).is_none());
    }
}
