//! `CHANDLER_…` variables → keys of the tree.
//!
//! A variable is the key's path in capitals, dots as underscores, an item of a list by its number: `CHANDLER_STORE_MAX_SIZE`,
//! `CHANDLER_UPSTREAMS_0_ACCOUNT_USER`. A list is separated by commas, a map is `name=value,…`.

use super::keys::{KEYS, nearest};
use super::problem::{Origin, Problem};
use super::tree::Node;

/// A key's path and what to put there.
pub(super) struct Setting {
    pub(super) path: String,
    pub(super) node: Node,
}

/// The settings among `variables`, whole lists before their items; variables that are no setting are problems.
pub(super) fn settings(variables: &[(String, String)]) -> (Vec<Setting>, Vec<Problem>) {
    let (mut settings, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let capitals = name.to_ascii_uppercase();
        let Some(rest) = capitals.strip_prefix(PREFIX).filter(|rest| !is_others(rest)) else { continue };
        let origin = Origin::variable(name);
        match path_of(rest) {
            Some(_) if *name != capitals => problems.push(Problem { origin, text: format!("not read; write it in capitals: {capitals}") }),
            None if !name.starts_with(PREFIX) => {}
            Some(path) => settings.push(Setting { path, node: Node::text(value, &origin) }),
            None => problems.push(Problem { origin, text: unknown(rest) }),
        }
    }
    settings.sort_by_cached_key(|setting| sort_key(&setting.path));
    (settings, problems)
}

/// Numbers in a path compare as numbers, and a path before what lies under it.
fn sort_key(path: &str) -> Vec<(usize, String)> {
    path.split('.').map(|name| (name.parse().unwrap_or(0), name.to_owned())).collect()
}

fn path_of(rest: &str) -> Option<String> {
    KEYS.iter().find_map(|key| fit(key.path, rest))
}

/// `upstreams[].url` and `UPSTREAMS_0_URL` → `upstreams.0.url`.
fn fit(pattern: &str, rest: &str) -> Option<String> {
    let Some((list, item)) = pattern.split_once("[].") else { return (variable_of(pattern) == rest).then(|| pattern.to_owned()) };
    let rest = rest.strip_prefix(&variable_of(list))?.strip_prefix('_')?;
    let (index, rest) = rest.split_once('_')?;
    let index: usize = index.parse().ok().filter(|_| index.bytes().all(|byte| byte.is_ascii_digit()))?;
    (variable_of(item) == rest).then(|| format!("{list}.{index}.{item}"))
}

fn variable_of(path: &str) -> String {
    path.replace('.', "_").to_ascii_uppercase()
}

fn unknown(rest: &str) -> String {
    let digits = rest.split('_').find(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or("0");
    let names: Vec<_> = KEYS.iter().map(|key| variable_of(&key.path.replace("[].", &format!(".{digits}.")))).collect();
    match nearest(rest, names.iter().map(String::as_str)) {
        Some(name) if name == rest => "no list is so long".into(),
        Some(name) => format!("no such setting; did you mean {PREFIX}{name}?"),
        None => "no such setting; a variable is CHANDLER_ and a key's path in capitals, such as CHANDLER_STORE_MAX_SIZE".into(),
    }
}

/// What is not ours to judge: the program's own switches, and what Kubernetes and Docker links set for a service that is called like us.
pub(super) fn is_others(rest: &str) -> bool {
    let port =
        |text: &str| text.split('_').next().is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    matches!(rest, "CONFIG" | "PORT" | "SERVICE_HOST" | "SERVICE_PORT" | "NAME")
        || rest.starts_with("SERVICE_PORT_")
        || rest.starts_with("TEST_")
        || rest.strip_prefix("PORT_").is_some_and(port)
}

const PREFIX: &str = "CHANDLER_";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Result<Option<String>, String> {
        let (settings, problems) = settings(&[(name.to_owned(), "x".to_owned())]);
        match problems.first() {
            Some(problem) => Err(problem.to_string()),
            None => Ok(settings.into_iter().next().map(|setting| setting.path)),
        }
    }

    #[test]
    fn a_variable_is_a_keys_path_in_capitals() {
        for (name, path) in [
            ("CHANDLER_TAG_WINDOW", Some("tag_window")),
            ("CHANDLER_STORE_DELETED_TAGS_GRACE", Some("store.deleted_tags.grace")),
            ("CHANDLER_UPSTREAMS_10_ACCOUNT_PASSWORD_FILE", Some("upstreams.10.account.password_file")),
            ("CHANDLER_ACCESS", Some("access")),
            ("CHANDLER_CONFIG", None),
            ("CHANDLER_PORT_5000_TCP_ADDR", None),
            ("CHANDLER_SERVICE_HOST", None),
            ("PATH", None),
        ] {
            assert_eq!(read(name), Ok(path.map(str::to_owned)), "{name}");
        }
    }

    #[test]
    fn an_unknown_variable_is_answered_with_the_one_that_was_meant() {
        insta::assert_snapshot!(read("CHANDLER_TAG_WINDO").expect_err("unknown"), @"CHANDLER_TAG_WINDO: no such setting; did you mean CHANDLER_TAG_WINDOW?");
        insta::assert_snapshot!(read("CHANDLER_UPSTREAMS_2_ACCOUNT_USERNAME").expect_err("unknown"), @"CHANDLER_UPSTREAMS_2_ACCOUNT_USERNAME: no such setting; did you mean CHANDLER_UPSTREAMS_2_ACCOUNT_USER?");
        insta::assert_snapshot!(read("CHANDLER_ZEBRA").expect_err("unknown"), @"CHANDLER_ZEBRA: no such setting; a variable is CHANDLER_ and a key's path in capitals, such as CHANDLER_STORE_MAX_SIZE");
    }

    #[test]
    fn items_are_set_in_the_order_of_their_numbers() {
        let names = ["CHANDLER_UPSTREAMS_10_URL", "CHANDLER_UPSTREAMS_2_URL", "CHANDLER_UPSTREAMS"];
        let (settings, _) = settings(&names.map(|name| (name.to_owned(), "x".to_owned())));
        let paths: Vec<_> = settings.iter().map(|setting| setting.path.as_str()).collect();
        assert_eq!(paths, ["upstreams", "upstreams.2.url", "upstreams.10.url"]);
    }
}
