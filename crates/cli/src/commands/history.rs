//! `history`

use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FORMAT_TABLE, Flag, Matches};
use crate::format::{Listing, ellipsis, short_id};
use crate::output;
use crate::units;
use api::HistoryItem;
use std::rc::Rc;
use template::{Row, Value};
use types::ByteSize;

pub(super) const COMMAND: Command = Command {
    group: "image",
    name: "history",
    aliases: &[],
    top: "history",
    arguments: "[OPTIONS] IMAGE",
    about: "Show the history of an image",
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[&[
        FORMAT_TABLE,
        Flag::switch("human", "Print sizes and dates in human readable format")
            .short('H')
            .default("true"),
        Flag::switch("no-trunc", "Don't truncate output"),
        Flag::text(
            "platform",
            "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ).hidden(),
        Flag::switch("quiet", "Only show image IDs").short('q'),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    if matches.has("platform") {
        return Err(Failure::new("history --platform is not there yet (see docs/compat.tsv)"));
    }
    let name = matches.arguments.first().map(String::as_str).unwrap_or_default();
    let (human, cut) = (matches.is_or("human", true), !matches.is("no-trunc"));
    let items = app.client()?.image_history(name).await?;
    let rows = items
        .into_iter()
        .map(|item| Rc::new(HistoryRow { item, human, cut }) as Rc<dyn Row>)
        .collect();
    let created = if human { "{{.CreatedSince}}" } else { "{{.CreatedAt}}" };
    let table =
        format!("{{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}");
    let format = if matches.is("quiet") { "{{.ID}}".to_owned() } else { matches.text("format") };
    output::print(&Listing { titles: TITLES, table, raw: "" }.render(&format, rows)?)?;
    Ok(0)
}

const TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

#[derive(Debug)]
struct HistoryRow {
    item: HistoryItem,
    human: bool,
    cut: bool,
}

impl Row for HistoryRow {
    fn field(&self, name: &str) -> Option<Value> {
        const COMMAND_WIDTH: usize = 45;
        let text = match name {
            "ID" if self.cut && self.item.id != "<missing>" => short_id(&self.item.id).to_owned(),
            "ID" => self.item.id.clone(),
            "CreatedAt" => units::local_rfc3339(self.item.created),
            "CreatedSince" if self.human => units::ago(self.item.created),
            "CreatedSince" => units::local_rfc3339(self.item.created),
            "CreatedBy" => {
                let plain = self.item.created_by.replace('\t', " ");
                if self.cut { ellipsis(&plain, COMMAND_WIDTH).into_owned() } else { plain }
            }
            "Size" if self.human => {
                ByteSize(u64::try_from(self.item.size).unwrap_or(0)).to_string()
            }
            "Size" => self.item.size.to_string(),
            "Comment" => self.item.comment.clone(),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        &["Comment", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size"]
    }

    fn type_name(&self) -> &'static str {
        "*image.historyContext"
    }
}
