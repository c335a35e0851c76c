//! `chandler cert renew --dry-run`: an order for trial, and what it found, name by name.
//!
//! At Let's Encrypt it is a whole order at its twin for trials, by an account of its own there; the certificate is thrown away. Of another CA no twin is
//! known: its names are proved at the CA itself, by the account that orders there, and no certificate is asked for. `--directory` names a CA for a whole
//! order. Beside a mirror that runs, which has the ports, that one shows the proofs that are written down in the folder that both have.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use certs::acme::{End, Proved};
use certs::solve::HookStyle;
use certs::store::CertName;
use certs::worker::{Stage, Trial};
use mirror::config::{AcmeConfig, Config, DnsConfig, DnsHookConfig, DnsWriterConfig, Issuer, LETS_ENCRYPT_STAGING};
use mirror::tls::Tried;
use url::Url;

use super::renew::{LOOK, PATIENCE};
use super::{CertFailure, folder, meant};
use crate::cli::cert::{Challenge, RenewArgs};

/// Tries it, and fails if what was tried last fails.
pub(super) fn try_out(config: &Config, args: &RenewArgs) -> Result<String, CertFailure> {
    let wanted = meant(config, args.name.as_ref())?;
    let tried_with = with_challenge(config, args.challenge.as_ref())?;
    let stage = stage(&config.acme, args.directory.as_ref());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CertFailure::Runtime)?;
    let (mut out, mut all_well) = (String::new(), true);
    for names in wanted {
        if names.issuer == Issuer::Private {
            let _ = writeln!(out, "{}: the private CA issues it, and there is nothing to prove", names.name);
            continue;
        }
        let beside = folder(config, names).is_attended()?;
        let tried = runtime.block_on(try_one(&tried_with, &names.name, &stage, beside))?;
        all_well &= tell(&mut out, &names.name, &stage, &tried);
    }
    if all_well { Ok(out) } else { Err(CertFailure::Bad(format!("not all is well\n{}", out.trim_end()))) }
}

/// Whoever works on this certificate now is waited for.
async fn try_one(config: &Config, name: &CertName, stage: &Stage, beside: bool) -> Result<Tried, CertFailure> {
    let began = Instant::now();
    loop {
        let mut tried = mirror::rehearse(config, std::slice::from_ref(name), stage, beside).await?;
        match tried.pop().map(|(_, tried)| tried) {
            Some(Err(error)) if error.is_locked() && began.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
            Some(tried) => return Ok(tried),
            None => return Err(CertFailure::NoCertificates),
        }
    }
}

/// The configuration with one way of proof alone, if one is named.
fn with_challenge(config: &Config, challenge: Option<&Challenge>) -> Result<Config, CertFailure> {
    let mut config = config.clone();
    let Some(Challenge { script, way }) = challenge else { return Ok(config) };
    if let Some(script) = script {
        let known = config.acme.dns.as_ref().and_then(|dns| match &dns.writer {
            DnsWriterConfig::Hook(hook) => Some((hook.style, hook.timeout)),
            DnsWriterConfig::Rfc2136(_) | DnsWriterConfig::Route53(_) => None,
        });
        let (style, timeout) = known.unwrap_or((HookStyle::Certbot, SCRIPT_TIMEOUT));
        let writer = DnsWriterConfig::Hook(DnsHookConfig { cleanup: None, hook: script.clone(), style, timeout });
        let (resolvers, wait) = config.acme.dns.map_or_else(Default::default, |dns| (dns.resolvers, dns.wait));
        config.acme.dns = Some(DnsConfig { resolvers, wait, writer });
    }
    if *way == certs::solve::Way::Dns && config.acme.dns.is_none() {
        return Err(CertFailure::NoDns);
    }
    config.acme.ways = vec![*way];
    Ok(config)
}

/// Where it is tried. A directory that somebody names is for trials, unless it is the very one that counts.
fn stage(acme: &AcmeConfig, named: Option<&Url>) -> Stage {
    let counts = |directory: &Url| directory.as_str() != LETS_ENCRYPT_STAGING && acme.directories.contains(directory);
    let first = acme.directories.first().map_or("", Url::as_str);
    match (named, acme.staging()) {
        (Some(named), _) if !counts(named) => Stage::Trial(named.to_string()),
        (Some(named), _) => Stage::Counting(named.to_string()),
        (None, Some(twin)) => Stage::Trial(twin.to_owned()),
        (None, None) if first == LETS_ENCRYPT_STAGING => Stage::Trial(first.to_owned()),
        (None, None) => Stage::Counting(first.to_owned()),
    }
}

/// Whether all is well in the end: what fails one way may work another way.
fn tell(out: &mut String, name: &CertName, stage: &Stage, tried: &Tried) -> bool {
    let _ = match stage {
        Stage::Counting(directory) => writeln!(
            out,
            "{name}: the names alone, at {directory} itself, where failures count (--directory URL has a whole order at a CA for trials)"
        ),
        Stage::Trial(directory) => writeln!(out, "{name}: a whole order at {directory}, whose certificate is thrown away"),
    };
    match tried {
        Ok(trials) => {
            for trial in trials {
                tell_one(out, trial);
            }
            trials.last().is_some_and(|last| last.rehearsed.end.is_ok())
        }
        Err(error) => {
            let mend = error.mend().map(|mend| format!("; {mend}")).unwrap_or_default();
            let _ = writeln!(out, "  bad   the order: {}{mend}", in_one_line(error));
            false
        }
    }
}

fn tell_one(out: &mut String, Trial { account, rehearsed }: &Trial) {
    let _ = writeln!(out, "  account {account}");
    for (identifier, proved) in &rehearsed.names {
        let _ = match proved {
            Proved::By(way) => writeln!(out, "  good  {identifier} is proved by {way}"),
            Proved::No(said) => writeln!(out, "  bad   {identifier} is not proved: {said}"),
            Proved::Unasked => writeln!(out, "  bad   {identifier} was not looked at, since the order had failed before"),
        };
    }
    let _ = match &rehearsed.end {
        Ok(End::Certificate(until)) => writeln!(out, "  good  a certificate came, valid until {until}, and was thrown away"),
        Ok(End::Names) => writeln!(out, "  good  every name is proved; no certificate was asked for"),
        Err(error) => {
            let mend = match error {
                certs::acme::OrderError::Ca(error) => error.mend().map(|mend| format!("; {mend}")),
                _ => None,
            };
            writeln!(out, "  bad   no certificate: {}{}", in_one_line(error), mend.unwrap_or_default())
        }
    };
}

fn in_one_line(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// For a script that the configuration does not name.
const SCRIPT_TIMEOUT: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use certs::acme::Rehearsed;
    use mirror::config::{Sources, resolve};

    use super::*;

    fn config(directories: &str) -> Config {
        let yaml = format!("listeners: [{{address: ':443', tls: {{acme: [mirror.example.com]}}}}]\nacme: {{directories: {directories}}}\n");
        resolve(&Sources::yaml(&yaml)).expect("a configuration").config
    }

    #[test]
    fn a_whole_order_is_for_trials_and_a_ca_that_counts_is_asked_for_names_alone() {
        let url = |text: &str| AcmeConfig::directory(text).expect("a directory");
        let (ours, other) = ("https://acme.internal/dir", "https://trial.internal/dir");
        let lets_encrypt = config("[letsencrypt]").acme;
        assert_eq!(stage(&lets_encrypt, None), Stage::Trial(LETS_ENCRYPT_STAGING.into()));
        assert_eq!(stage(&config("[letsencrypt-staging]").acme, None), Stage::Trial(LETS_ENCRYPT_STAGING.into()));
        assert_eq!(stage(&lets_encrypt, Some(&url("letsencrypt"))).directory(), mirror::config::LETS_ENCRYPT);
        assert!(matches!(stage(&lets_encrypt, Some(&url("letsencrypt"))), Stage::Counting(_)));
        let own = config(&format!("[\"{ours}\"]")).acme;
        assert_eq!(stage(&own, None), Stage::Counting(ours.into()));
        assert_eq!(stage(&own, Some(&url(other))), Stage::Trial(other.into()));
    }

    #[test]
    fn a_script_takes_the_place_of_the_configurations_and_dns_needs_somebody_who_writes() {
        let config = config("[letsencrypt]");
        assert!(matches!(with_challenge(&config, Some(&"dns".parse().expect("a way"))), Err(CertFailure::NoDns)));
        let other = with_challenge(&config, Some(&"dns:/etc/hook".parse().expect("a way"))).expect("it has its script");
        assert_eq!(other.acme.ways, [certs::solve::Way::Dns]);
        let Some(DnsWriterConfig::Hook(hook)) = other.acme.dns.map(|dns| dns.writer) else { panic!("by the script") };
        assert_eq!(hook.hook, std::path::Path::new("/etc/hook"));
        assert_eq!(with_challenge(&config, None).expect("as it is"), config);
    }

    #[test]
    fn each_name_is_told_with_its_way_or_its_reason() {
        let names = vec![
            ("mirror.example.com".parse().expect("a name"), Proved::By("http-01".into())),
            ("old.example.com".parse().expect("a name"), Proved::No("http-01: connection refused".into())),
        ];
        let trial = Trial { account: "https://ca.test/acct/7".into(), rehearsed: Rehearsed { end: Ok(End::Names), names } };
        let mut out = String::new();
        assert!(tell(&mut out, &"mirror".parse().expect("a name"), &Stage::Trial("https://ca.test/dir".into()), &Ok(vec![trial])));
        insta::assert_snapshot!(out, @r"
        mirror: a whole order at https://ca.test/dir, whose certificate is thrown away
          account https://ca.test/acct/7
          good  mirror.example.com is proved by http-01
          bad   old.example.com is not proved: http-01: connection refused
          good  every name is proved; no certificate was asked for
        ");
    }
}
