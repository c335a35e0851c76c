//! `chandler doctor --kept-out`: whether a machine that is no client of the mirror is kept out, by a firewall or by the mirror's own rules.
//!
//! From one machine nobody can tell a firewall from a mirror that is down: that takes a second look, from a client.

use serde_json::json;

use super::{Answer, MachineFailure, nonce};
use crate::cli::machine::DoctorArgs;
use crate::engines::MirrorUrl;
use crate::host::Root;
use crate::reach::{self, Seen, Verdict};
use crate::settings::{Settings, SettingsError};

/// Looks at each mirror; every one has to keep this machine out.
pub(super) fn examine(args: &DoctorArgs) -> Result<Answer, MachineFailure> {
    let root = Root::machine();
    let settings = Settings::read(args.machine.config.as_deref(), &root)?;
    // Who is kept out cannot fetch a CA by its fingerprint, and need not.
    let wish = match settings.wish(&args.wish, &[]) {
        Err(SettingsError::Trust(_)) => settings.wish_without_ca(&args.wish)?,
        wish => wish?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MachineFailure::Runtime)?;
    let seen = runtime.block_on(reach::look(&wish, &nonce()));
    let told: Vec<(&MirrorUrl, Kept)> = seen.iter().map(|seen| (&seen.mirror, Kept::of(seen))).collect();
    let line = |(mirror, kept): &(&MirrorUrl, Kept)| format!("{}  {mirror} {}\n", kept.word(), kept.what());
    let text = || told.iter().map(line).collect::<Vec<_>>().concat();
    let json = || json!({ "mirrors": told.iter().map(|(mirror, kept)| json!({ "mirror": mirror.to_string(), "kept_out": kept.is_out(), "what": kept.what() })).collect::<Vec<_>>() });
    let answer = Answer::of(args.machine.json, text, json);
    Ok(if told.iter().all(|(_, kept)| kept.is_out()) { answer } else { answer.failing(MachineFailure::LetIn) })
}

/// What keeps it out.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Kept {
    /// No connection comes about.
    Unconnected,
    /// The mirror answers, and refuses.
    Denied,
    /// Nothing: it answers as it does to anybody.
    In,
    /// No firewall; its rules were not asked.
    Connected,
    /// It was not tried: the name leads nowhere.
    Unnamed,
}

impl Kept {
    fn of(seen: &Seen) -> Self {
        match seen.verdict {
            Verdict::Refused | Verdict::Silent => Self::Unconnected,
            Verdict::Denied => Self::Denied,
            Verdict::NoAddress(_) => Self::Unnamed,
            Verdict::Serves => Self::In,
            Verdict::Fails(_) | Verdict::Other(_) | Verdict::Tls(_) | Verdict::Broken(_) => Self::Connected,
        }
    }

    fn is_out(&self) -> bool {
        matches!(self, Self::Unconnected | Self::Denied)
    }

    fn word(&self) -> &'static str {
        if self.is_out() { "good" } else { "failed" }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Unconnected => {
                "lets no connection of this machine come about: a firewall keeps it out, or the mirror is down, which `chandler doctor` on one of its clients tells"
            }
            Self::Denied => "refuses this machine by its own rules (access); no firewall is between",
            Self::In => "can be connected to from this machine: no firewall keeps it out, and no access rule",
            Self::Connected => {
                "can be connected to from this machine: no firewall keeps it out; what its access rules say was not to be learned, `chandler doctor` tells why"
            }
            Self::Unnamed => "was not tried: its name leads nowhere from this machine; name it by its address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::TlsFault;

    #[test]
    fn who_gets_an_answer_is_not_kept_out_unless_the_answer_is_that() {
        let kept = |verdict| Kept::of(&Seen { mirror: "http://mirror.example".parse().expect("a mirror"), skew: None, verdict });
        for (verdict, out) in [
            (Verdict::Refused, true),
            (Verdict::Silent, true),
            (Verdict::Denied, true),
            (Verdict::Serves, false),
            (Verdict::Tls(TlsFault::UnknownCa), false),
            (Verdict::Broken("x".to_owned()), false),
            (Verdict::NoAddress("x".to_owned()), false),
        ] {
            assert_eq!(kept(verdict.clone()).is_out(), out, "{verdict:?}");
        }
    }
}
