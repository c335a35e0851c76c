//! What an operator sees on the admin listener.

use std::time::Duration;

use crate::program::Program;

/// Looks at one mirror's admin listener.
#[derive(Clone, Debug)]
pub struct Operator {
    base: String,
    http: reqwest::Client,
}

impl Operator {
    /// Of `mirror`.
    pub fn of(mirror: &Program) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self {
            base: mirror.admin().trim_end_matches('/').to_owned(),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
        }
    }

    /// Status and text of a page.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.expect("the admin listener answers");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// The sum of all samples of a metric that counts in whole numbers, whatever their labels; a metric without samples is 0.
    pub async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.page("/metrics").await;
        let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        samples.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a sample ends in a number")).sum()
    }

    /// Waits until `/readyz` answers `status`; gives its text.
    pub async fn wait_for_readiness(&self, status: u16) -> String {
        let mut last = String::new();
        for _ in 0..LOOKS {
            let (is, text) = self.page("/readyz").await;
            if is == status {
                return text;
            }
            last = format!("{is} {text}");
            tokio::time::sleep(POLL).await;
        }
        panic!("/readyz never answered {status}; last it said {last}");
    }

    /// Waits until all that was answered is on the disk: a pull ends before that, and kill -9 may come at once.
    pub async fn wait_until_written(&self) {
        for _ in 0..LOOKS {
            if self.metric("chandler_flights").await + self.metric("chandler_write_queue").await == 0 {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("the mirror never had written what it knows:\n{}", self.page("/metrics").await.1);
    }

    /// Waits until a metric is at least `least`.
    pub async fn wait_for_metric(&self, name: &str, least: u64) {
        for _ in 0..LOOKS {
            if self.metric(name).await >= least {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("{name} never was {least}:\n{}", self.page("/metrics").await.1);
    }
}

/// A minute of looks.
const LOOKS: u32 = 1200;
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);
