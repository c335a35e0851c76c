//! `chandler ca token`: makes tokens, shows which are out, takes them back.

use std::fmt::Write as _;
use std::path::Path;

use certs::Moment;
use certs::ca::{Grant, TokenId, output};

use super::{CaFailure, Said, days, open};
use crate::cli::ca::TokenArgs;

/// Does what the arguments ask.
pub(super) fn token(folder: &Path, args: &TokenArgs, now: Moment) -> Result<Said, CaFailure> {
    match &args.cancel {
        Some(id) => cancel(folder, id),
        None if args.list => list(folder, now),
        None => make(folder, args, now),
    }
}

fn make(folder: &Path, args: &TokenArgs, now: Moment) -> Result<Said, CaFailure> {
    let (token, grant) = open(folder)?.grant(args.names.iter().cloned().collect(), days(args.days), args.valid, now)?;
    let line = format!("{}\n", token.word());
    let data = if args.output.as_os_str() == "-" {
        line
    } else {
        output::write_secret(&args.output, &line)?;
        format!("{}\n", args.output.display())
    };
    let notes = vec![
        format!("token {}, for {}, once, until {}: a secret; `chandler ca token --cancel {}` takes it back", grant.id, names(&grant), grant.until, grant.id),
        "on the machine: `chandler ca request --mirror https://HOST:PORT --token FILE --out DIR`; the mirror's configuration must say clients: {ca: [private], tokens: true}".into(),
    ];
    Ok(Said { data, notes })
}

/// A line each: its name, until when, for whom, and what became of it.
fn list(folder: &Path, now: Moment) -> Result<Said, CaFailure> {
    let (mut data, grants) = (String::new(), open(folder)?.grants(now)?);
    for grant in &grants {
        let used = |(at, serial, end)| format!("used at {at}, serial {serial}, a certificate until {end}");
        let state = grant.used().map_or_else(|| "not used".into(), used);
        let _ = writeln!(data, "{}  until {}  {}  {state}", grant.id, grant.until, names(grant));
    }
    let notes =
        if grants.is_empty() { vec!["no token is out, and none was used whose certificate still holds".into()] } else { Vec::new() };
    Ok(Said { data, notes })
}

fn cancel(folder: &Path, id: &TokenId) -> Result<Said, CaFailure> {
    let grant = open(folder)?.cancel(id)?;
    let notes = grant.used().map(|(at, serial, _)| {
        format!("it was used at {at}, and the certificate holds: `chandler ca revoke {serial}` takes that back, too")
    });
    Ok(Said { data: format!("{id} is taken back\n"), notes: notes.into_iter().collect() })
}

fn names(grant: &Grant) -> String {
    grant.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
