//! Tokens → the tree that is executed; Go's grammar and Go's words for its errors.

use super::funcs;
use super::lex::{Kind, Token, lex};
use super::value::{Nil, Value};
use std::collections::HashMap;
use std::rc::Rc;

/// A parsed template: its own nodes and those of its `define`s.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) defines: HashMap<String, Vec<Node>>,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Break,
    Continue,
    Template { name: String, argument: Option<Pipeline>, at: usize },
}

/// `if`, `with` or `range` with its two lists.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    /// Variables on the left of `:=` or `=`.
    pub(super) variables: Vec<Rc<str>>,
    /// `=`: the variables exist already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// Operands side by side: a value, or a function or method with its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
    /// The text, for errors.
    pub(super) text: String,
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub(super) kind: OperandKind,
    /// The `.A.B` behind it (or, for a field, all of it).
    pub(super) fields: Vec<String>,
    pub(super) text: String,
    /// Where Go says that it is: a chain is where its second field is.
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    /// `.` or, with fields, `.A.B`.
    Dot,
    Variable(Rc<str>),
    Literal(Value),
    Function(&'static str),
    Parenthesis(Box<Pipeline>),
}

/// Parses `text`; an error is Go's, `template: :1: unclosed action`.
pub(super) fn parse(text: &str) -> Result<Tree, String> {
    let tokens = lex(text).map_err(|(line, message)| format!("template: :{line}: {message}"))?;
    let mut parser = Parser {
        text,
        tokens: &tokens,
        next: 0,
        variables: vec!["".into()],
        loops: 0,
        defines: HashMap::new(),
    };
    let located = |parser: &Parser<'_>, message| {
        let at = parser.tokens.get(parser.next.saturating_sub(1)).map_or(text.len(), |t| t.at);
        format!("template: :{}: {message}", text[..at].matches('\n').count() + 1)
    };
    let (nodes, end) = parser.list().map_err(|message| located(&parser, message))?;
    match end {
        Stop::Text => Ok(Tree { nodes, defines: parser.defines }),
        Stop::Else => Err(located(&parser, "unexpected {{else}}".into())),
        Stop::End => Err(located(&parser, "unexpected {{end}}".into())),
    }
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum Stop {
    Text,
    Else,
    End,
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    next: usize,
    /// Declared and in scope; the first is `$`.
    variables: Vec<Rc<str>>,
    loops: usize,
    defines: HashMap<String, Vec<Node>>,
}

type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    fn list(&mut self) -> Parsed<(Vec<Node>, Stop)> {
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.tokens.get(self.next) else { return Ok((nodes, Stop::Text)) };
            self.next += 1;
            match &token.kind {
                Kind::Text(text) => nodes.push(Node::Text(text.clone())),
                _ => {
                    self.spaces();
                    let keyword = match self.peek() {
                        Some(Kind::Ident(word)) => word.clone(),
                        _ => String::new(),
                    };
                    if let Some(node) = match keyword.as_str() {
                        "end" => {
                            self.keyword_alone("end")?;
                            return Ok((nodes, Stop::End));
                        }
                        // What follows `else` (`if`, `with`) is left for the caller.
                        "else" => {
                            self.next += 1;
                            self.spaces();
                            return Ok((nodes, Stop::Else));
                        }
                        "if" => Some(Node::If(self.branch("if")?)),
                        "with" => Some(Node::With(self.branch("with")?)),
                        "range" => Some(Node::Range(self.branch("range")?)),
                        "break" | "continue" => Some(self.jump(&keyword)?),
                        "template" | "block" => Some(self.invoke(&keyword)?),
                        "define" => {
                            self.define()?;
                            None
                        }
                        _ => Some(Node::Action(self.pipeline("command", &Kind::Close)?)),
                    } {
                        nodes.push(node);
                    }
                }
            }
        }
    }

    fn branch(&mut self, keyword: &str) -> Parsed<Branch> {
        self.next += 1;
        self.branch_after_keyword(keyword)
    }

    fn branch_after_keyword(&mut self, keyword: &str) -> Parsed<Branch> {
        let scope = self.variables.len();
        let pipeline = self.pipeline(keyword, &Kind::Close)?;
        self.loops += usize::from(keyword == "range");
        let (then, end) = self.list()?;
        self.loops -= usize::from(keyword == "range");
        let mut otherwise = Vec::new();
        match end {
            Stop::Text => return Err("unexpected EOF".into()),
            Stop::End => {}
            Stop::Else => match self.peek() {
                Some(Kind::Ident(next)) if next == keyword && keyword != "range" => {
                    self.next += 1;
                    let nested = self.branch_after_keyword(keyword)?;
                    otherwise.push(if keyword == "if" {
                        Node::If(nested)
                    } else {
                        Node::With(nested)
                    });
                }
                _ => {
                    self.expect_close("else")?;
                    let (nodes, end) = self.list()?;
                    if end != Stop::End {
                        return Err(if end == Stop::Text {
                            "unexpected EOF"
                        } else {
                            "expected end; found {{else}}"
                        }
                        .into());
                    }
                    otherwise = nodes;
                }
            },
        }
        self.variables.truncate(scope);
        Ok(Branch { pipeline, then, otherwise })
    }

    fn jump(&mut self, keyword: &str) -> Parsed<Node> {
        self.keyword_alone(keyword)?;
        if self.loops == 0 {
            return Err(format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
        }
        Ok(if keyword == "break" { Node::Break } else { Node::Continue })
    }

    fn invoke(&mut self, keyword: &str) -> Parsed<Node> {
        self.next += 1;
        self.spaces();
        // Errors point at the name.
        let at = self.tokens.get(self.next).map_or(0, |token| token.at);
        let name = self.name(&format!("{keyword} clause"))?;
        self.spaces();
        let argument = if self.peek() == Some(&Kind::Close) {
            self.next += 1;
            None
        } else {
            Some(self.pipeline(&format!("{keyword} clause"), &Kind::Close)?)
        };
        if keyword == "block" {
            self.body_of(name.clone())?;
        }
        Ok(Node::Template { name, argument, at })
    }

    fn define(&mut self) -> Parsed<()> {
        self.next += 1;
        let name = self.name("define clause")?;
        self.expect_close("define clause")?;
        self.body_of(name)
    }

    fn body_of(&mut self, name: String) -> Parsed<()> {
        let (nodes, end) = self.list()?;
        if end != Stop::End {
            return Err(format!(
                "unexpected {} in define clause",
                if end == Stop::Text { "EOF" } else { "{{else}}" }
            ));
        }
        self.defines.insert(name, nodes);
        Ok(())
    }

    fn name(&mut self, context: &str) -> Parsed<String> {
        self.spaces();
        let Some(Kind::Str(name)) = self.peek().cloned() else {
            return Err(self.unexpected(context));
        };
        self.next += 1;
        Ok(name)
    }

    fn keyword_alone(&mut self, keyword: &str) -> Parsed<()> {
        self.next += 1;
        self.expect_close(keyword)
    }

    fn expect_close(&mut self, context: &str) -> Parsed<()> {
        self.spaces();
        if self.peek() != Some(&Kind::Close) {
            return Err(self.unexpected(context));
        }
        self.next += 1;
        Ok(())
    }

    fn pipeline(&mut self, context: &str, end: &Kind) -> Parsed<Pipeline> {
        let mut pipeline = Pipeline { variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.spaces();
        self.declarations(context, &mut pipeline)?;
        loop {
            self.spaces();
            match self.peek() {
                Some(kind) if kind == end => {
                    self.next += 1;
                    break;
                }
                Some(Kind::Pipe) if !pipeline.commands.is_empty() => self.next += 1,
                Some(Kind::Pipe) => return Err(format!("missing value for {context}")),
                _ if pipeline.commands.is_empty() || self.after_pipe() => {
                    let command = self.command(context)?;
                    pipeline.commands.push(command);
                }
                _ => return Err(self.unexpected(context)),
            }
        }
        if pipeline.commands.is_empty()
            || self.tokens[..self.next - 1]
                .iter()
                .rev()
                .find(|t| t.kind != Kind::Space)
                .is_some_and(|t| t.kind == Kind::Pipe)
        {
            return Err(format!("missing value for {context}"));
        }
        for (position, command) in pipeline.commands.iter().enumerate().skip(1) {
            if matches!(command.operands[0].kind, OperandKind::Literal(_)) {
                return Err(format!("non executable command in pipeline stage {}", position + 1));
            }
        }
        self.variables.extend(pipeline.variables.iter().filter(|_| !pipeline.assigns).cloned());
        Ok(pipeline)
    }

    fn after_pipe(&self) -> bool {
        self.tokens[..self.next]
            .iter()
            .rev()
            .find(|t| t.kind != Kind::Space)
            .is_some_and(|t| t.kind == Kind::Pipe)
    }

    /// `$x :=`, `$x =` or, in a range, `$k, $v :=`; leaves everything alone when it is none of them.
    fn declarations(&mut self, context: &str, pipeline: &mut Pipeline) -> Parsed<()> {
        let begin = self.next;
        let mut names: Vec<Rc<str>> = Vec::new();
        while let Some(Kind::Variable(name)) = self.peek().cloned() {
            self.next += 1;
            self.spaces();
            names.push(name.as_str().into());
            match self.peek() {
                Some(Kind::Comma) if context == "range" && names.len() < 2 => {
                    self.next += 1;
                    self.spaces();
                }
                Some(Kind::Declare | Kind::Assign) => {
                    pipeline.assigns = self.peek() == Some(&Kind::Assign);
                    self.next += 1;
                    if let Some(unknown) =
                        names.iter().find(|n| pipeline.assigns && !self.variables.contains(n))
                    {
                        return Err(format!("undefined variable \"${unknown}\""));
                    }
                    pipeline.variables = names;
                    return Ok(());
                }
                Some(Kind::Comma) => return Err(format!("too many declarations in {context}")),
                _ => break,
            }
        }
        self.next = begin;
        Ok(())
    }

    fn command(&mut self, context: &str) -> Parsed<Command> {
        let at = self.tokens.get(self.next).map_or(self.text.len(), |t| t.at);
        let mut operands = Vec::new();
        let mut end = at;
        loop {
            self.spaces();
            let Some(operand) = self.operand(context)? else { break };
            operands.push(operand);
            end = self.tokens[self.next - 1].end;
            match self.peek() {
                Some(Kind::Space) => {}
                Some(Kind::Close | Kind::RightParen | Kind::Pipe) | None => break,
                _ => return Err(self.unexpected("operand")),
            }
        }
        if operands.is_empty() {
            return Err(self.unexpected(context));
        }
        let text = self.text[at..end].split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Command { operands, text, at })
    }

    fn operand(&mut self, context: &str) -> Parsed<Option<Operand>> {
        let Some(token) = self.tokens.get(self.next) else { return Err("unclosed action".into()) };
        let begin = token.at;
        let mut fields = Vec::new();
        let kind = match &token.kind {
            Kind::Dot => OperandKind::Dot,
            Kind::Field(name) => {
                fields.push(name.clone());
                OperandKind::Dot
            }
            Kind::Variable(name) => {
                if !self.variables.iter().any(|v| **v == **name) {
                    self.next += 1;
                    return Err(format!("undefined variable \"${name}\""));
                }
                OperandKind::Variable(name.as_str().into())
            }
            Kind::Str(text) => OperandKind::Literal(Value::str(text)),
            Kind::Int(number) => OperandKind::Literal(Value::Int(*number)),
            Kind::Float(number) => OperandKind::Literal(Value::Float(*number)),
            Kind::Bool(value) => OperandKind::Literal(Value::Bool(*value)),
            Kind::Nil => OperandKind::Literal(Value::Nil(Nil::Untyped)),
            Kind::Ident(name) => match funcs::known(name) {
                Some(function) => OperandKind::Function(function),
                None => {
                    self.next += 1;
                    return Err(format!("function \"{name}\" not defined"));
                }
            },
            Kind::LeftParen => {
                self.next += 1;
                let inner = self.pipeline("parenthesized pipeline", &Kind::RightParen)?;
                self.next -= 1;
                OperandKind::Parenthesis(Box::new(inner))
            }
            _ => {
                return if context == "operand" { Err(self.unexpected(context)) } else { Ok(None) };
            }
        };
        self.next += 1;
        let mut at = begin;
        while let Some(Token { kind: Kind::Field(name), at: field, .. }) =
            self.tokens.get(self.next)
        {
            if at == begin {
                at = *field;
            }
            fields.push(name.clone());
            self.next += 1;
        }
        let text = self.text[begin..self.tokens[self.next - 1].end].to_owned();
        Ok(Some(Operand { kind, fields, text, at }))
    }

    fn spaces(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.next += 1;
        }
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|t| &t.kind)
    }

    fn unexpected(&self, context: &str) -> String {
        match self.tokens.get(self.next) {
            Some(token) => format!("unexpected {:?} in {context}", &self.text[token.at..token.end]),
            None => "unexpected EOF".into(),
        }
    }
}
