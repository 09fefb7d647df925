//! What a driver may know of a container: for tags, and for what goes into every record.

use std::collections::BTreeMap;
use std::rc::Rc;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use stdx::time::Timestamp;
use stdx::{Error, Result};
use template::{Map, Template, Value};

use crate::Options;

/// A container as log drivers see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// `--log-opt`s.
    pub options: Options,
    /// The container's id, 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// The digest of its image, `sha256:…`.
    pub image_id: String,
    /// The image as the user named it.
    pub image_name: String,
    /// Its first word is the program.
    pub command: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was created, as RFC 3339.
    pub created: String,
    /// The file that `logs` reads, if it is one that users may read; empty otherwise.
    pub log_path: String,
    /// The host's name, not the container's.
    pub hostname: String,
}

/// What Docker calls itself in tags. Whoever sorts logs by it does not care which engine wrote them.
const DAEMON: &str = "docker";

impl Info {
    /// An option's value; absent and empty are the same.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The first twelve digits of the id.
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }

    /// The command as one line.
    pub fn command_line(&self) -> String {
        self.command.join(" ")
    }

    /// The `tag` option, or `default` (`{{.ID}}` mostly), filled in. Errors are Go's.
    pub fn tag(&self, default: &str) -> Result<String> {
        let source = self.option("tag").unwrap_or(default);
        let named = |error: String| {
            // Go's errors name the template.
            let error = error.replacen("template: :", "template: log-tag:", 1);
            Error::invalid(error.replacen("executing \"\"", "executing \"log-tag\"", 1))
        };
        if !source.contains("{{") {
            return Ok(source.to_owned());
        }
        Template::parse(source).map_err(named)?.execute(&self.value()).map_err(named)
    }

    /// The labels and environment variables that `labels`, `labels-regex`, `env` and `env-regex` choose, with their
    /// names changed by `name`. The environment wins over labels.
    pub fn attributes(&self, name: impl Fn(&str) -> String) -> Result<BTreeMap<String, String>> {
        let mut chosen = BTreeMap::new();
        let labels: Vec<(&str, &str)> =
            self.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let env: Vec<(&str, &str)> = self.env.iter().filter_map(|e| e.split_once('=')).collect();
        for (pairs, list, pattern) in
            [(labels, "labels", "labels-regex"), (env, "env", "env-regex")]
        {
            let listed: Vec<&str> =
                self.option(list).map(|l| l.split(',').collect()).unwrap_or_default();
            let pattern = self.option(pattern).map(regex).transpose()?;
            for (key, value) in pairs {
                if listed.contains(&key) || pattern.as_ref().is_some_and(|p| p.is_match(key)) {
                    chosen.insert(name(key), value.to_owned());
                }
            }
        }
        Ok(chosen)
    }

    /// Docker's `logger.Info` with its methods, as tags see it.
    fn value(&self) -> Value {
        let text = |text: &str| Value::Str(Rc::from(text));
        let list = |list: &[String]| Value::List(list.iter().map(|t| text(t)).collect());
        let map = |map: &BTreeMap<String, String>| {
            let entries = map.iter().map(|(k, v)| entry(k, text(v))).collect();
            Value::Map(Rc::new(Map { entries, ..Map::default() }))
        };
        let (program, arguments) = match self.command.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("", &[][..]),
        };
        let entries = vec![
            entry("Config", map(&self.options)),
            entry("ContainerID", text(&self.id)),
            entry("ContainerName", text(&format!("/{}", self.name))),
            entry("ContainerEntrypoint", text(program)),
            entry("ContainerArgs", list(arguments)),
            entry("ContainerImageID", text(&self.image_id)),
            entry("ContainerImageName", text(&self.image_name)),
            entry("ContainerCreated", text(&self.created)),
            entry("ContainerEnv", list(&self.env)),
            entry("ContainerLabels", map(&self.labels)),
            entry("LogPath", text(&self.log_path)),
            entry("DaemonName", text(DAEMON)),
            entry("ID", text(self.short_id())),
            entry("FullID", text(&self.id)),
            entry("Name", text(&self.name)),
            entry("ImageID", text(short(&self.image_id))),
            entry("ImageFullID", text(&self.image_id)),
            entry("ImageName", text(&self.image_name)),
            entry("Command", text(&self.command_line())),
            entry("Hostname", text(&self.hostname)),
        ];
        Value::Map(Rc::new(Map { is_struct: true, type_name: "*logger.Info", entries }))
    }

    /// When the container was created.
    pub fn created(&self) -> Option<Timestamp> {
        self.created.parse().ok()
    }
}

fn entry(name: &str, value: Value) -> template::Entry {
    template::Entry { name: Rc::from(name), value, omitted: false }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A user's pattern. Go's and ours differ in rare classes only; the error for what is none is Go's where it is simple.
fn regex(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|e| {
        let e = e.to_string();
        let what = if e.contains("clos") && e.contains("group") || e.contains("unopened") {
            "missing closing )"
        } else if e.contains("class") {
            "missing closing ]"
        } else {
            e.trim()
        };
        Error::invalid(format!("error parsing regexp: {what}: `{pattern}`"))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn info(options: &[(&str, &str)]) -> Info {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        Info {
            options: own(options),
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            image_id: format!("sha256:{}", "5".repeat(64)),
            image_name: "busybox".to_owned(),
            command: vec!["sh".to_owned(), "-c".to_owned(), "true".to_owned()],
            env: vec!["E1=x".to_owned(), "E2=y=z".to_owned(), "BARE".to_owned()],
            labels: own(&[("a", "1"), ("bb", "2")]),
            created: "2026-01-02T03:04:05Z".to_owned(),
            hostname: "host".to_owned(),
            ..Info::default()
        }
    }

    #[test]
    fn tags_are_dockers() {
        let check = |tag: &str, expected: &str| {
            let got = info(&[("tag", tag)]).tag("{{.ID}}").unwrap_or_else(|e| e.to_string());
            assert_eq!(got, expected, "{tag}");
        };
        check("", "0123456789ab");
        check("plain", "plain");
        check("{{.Name}}/{{.ID}}", "web/0123456789ab");
        check("{{.ImageName}}:{{.ImageID}}", "busybox:sha256:55555");
        check("{{.DaemonName}}|{{.Command}}|{{.Hostname}}", "docker|sh -c true|host");
        check("{{.ContainerLabels}} {{index .ContainerLabels \"bb\"}}", "map[a:1 bb:2] 2");
        check("{{upper .Name}} {{with .ContainerName}}{{.}}{{end}}", "WEB /web");
        check("{{.ID", "template: log-tag:1: unclosed action");
        check(
            "{{.Nope}}",
            "template: log-tag:1:2: executing \"log-tag\" at <.Nope>: can't evaluate field Nope in type *logger.Info",
        );
    }

    #[test]
    fn labels_and_environment_are_chosen_by_name_and_pattern() {
        let check = |options: &[(&str, &str)], expected: &str| {
            let got = match info(options).attributes(|name| format!("_{name}")) {
                Ok(map) => {
                    map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
                }
                Err(e) => e.to_string(),
            };
            assert_eq!(got, expected, "{options:?}");
        };
        check(&[], "");
        check(&[("labels", "a,zz"), ("env", "E2")], "_E2=y=z _a=1");
        check(&[("labels-regex", "^b"), ("env-regex", "^E[1]$")], "_E1=x _bb=2");
        check(&[("env", "BARE")], "");
        check(&[("labels-regex", "(")], "error parsing regexp: missing closing ): `(`");
        check(&[("env-regex", "[")], "error parsing regexp: missing closing ]: `[`");
    }
}
