//! The functions of Go's templates and those that Docker adds.

use super::printf::{quote, sprintf};
use super::value::{Entry, Nil, Value};
use std::cmp::Ordering;
use std::rc::Rc;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The function itself said so: `error calling index: …`.
    Call(String),
    /// It was called wrongly.
    Usage(String),
    /// An argument, counted from 0, has the wrong type.
    Argument(usize, String),
}

/// What a template is executed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A value whose types are known.
    Typed,
    /// JSON as it came: nothing is known of it but what is in it.
    Raw,
    /// The line of column names.
    Headers,
}

/// Every function: name, fewest and most arguments.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("call", 1, MANY),
    ("and", 1, MANY),
    ("or", 1, MANY),
    ("not", 1, 1),
    ("eq", 1, MANY),
    ("ne", 2, 2),
    ("lt", 2, 2),
    ("le", 2, 2),
    ("gt", 2, 2),
    ("ge", 2, 2),
    ("index", 1, MANY),
    ("slice", 1, 4),
    ("len", 1, 1),
    ("print", 0, MANY),
    ("println", 0, MANY),
    ("printf", 1, MANY),
    ("html", 0, MANY),
    ("js", 0, MANY),
    ("urlquery", 0, MANY),
    ("json", 1, 1),
    ("split", 2, 2),
    ("join", 2, 2),
    ("title", 1, 1),
    ("lower", 1, 1),
    ("upper", 1, 1),
    ("pad", 3, 3),
    ("truncate", 2, 2),
];
const MANY: usize = usize::MAX;

/// The function's own name, if there is one of that name.
pub(super) fn known(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|f| f.0 == name).map(|f| f.0)
}

/// Calls `name`. For [`Mode::Headers`], what would change a text leaves it as it is, as Docker does for column names.
pub(super) fn call(name: &str, arguments: &[Value], mode: Mode) -> Result<Value, Failed> {
    let (_, least, most) =
        FUNCTIONS.iter().find(|f| f.0 == name).copied().unwrap_or((name, 0, MANY));
    if arguments.len() < least || arguments.len() > most {
        let want = if most == MANY { format!("at least {least}") } else { least.to_string() };
        return Err(Failed::Usage(format!(
            "wrong number of args for {name}: want {want} got {}",
            arguments.len()
        )));
    }
    if mode == Mode::Headers
        && let "json" | "split" | "join" | "title" | "lower" | "upper" | "pad" | "truncate" = name
    {
        return Ok(arguments
            .iter()
            .find(|a| matches!(a, Value::Str(_)))
            .cloned()
            .unwrap_or(Value::Missing));
    }
    match (name, arguments) {
        ("not", [value]) => Ok(Value::Bool(!value.truth())),
        ("eq", [first, others @ ..]) => equal(first, others),
        ("ne", [a, b]) => equal(a, std::slice::from_ref(b)).map(|v| Value::Bool(!v.truth())),
        ("lt", [a, b]) => order(a, b).map(|o| Value::Bool(o == Ordering::Less)),
        ("le", [a, b]) => order(a, b).map(|o| Value::Bool(o != Ordering::Greater)),
        ("gt", [a, b]) => order(a, b).map(|o| Value::Bool(o == Ordering::Greater)),
        ("ge", [a, b]) => order(a, b).map(|o| Value::Bool(o != Ordering::Less)),
        ("index", [value, keys @ ..]) => index(value, keys, mode),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("len", [value]) => value
            .length()
            .map(|n| Value::Int(n as i64))
            .ok_or_else(|| Failed::Call(format!("len of type {}", value.type_name()))),
        ("print", values) => Ok(Value::str(print(values))),
        ("println", values) => {
            let texts: Vec<String> = values.iter().map(Value::to_string).collect();
            Ok(Value::str(texts.join(" ") + "\n"))
        }
        ("printf", [format, values @ ..]) => Ok(Value::str(sprintf(&text(0, format)?, values))),
        ("html", values) => Ok(Value::str(escape(&print(values), |c| match c {
            '"' => Some("&#34;".into()),
            '\'' => Some("&#39;".into()),
            '&' => Some("&amp;".into()),
            '<' => Some("&lt;".into()),
            '>' => Some("&gt;".into()),
            '\0' => Some("\u{fffd}".into()),
            _ => None,
        }))),
        ("js", values) => Ok(Value::str(escape(&print(values), |c| match c {
            '\\' => Some("\\\\".into()),
            '\'' => Some("\\'".into()),
            '"' => Some("\\\"".into()),
            '<' | '>' | '&' | '=' => Some(format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => Some(format!("\\u{:04X}", u32::from(c))),
            _ => None,
        }))),
        ("urlquery", values) => Ok(Value::str(
            print(values)
                .bytes()
                .map(|b| match b {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        char::from(b).to_string()
                    }
                    b' ' => "+".into(),
                    _ => format!("%{b:02X}"),
                })
                .collect::<String>(),
        )),
        ("json", [value]) => Ok(Value::str(json(value))),
        ("split", [value, by]) => {
            let (value, by) = (text(0, value)?, text(1, by)?);
            let parts: Vec<Value> = if by.is_empty() {
                value.chars().map(|c| Value::str(c.to_string())).collect()
            } else {
                value.split(&*by).map(Value::str).collect()
            };
            Ok(Value::List(parts.into()))
        }
        ("join", [Value::List(list), by]) => {
            let parts = list.iter().map(|part| text(0, part)).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::str(parts.join(&*text(1, by)?)))
        }
        ("join", [Value::Nil(Nil::List), _]) => Ok(Value::str("")),
        ("join", [other, _]) => Err(wrong_type(0, "[]string", other)),
        ("title", [value]) => Ok(Value::str(title(&text(0, value)?))),
        ("lower", [value]) => Ok(Value::str(text(0, value)?.to_lowercase())),
        ("upper", [value]) => Ok(Value::str(text(0, value)?.to_uppercase())),
        ("pad", [value, Value::Int(before), Value::Int(after)]) => {
            let value = text(0, value)?;
            if value.is_empty() {
                return Ok(Value::Str(value));
            }
            let spaces = |n: &i64| " ".repeat(usize::try_from(*n).unwrap_or(0).min(10_000));
            Ok(Value::str(format!("{}{value}{}", spaces(before), spaces(after))))
        }
        ("truncate", [value, Value::Int(length)]) => {
            let value = text(0, value)?;
            let length = usize::try_from(*length).unwrap_or(0);
            Ok(Value::str(value.chars().take(length).collect::<String>()))
        }
        ("pad" | "truncate", [_, .., other]) => Err(wrong_type(1, "int", other)),
        _ => Err(Failed::Usage(format!("function {name:?} not defined"))),
    }
}

/// JSON as Go's encoder writes it: a row by itself escapes `<`, `>` and `&`, everything else does not.
pub fn json(value: &Value) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let text = if text.contains(['\u{2028}', '\u{2029}']) {
        text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
    } else {
        text
    };
    if matches!(value, Value::Row(_)) {
        return text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    }
    text
}

/// The text that argument `at` has to be.
fn text(at: usize, value: &Value) -> Result<Rc<str>, Failed> {
    match value {
        Value::Str(text) => Ok(Rc::clone(text)),
        other => Err(wrong_type(at, "string", other)),
    }
}

fn wrong_type(at: usize, want: &str, got: &Value) -> Failed {
    let message = match got {
        Value::Missing | Value::Nil(_) => format!("invalid value; expected {want}"),
        got => format!("wrong type for value; expected {want}; got {}", got.type_name()),
    };
    Failed::Argument(at, message)
}

/// Go's `Sprint`: a space between operands when neither is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        let texts = matches!(value, Value::Str(_))
            || matches!(values.get(i.wrapping_sub(1)), Some(Value::Str(_)) | None);
        if i > 0 && !texts {
            out.push(' ');
        }
        out.push_str(&value.to_string());
    }
    out
}

fn escape(text: &str, with: impl Fn(char) -> Option<String>) -> String {
    text.chars().map(|c| with(c).unwrap_or_else(|| c.to_string())).collect()
}

/// The first letter of every word in upper case.
fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper = start && c.is_alphabetic();
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

fn equal(first: &Value, others: &[Value]) -> Result<Value, Failed> {
    if others.is_empty() {
        return Err(Failed::Call("missing argument for comparison".into()));
    }
    for other in others {
        let same = match (first, other) {
            (Value::Missing | Value::Nil(_), Value::Missing | Value::Nil(_)) => true,
            (Value::Missing | Value::Nil(_), _) | (_, Value::Missing | Value::Nil(_)) => false,
            (Value::List(_) | Value::Map(_), _) | (_, Value::List(_) | Value::Map(_)) => {
                return Err(Failed::Call(format!(
                    "non-comparable type {first}: {}",
                    first.type_name()
                )));
            }
            (a, b) => match a.compare(b) {
                Some(order) => order == Ordering::Equal,
                None => return Err(Failed::Call("incompatible types for comparison".into())),
            },
        };
        if same {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn order(a: &Value, b: &Value) -> Result<Ordering, Failed> {
    match (a, b) {
        (Value::Bool(_), _) | (_, Value::Bool(_)) => {
            Err(Failed::Call("invalid type for comparison".into()))
        }
        _ => a.compare(b).ok_or_else(|| Failed::Call("incompatible types for comparison".into())),
    }
}

fn index(value: &Value, keys: &[Value], mode: Mode) -> Result<Value, Failed> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::List(list), Value::Int(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| list.get(at)).cloned();
                found.ok_or_else(|| Failed::Call(format!("index out of range: {at}")))?
            }
            (Value::Str(text), Value::Int(at)) => {
                let found =
                    usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at)).copied();
                found
                    .map(|b| Value::Int(b.into()))
                    .ok_or_else(|| Failed::Call(format!("index out of range: {at}")))?
            }
            (Value::Map(map), Value::Str(key)) if !map.is_struct => {
                // Go answers with the map's zero value; for texts, by far the most common, that is "".
                let zero = match map.entries.first() {
                    _ if mode == Mode::Raw => Value::Nil(Nil::Untyped),
                    Some(Entry { value: Value::Str(_), .. }) | None => Value::str(""),
                    Some(_) => Value::Nil(Nil::List),
                };
                map.get(key).map_or(zero, |entry| entry.value.clone())
            }
            (Value::Nil(Nil::Map), Value::Str(_)) => Value::str(""),
            (Value::Missing | Value::Nil(_), _) => {
                return Err(Failed::Call("index of untyped nil".into()));
            }
            (Value::List(_) | Value::Str(_), other) => {
                return Err(Failed::Call(format!(
                    "cannot index slice/array with type {}",
                    other.type_name()
                )));
            }
            (Value::Map(map), other) if !map.is_struct => {
                return Err(Failed::Call(format!(
                    "value has type {}; should be string",
                    other.type_name()
                )));
            }
            (other, _) => {
                return Err(Failed::Call(format!(
                    "can't index item of type {}",
                    other.type_name()
                )));
            }
        };
    }
    Ok(value)
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, Failed> {
    let length = match value {
        Value::Str(_) | Value::List(_) | Value::Nil(Nil::List) => value.length().unwrap_or(0),
        other => {
            return Err(Failed::Call(format!("can't slice item of type {}", other.type_name())));
        }
    };
    if matches!(value, Value::Str(_)) && bounds.len() > 2 {
        return Err(Failed::Call("cannot 3-index slice a string".into()));
    }
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(Value::Int(i)) => usize::try_from(*i)
            .ok()
            .filter(|i| *i <= length)
            .ok_or_else(|| Failed::Call(format!("index out of range: {i}"))),
        Some(other) => {
            Err(Failed::Call(format!("cannot index slice/array with type {}", other.type_name())))
        }
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(Failed::Call(format!("invalid slice index: {from} > {to}")));
    }
    match value {
        Value::Str(text) => Ok(Value::str(String::from_utf8_lossy(&text.as_bytes()[from..to]))),
        Value::List(list) => Ok(Value::List(list[from..to].into())),
        other => Ok(other.clone()),
    }
}

/// Go's quoting, for those who print names in messages.
pub fn quoted(text: &str) -> String {
    quote(text)
}
