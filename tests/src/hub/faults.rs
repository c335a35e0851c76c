//! What goes wrong, when and for whom.
//!
//! A `Fault` with a `Filter` is a rule. Rules are set, removed and cleared while the Hub runs, and all that match a request
//! apply to it together. They are asked after authorization: a request that is only challenged takes no turn of `skip` and `times`.
//! A removed rule lets go of what it holds (`Hang`, `StallAt`, gates).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::filter::{Facts, Filter};
use super::{Digest, Kind};

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is sent for so long.
    Delay(Duration),
    /// No answer until the rule is removed.
    Hang,
    /// This status with an OCI error body (JSON; plain text at the token service).
    Status(u16),
    /// 200 and a login page, as a captive portal answers anything.
    Html,
    /// The pull limit's 429: JSON with `toomanyrequests … increase-rate-limit`.
    PullLimit,
    /// The abuse limit's 429: plain text.
    AbuseLimit,
    /// The old abuse limit's 429: bare LF line ends, `Retry-After: 60`, the connection closed.
    AbuseLimitBareLf,
    /// 401 and a challenge, however good the token: once with `times(1)` is an early rejection, without it a loop.
    Unauthorized,
    /// The connection is closed instead of an answer.
    Drop,
    /// The tag answers with this digest: with `skip(k)`, a tag that moves after k requests.
    TagIs(Digest),

    /// This `Content-Type`; an empty text leaves the header out.
    ContentType(&'static str),
    /// No `Docker-Content-Digest`.
    NoDigestHeader,
    /// No `Content-Length`: chunked on HTTP/1.1.
    NoContentLength,
    /// The body compressed, `Content-Encoding: gzip`.
    Gzip,

    /// So many bytes a second on each response.
    BytesPerSecond(u64),
    /// The body stops after so many bytes until the rule is removed.
    StallAt(u64),
    /// `Content-Length` promises everything, the connection ends after so many bytes.
    CutAt(u64),
    /// Chunked, and the connection ends after so many bytes without the last chunk.
    CutChunkedAt(u64),
    /// Chunked, and the body ends cleanly after so many bytes: short, yet well-formed.
    EndChunkedAt(u64),
    /// The byte at this offset of the whole content is wrong.
    FlipByte(u64),
    /// The last byte of the whole content is wrong.
    FlipLastByte,
    /// 200 and everything, whatever range was asked.
    RangeIgnored,
    /// The range starts one byte too late, and `Content-Range` says so.
    RangeOffByOne,
    /// The range starts one byte too late, and `Content-Range` says that it does not.
    RangeLies,
}

impl Fault {
    /// Concerns bytes on the wire: not taken by a HEAD or a redirect.
    pub(super) fn is_of_the_body(&self) -> bool {
        use Fault::{
            BytesPerSecond, CutAt, CutChunkedAt, EndChunkedAt, FlipByte, FlipLastByte, RangeIgnored, RangeLies, RangeOffByOne, StallAt,
        };
        matches!(
            self,
            BytesPerSecond(_)
                | StallAt(_)
                | CutAt(_)
                | CutChunkedAt(_)
                | EndChunkedAt(_)
                | FlipByte(_)
                | FlipLastByte
                | RangeIgnored
                | RangeOffByOne
                | RangeLies
        )
    }

    /// Concerns how content is described: not taken by a redirect.
    pub(super) fn is_of_the_content(&self) -> bool {
        self.is_of_the_body() || matches!(self, Fault::ContentType(_) | Fault::NoDigestHeader | Fault::NoContentLength | Fault::Gzip)
    }
}

/// Names a rule that was set, to remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(u64);

/// A fault that a request has to suffer; it lets go when `released` is cancelled.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) fault: Fault,
    pub(super) released: CancellationToken,
}

#[derive(Debug)]
struct Rule {
    id: RuleId,
    fault: Fault,
    filter: Filter,
    seen: u64,
    released: CancellationToken,
}

/// The rules in force. Cheap to clone; all clones are the same rules.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Rules>>,
}

#[derive(Debug, Default)]
struct Rules {
    next: u64,
    rules: Vec<Rule>,
}

impl Faults {
    /// Adds a rule. `filter` is a `Kind`, or `on(kind).repo(…).method(…).skip(…).times(…)`, or `any()`.
    pub fn set(&self, fault: Fault, filter: impl Into<Filter>) -> RuleId {
        let mut rules = self.lock();
        rules.next += 1;
        let id = RuleId(rules.next);
        rules.rules.push(Rule { id, fault, filter: filter.into(), seen: 0, released: CancellationToken::new() });
        id
    }

    /// Removes one rule and lets go of what it holds.
    pub fn remove(&self, id: RuleId) {
        let mut rules = self.lock();
        rules.rules.retain(|rule| {
            if rule.id == id {
                rule.released.cancel();
            }
            rule.id != id
        });
    }

    /// Removes all rules, gates too, and lets go of what they hold.
    pub fn clear(&self) {
        for rule in self.lock().rules.drain(..) {
            rule.released.cancel();
        }
    }

    /// The faults of a request, each taking one of its rule's turns.
    pub(super) fn take(&self, facts: &Facts<'_>, sends_content: bool, sends_body: bool) -> Vec<Taken> {
        let mut taken = Vec::new();
        for rule in &mut self.lock().rules {
            let fault = &rule.fault;
            if (fault.is_of_the_body() && !sends_body) || (fault.is_of_the_content() && !sends_content) {
                continue;
            }
            // A blob's bytes come from the CDN: a rule about a blob's content means those.
            let through_cdn = fault.is_of_the_content() && facts.kind == Kind::Cdn && rule.filter.is_of(Kind::Blob);
            if !(rule.filter.matches(facts) || through_cdn && rule.filter.matches_as(facts, Kind::Blob)) {
                continue;
            }
            rule.seen += 1;
            if rule.filter.turn(rule.seen) {
                taken.push(Taken { fault: fault.clone(), released: rule.released.clone() });
            }
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
