//! Go's `fmt`: the verbs that templates use.

use super::value::Value;

/// `printf` with Go's verbs, flags, width and precision, and Go's notes for what does not fit.
pub(super) fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut rest = arguments.iter();
    let mut used = 0;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '+' | '#' | '0' | ' ')) {
            match flag {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                _ => spec.space = true,
            }
        }
        spec.width = number(&mut chars, &mut rest, &mut used);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut chars, &mut rest, &mut used).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match rest.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => {
                    used += 1;
                    out.push_str(&spec.pad(one(verb, value, &spec), value));
                }
            },
        }
    }
    if used < arguments.len() {
        let extra: Vec<String> =
            arguments[used..].iter().map(|v| format!("{}={v}", v.type_name())).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// Go's `%v` of a float64: shortest, with an exponent below 1e-4 and from 1e21.
pub(super) fn general(x: f64) -> String {
    let size = x.abs();
    if x != 0.0 && !(1e-4..1e21).contains(&size) {
        return exponent(&format!("{x:e}"));
    }
    format!("{x}")
}

/// `1e5` → `1e+05`, as Go writes exponents.
fn exponent(text: &str) -> String {
    match text.split_once('e') {
        Some((mantissa, power)) => {
            let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text.to_owned(),
    }
}

#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    sharp: bool,
    zero: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Spec {
    fn pad(&self, text: String, value: &Value) -> String {
        let Some(missing) = self.width.and_then(|w| w.checked_sub(text.chars().count())) else {
            return text;
        };
        if self.left {
            return text + &" ".repeat(missing);
        }
        if self.zero && matches!(value, Value::Int(_) | Value::Float(_)) {
            let sign = text.len() - text.trim_start_matches(['-', '+']).len();
            return format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..]);
        }
        " ".repeat(missing) + &text
    }
}

fn number<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    rest: &mut impl Iterator<Item = &'a Value>,
    used: &mut usize,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        *used += 1;
        return match rest.next() {
            Some(Value::Int(n)) => usize::try_from(*n).ok().filter(|n| *n <= LONGEST),
            _ => None,
        };
    }
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        value = Some((value.unwrap_or(0) * 10 + digit as usize).min(LONGEST));
    }
    value
}

/// Go's own limit for widths is a million.
const LONGEST: usize = 1_000_000;

fn one(verb: char, value: &Value, spec: &Spec) -> String {
    let signed = |text: String| match (spec.plus, spec.space) {
        (true, _) if !text.starts_with('-') => format!("+{text}"),
        (false, true) if !text.starts_with('-') => format!(" {text}"),
        _ => text,
    };
    match (verb, value) {
        ('v', Value::Str(s)) if spec.sharp => quote(s),
        ('v', Value::Map(map)) if spec.plus && map.is_struct => {
            let fields =
                map.entries.iter().map(|e| format!("{}:{}", e.name, one('v', &e.value, spec)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(" "))
        }
        ('s' | 'd', Value::Map(map)) if map.is_struct => {
            let fields = map.entries.iter().map(|e| one(verb, &e.value, spec));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(" "))
        }
        ('s', Value::Duration(_)) => value.to_string(),
        ('d', Value::Duration(nanos)) => signed(nanos.to_string()),
        ('v', _) => value.to_string(),
        ('T', _) => value.type_name().to_owned(),
        ('t', Value::Bool(b)) => b.to_string(),
        ('d', Value::Int(i)) => signed(i.to_string()),
        ('b', Value::Int(i)) => signed(format!("{i:b}")),
        ('o', Value::Int(i)) => signed(format!("{i:o}")),
        ('x', Value::Int(i)) => signed(format!("{}{i:x}", if spec.sharp { "0x" } else { "" })),
        ('X', Value::Int(i)) => signed(format!("{}{i:X}", if spec.sharp { "0X" } else { "" })),
        ('c', Value::Int(i)) => {
            u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('q', Value::Int(i)) => {
            format!("'{}'", u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'))
        }
        ('f' | 'F', Value::Float(x)) => signed(format!("{x:.*}", spec.precision.unwrap_or(6))),
        ('e', Value::Float(x)) => {
            signed(exponent(&format!("{x:.*e}", spec.precision.unwrap_or(6))))
        }
        ('g', Value::Float(x)) => signed(match spec.precision {
            Some(digits) => significant(*x, digits),
            None => general(*x),
        }),
        ('s', Value::Str(s)) => match spec.precision {
            Some(most) => s.chars().take(most).collect(),
            None => s.to_string(),
        },
        ('q', Value::Str(s)) => quote(s),
        ('x', Value::Str(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Str(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        // A list takes its verb element by element.
        (_, Value::List(list)) => {
            let parts: Vec<String> = list.iter().map(|v| one(verb, v, spec)).collect();
            format!("[{}]", parts.join(" "))
        }
        (_, Value::Missing | Value::Nil(_)) => format!("%!{verb}(<nil>)"),
        ('s' | 'd', Value::Map(_) | Value::Row(_)) => value.to_string(),
        _ => format!("%!{verb}({}={value})", value.type_name()),
    }
}

/// Go's double-quoted form.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// C's `%.{digits}g`.
pub fn significant(value: f64, digits: usize) -> String {
    let digits = digits.max(1);
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| {
        if s.contains('.') {
            s.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            s.to_owned()
        }
    };
    let wanted = i64::try_from(digits).unwrap_or(i64::MAX);
    if exponent < -4 || exponent >= wanted {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(wanted - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}
