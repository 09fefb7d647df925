//! The daemon itself.

use crate::client::Client;
use crate::error::Result;
use crate::lines::JsonLines;
use crate::url::Target;
use api::{ApiVersion, Info, Version};
use http::Method;
use std::collections::{BTreeMap, BTreeSet};

/// `filters` of lists: names to accepted values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Adds one condition.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// The values for `name`.
    pub fn get(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.0.get(name)
    }

    /// As in the query, `{"status":{"exited":true}}`; empty when there are none.
    pub fn to_json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let sets: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(n, v)| (n.as_str(), v.iter().map(|v| (v.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&sets).expect("maps of texts are JSON")
    }
}

/// What `/_ping` says in its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ping {
    /// The newest version that the daemon speaks.
    pub api_version: Option<ApiVersion>,
    /// The system that its containers run on.
    pub os: String,
    /// Whether it has experimental features on.
    pub experimental: bool,
}

impl Client {
    /// `HEAD /_ping`, without a version.
    pub async fn ping(&self) -> Result<Ping> {
        let answer = self.send_plain(Method::HEAD, "/_ping").await?;
        let header = |name: &str| {
            let value = answer.response.headers().get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let ping = Ping {
            api_version: header("api-version").parse().ok().filter(|v: &ApiVersion| v.major > 0),
            os: header("ostype"),
            experimental: header("docker-experimental") == "true",
        };
        self.bytes(answer, "ping").await?;
        Ok(ping)
    }

    /// `GET /system/df`
    pub async fn disk_usage(&self) -> Result<api::DiskUsage> {
        self.get(Target::path("/system/df"), "disk usage").await
    }

    /// `POST /networks/prune`, `/volumes/prune` or `/build/prune`: what was removed, and the bytes that came free.
    pub async fn prune_named(&self, kind: &str, filters: &Filters) -> Result<(Vec<String>, u64)> {
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Report {
            networks_deleted: Option<Vec<String>>,
            volumes_deleted: Option<Vec<String>>,
            caches_deleted: Option<Vec<String>>,
            space_reclaimed: u64,
        }
        let target = Target::new("/", kind, "/prune").query_if("filters", &filters.to_json());
        let answer = self.send(Method::POST, &target, Some(bytes::Bytes::new()), &[]).await?;
        let report: Report = self.json(answer, "prune").await?;
        let deleted = report.networks_deleted.or(report.volumes_deleted).or(report.caches_deleted);
        Ok((deleted.unwrap_or_default(), report.space_reclaimed))
    }

    /// `POST /auth`
    pub async fn login(&self, auth: &api::AuthConfig) -> Result<api::AuthResponse> {
        self.post_json(Target::path("/auth"), auth, "login").await
    }

    /// `GET /info`
    pub async fn info(&self) -> Result<Info> {
        self.get(Target::path("/info"), "info").await
    }

    /// `GET /version`
    pub async fn server_version(&self) -> Result<Version> {
        self.get(Target::path("/version"), "version").await
    }

    /// `GET /events`
    pub async fn events(&self, since: &str, until: &str, filters: &Filters) -> Result<JsonLines> {
        let target = Target::path("/events")
            .query_if("filters", &filters.to_json())
            .query_if("since", since)
            .query_if("until", until);
        Ok(Self::lines(self.send(Method::GET, &target, None, &[]).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_written_as_docker_writes_them() {
        let mut filters = Filters::default();
        assert_eq!(filters.to_json(), "");
        filters.add("status", "exited");
        filters.add("status", "created");
        filters.add("label", "a=b");
        assert_eq!(
            filters.to_json(),
            r#"{"label":{"a=b":true},"status":{"created":true,"exited":true}}"#
        );
    }
}
