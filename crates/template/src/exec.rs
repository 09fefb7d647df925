//! Walks the tree over a value and writes the text.

use super::funcs::{self, Mode};
use super::parse::{Branch, Command, Node, Operand, OperandKind, Pipeline, Tree};
use super::value::{Nil, Value};
use std::rc::Rc;

/// Writes `tree` over `data` into `out`; an error is Go's, with line and column.
pub(super) fn execute(
    source: &str,
    tree: &Tree,
    data: &Value,
    mode: Mode,
    out: &mut String,
) -> Result<(), String> {
    let variables = vec![(Rc::from(""), data.clone())];
    let mut run = Run { source, tree, mode, variables, depth: 0, out };
    run.list(&tree.nodes, data).map(|_| ())
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// A template that invokes itself stops here, as Go's does later.
const MAX_DEPTH: usize = 200;

struct Run<'a> {
    source: &'a str,
    tree: &'a Tree,
    mode: Mode,
    variables: Vec<(Rc<str>, Value)>,
    depth: usize,
    out: &'a mut String,
}

type Step<T> = Result<T, String>;

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Step<Flow> {
        for node in nodes {
            let scope = self.variables.len();
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    match value {
                        _ if !pipeline.variables.is_empty() => {}
                        Value::Str(text) => self.out.push_str(&text),
                        other => self.out.push_str(&other.to_string()),
                    }
                    continue;
                }
                Node::If(branch) | Node::With(branch) => {
                    let value = self.pipeline(&branch.pipeline, dot)?;
                    let truth = value.truth();
                    let inner = if truth && matches!(node, Node::With(_)) { &value } else { dot };
                    let flow =
                        self.list(if truth { &branch.then } else { &branch.otherwise }, inner)?;
                    self.variables.truncate(scope);
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => {
                    let flow = self.range(branch, dot)?;
                    self.variables.truncate(scope);
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
                Node::Template { name, argument, at } => {
                    let data = match argument {
                        Some(pipeline) => self.pipeline(pipeline, dot)?,
                        None => Value::Nil(Nil::Untyped),
                    };
                    self.template(name, &data, *at)?;
                }
            }
        }
        Ok(Flow::Next)
    }

    fn template(&mut self, name: &str, data: &Value, at: usize) -> Step<()> {
        let text = format!("{{{{template {name:?}}}}}");
        let Some(nodes) = self.tree.defines.get(name) else {
            return Err(self.error(at, &text, &format!("template {name:?} not defined")));
        };
        if self.depth == MAX_DEPTH {
            return Err(self.error(
                at,
                &text,
                &format!("exceeded maximum template depth ({MAX_DEPTH})"),
            ));
        }
        let outer = std::mem::replace(&mut self.variables, vec![("".into(), data.clone())]);
        self.depth += 1;
        self.list(nodes, data)?;
        self.depth -= 1;
        self.variables = outer;
        Ok(())
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Step<Flow> {
        // The range itself declares nothing: its variables live in each round.
        let over = self.commands(&branch.pipeline, dot)?;
        let items: Vec<(Value, Value)> = match &over {
            Value::List(list) => {
                list.iter().enumerate().map(|(i, v)| (Value::Int(i as i64), v.clone())).collect()
            }
            Value::Map(map) if !map.is_struct => map
                .sorted()
                .into_iter()
                .map(|e| (Value::Str(Rc::clone(&e.name)), e.value.clone()))
                .collect(),
            Value::Int(n) => (0..*n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Nil(_) | Value::Missing => Vec::new(),
            other => {
                let command = &branch.pipeline.commands[0];
                return Err(self.error(
                    command.at,
                    &command.text,
                    &format!("range can't iterate over {other}"),
                ));
            }
        };
        if items.is_empty() {
            return self.list(&branch.otherwise, dot);
        }
        let names = &branch.pipeline.variables;
        let scope = self.variables.len();
        for (key, item) in items {
            match names.as_slice() {
                [value] => self.bind(&branch.pipeline, value, item.clone()),
                [index, value] => {
                    self.bind(&branch.pipeline, index, key);
                    self.bind(&branch.pipeline, value, item.clone());
                }
                _ => {}
            }
            let flow = self.list(&branch.then, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn bind(&mut self, pipeline: &Pipeline, name: &Rc<str>, value: Value) {
        match self.variables.iter_mut().rev().find(|(n, _)| pipeline.assigns && n == name) {
            Some(slot) => slot.1 = value,
            None => self.variables.push((Rc::clone(name), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Step<Value> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.bind(pipeline, name, value.clone());
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Step<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::Missing))
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Step<Value> {
        let (first, rest) =
            command.operands.split_first().expect("the parser makes no empty command");
        if let OperandKind::Function(name) = first.kind {
            return self.function(name, command, first, rest, dot, last);
        }
        if let OperandKind::Literal(Value::Nil(_)) = first.kind {
            return Err(self.error(first.at, &first.text, "nil is not a command"));
        }
        let has_arguments = !rest.is_empty() || last.is_some();
        if !has_arguments {
            return self.operand(first, dot, &[]);
        }
        if first.fields.is_empty() {
            return Err(self.error(
                first.at,
                &first.text,
                &format!("can't give argument to non-function {}", first.text),
            ));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot, &[])?);
        }
        arguments.extend(last);
        self.operand(first, dot, &arguments)
    }

    fn function(
        &mut self,
        name: &'static str,
        command: &Command,
        first: &Operand,
        rest: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Step<Value> {
        // `and` and `or` stop at the first argument that decides.
        if let "and" | "or" = name {
            let mut value = Value::Missing;
            for operand in rest {
                value = self.operand(operand, dot, &[])?;
                if value.truth() == (name == "or") {
                    return Ok(value);
                }
            }
            return match (last, rest.is_empty()) {
                (Some(last), _) => Ok(last),
                (None, false) => Ok(value),
                (None, true) => {
                    let message = format!("wrong number of args for {name}: want at least 1 got 0");
                    Err(self.error(first.at, &first.text, &message))
                }
            };
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot, &[])?);
        }
        arguments.extend(last);
        if let ("call", [function, ..]) = (name, arguments.as_slice()) {
            let what = rest.first().map_or("", |operand| operand.text.as_str());
            let kind = function.type_name();
            let message = format!("error calling call: non-function {what} of type {kind}");
            return Err(self.error(command.at, &command.text, &message));
        }
        let fail = |failed: funcs::Failed| match failed {
            funcs::Failed::Argument(at, message) => {
                let operand = rest.get(at).unwrap_or(first);
                self.error(operand.at, &operand.text, &message)
            }
            funcs::Failed::Call(message) => {
                self.error(command.at, &command.text, &format!("error calling {name}: {message}"))
            }
            funcs::Failed::Usage(message) => self.error(first.at, &first.text, &message),
        };
        let value = funcs::call(name, &arguments, self.mode).map_err(fail)?;
        self.fields(value, &first.fields, first, &[])
    }

    /// The value of an operand; `arguments` go to the method that its last field names.
    fn operand(&mut self, operand: &Operand, dot: &Value, arguments: &[Value]) -> Step<Value> {
        let base = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Variable(name) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                found.map_or(Value::Missing, |(_, value)| value.clone())
            }
            OperandKind::Literal(value) => value.clone(),
            OperandKind::Parenthesis(pipeline) => self.pipeline(pipeline, dot)?,
            OperandKind::Function(name) => match funcs::call(name, &[], self.mode) {
                Ok(value) => value,
                Err(
                    funcs::Failed::Call(message)
                    | funcs::Failed::Usage(message)
                    | funcs::Failed::Argument(_, message),
                ) => {
                    return Err(self.error(operand.at, &operand.text, &message));
                }
            },
        };
        self.fields(base, &operand.fields, operand, arguments)
    }

    fn fields(
        &self,
        base: Value,
        names: &[String],
        operand: &Operand,
        arguments: &[Value],
    ) -> Step<Value> {
        let mut value = base;
        for (i, name) in names.iter().enumerate() {
            let is_last = i + 1 == names.len();
            let arguments = if is_last { arguments } else { &[] };
            value = field(&value, name, arguments, is_last, self.mode)
                .map_err(|message| self.error(operand.at, &operand.text, &message))?;
        }
        Ok(value)
    }

    fn error(&self, at: usize, text: &str, message: &str) -> String {
        let before = &self.source[..at.min(self.source.len())];
        let line = before.matches('\n').count() + 1;
        let column = at - before.rfind('\n').map_or(0, |newline| newline + 1);
        format!("template: :{line}:{column}: executing \"\" at <{text}>: {message}")
    }
}

fn field(
    value: &Value,
    name: &str,
    arguments: &[Value],
    is_last: bool,
    mode: Mode,
) -> Result<Value, String> {
    match value {
        Value::Row(row) => match (row.call(name, ""), arguments) {
            (Some(_), [Value::Str(argument)]) => {
                Ok(row.call(name, argument).unwrap_or(Value::Missing))
            }
            (Some(_), [other]) => {
                Err(format!("wrong type for value; expected string; got {}", other.type_name()))
            }
            (Some(_), many) => {
                Err(format!("wrong number of args for {name}: want 1 got {}", many.len()))
            }
            (None, _) => match row.field(name) {
                Some(_) if !arguments.is_empty() => {
                    Err(format!("wrong number of args for {name}: want 0 got {}", arguments.len()))
                }
                Some(found) => Ok(found),
                None => Err(format!("can't evaluate field {name} in type {}", row.type_name())),
            },
        },
        Value::Map(map) => match map.get(name) {
            Some(_) if !arguments.is_empty() => {
                Err(format!("{name} is not a method but has arguments"))
            }
            // Docker looks through a field that was left out in the JSON as it came, where it does not exist.
            Some(entry) if entry.omitted && !is_last => {
                Err(format!("map has no entry for key {name:?}"))
            }
            Some(entry) => Ok(entry.value.clone()),
            None if !map.type_name.is_empty() => {
                Err(format!("can't evaluate field {name} in type {}", map.type_name))
            }
            None if map.is_struct || mode == Mode::Raw => {
                Err(format!("map has no entry for key {name:?}"))
            }
            None => Ok(Value::Missing),
        },
        Value::Missing | Value::Nil(_) => {
            Err(format!("nil pointer evaluating interface {{}}.{name}"))
        }
        _ if mode == Mode::Raw => {
            Err(format!("can't evaluate field {name} in type interface {{}}"))
        }
        other => Err(format!("can't evaluate field {name} in type {}", other.type_name())),
    }
}
