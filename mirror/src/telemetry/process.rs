//! This process, as the kernel sees it at each scrape, under the names that every dashboard knows.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Memory, descriptors, processor time, start.
#[derive(Debug)]
pub struct Process {
    started: SystemTime,
}

impl Process {
    /// Makes them visible; the start is now.
    pub fn register(registry: &mut Registry) {
        registry.register_collector(Box::new(Self { started: SystemTime::now() }));
    }
}

impl Collector for Process {
    /// What `/proc` does not tell is left out.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, value: Option<f64>| match value {
            Some(value) => ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?),
            None => Ok(()),
        };
        let started = self.started.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
        gauge("process_resident_memory_bytes", "Memory in RAM, mapped files included", resident_bytes())?;
        gauge("process_open_fds", "Open file descriptors", std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64))?;
        gauge("process_max_fds", "Most file descriptors that may be open", max_fds())?;
        gauge("process_start_time_seconds", "When the process started, since 1970", started)?;
        let Some(cpu) = cpu_seconds() else { return Ok(()) };
        ConstCounter::new(cpu).encode(encoder.encode_descriptor("process_cpu_seconds", "Processor time used", None, MetricType::Counter)?)
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

fn max_fds() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `/proc/self/stat`, counted behind the command's name, which may hold spaces; in hundredths on every Linux.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_all_of_it() {
        let mut registry = Registry::default();
        Process::register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        let value = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_else(|| panic!("{name} in {text}"));
            line.parse::<f64>().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
