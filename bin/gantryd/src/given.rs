//! What was said: values by option, from the command line and from `daemon.json`, and their conflicts.

use crate::options::{KEY_ALIASES, NESTED, OPTIONS, Opt, Shape, Stage};
use cli::flags::Matches;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use stdx::{Error, Result};

/// One option's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Of a [`Shape::Switch`].
    Switch(bool),
    /// Of a [`Shape::Int`].
    Int(i64),
    /// Of a [`Shape::Text`].
    Text(String),
    /// Of a [`Shape::List`], and what flags of a [`Shape::Json`] said.
    List(Vec<String>),
    /// Of a [`Shape::Map`].
    Map(BTreeMap<String, String>),
    /// Of a [`Shape::Switches`].
    Switches(BTreeMap<String, bool>),
    /// Of a [`Shape::Json`] in the file.
    Json(Json),
}

/// Values by the names of their options.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Given(BTreeMap<&'static str, Value>);

impl Given {
    /// What the command line says.
    pub(crate) fn from_flags(matches: &Matches) -> Self {
        let mut given = Self::default();
        for option in OPTIONS {
            let name = option.flag.long;
            if name.is_empty() || !matches.has(name) {
                continue;
            }
            let list = || matches.list(name);
            let value = match option.shape {
                Shape::Switch => Value::Switch(matches.is(name)),
                Shape::Int => Value::Int(matches.int(name).unwrap_or_default()),
                Shape::Text => Value::Text(matches.text(name)),
                Shape::List | Shape::Json => Value::List(list()),
                Shape::Map => Value::Map(list().iter().map(|text| pair(text)).collect()),
                Shape::Switches => {
                    let switch = |text: &String| match text.split_once('=') {
                        Some((name, value)) => {
                            (name.to_owned(), cli::flags::check::to_bool(value).unwrap_or(true))
                        }
                        None => (text.clone(), true),
                    };
                    Value::Switches(list().iter().map(switch).collect())
                }
            };
            given.0.insert(option.id(), value);
        }
        given
    }

    /// What the text of a `daemon.json` says. Empty texts say nothing.
    pub(crate) fn from_file(text: &[u8]) -> Result<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let json: Json = api::json::from_slice(text).map_err(|e| Error::invalid(e.to_string()))?;
        let Json::Object(object) = json else {
            return Err(Error::invalid(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                kind_of(&json)
            )));
        };
        let mut given = Self::default();
        let mut unknown = Vec::new();
        for (key, value) in &object {
            match NESTED.iter().find(|(outer, _)| outer == key) {
                Some((_, inner)) => match value {
                    Json::Object(nested) => {
                        for (key, value) in nested {
                            let known = inner.contains(&key.as_str());
                            given.take(key, value, known, &mut unknown)?;
                        }
                    }
                    Json::Null => {}
                    other => return Err(wrong_type(key, other, "config.Proxies")),
                },
                // They stand in their own object only.
                None if NESTED.iter().any(|(_, inner)| inner.contains(&key.as_str())) => {
                    unknown.push(key.clone());
                }
                None => given.take(key, value, true, &mut unknown)?,
            }
        }
        if unknown.is_empty() {
            return Ok(given);
        }
        Err(Error::invalid(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        )))
    }

    fn take(
        &mut self,
        key: &str,
        value: &Json,
        known: bool,
        unknown: &mut Vec<String>,
    ) -> Result<()> {
        let plain =
            KEY_ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, key)| *key);
        let option = OPTIONS.iter().find(|o| !o.key.is_empty() && o.key == plain).filter(|_| known);
        let Some(option) = option else {
            unknown.push(key.to_owned());
            return Ok(());
        };
        if let Some(value) = from_json(option, key, value)? {
            self.0.insert(option.id(), value);
        }
        Ok(())
    }

    /// Both together. What both say is refused, as dockerd refuses it: nobody could tell which counts.
    pub(crate) fn merge(flags: &Self, file: Self) -> Result<Self> {
        let both: Vec<String> = flags
            .0
            .iter()
            .filter_map(|(id, flag)| {
                let file = file.0.get(id)?;
                let shown = |value: &Value| without_password(id, &value.to_string());
                Some(format!("{id}: (from flag: {}, from file: {})", shown(flag), shown(file)))
            })
            .collect();
        if !both.is_empty() {
            return Err(Error::invalid(format!(
                "the following directives are specified both as a flag and in the configuration file: {}",
                both.join(", ")
            )));
        }
        let mut merged = file;
        merged.0.extend(flags.0.clone());
        Ok(merged)
    }

    /// Refuses what cannot be honoured; answers what the user should know of what has no meaning here.
    pub(crate) fn admit(&self) -> Result<Vec<String>> {
        let mut notices = Vec::new();
        for option in OPTIONS {
            let Some(value) = self.0.get(option.id()) else { continue };
            match option.stage {
                Stage::Honoured => {}
                Stage::Meaningless(why) => {
                    notices.push(format!("the option {:?} has no effect: {why}", option.id()));
                }
                Stage::Refused { unless, why } => {
                    if value.is_empty() || !unless.is_empty() && value.to_string() == unless {
                        continue;
                    }
                    return Err(Error::not_implemented(format!(
                        "the option {:?} (= {value}) is not supported: {why}",
                        option.id()
                    )));
                }
            }
        }
        Ok(notices)
    }

    /// A switch, if it was given.
    pub(crate) fn switch(&self, id: &str) -> Option<bool> {
        match self.0.get(id) {
            Some(Value::Switch(value)) => Some(*value),
            _ => None,
        }
    }

    /// A number, if it was given.
    pub(crate) fn int(&self, id: &str) -> Option<i64> {
        match self.0.get(id) {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// A text, if one was given that is not empty.
    pub(crate) fn text(&self, id: &str) -> Option<String> {
        match self.0.get(id) {
            Some(Value::Text(value)) if !value.is_empty() => Some(value.clone()),
            _ => None,
        }
    }

    /// As it was given.
    pub(crate) fn get(&self, id: &str) -> Option<&Value> {
        self.0.get(id)
    }

    /// Texts; none when the option was not given.
    pub(crate) fn list(&self, id: &str) -> Vec<String> {
        match self.0.get(id) {
            Some(Value::List(value)) => value.clone(),
            _ => Vec::new(),
        }
    }

    /// Texts by name; none when the option was not given.
    pub(crate) fn map(&self, id: &str) -> BTreeMap<String, String> {
        match self.0.get(id) {
            Some(Value::Map(map)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Booleans by name; none when the option was not given.
    pub(crate) fn switches(&self, id: &str) -> BTreeMap<String, bool> {
        match self.0.get(id) {
            Some(Value::Switches(value)) => value.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// The options whose values differ.
    pub(crate) fn changes(&self, other: &Self) -> Vec<&'static str> {
        OPTIONS.iter().map(Opt::id).filter(|id| self.0.get(id) != other.0.get(id)).collect()
    }
}

impl Value {
    fn is_empty(&self) -> bool {
        match self {
            Self::Switch(_) | Self::Int(_) => false,
            Self::Text(text) => text.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Switches(map) => map.is_empty(),
            Self::Json(json) => match json {
                Json::Null => true,
                Json::Array(items) => items.is_empty(),
                Json::Object(object) => object.is_empty(),
                _ => false,
            },
        }
    }
}

/// As Go's `%v`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map =
            |f: &mut fmt::Formatter<'_>, pairs: Vec<String>| write!(f, "map[{}]", pairs.join(" "));
        match self {
            Self::Switch(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::List(list) => write!(f, "[{}]", list.join(" ")),
            Self::Map(values) => map(f, values.iter().map(|(k, v)| format!("{k}:{v}")).collect()),
            Self::Switches(values) => {
                map(f, values.iter().map(|(k, v)| format!("{k}:{v}")).collect())
            }
            Self::Json(json) => f.write_str(&go_value(json)),
        }
    }
}

fn go_value(json: &Json) -> String {
    match json {
        Json::Null => "<nil>".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" "))
        }
        Json::Object(object) => {
            let pairs: Vec<_> =
                object.iter().map(|(k, v)| format!("{k}:{}", go_value(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// A value of the file; `None` for null, which says nothing.
fn from_json(option: &Opt, key: &str, json: &Json) -> Result<Option<Value>> {
    let wrong = |json: &Json, wanted: &str| Err(wrong_type(key, json, wanted));
    let value = match (option.shape, json) {
        (_, Json::Null) => return Ok(None),
        (Shape::Switch, Json::Bool(value)) => Value::Switch(*value),
        (Shape::Switch, other) => return wrong(other, "bool"),
        (Shape::Int, Json::Number(number)) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => {
                return Err(Error::invalid(format!(
                    "json: cannot unmarshal number {number} into Go struct field Config.{key} of type int"
                )));
            }
        },
        (Shape::Int, other) => return wrong(other, "int"),
        (Shape::Text, Json::String(text)) => Value::Text(text.clone()),
        (Shape::Text, other) => return wrong(other, "string"),
        (Shape::List, Json::Array(items)) => {
            let text = |item: &Json| match item {
                Json::String(text) => Ok(text.clone()),
                other => Err(wrong_type(key, other, "string")),
            };
            Value::List(items.iter().map(text).collect::<Result<_>>()?)
        }
        // Older files name one address where newer ones list them.
        (Shape::List, Json::String(text)) if key == "host-gateway-ip" => {
            Value::List(vec![text.clone()])
        }
        (Shape::List, other) => return wrong(other, "[]string"),
        (Shape::Map, Json::Object(object)) => {
            let text = |(name, value): (&String, &Json)| match value {
                Json::String(text) => Ok((name.clone(), text.clone())),
                other => Err(wrong_type(key, other, "string")),
            };
            Value::Map(object.iter().map(text).collect::<Result<_>>()?)
        }
        (Shape::Map, other) => return wrong(other, "map[string]string"),
        (Shape::Switches, Json::Object(object)) => {
            let switch = |(name, value): (&String, &Json)| match value {
                Json::Bool(value) => Ok((name.clone(), *value)),
                other => Err(wrong_type(key, other, "bool")),
            };
            Value::Switches(object.iter().map(switch).collect::<Result<_>>()?)
        }
        (Shape::Switches, other) => return wrong(other, "map[string]bool"),
        (Shape::Json, json) => Value::Json(json.clone()),
    };
    // Flags were checked as they were read; lists are checked here by the same rule.
    if let Value::List(items) = &value {
        for item in items {
            (option.flag.kind.check)(item).map_err(Error::invalid)?;
        }
    }
    Ok(Some(value))
}

fn wrong_type(key: &str, json: &Json, wanted: &str) -> Error {
    Error::invalid(format!(
        "json: cannot unmarshal {} into Go struct field Config.{key} of type {wanted}",
        kind_of(json)
    ))
}

pub(crate) fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// Passwords of proxies are nobody's business: `http://xxxxx:xxxxx@host`.
pub(crate) fn without_password(id: &str, text: &str) -> String {
    if !id.ends_with("-proxy") {
        return text.to_owned();
    }
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) if scheme.is_empty() => format!("xxxxx:xxxxx{}", &rest[at..]),
        Some(at) => format!("{scheme}://xxxxx:xxxxx{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// An error about a file, in dockerd's words.
pub(crate) fn in_file(path: &Path, error: &Error) -> Error {
    Error::invalid(format!(
        "unable to configure the Docker daemon with file {}: {error}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(flags: &[&str], file: &str) -> String {
        let given = || -> Result<Given> {
            let matches = crate::flags::matches(flags)?;
            let given =
                Given::merge(&Given::from_flags(&matches), Given::from_file(file.as_bytes())?)?;
            given.admit()?;
            Ok(given)
        };
        given().map_or_else(|e| e.to_string(), |_| "fine".to_owned())
    }

    #[test]
    fn files_are_refused_in_dockerds_words() {
        let check = |flags: &[&str], file: &str, want: &str| {
            assert_eq!(both(flags, file), want, "{flags:?} {file}");
        };
        let twice =
            "the following directives are specified both as a flag and in the configuration file: ";
        let unknown = "the following directives don't match any configuration option: ";
        check(&[], "", "fine");
        check(&[], "  \n", "fine");
        check(&[], "{}", "fine");
        check(&[], "\u{feff}{}", "fine");
        check(&[], r#"{"debug":null}"#, "fine");
        check(&[], "x", "invalid character 'x' looking for beginning of value");
        check(&[], r#"{"debug":true,"debug":false}"#, "fine");
        check(
            &[],
            "[1]",
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        );
        check(&[], r#"{"foo":1}"#, &format!("{unknown}foo"));
        check(&[], r#"{"Debug":true}"#, &format!("{unknown}Debug"));
        check(&[], r#"{"http-proxy":"x"}"#, &format!("{unknown}http-proxy"));
        check(&[], r#"{"proxies":{"nope":"x"}}"#, &format!("{unknown}nope"));
        check(
            &[],
            r#"{"debug":"yes"}"#,
            "json: cannot unmarshal string into Go struct field Config.debug of type bool",
        );
        check(
            &[],
            r#"{"features":{"a":"x"}}"#,
            "json: cannot unmarshal string into Go struct field Config.features of type bool",
        );
        check(&[], r#"{"labels":["ab"]}"#, "bad attribute format: ab");
        check(
            &["-D"],
            r#"{"debug":false}"#,
            &format!("{twice}debug: (from flag: true, from file: false)"),
        );
        check(
            &["--label", "c=d", "-D", "-l", "warn"],
            r#"{"labels":["a=b"],"debug":true,"log-level":"info"}"#,
            &format!(
                "{twice}debug: (from flag: true, from file: true), labels: (from flag: [c=d], from file: [a=b]), \
                 log-level: (from flag: warn, from file: info)"
            ),
        );
        check(
            &["--http-proxy", "http://c:d@e"],
            r#"{"proxies":{"http-proxy":"http://a:b@c"}}"#,
            &format!(
                "{twice}http-proxy: (from flag: http://xxxxx:xxxxx@e, from file: http://xxxxx:xxxxx@c)"
            ),
        );
        check(
            &["--init"],
            r#"{"default-init":true}"#,
            &format!("{twice}init: (from flag: true, from file: true)"),
        );
    }

    #[test]
    fn what_is_not_there_is_refused_and_never_overlooked() {
        check_option(&["--network-diagnostic-port", "1"], "", "not supported");
        check_option(&["--bip", "10.0.0.1/24"], "", "fine");
        check_option(&["--iptables=false"], "", "fine");
        check_option(&["--iptables", "--icc=true", "--ipv6=false"], "", "fine");
        check_option(&["--storage-driver", "overlay2"], r#"{"storage-opts":[]}"#, "fine");
        check_option(&[], r#"{"storage-driver":"btrfs"}"#, "overlay2 is the storage driver");
        check_option(&[], r#"{"default-address-pools":[{"base":"10.0.0.0/8","size":24}]}"#, "fine");
        check_option(&["--authorization-plugin", "x"], "", "plugins are not there yet");
    }

    fn check_option(flags: &[&str], file: &str, want: &str) {
        let got = both(flags, file);
        assert!(got.contains(want), "{flags:?} {file}: {got}");
    }

    #[test]
    fn what_has_no_meaning_is_told() {
        let given =
            Given::from_file(br#"{"containerd":"/x","builder":{"gc":{"enabled":true}}}"#).unwrap();
        let notices = given.admit().unwrap();
        assert_eq!(
            notices,
            [
                "the option \"containerd\" has no effect: Gantry needs no containerd",
                "the option \"builder\" has no effect: there is no builder yet"
            ]
        );
    }
}
