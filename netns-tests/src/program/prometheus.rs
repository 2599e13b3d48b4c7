//! Prometheus.

use crate::netns::Netns;
use crate::process::{Finished, Process};
use crate::wait::{SOON, eventually};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A running Prometheus, which asks its targets twice a second.
#[derive(Debug)]
pub struct Prometheus {
    /// The process.
    pub process: Process,
    netns: String,
}

const LISTEN: &str = "127.0.0.1:9090";

impl Prometheus {
    /// Starts it with these targets, addresses with ports, and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(netns: &Netns, folder: &Path, targets: &[&str]) -> Self {
        let (settings, data) = (folder.join("prometheus.yml"), folder.join("prometheus"));
        let job = serde_json::json!({"job_name": "l2link", "static_configs": [{"targets": targets}]});
        // JSON is YAML.
        let text = serde_json::json!({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [job],
        });
        fs::write(&settings, text.to_string()).expect("the folder can be written");
        let process = netns.spawn(&format!(
            "prometheus --config.file={} --storage.tsdb.path={} --web.listen-address={LISTEN} --log.level=warn",
            settings.display(),
            data.display()
        ));
        let prometheus = Self { process, netns: netns.name().to_owned() };
        eventually(SOON, "Prometheus is ready", || {
            let ready = prometheus.get(&["-f", &format!("http://{LISTEN}/-/ready")]).into_result();
            ready.map_err(|error| format!("{error}{}", prometheus.process.log()))
        });
        prometheus
    }

    /// The samples that answer a query at this moment.
    ///
    /// # Errors
    /// What Prometheus says is wrong.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let query = format!("query={query}");
        let url = format!("http://{LISTEN}/api/v1/query");
        let answer = self.get(&["-G", "--data-urlencode", &query, &url]).into_result()?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        match answer["data"]["result"].as_array() {
            Some(samples) if answer["status"] == "success" => Ok(samples.clone()),
            _ => Err(answer.to_string()),
        }
    }

    /// Types and units of all metrics, by name.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn metadata(&self) -> Value {
        self.data("metadata")
    }

    /// What it thinks of its targets.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn targets(&self) -> Value {
        self.data("targets")
    }

    fn data(&self, of: &str) -> Value {
        let text = self.get(&[&format!("http://{LISTEN}/api/v1/{of}")]).expect_success();
        let mut answer: Value = serde_json::from_str(&text).expect("Prometheus answers in JSON");
        answer["data"].take()
    }

    fn get(&self, arguments: &[&str]) -> Finished {
        let mut curl = std::process::Command::new("ip");
        curl.args(["netns", "exec", &self.netns, "curl", "-sS", "--max-time", "5"]).args(arguments);
        Finished::new(&mut curl)
    }
}
