//! The serde serializer behind [`Value::of`]: it keeps apart what is a struct and what is a map.

use super::value::{Entry, Map, Nil, Value};
use serde::ser::{self, Serialize};
use std::fmt;
use std::rc::Rc;

/// Names whose null is a Go map and prints `map[]`.
const MAPS: &[&str] = &[
    "Labels",
    "Volumes",
    "PortBindings",
    "Ports",
    "Networks",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Annotations",
    "Options",
    "AuxiliaryAddresses",
    "Containers",
];

/// Names whose null is a Go pointer and prints `<nil>`.
const POINTERS: &[&str] = &[
    "Health",
    "Healthcheck",
    "HostConfig",
    "Config",
    "State",
    "NetworkSettings",
    "IPAMConfig",
    "Init",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "StopTimeout",
    "SizeRw",
    "SizeRootFs",
    "Platform",
    "BindOptions",
    "VolumeOptions",
    "TmpfsOptions",
    "ContainerConfig",
    "ImageManifestDescriptor",
];

/// Names whose numbers are spans of time.
const DURATIONS: &[&str] = &["Interval", "Timeout", "StartPeriod", "StartInterval"];

/// Names of numbers, booleans and lists that JSON leaves out when they are zero, false and empty.
const NUMBERS: &[&str] =
    &["Retries", "VirtualSize", "KernelMemory", "KernelMemoryTCP", "GwPriority"];
const BOOLEANS: &[&str] = &["ArgsEscaped", "NetworkDisabled", "ReadOnly"];
const LISTS: &[&str] = &["Shell", "ClientErrors", "ServerErrors"];

/// What a field is whose JSON leaves it out.
fn left_out(name: &str) -> Value {
    if DURATIONS.contains(&name) {
        Value::Duration(0)
    } else if NUMBERS.contains(&name) {
        Value::Int(0)
    } else if BOOLEANS.contains(&name) {
        Value::Bool(false)
    } else if LISTS.contains(&name) {
        Value::Nil(Nil::List)
    } else {
        // Mostly it is an empty text; pointers and maps are known by name.
        match nil_of(name) {
            Nil::List => Value::str(""),
            nil => Value::Nil(nil),
        }
    }
}

/// Which nothing a null in the field `name` is.
fn nil_of(name: &str) -> Nil {
    if MAPS.contains(&name) {
        Nil::Map
    } else if POINTERS.contains(&name) {
        Nil::Pointer
    } else {
        Nil::List
    }
}

/// Serializes into a [`Value`]; `field` is the name of the struct field being written.
pub(super) struct Typed {
    pub(super) field: &'static str,
}

/// Why a value cannot be shown in a template; only maps with keys that are no text.
#[derive(Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        Self(msg.to_string())
    }
}

pub(super) struct ListOf(Vec<Value>);
pub(super) struct MapOf {
    map: Map,
    key: Option<Rc<str>>,
}

impl ser::Serializer for Typed {
    type Ok = Value;
    type Error = Refused;
    type SerializeSeq = ListOf;
    type SerializeTuple = ListOf;
    type SerializeTupleStruct = ListOf;
    type SerializeTupleVariant = ser::Impossible<Value, Refused>;
    type SerializeMap = MapOf;
    type SerializeStruct = MapOf;
    type SerializeStructVariant = ser::Impossible<Value, Refused>;

    fn serialize_bool(self, v: bool) -> Result<Value, Refused> {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Result<Value, Refused> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Result<Value, Refused> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Result<Value, Refused> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i64(self, v: i64) -> Result<Value, Refused> {
        Ok(Value::Int(v))
    }
    fn serialize_u8(self, v: u8) -> Result<Value, Refused> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Result<Value, Refused> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Result<Value, Refused> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Result<Value, Refused> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }
    fn serialize_f32(self, v: f32) -> Result<Value, Refused> {
        Ok(Value::Float(v.into()))
    }
    fn serialize_f64(self, v: f64) -> Result<Value, Refused> {
        Ok(Value::Float(v))
    }
    fn serialize_char(self, v: char) -> Result<Value, Refused> {
        Ok(Value::str(v.to_string()))
    }
    fn serialize_str(self, v: &str) -> Result<Value, Refused> {
        Ok(Value::str(v))
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<Value, Refused> {
        Ok(Value::str(String::from_utf8_lossy(v)))
    }
    fn serialize_none(self) -> Result<Value, Refused> {
        Ok(Value::Nil(nil_of(self.field)))
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Refused> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, Refused> {
        Ok(Value::Nil(Nil::Untyped))
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, Refused> {
        Ok(Value::Nil(Nil::Untyped))
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, Refused> {
        Ok(Value::str(variant))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Refused> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Refused> {
        let value = value.serialize(Self { field: "" })?;
        let entries = vec![Entry { name: variant.into(), value, omitted: false }];
        Ok(Value::Map(Rc::new(Map { is_struct: true, entries, ..Map::default() })))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<ListOf, Refused> {
        Ok(ListOf(Vec::with_capacity(len.unwrap_or(0))))
    }
    fn serialize_tuple(self, len: usize) -> Result<ListOf, Refused> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<ListOf, Refused> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        Err(ser::Error::custom("tuple variants are not on the wire"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<MapOf, Refused> {
        Ok(MapOf { map: Map::default(), key: None })
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<MapOf, Refused> {
        let map = Map { is_struct: true, entries: Vec::with_capacity(len), ..Map::default() };
        Ok(MapOf { map, key: None })
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        Err(ser::Error::custom("struct variants are not on the wire"))
    }
}

impl ser::SerializeSeq for ListOf {
    type Ok = Value;
    type Error = Refused;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.0.push(value.serialize(Typed { field: "" })?);
        Ok(())
    }
    fn end(self) -> Result<Value, Refused> {
        Ok(Value::List(self.0.into()))
    }
}

impl ser::SerializeTuple for ListOf {
    type Ok = Value;
    type Error = Refused;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        ser::SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<Value, Refused> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for ListOf {
    type Ok = Value;
    type Error = Refused;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        ser::SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<Value, Refused> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeMap for MapOf {
    type Ok = Value;
    type Error = Refused;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key = match key.serialize(Typed { field: "" })? {
            Value::Str(text) => Some(text),
            Value::Int(number) => Some(number.to_string().into()),
            _ => return Err(ser::Error::custom("a map's key is no text")),
        };
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let key = self.key.take().unwrap_or_default();
        let value = value.serialize(Typed { field: "" })?;
        self.map.entries.push(Entry { name: key, value, omitted: false });
        Ok(())
    }
    fn end(self) -> Result<Value, Refused> {
        Ok(Value::Map(Rc::new(self.map)))
    }
}

impl ser::SerializeStruct for MapOf {
    type Ok = Value;
    type Error = Refused;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let value = match value.serialize(Typed { field: key })? {
            Value::Int(nanos) if DURATIONS.contains(&key) => Value::Duration(nanos),
            other => other,
        };
        self.map.entries.push(Entry { name: key.into(), value, omitted: false });
        Ok(())
    }
    fn skip_field(&mut self, key: &'static str) -> Result<(), Refused> {
        let value = left_out(key);
        self.map.entries.push(Entry { name: key.into(), value, omitted: true });
        Ok(())
    }
    fn end(self) -> Result<Value, Refused> {
        Ok(Value::Map(Rc::new(self.map)))
    }
}
