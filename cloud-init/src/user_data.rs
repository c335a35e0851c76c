//! User data: one document that a provider hands to a new machine, and cloud-init reads there.
//!
//! ```text
//! cloud-config                  ours alone
//! MIME multi-part               theirs, in their order; ours behind, whose lists are added to theirs; a script of ours that runs before theirs
//! ```
//!
//! What always holds: nothing of theirs is replaced. A cloud-config of ours beside theirs says how it is merged, since without that the later one's lists take the place of the earlier one's; a user data's
//! lists do take the place of a vendor data's, which no user data can prevent.
//!
//! Every key that is written is read by 0.7 as well, the release of Ubuntu 16.04, but for `ca_certs`, which was `ca-certs` then ([`CaSpelling`]); newer ones such as `defer` are done without. Later releases have none of
//! them deprecated but `ca-certs`.
//!
//! What costs time is done at the end of the boot and is bounded, so that a mirror that is down keeps no machine from starting.

pub mod enrolment;
pub(crate) mod fetching;
pub mod size;
pub mod theirs;

#[cfg(test)]
mod tests;

pub use self::enrolment::Enrolment;
pub use self::size::{Provider, Size};
pub use self::theirs::{Theirs, TheirsError};

use crate::cloud_config::{CaSpelling, CloudConfig};
use crate::first_boot;
use crate::gzip;
use crate::kind::Kind;
use crate::multipart::{self, Part};
use crate::provision::{Means, Provision};
use crate::{Engine, Wish};

/// What is to be in the document.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// What the machine is given where it is told by a [script](Means::Script); of one that gets the agent only the means count.
    pub provision: &'a Provision,
    /// What the agent is told, where it is fetched.
    pub wish: &'a Wish,
    /// For which engines, where the agent is fetched; none: those that it finds.
    pub engines: &'a [Engine],
    /// The client certificate is got by a token. The provision and the wish were made with [`enrolment::to_come`].
    pub enrolment: Option<&'a Enrolment>,
    /// The wish's anchors are trusted by every program of the machine as well, under these keys.
    pub system_roots: Option<CaSpelling>,
    /// User data that somebody has already.
    pub with: &'a [Theirs],
    /// MIME multi-part also where nothing of theirs is in it.
    pub multipart: bool,
}

/// The document, as text.
pub fn user_data(order: &Order<'_>) -> Result<String, TheirsError> {
    let config = cloud_config(order);
    if !order.multipart && order.with.is_empty() {
        return Ok(config.to_string());
    }
    let mut parts = Vec::new();
    for (index, theirs) in order.with.iter().enumerate() {
        parts.extend(theirs.parts(index + 1)?);
    }
    parts.extend(first_script(order.provision));
    parts.push(Part {
        name: CONFIG.to_owned(),
        content_type: Kind::CloudConfig.content_type().to_owned(),
        merge_type: None,
        text: config.to_string(),
    });
    Ok(multipart::write(&parts))
}

/// The bytes that are handed over, and how many they are for a provider.
pub fn packed(text: &str, in_gzip: bool, provider: Provider) -> (Vec<u8>, Size) {
    let small = gzip::pack(text.as_bytes());
    let packed = small.len();
    let bytes = if in_gzip { small } else { text.as_bytes().to_vec() };
    let size = Size { bytes: bytes.len(), packed, provider };
    (bytes, size)
}

/// Ours, whole.
pub fn cloud_config(order: &Order<'_>) -> CloudConfig {
    let mut provision = match &order.provision.means {
        Means::Script => order.provision.clone(),
        Means::Agent(digest) => {
            Provision { files: fetching::files(order.wish, order.engines, digest), docker: None, means: order.provision.means.clone() }
        }
    };
    if let Some(enrolment) = order.enrolment {
        provision = enrolment.provided(&provision);
    }
    let mut config = CloudConfig::of(&provision);
    if let (Some(spelling), Some(anchors)) = (order.system_roots, &order.wish.anchors) {
        config.ca_certs.push(anchors.clone());
        config.ca_spelling = spelling;
    }
    config
}

/// What runs before the commands and scripts of others, which may pull at once: their own cloud-config may have written a whole `daemon.json` since the boot began.
fn first_script(provision: &Provision) -> Option<Part> {
    let is_merged = provision.docker.is_some() && provision.means == Means::Script;
    let text = format!("#!/bin/sh\n{}\n", first_boot::RUN);
    is_merged.then(|| Part { name: FIRST.to_owned(), content_type: Kind::Script.content_type().to_owned(), merge_type: None, text })
}

const CONFIG: &str = "chandler.yaml";
/// Scripts are run by their names, `runcmd` among them.
const FIRST: &str = "00-chandler-first-boot";
