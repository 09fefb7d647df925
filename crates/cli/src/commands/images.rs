//! `images`

use super::events::filters;
use crate::app::App;
use crate::exit::{Failure, Result};
use crate::flags::{Arity, Command, FILTER, FORMAT_TABLE, Flag, Matches};
use crate::format::{Listing, short_id};
use crate::output;
use crate::units;
use api::ImageSummary;
use std::rc::Rc;
use template::{Row, Value};
use types::{ByteSize, ImageRef};

pub(super) const COMMAND: Command = Command {
    group: "image",
    name: "ls",
    aliases: &["list"],
    top: "images",
    arguments: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[&[
        Flag::switch("all", "Show all images (default hides intermediate images)").short('a'),
        Flag::switch("digests", "Show digests"),
        FILTER,
        FORMAT_TABLE,
        Flag::switch("no-trunc", "Don't truncate output"),
        Flag::switch("quiet", "Only show image IDs").short('q'),
        Flag::switch("tree", "List multi-platform images as a tree (EXPERIMENTAL)"),
    ]],
    run: |app, matches| Box::pin(run(app, matches)),
};

async fn run(app: &App, matches: &Matches) -> Result<u8> {
    if matches.is("tree") {
        return Err(Failure::new("images --tree is not there yet (see docs/compat.tsv)"));
    }
    let mut filters = filters(matches);
    if let Some(reference) = matches.arguments.first() {
        filters.add("reference", reference);
    }
    let images = app.client()?.list_images(matches.is("all"), &filters).await?;
    let (digests, cut) = (matches.is("digests"), !matches.is("no-trunc"));
    let rows = images
        .iter()
        .flat_map(|image| rows(image, digests, cut))
        .map(|row| Rc::new(row) as Rc<dyn Row>)
        .collect();
    let quiet = matches.is("quiet");
    let format = match matches.text("format") {
        format if format.is_empty() && quiet => "{{.ID}}".to_owned(),
        format if format.is_empty() => app.config().images_format.clone(),
        format if quiet && format == "table" => "{{.ID}}".to_owned(),
        format if quiet && format == "raw" => "image_id: {{.ID}}".to_owned(),
        format => format,
    };
    let digest = if digests { "\t{{.Digest}}" } else { "" };
    let table = format!(
        "{{{{.Repository}}}}\t{{{{.Tag}}}}{digest}\t{{{{.ID}}}}\t{{{{if .CreatedSince}}}}{{{{.CreatedSince}}}}{{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
    );
    output::print(
        &Listing { titles: TITLES, table, raw: if digests { RAW_DIGEST } else { RAW } }
            .render(&format, rows)?,
    )?;
    Ok(0)
}

const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
const RAW_DIGEST: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

pub(super) const TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const NONE: &str = "<none>";

#[derive(Debug)]
pub(super) struct ImageRow {
    image: ImageSummary,
    cut: bool,
    repository: String,
    tag: String,
    digest: String,
}

/// A row for every name: an image has as many as it has tags, or digests without one.
pub(super) fn rows(image: &ImageSummary, with_digests: bool, cut: bool) -> Vec<ImageRow> {
    let row = |repository: &str, tag: &str, digest: &str| ImageRow {
        image: image.clone(),
        cut,
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: digest.to_owned(),
    };
    let parse = |list: &Option<Vec<String>>| -> Vec<ImageRef> {
        list.iter().flatten().filter_map(|text| text.parse().ok()).collect()
    };
    let tags: Vec<ImageRef> =
        parse(&image.repo_tags).into_iter().filter(|r| r.tag().is_some()).collect();
    let digests: Vec<ImageRef> =
        parse(&image.repo_digests).into_iter().filter(|r| r.digest().is_some()).collect();
    let digest_of = |r: &ImageRef| r.digest().map(ToString::to_string).unwrap_or_default();
    let mut rows = Vec::new();
    for tagged in &tags {
        let (repository, tag) = (tagged.familiar_name(), tagged.tag().unwrap_or_default());
        let own: Vec<String> =
            digests.iter().filter(|d| d.name() == tagged.name()).map(digest_of).collect();
        if !with_digests || own.is_empty() {
            rows.push(row(&repository, tag, NONE));
            continue;
        }
        rows.extend(own.iter().map(|digest| row(&repository, tag, digest)));
    }
    for digest in digests.iter().filter(|d| !tags.iter().any(|t| t.name() == d.name())) {
        rows.push(row(
            &digest.familiar_name(),
            NONE,
            &if with_digests { digest_of(digest) } else { String::new() },
        ));
    }
    if rows.is_empty() {
        rows.push(row(NONE, NONE, NONE));
    }
    rows
}

impl ImageRow {
    /// For where digests were not asked for.
    pub(super) fn without_digest(self) -> Self {
        Self { digest: String::new(), ..self }
    }
}

impl Row for ImageRow {
    fn field(&self, name: &str) -> Option<Value> {
        let image = &self.image;
        let size = |bytes: i64| ByteSize(u64::try_from(bytes).unwrap_or(0)).to_string();
        let exact = |bytes: i64| ByteSize(u64::try_from(bytes).unwrap_or(0)).decimal(4);
        let text = match name {
            "ID" if self.cut => short_id(&image.id).to_owned(),
            "ID" => image.id.clone(),
            "Repository" => self.repository.clone(),
            "Tag" => self.tag.clone(),
            "Digest" => self.digest.clone(),
            "CreatedSince" => units::ago(image.created),
            "CreatedAt" => units::local_time(image.created),
            "Size" => size(image.size),
            "Containers" if image.containers == -1 => "N/A".into(),
            "Containers" => image.containers.to_string(),
            "VirtualSize" => ByteSize(u64::try_from(image.size).unwrap_or(0)).decimal(4),
            "SharedSize" if image.shared_size == -1 => "N/A".into(),
            "SharedSize" => exact(image.shared_size),
            "UniqueSize" if image.shared_size == -1 || image.size == -1 => "N/A".into(),
            "UniqueSize" => exact(image.size - image.shared_size),
            _ => return None,
        };
        Some(Value::str(text))
    }

    fn call(&self, _: &str, _: &str) -> Option<Value> {
        None
    }

    fn names(&self) -> &[&'static str] {
        &[
            "Containers",
            "CreatedAt",
            "CreatedSince",
            "Digest",
            "ID",
            "Repository",
            "SharedSize",
            "Size",
            "Tag",
            "UniqueSize",
            "VirtualSize",
        ]
    }

    fn type_name(&self) -> &'static str {
        "*formatter.imageContext"
    }
}
