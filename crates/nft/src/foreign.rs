//! Other programs' chains: seen, and where nothing else helps, given one rule more.

use crate::encode::{self, NFTA_LIST_ELEM, message_kind, nfgen};
use crate::{Firewall, Rule};
use stdx::{Error, Result};
use sys::netlink::{Batch, Message, attributes};

const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_DELCHAIN: u16 = 5;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_DELRULE: u16 = 8;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_APPEND: u16 = 0x800;
const TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
/// `NFTA_EXPR_NAME`, `NFTA_VERDICT_CODE`, `NFTA_VERDICT_CHAIN`, and the code of a drop.
const NAME: u16 = 1;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const NF_DROP: u32 = 0;
const EPERM: i32 = 1;
const HOOK_FORWARD: u32 = 2;
const HOOK_OUTPUT: u32 = 3;

/// A chain of anybody's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The family as the kernel numbers it (`NFPROTO_*`): 1 both, 2 IPv4, 10 IPv6.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

/// What a chain is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub place: Place,
    /// It filters packets that pass through.
    pub forward: bool,
    /// It filters packets that the host itself sends.
    pub output: bool,
    /// What no rule decides on is dropped.
    pub drops: bool,
}

/// A rule of anybody's, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRule {
    /// The chain it is in.
    pub chain: String,
    /// By which it can be removed.
    pub handle: u64,
    /// The chain it leads to.
    pub target: Option<String>,
    /// It drops or rejects whatever comes to it.
    pub refuses: bool,
    /// Its comment, as [`Rule::comment`] writes it.
    pub comment: Option<String>,
}

/// A change of somebody else's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Makes a chain, or finds it.
    Chain(Place),
    /// Removes all its rules.
    Flush(Place),
    /// Removes a chain that nothing leads to.
    Remove(Place),
    /// A rule after all others.
    Append(Place, Rule),
    /// A rule before all others.
    Insert(Place, Rule),
    /// Removes the rule with this handle.
    Delete(Place, u64),
}

impl Firewall {
    /// All chains of all tables.
    pub fn chains(&mut self) -> Result<Vec<Seen>> {
        let mut batch = Batch::new();
        batch.message(message_kind(NFT_MSG_GETCHAIN), NLM_F_DUMP, &nfgen(0), |_| {});
        let answers = self.ask(&batch)?;
        let chains = answers.iter().filter(|m| m.kind == message_kind(NFT_MSG_NEWCHAIN));
        Ok(chains.filter_map(seen).collect())
    }

    /// The rules of a table, in order within each chain. Of a table that is not there: none.
    pub fn rules(&mut self, family: u8, table: &str) -> Result<Vec<SeenRule>> {
        let mut batch = Batch::new();
        batch.message(message_kind(NFT_MSG_GETRULE), NLM_F_DUMP, &nfgen(family), |a| {
            a.string(TABLE, table);
        });
        let answers = self.ask(&batch)?;
        let rules = answers.iter().filter(|m| m.kind == message_kind(NFT_MSG_NEWRULE));
        Ok(rules.filter_map(seen_rule).collect())
    }

    /// Makes the changes, all or none. `false`: a table of these is its owner's alone (`flags owner`).
    pub fn edit(&mut self, edits: &[Edit]) -> Result<bool> {
        let mut batch = Batch::transaction(encode::SUBSYSTEM);
        for edit in edits {
            encode_edit(&mut batch, edit)?;
        }
        if batch.is_empty() {
            return Ok(true);
        }
        match self.socket.execute(batch) {
            Ok(()) => Ok(true),
            Err(e) if e.errno() == Some(EPERM) => Ok(false),
            Err(e) => Err(crate::refused("change firewall tables", e)),
        }
    }

    fn ask(&mut self, batch: &Batch) -> Result<Vec<Message>> {
        self.socket.query(batch).map_err(|e| Error::internal("list the firewall").caused_by(e))
    }
}

fn encode_edit(batch: &mut Batch, edit: &Edit) -> Result<()> {
    let mut chain = |kind: u16, flags: u16, place: &Place, name: u16| {
        batch.message(message_kind(kind), flags, &nfgen(place.family), |a| {
            a.string(TABLE, &place.table);
            a.string(name, &place.chain);
        });
    };
    match edit {
        Edit::Chain(place) => {
            chain(NFT_MSG_NEWCHAIN, encode::NLM_F_CREATE, place, NFTA_CHAIN_NAME);
        }
        Edit::Remove(place) => chain(NFT_MSG_DELCHAIN, 0, place, NFTA_CHAIN_NAME),
        // Without a handle: all of the chain.
        Edit::Flush(place) => chain(NFT_MSG_DELRULE, 0, place, NFTA_RULE_CHAIN),
        Edit::Delete(place, handle) => {
            batch.message(message_kind(NFT_MSG_DELRULE), 0, &nfgen(place.family), |a| {
                a.string(TABLE, &place.table);
                a.string(NFTA_RULE_CHAIN, &place.chain);
                a.put(NFTA_RULE_HANDLE, &handle.to_be_bytes());
            });
        }
        Edit::Append(place, rule) => add(batch, NLM_F_APPEND, place, rule)?,
        Edit::Insert(place, rule) => add(batch, 0, place, rule)?,
    }
    Ok(())
}

fn add(batch: &mut Batch, flags: u16, place: &Place, rule: &Rule) -> Result<()> {
    encode::check_rule(rule).map_err(|e| Error::internal("firewall rule").caused_by(e))?;
    encode::add_rule(batch, flags, place.family, &place.table, &place.chain, rule);
    Ok(())
}

fn seen(message: &Message) -> Option<Seen> {
    let value = |wanted: u16| message.attributes(4).find(|(k, _)| *k == wanted).map(|(_, v)| v);
    let hook = value(NFTA_CHAIN_HOOK).and_then(|hook| {
        let (_, bytes) = attributes(hook).find(|(k, _)| *k == NFTA_HOOK_HOOKNUM)?;
        number(bytes)
    });
    let filter = value(NFTA_CHAIN_TYPE).is_some_and(|kind| text(kind) == "filter");
    let family = *message.body.first()?;
    // Numbers of hooks mean the same in the families of IP only.
    let at = |wanted| filter && hook == Some(wanted) && matches!(family, 1 | 2 | 10);
    Some(Seen {
        place: Place { family, table: text(value(TABLE)?), chain: text(value(NFTA_CHAIN_NAME)?) },
        forward: at(HOOK_FORWARD),
        output: at(HOOK_OUTPUT),
        drops: value(NFTA_CHAIN_POLICY).and_then(number) == Some(0),
    })
}

fn seen_rule(message: &Message) -> Option<SeenRule> {
    let value = |wanted: u16| message.attributes(4).find(|(k, _)| *k == wanted).map(|(_, v)| v);
    let all: Vec<&[u8]> = value(NFTA_RULE_EXPRESSIONS)
        .map(|all| attributes(all).filter(|(k, _)| *k == NFTA_LIST_ELEM).map(|(_, e)| e).collect())
        .unwrap_or_default();
    let target = all.iter().find_map(|expression| verdict_chain(expression));
    // Type 0 of the user data is the comment, with its length and NUL.
    let comment = value(NFTA_RULE_USERDATA).and_then(|data| match data {
        [0, length, rest @ ..] => rest.get(..usize::from(*length)).map(text),
        _ => None,
    });
    Some(SeenRule {
        chain: text(value(NFTA_RULE_CHAIN)?),
        handle: u64::from_be_bytes(value(NFTA_RULE_HANDLE)?.try_into().ok()?),
        target,
        refuses: refuses(&all),
        comment,
    })
}

/// Whether these expressions ask nothing and end in a drop or a reject.
fn refuses(all: &[&[u8]]) -> bool {
    let Some((last, before)) = all.split_last() else { return false };
    let name = |expression: &[u8]| inner(expression, NAME).map(text).unwrap_or_default();
    let dropped = || verdict(last).and_then(|v| number(inner(v, VERDICT_CODE)?)) == Some(NF_DROP);
    before.iter().all(|expression| matches!(name(expression).as_str(), "counter" | "log"))
        && (name(last) == "reject" || dropped())
}

/// Where an expression `immediate` leads.
fn verdict_chain(expression: &[u8]) -> Option<String> {
    inner(verdict(expression)?, VERDICT_CHAIN).map(text)
}

/// What an expression `immediate` decides: data, immediate data, verdict.
fn verdict(expression: &[u8]) -> Option<&[u8]> {
    if text(inner(expression, NAME)?) != "immediate" {
        return None;
    }
    inner(inner(inner(expression, 2)?, 2)?, 2)
}

fn inner(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == wanted).map(|(_, v)| v)
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}
