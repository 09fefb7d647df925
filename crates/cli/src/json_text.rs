//! JSON as text: compacted and indented without losing the order in which it came.

use serde_json::value::RawValue;

/// JSON without the white space between its parts, in its own order.
pub(crate) fn compact(text: &str) -> Result<String, serde_json::Error> {
    let checked: &RawValue = serde_json::from_str(text)?;
    let mut out = String::with_capacity(text.len());
    let mut in_text = false;
    let mut escaped = false;
    for c in checked.get().chars() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_text = c == '"';
        }
        out.push(c);
    }
    Ok(out)
}

/// JSON with every value on a line of its own, four spaces a level, in the order in which it came.
pub(crate) fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    let mut chars = json.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    while let Some(c) = chars.next() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                match chars.peek() {
                    Some('}' | ']') => out.extend(chars.next()),
                    _ => {
                        depth += 1;
                        newline(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_compacted_outside_of_texts() {
        assert_eq!(
            compact("{ \"a b\" : [1, \" \\\" x \" ] }\n").unwrap(),
            "{\"a b\":[1,\" \\\" x \"]}"
        );
        assert!(compact("{").is_err());
    }

    #[test]
    fn json_is_indented_as_go_does() {
        assert_eq!(
            indent(r#"[{"a":1,"b":[ ],"c":{},"d":["x,\"{",null]}]"#),
            "[\n    {\n        \"a\": 1,\n        \"b\": [],\n        \"c\": {},\n        \"d\": [\n            \"x,\\\"{\",\n            null\n        ]\n    }\n]"
        );
    }
}
