//! What a template looks at: JSON values that remember whether Go would see a struct or a map.
//!
//! Go prints a struct by its fields in order (`{0.0.0.0 80}`) and a map by its sorted keys (`map[a:1]`), and a field
//! that a struct lacks is an error while a key that a map lacks is `<no value>`. A [`Value`] made from one of `api`'s
//! structs ([`Value::of`]) keeps the difference, because serde's derive says which is which.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

/// One value inside a template.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing at all: a key that a map lacks.
    Missing,
    /// JSON's null.
    Nil(Nil),
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A span of time in nanoseconds, which Go prints as `1m30s`.
    Duration(i64),
    /// A moment as JSON has it (RFC 3339), which Go prints as `2026-11-22 01:02:03.5 +0000 UTC`.
    Time(Rc<str>),
    /// A number with a fraction, or beyond 63 bits.
    Float(f64),
    /// Text.
    Str(Rc<str>),
    /// A list.
    List(Rc<[Self]>),
    /// Named values.
    Map(Rc<Map>),
    /// A row of a listing, whose fields are computed when asked for.
    Row(Rc<dyn Row>),
}

/// Which of Go's typed nothings a null stands for; they print differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nil {
    /// Of no known type: `<no value>`.
    Untyped,
    /// A pointer: `<nil>`.
    Pointer,
    /// A list: `[]`.
    List,
    /// A map: `map[]`.
    Map,
}

/// Named values in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Map {
    /// Whether Go sees a struct here, not a map.
    pub is_struct: bool,
    /// Go's name of the struct for errors; empty where an unknown field is told as a missing key.
    pub type_name: &'static str,
    /// The values by name.
    pub entries: Vec<Entry>,
}

/// One of a [`Map`]'s values.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in JSON, which is Go's with few exceptions.
    pub name: Rc<str>,
    /// The value.
    pub value: Value,
    /// Left out of JSON because it is empty.
    pub omitted: bool,
}

/// A row of a listing: Docker's formatter contexts.
pub trait Row: fmt::Debug {
    /// The value of field or method `name`; `None` when there is none.
    fn field(&self, name: &str) -> Option<Value>;
    /// Calls the method `name` with one text argument; `None` when no such method takes an argument.
    fn call(&self, name: &str, argument: &str) -> Option<Value>;
    /// The names that `{{json .}}` shows, sorted.
    fn names(&self) -> &[&'static str];
    /// How JSON calls a field.
    fn json_name<'a>(&self, name: &'a str) -> &'a str {
        name
    }
    /// Go's name of the type, for error texts.
    fn type_name(&self) -> &str;
}

impl Value {
    /// The typed view of one of `api`'s structs.
    pub fn of<T: Serialize>(wire: &T) -> Self {
        wire.serialize(super::typed::Typed { field: "" }).unwrap_or(Self::Missing)
    }

    /// As [`of`](Self::of), with Go's name of the struct for errors.
    pub fn of_type<T: Serialize>(wire: &T, type_name: &'static str) -> Self {
        match Self::of(wire) {
            Self::Map(map) => Self::Map(Rc::new(Map { type_name, ..Map::clone(&map) })),
            other => other,
        }
    }

    /// A text value.
    pub fn str(text: impl AsRef<str>) -> Self {
        Self::Str(text.as_ref().into())
    }

    /// Go's idea of truth: false, 0, nil and everything of length 0 are not.
    pub fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil(_) => false,
            Self::Bool(b) => *b,
            Self::Int(i) | Self::Duration(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::List(l) => !l.is_empty(),
            Self::Map(m) => m.is_struct || !m.entries.is_empty(),
            Self::Row(_) | Self::Time(_) => true,
        }
    }

    /// Go's name for the type, as error texts show it.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Missing | Self::Nil(_) => "untyped nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Duration(_) => "time.Duration",
            Self::Time(_) => "time.Time",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(list)
                if !list.is_empty() && list.iter().all(|v| matches!(v, Self::Str(_))) =>
            {
                "[]string"
            }
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Row(row) => row.type_name(),
        }
    }

    /// The number of elements or bytes, where Go's `len` knows one.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Str(s) => Some(s.len()),
            Self::List(l) => Some(l.len()),
            Self::Map(m) if !m.is_struct => Some(m.entries.len()),
            Self::Nil(Nil::List | Nil::Map) => Some(0),
            _ => None,
        }
    }

    /// How the value compares with another of the same kind; `None` for kinds that Go does not compare.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a) | Self::Duration(a), Self::Int(b) | Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Str(a), Self::Str(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl Map {
    /// The entry called `name`: in a struct, as Go calls it.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        let go_name = |json: &str| {
            let other = GO_NAMES.iter().find(|(in_json, _)| *in_json == json);
            other.is_some_and(|(_, go)| *go == name)
        };
        let is_renamed = |json: &str| GO_NAMES.iter().any(|(in_json, _)| *in_json == json);
        self.entries.iter().find(|e| {
            if self.is_struct && is_renamed(&e.name) { go_name(&e.name) } else { *e.name == *name }
        })
    }

    /// Whether this is a `ulimit`, which Go prints as users write it.
    fn is_ulimit(&self) -> bool {
        self.is_struct && self.entries.iter().map(|e| &*e.name).eq(["Name", "Hard", "Soft"])
    }

    /// The entries as Go walks over a map: by key.
    pub fn sorted(&self) -> Vec<&Entry> {
        let mut sorted: Vec<_> = self.entries.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted
    }
}

/// Fields of structs that Go's source calls differently than JSON does.
const GO_NAMES: &[(&str, &str)] = &[
    ("Id", "ID"),
    ("ApiVersion", "APIVersion"),
    ("AuxiliaryAddresses", "AuxAddress"),
    ("CpuCfsPeriod", "CPUCfsPeriod"),
    ("CpuCfsQuota", "CPUCfsQuota"),
    ("CpuCount", "CPUCount"),
    ("CpuPercent", "CPUPercent"),
    ("CpuPeriod", "CPUPeriod"),
    ("CpuQuota", "CPUQuota"),
    ("CpuRealtimePeriod", "CPURealtimePeriod"),
    ("CpuRealtimeRuntime", "CPURealtimeRuntime"),
    ("CpuShares", "CPUShares"),
    ("HttpProxy", "HTTPProxy"),
    ("HttpsProxy", "HTTPSProxy"),
    ("NanoCpus", "NanoCPUs"),
];

/// As Go prints moments, for an RFC 3339 text; anything else stays as it is.
pub fn moment(text: &str) -> String {
    let Some((date, time)) = text.split_once('T') else { return text.to_owned() };
    let Some(at) = time.find(['Z', '+', '-']) else { return text.to_owned() };
    let (clock, zone) = time.split_at(at);
    let clock = match clock.split_once('.') {
        Some((clock, fraction)) => match fraction.trim_end_matches('0') {
            "" => clock.to_owned(),
            fraction => format!("{clock}.{fraction}"),
        },
        None => clock.to_owned(),
    };
    let zone = zone.replace(':', "");
    let zone = if zone == "Z" { "+0000 UTC".to_owned() } else { format!("{zone} {zone}") };
    format!("{date} {clock} {zone}")
}

/// As Go prints spans of time: `1h2m3.5s`, `500ms`, `0s`.
fn duration(nanos: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    f.write_str(sign)?;
    let part = |value: u64, unit: u64| {
        let (whole, rest) = (value / unit, value % unit);
        let digits = unit.ilog10() as usize;
        let rest = format!("{rest:0digits$}");
        match rest.trim_end_matches('0') {
            "" => whole.to_string(),
            rest => format!("{whole}.{rest}"),
        }
    };
    match size {
        0 => f.write_str("0s"),
        1..1_000 => write!(f, "{size}ns"),
        1_000..1_000_000 => write!(f, "{}µs", part(size, 1_000)),
        1_000_000..1_000_000_000 => write!(f, "{}ms", part(size, 1_000_000)),
        _ => {
            const MINUTE: u64 = 60_000_000_000;
            let (hours, minutes) = (size / (60 * MINUTE), size / MINUTE % 60);
            if hours > 0 {
                write!(f, "{hours}h")?;
            }
            if size >= MINUTE {
                write!(f, "{minutes}m")?;
            }
            write!(f, "{}s", part(size % MINUTE, 1_000_000_000))
        }
    }
}

/// As Go's `%v` prints it inside a template.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing | Self::Nil(Nil::Untyped) => f.write_str("<no value>"),
            Self::Nil(Nil::Pointer) => f.write_str("<nil>"),
            Self::Nil(Nil::List) => f.write_str("[]"),
            Self::Nil(Nil::Map) => f.write_str("map[]"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            Self::Duration(nanos) => duration(*nanos, f),
            Self::Time(text) => f.write_str(&moment(text)),
            Self::Float(x) => f.write_str(&super::printf::general(*x)),
            Self::Str(s) => f.write_str(s),
            Self::List(list) => {
                f.write_str("[")?;
                for (i, item) in list.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { " " }, Inner(item))?;
                }
                f.write_str("]")
            }
            Self::Map(map) if map.is_ulimit() => {
                let value = |at: usize| &map.entries[at].value;
                write!(f, "{}={}:{}", value(0), value(2), value(1))
            }
            Self::Map(map) if map.is_struct => {
                f.write_str("{")?;
                for (i, entry) in map.entries.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { " " }, Inner(&entry.value))?;
                }
                f.write_str("}")
            }
            Self::Map(map) => {
                f.write_str("map[")?;
                for (i, Entry { name, value, .. }) in map.sorted().into_iter().enumerate() {
                    write!(f, "{}{name}:{}", if i == 0 { "" } else { " " }, Inner(value))?;
                }
                f.write_str("]")
            }
            Self::Row(row) => {
                f.write_str("{")?;
                for (i, name) in row.names().iter().enumerate() {
                    write!(
                        f,
                        "{}{}",
                        if i == 0 { "" } else { " " },
                        row.field(name).unwrap_or(Self::Missing)
                    )?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A value inside another one, where a null of no known type is `<nil>`.
struct Inner<'a>(&'a Value);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Missing | Value::Nil(Nil::Untyped) => f.write_str("<nil>"),
            other => other.fmt(f),
        }
    }
}

/// What `json` writes: structs in their order, maps by key, rows by name.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing | Self::Nil(_) => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Int(i) | Self::Duration(i) => serializer.serialize_i64(*i),
            Self::Float(x) => serializer.serialize_f64(*x),
            Self::Str(s) | Self::Time(s) => serializer.serialize_str(s),
            Self::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for item in list.iter() {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.entries.len()))?;
                if map.is_struct {
                    for entry in map.entries.iter().filter(|e| !e.omitted) {
                        out.serialize_entry(&*entry.name, &entry.value)?;
                    }
                } else {
                    for entry in map.sorted() {
                        out.serialize_entry(&*entry.name, &entry.value)?;
                    }
                }
                out.end()
            }
            Self::Row(row) => {
                let mut out = serializer.serialize_map(None)?;
                for name in row.names() {
                    match row.field(name) {
                        None | Some(Self::Missing) => {}
                        Some(value) => out.serialize_entry(row.json_name(name), &value)?,
                    }
                }
                out.end()
            }
        }
    }
}

/// JSON read without types: objects keep their order and count as maps.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Untyped)
    }
}

struct Untyped;

impl<'de> Visitor<'de> for Untyped {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil(Nil::Untyped))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::str(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::default();
        while let Some((key, item)) = access.next_entry::<String, Value>()? {
            map.entries.push(Entry { name: key.into(), value: item, omitted: false });
        }
        Ok(Value::Map(Rc::new(map)))
    }
}
