//! Takes out of a program's output what differs between two runs of the same program.

/// A line without ids, times, sizes and places.
pub fn normalise(text: &str, home: &str) -> String {
    let text = text.replace('\r', "").replace(home, "<home>");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn line(line: &str) -> String {
    let mut words = String::new();
    for piece in pieces(line) {
        words.push_str(&word(piece));
    }
    columns(&ages(&words))
}

/// The line cut at the borders between words, white space and quotes kept.
fn pieces(line: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '+' | '_');
    let mut found = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in line.char_indices() {
        if is_word(c) != inside {
            found.push(&line[start..at]);
            (start, inside) = (at, is_word(c));
        }
    }
    found.push(&line[start..]);
    found
}

fn word(word: &str) -> String {
    let digest = word.strip_prefix("sha256:").unwrap_or(word);
    let (core, dot) = digest
        .strip_suffix([':', '.'])
        .map_or((digest, ""), |core| (core, &digest[digest.len() - 1..]));
    let is_hex = |t: &str| t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let prefix = if digest.len() == word.len() { "" } else { "sha256:" };
    if core.len() == 64 && is_hex(core) {
        return format!("{prefix}<id>{dot}");
    }
    // A short id has letters and digits, or it would be a number or a word.
    if core.len() == 12 && is_hex(core) && core.bytes().any(|b| b.is_ascii_digit()) {
        return format!("{prefix}<short>{dot}");
    }
    if is_time(core) {
        return format!("<time>{dot}");
    }
    if is_size(core) {
        return format!("<size>{dot}");
    }
    word.to_owned()
}

/// `2024-01-02T03:04:05.678Z` and its like.
fn is_time(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 19
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[10] == b'T'
        && bytes[13] == b':'
}

/// `4.26MB` and its like.
fn is_size(word: &str) -> bool {
    ["kB", "MB", "GB"]
        .iter()
        .any(|unit| word.strip_suffix(unit).is_some_and(|n| n.parse::<f64>().is_ok()))
}

/// `2 seconds ago`, `About a minute ago`, `Up 3 seconds`, `Less than a second`.
fn ages(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let is_unit = |w: &str| {
        ["second", "minute", "hour", "day", "week", "month", "year"]
            .iter()
            .any(|u| w.starts_with(u) && w.len() <= u.len() + 1)
    };
    let mut at = 0;
    while at < words.len() {
        if is_unit(&words[at]) && at > 0 {
            let starts: &[&[&str]] = &[&["Less", "than", "a"], &["About", "a"], &["About", "an"]];
            let before = &words[..at];
            let named = starts
                .iter()
                .find(|s| before.len() >= s.len() && before[before.len() - s.len()..] == ***s);
            let length = named.map_or(1, |s| s.len());
            if named.is_some() || words[at - 1].parse::<u64>().is_ok() {
                words.splice(at - length..=at, ["<age>".to_owned()]);
                at -= length;
            }
        }
        at += 1;
    }
    words.join(" ")
}

/// Columns are as wide as what was in them: runs of spaces become two.
fn columns(line: &str) -> String {
    let mut out = String::new();
    let mut spaces = 0;
    for c in line.chars() {
        if c == ' ' {
            spaces += 1;
            continue;
        }
        out.push_str(&" ".repeat(spaces.min(2)));
        spaces = 0;
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn what_changes_between_runs_is_taken_out() {
        let check =
            |given: &str, expected: &str| assert_eq!(normalise(given, "/tmp/home-1"), expected);
        let id = "0123456789abcdef".repeat(4);
        check(&id, "<id>");
        check(&format!("sha256:{id}"), "sha256:<id>");
        check(&format!("No such container: {id}"), "No such container: <id>");
        check("0123456789ab   busybox   \"sh\"", "<short>  busybox  \"sh\"");
        check("deadbeefcafe", "deadbeefcafe");
        check("Up 3 seconds (Paused)", "Up <age> (Paused)");
        check("Exited (0) Less than a second ago", "Exited (0) <age> ago");
        check("Exited (137) About a minute ago", "Exited (137) <age> ago");
        check(
            "busybox   latest   0123456789ab   2 years ago   4.26MB",
            "busybox  latest  <short>  <age> ago  <size>",
        );
        check("2024-01-02T03:04:05.678901234Z out", "<time> out");
        check("open /tmp/home-1/env: no such file", "open <home>/env: no such file");
        check("uid=1000(tester) 172.17.0.2 0.5", "uid=1000(tester) 172.17.0.2 0.5");
    }
}
