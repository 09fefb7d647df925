//! `network explain`, which Docker has not: who reaches a port or a container, and which rule says so.

use crate::app::App;
use crate::exit::Result;
use crate::flags::{Arity, Command, FORMAT_TABLE, Matches};
use crate::format::Listing;
use crate::output;
use api::NetworkDecision;
use std::rc::Rc;
use template::{Row, Value};

pub(super) const COMMAND: Command = Command {
    group: "network",
    name: "explain",
    aliases: &[],
    top: "",
    arguments: "[OPTIONS] PORT[/PROTOCOL]|CONTAINER",
    about: "Show which rules decide who reaches a published port or a container",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[FORMAT_TABLE]],
    run: |app, matches| Box::pin(run(app, matches)),
};

const TITLES: &[(&str, &str)] = &[
    ("About", "WHAT"),
    ("From", "FROM"),
    ("Allowed", "REACHED"),
    ("Rule", "RULE"),
    ("Text", "WHY"),
];
const TABLE: &str = "{{.About}}\t{{.From}}\t{{.Allowed}}\t{{.Rule}}\t{{.Text}}";
const RAW: &str =
    "about: {{.About}}\nfrom: {{.From}}\nallowed: {{.Allowed}}\nrule: {{.Rule}}\ntext: {{.Text}}\n";

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    let asked = &matches.arguments[0];
    let number = asked.split_once('/').map_or(asked.as_str(), |(number, _)| number);
    // A container whose name is a number is asked for by its id.
    let kind = if number.parse::<u16>().is_ok() { "port" } else { "container" };
    let answer = app.client()?.explain_network(kind, asked).await?;
    let rows =
        answer.decisions.into_iter().map(|decision| Rc::new(Decision(decision)) as Rc<dyn Row>);
    let listing = Listing { titles: TITLES, table: TABLE.to_owned(), raw: RAW };
    output::print(&listing.render(&matches.text("format"), rows.collect())?)?;
    for warning in answer.warnings.iter().flatten() {
        output::complain(warning);
    }
    Ok(0)
}

/// A decision as templates see it.
#[derive(Debug)]
struct Decision(NetworkDecision);

impl Row for Decision {
    fn field(&self, name: &str) -> Option<Value> {
        let NetworkDecision { about, from, allowed, rule, text } = &self.0;
        let or_none = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        Some(match name {
            "About" => Value::str(about.clone()),
            "From" => Value::str(from.clone()),
            "Allowed" => Value::str(if *allowed { "yes" } else { "no" }),
            "Rule" => Value::str(or_none(rule)),
            "Text" => Value::str(text.clone()),
            _ => return None,
        })
    }

    fn call(&self, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        &["About", "Allowed", "From", "Rule", "Text"]
    }

    fn type_name(&self) -> &'static str {
        "*network.decision"
    }
}
