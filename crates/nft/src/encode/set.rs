//! Sets, maps and their elements.

use super::expression::{NFTA_DATA_VALUE, put_verdict, verdict_of};
use super::{IFNAMSIZ, NFTA_LIST_ELEM, NLM_F_CREATE, message_kind, nfgen};
use crate::set::{Data, Element, Field, Kind, Set, Value};
use std::net::IpAddr;
use sys::netlink::{Attributes, Batch};

const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;

const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFTA_SET_DESC: u16 = 9;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_USERDATA: u16 = 13;
/// `NFTNL_UDATA_SET_KEYBYTEORDER` and its value for the machine's own order.
const UDATA_KEY_BYTE_ORDER: u8 = 0;
const HOST_ENDIAN: u32 = 1;
const NFTA_SET_DESC_CONCAT: u16 = 2;
const NFTA_SET_FIELD_LEN: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
/// In milliseconds.
const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
const NFTA_SET_ELEM_KEY_END: u16 = 10;

const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_MAP: u32 = 8;
const NFT_SET_TIMEOUT: u32 = 0x10;
/// Rules put elements there.
const NFT_SET_EVAL: u32 = 0x20;
const NFT_SET_CONCAT: u32 = 0x80;
const NFTA_SET_DESC_SIZE: u16 = 1;
/// `NFT_DATA_VERDICT`.
const DATA_VERDICT: u32 = 0xffff_ff00;

/// An attribute has at most 64 KiB; an element of ours has at most 160 bytes.
const ELEMENTS_A_MESSAGE: usize = 400;

pub(super) fn add_set(batch: &mut Batch, family: u8, table: &str, set: &Set, id: u32) {
    batch.message(message_kind(NFT_MSG_NEWSET), NLM_F_CREATE, &nfgen(family), |a| {
        a.string(NFTA_SET_TABLE, table);
        a.string(NFTA_SET_NAME, &set.name);
        let mut flags = 0;
        if set.ranges {
            flags |= NFT_SET_INTERVAL | NFT_SET_CONCAT;
        }
        flags |= match set.data {
            Data::None => 0,
            Data::Verdict | Data::Fields(_) => NFT_SET_MAP,
            Data::Fleeting { .. } => NFT_SET_TIMEOUT | NFT_SET_EVAL,
        };
        a.be32(NFTA_SET_FLAGS, flags);
        a.be32(NFTA_SET_KEY_TYPE, type_of(&set.key));
        a.be32(NFTA_SET_KEY_LEN, length_of(&set.key));
        match &set.data {
            Data::None => {}
            Data::Fleeting { most } => {
                a.nested(NFTA_SET_DESC, |a| a.be32(NFTA_SET_DESC_SIZE, *most));
            }
            Data::Verdict => a.be32(NFTA_SET_DATA_TYPE, DATA_VERDICT),
            Data::Fields(kinds) => {
                a.be32(NFTA_SET_DATA_TYPE, type_of(kinds));
                a.be32(NFTA_SET_DATA_LEN, length_of(kinds));
            }
        }
        if set.ranges {
            a.nested(NFTA_SET_DESC, |a| {
                a.nested(NFTA_SET_DESC_CONCAT, |a| {
                    for kind in &set.key {
                        let size = kind.size() as u32;
                        a.nested(NFTA_LIST_ELEM, |a| a.be32(NFTA_SET_FIELD_LEN, size));
                    }
                });
            });
        }
        a.be32(NFTA_SET_ID, id);
        if set.key == [Kind::Link] {
            // For `nft`: names are no numbers in network order.
            let mut data = vec![UDATA_KEY_BYTE_ORDER, 4];
            data.extend_from_slice(&HOST_ENDIAN.to_ne_bytes());
            a.put(NFTA_SET_USERDATA, &data);
        }
    });
}

pub(super) fn add_elements(
    batch: &mut Batch,
    family: u8,
    table: &str,
    set: &str,
    elements: &[Element],
) {
    for some in elements.chunks(ELEMENTS_A_MESSAGE) {
        list(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE, family, table, set, some);
    }
}

/// Deletes all elements of a set.
pub(super) fn empty(batch: &mut Batch, family: u8, table: &str, set: &str) {
    batch.message(message_kind(NFT_MSG_DELSETELEM), 0, &nfgen(family), |a| {
        a.string(NFTA_SET_ELEM_LIST_TABLE, table);
        a.string(NFTA_SET_ELEM_LIST_SET, set);
    });
}

pub(super) fn delete_elements(
    batch: &mut Batch,
    family: u8,
    table: &str,
    set: &str,
    elements: &[Element],
) {
    for some in elements.chunks(ELEMENTS_A_MESSAGE) {
        list(batch, NFT_MSG_DELSETELEM, 0, family, table, set, some);
    }
}

fn list(
    batch: &mut Batch,
    kind: u16,
    flags: u16,
    family: u8,
    table: &str,
    set: &str,
    elements: &[Element],
) {
    batch.message(message_kind(kind), flags, &nfgen(family), |a| {
        a.string(NFTA_SET_ELEM_LIST_TABLE, table);
        a.string(NFTA_SET_ELEM_LIST_SET, set);
        a.nested(NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
            for element in elements {
                a.nested(NFTA_LIST_ELEM, |a| put_element(a, element));
            }
        });
    });
}

fn put_element(a: &mut Attributes<'_>, element: &Element) {
    let (low, high) = (bytes(&element.key, false), bytes(&element.key, true));
    a.nested(NFTA_SET_ELEM_KEY, |a| a.put(NFTA_DATA_VALUE, &low));
    if low != high {
        a.nested(NFTA_SET_ELEM_KEY_END, |a| a.put(NFTA_DATA_VALUE, &high));
    }
    match &element.value {
        Value::None => {}
        Value::For(time) => {
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            a.put(NFTA_SET_ELEM_TIMEOUT, &milliseconds.to_be_bytes());
        }
        Value::Verdict(action) => {
            // Other actions are refused by `check`.
            if let Some((code, chain)) = verdict_of(action) {
                a.nested(NFTA_SET_ELEM_DATA, |a| put_verdict(a, code, chain));
            }
        }
        Value::Fields(fields) => {
            a.nested(NFTA_SET_ELEM_DATA, |a| a.put(NFTA_DATA_VALUE, &bytes(fields, false)));
        }
    }
}

/// The fields one after the other, each filled up to four bytes; of ranges the first or the last.
fn bytes(fields: &[Field], last: bool) -> Vec<u8> {
    let mut all = Vec::with_capacity(40);
    for field in fields {
        match field {
            Field::Link(name) => {
                let mut padded = [0; IFNAMSIZ];
                let length = name.len().min(IFNAMSIZ - 1);
                padded[..length].copy_from_slice(&name.as_bytes()[..length]);
                all.extend_from_slice(&padded);
            }
            Field::Mac(mac) => all.extend_from_slice(mac),
            Field::Address(IpAddr::V4(address)) => all.extend_from_slice(&address.octets()),
            Field::Address(IpAddr::V6(address)) => all.extend_from_slice(&address.octets()),
            Field::Addresses(first, end) => match if last { end } else { first } {
                IpAddr::V4(address) => all.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => all.extend_from_slice(&address.octets()),
            },
            Field::Any4 => all.extend_from_slice(&[if last { 0xff } else { 0 }; 4]),
            Field::Any6 => all.extend_from_slice(&[if last { 0xff } else { 0 }; 16]),
            Field::Protocol(number) => all.push(*number),
            Field::Port(port) => all.extend_from_slice(&port.to_be_bytes()),
            Field::Ports(low, high) => {
                all.extend_from_slice(&if last { high } else { low }.to_be_bytes());
            }
            Field::EtherType(number) => all.extend_from_slice(&number.to_be_bytes()),
        }
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

fn length_of(kinds: &[Kind]) -> u32 {
    kinds.iter().map(|kind| kind.size().next_multiple_of(4) as u32).sum()
}

/// The number by which `nft` shows the type; the kernel does not look at it. Types of several fields have six bits each.
fn type_of(kinds: &[Kind]) -> u32 {
    kinds.iter().fold(0, |number, kind| {
        number << 6
            | match kind {
                Kind::V4 => 7,
                Kind::V6 => 8,
                Kind::Mac => 9,
                Kind::EtherType => 10,
                Kind::Protocol => 12,
                Kind::Port => 13,
                Kind::Link => 41,
            }
    })
}
