//! Template text → tokens, with Go's trim markers and comments already applied.

/// A token and where it begins in the template.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
    /// Just behind its last byte.
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// White space inside an action; separates operands.
    Space,
    /// A name: function or keyword.
    Ident(String),
    /// `.Name`
    Field(String),
    /// `$name`, or `$` with an empty name.
    Variable(String),
    /// A lone `.`
    Dot,
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// The tokens of `text`, or Go's words for what is wrong with them and the line (counted from 1).
pub(super) fn lex(text: &str) -> Result<Vec<Token>, (usize, String)> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    lexer
        .all()
        .map_err(|message| (text[..lexer.at.min(text.len())].matches('\n').count() + 1, message))?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn all(&mut self) -> Result<(), String> {
        let mut trim_left = false;
        while self.at < self.text.len() {
            let (mut plain, action) = match self.rest().find("{{") {
                Some(open) => (&self.text[self.at..self.at + open], true),
                None => (self.rest(), false),
            };
            let begin = self.at;
            self.at += plain.len();
            if trim_left {
                plain = plain.trim_start_matches(SPACES);
            }
            let trim_right = action && is_trim_open(&self.rest()[2..]);
            if trim_right {
                plain = plain.trim_end_matches(SPACES);
            }
            if !plain.is_empty() {
                self.tokens.push(Token {
                    kind: Kind::Text(plain.to_owned()),
                    at: begin,
                    end: self.at,
                });
            }
            if action {
                trim_left = self.action(trim_right)?;
            }
        }
        Ok(())
    }

    /// One `{{ … }}`; says whether the text after it loses its leading white space.
    fn action(&mut self, trimmed: bool) -> Result<bool, String> {
        let open = self.at;
        self.at += if trimmed { 4 } else { 2 };
        if self.rest().starts_with("/*") {
            let close = self.rest().find("*/").ok_or("unclosed comment")?;
            self.at += close + 2;
            if self.rest().starts_with("}}") {
                self.at += 2;
                return Ok(false);
            }
            if self.rest().starts_with(SPACES) && self.rest()[1..].starts_with("-}}") {
                self.at += 4;
                return Ok(true);
            }
            return Err("comment ends before closing delimiter".into());
        }
        self.tokens.push(Token { kind: Kind::Open, at: open, end: self.at });
        let mut parens = 0_usize;
        loop {
            let begin = self.at;
            let Some(next) = self.rest().chars().next() else {
                return Err("unclosed action".into());
            };
            if next.is_ascii_whitespace() {
                let spaces = self.rest().len() - self.rest().trim_start_matches(SPACES).len();
                self.at += spaces.max(1);
                if self.rest().starts_with("-}}") {
                    return self.close(3, parens, true);
                }
                self.push(Kind::Space, begin);
                continue;
            }
            if self.rest().starts_with("}}") {
                return self.close(2, parens, false);
            }
            match next {
                '(' => parens += 1,
                ')' if parens == 0 => return Err("unexpected right paren".into()),
                ')' => parens -= 1,
                _ => {}
            }
            let kind = self.token(next)?;
            self.push(kind, begin);
        }
    }

    fn close(&mut self, length: usize, parens: usize, trim: bool) -> Result<bool, String> {
        if parens > 0 {
            return Err("unclosed left paren".into());
        }
        let begin = self.at;
        self.at += length;
        self.push(Kind::Close, begin);
        Ok(trim)
    }

    fn token(&mut self, next: char) -> Result<Kind, String> {
        let one = |lexer: &mut Self, kind| {
            lexer.at += 1;
            Ok(kind)
        };
        match next {
            '|' => one(self, Kind::Pipe),
            '(' => one(self, Kind::LeftParen),
            ')' => one(self, Kind::RightParen),
            ',' => one(self, Kind::Comma),
            '=' => one(self, Kind::Assign),
            ':' if self.rest().starts_with(":=") => {
                self.at += 2;
                Ok(Kind::Declare)
            }
            ':' => Err("expected :=".into()),
            '"' => self.quoted(),
            '`' => {
                let close = self.rest()[1..].find('`').ok_or("unterminated raw quoted string")?;
                let text = self.rest()[1..=close].to_owned();
                self.at += close + 2;
                Ok(Kind::Str(text))
            }
            '\'' => self.character(),
            '$' => {
                self.at += 1;
                Ok(Kind::Variable(self.word().to_owned()))
            }
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.at += 1;
                let name = self.word().to_owned();
                self.terminated()?;
                Ok(if name.is_empty() { Kind::Dot } else { Kind::Field(name) })
            }
            c if c.is_ascii_digit() || c == '.' || c == '+' || c == '-' => self.number(),
            c if c.is_alphanumeric() || c == '_' => {
                let word = self.word().to_owned();
                self.terminated()?;
                Ok(match word.as_str() {
                    "true" => Kind::Bool(true),
                    "false" => Kind::Bool(false),
                    "nil" => Kind::Nil,
                    _ => Kind::Ident(word),
                })
            }
            other => Err(format!("unexpected {other:?} in command").replace('\'', "\"")),
        }
    }

    /// A name must be followed by something that ends it.
    fn terminated(&self) -> Result<(), String> {
        match self.rest().chars().next() {
            Some(c)
                if !(c.is_ascii_whitespace()
                    || matches!(c, '.' | ',' | '|' | ':' | ')' | '(' | '=' | '}')) =>
            {
                Err(format!("bad character U+{:04X} {c:?}", u32::from(c)))
            }
            _ => Ok(()),
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn quoted(&mut self) -> Result<Kind, String> {
        let mut text = String::new();
        self.at += 1;
        loop {
            let Some(c) = self.rest().chars().next().filter(|c| *c != '\n') else {
                return Err("unterminated quoted string".into());
            };
            if c == '"' {
                self.at += 1;
                return Ok(Kind::Str(text));
            }
            text.push(self.escaped(c)?);
        }
    }

    fn character(&mut self) -> Result<Kind, String> {
        self.at += 1;
        let c = self.rest().chars().next().ok_or("unterminated character constant")?;
        let value = self.escaped(c)?;
        if !self.rest().starts_with('\'') {
            return Err("unterminated character constant".into());
        }
        self.at += 1;
        Ok(Kind::Int(i64::from(u32::from(value))))
    }

    /// One character of a quoted text, which begins with `c`; Go's escapes.
    fn escaped(&mut self, c: char) -> Result<char, String> {
        self.at += c.len_utf8();
        if c != '\\' {
            return Ok(c);
        }
        let escape = self.rest().chars().next().ok_or("unterminated quoted string")?;
        self.at += escape.len_utf8();
        let digits = match escape {
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'v' => return Ok('\u{b}'),
            '\\' | '"' | '\'' => return Ok(escape),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err("invalid syntax".into()),
        };
        let code = self.rest().get(..digits).and_then(|d| u32::from_str_radix(d, 16).ok());
        let c = code.and_then(char::from_u32).ok_or("invalid syntax")?;
        self.at += digits;
        Ok(c)
    }

    fn number(&mut self) -> Result<Kind, String> {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|(i, c)| {
                let sign_of_exponent = matches!(c, '+' | '-')
                    && rest[..*i].ends_with(['e', 'E'])
                    && !rest.starts_with("0x");
                !(c.is_alphanumeric()
                    || matches!(c, '.' | '_')
                    || (*i == 0 && matches!(c, '+' | '-'))
                    || sign_of_exponent)
            })
            .map_or(rest.len(), |(i, _)| i);
        let text = &rest[..end];
        self.at += end;
        parse_number(text).ok_or_else(|| format!("bad number syntax: \"{text}\""))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at.min(self.text.len())..]
    }

    fn push(&mut self, kind: Kind, at: usize) {
        self.tokens.push(Token { kind, at, end: self.at });
    }
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Whether an action begins with `- `, which trims the text before it.
fn is_trim_open(after_braces: &str) -> bool {
    after_braces.starts_with('-') && after_braces[1..].starts_with(SPACES)
}

fn parse_number(text: &str) -> Option<Kind> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let whole = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i64::from_str_radix(octal, 8).ok()
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit())
    {
        i64::from_str_radix(&lower, 8).ok()
    } else {
        lower.parse().ok()
    };
    match whole {
        Some(n) => Some(Kind::Int(sign * n)),
        None => lower
            .parse::<f64>()
            .ok()
            .filter(|f| f.is_finite())
            .map(|f| Kind::Float(sign as f64 * f)),
    }
}
