//! JSON with the habits of Go's `encoding/json`, which every client of the API was written against.
//!
//! [`from_slice`] reads any type that derives `Deserialize` and differs from `serde_json` in three things: names of
//! struct fields match in any case, `null` is the type's zero value, and errors say what Go's say, since they end up in
//! front of the user. Unknown fields are skipped by both. A field given twice is refused, where Go takes the last: an
//! authorization plugin and the daemon must not be able to disagree about a body.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess,
    Visitor,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is nothing but white space.
    Empty,
    /// It ends too early.
    Truncated,
    /// A whole value is followed by something else.
    Trailing,
    /// It is no JSON, or not of the type that is wanted: Go's words for it.
    Invalid(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("EOF"),
            Self::Truncated => f.write_str("unexpected EOF"),
            Self::Trailing => f.write_str("unexpected content after JSON"),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Reads one value, as Go does.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    read(text, std::marker::PhantomData::<T>)
}

fn read<'de, S: DeserializeSeed<'de>>(text: &'de [u8], seed: S) -> Result<S::Value, Error> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Empty);
    }
    let trace = Trace::default();
    let mut inner = serde_json::Deserializer::from_slice(text);
    let value = seed
        .deserialize(Go { inner: &mut inner, trace: &trace })
        .map_err(|e| explain(&e, &trace, text))?;
    inner.end().map_err(|_| Error::Trailing)?;
    Ok(value)
}

/// As [`from_slice`] for a list, of which each item is handed on when it is read: a long one is never held as a whole.
///
/// After an error, items before the wrong one have been handed on.
pub fn each<T: DeserializeOwned>(text: &[u8], item: impl FnMut(T)) -> Result<(), Error> {
    read(text, EachOf { item, of: std::marker::PhantomData })
}

/// Leaves out zero values (Go's `omitempty` for numbers, texts and booleans).
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Leaves out `nil` and empty (Go's `omitempty` for slices and maps).
pub(crate) fn none_or_empty<T: Collection>(value: &Option<T>) -> bool {
    value.as_ref().is_none_or(Collection::empty)
}

pub(crate) trait Collection {
    fn empty(&self) -> bool;
}

impl<T> Collection for Vec<T> {
    fn empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Collection for BTreeMap<K, V> {
    fn empty(&self) -> bool {
        self.is_empty()
    }
}

/// Reads a list of strings, or a string as a list of one (Docker's `StrSlice`).
pub(crate) fn string_or_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    struct StringOrList;
    impl<'de> Visitor<'de> for StringOrList {
        type Value = Option<Vec<String>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(vec![text.to_owned()]))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                list.push(item);
            }
            Ok(Some(list))
        }
    }
    deserializer.deserialize_any(StringOrList)
}

/// A list whose items go to somebody one by one.
struct EachOf<T, F> {
    item: F,
    of: std::marker::PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for EachOf<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for EachOf<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.item)(item);
        }
        Ok(())
    }
}

/// Where the first error happened: `Struct.Field`.
type Trace = RefCell<Option<String>>;

/// Turns serde's words into Go's.
fn explain(error: &serde_json::Error, trace: &Trace, text: &[u8]) -> Error {
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(message, _)| message);
    match error.classify() {
        serde_json::error::Category::Eof => Error::Truncated,
        serde_json::error::Category::Syntax => {
            let found = char_at(text, error.line(), error.column());
            let place = match said {
                "expected value" | "expected ident" | "invalid number" => {
                    "looking for beginning of value"
                }
                "key must be a string" => "looking for beginning of object key string",
                "expected `:`" => "after object key",
                "expected `,` or `}`" => "after object key:value pair",
                "expected `,` or `]`" => "after array element",
                _ => return Error::Invalid(said.to_owned()),
            };
            Error::Invalid(format!("invalid character {found:?} {place}"))
        }
        serde_json::error::Category::Data | serde_json::error::Category::Io => {
            Error::Invalid(explain_type(said, trace.borrow().as_deref()))
        }
    }
}

fn char_at(text: &[u8], line: usize, column: usize) -> char {
    let line = text.split(|b| *b == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    char::from(*line.get(column.saturating_sub(1)).unwrap_or(&b' '))
}

/// ``invalid type: integer `5`, expected a string`` → `json: cannot unmarshal number into Go …`.
fn explain_type(said: &str, place: Option<&str>) -> String {
    let parsed = said
        .strip_prefix("invalid type: ")
        .or_else(|| said.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "));
    let Some((found, wanted)) = parsed else { return said.to_owned() };
    let found = match found.split([' ', '`']).next().unwrap_or_default() {
        "integer" | "floating" if said.starts_with("invalid value") => {
            format!("number {}", found.split('`').nth(1).unwrap_or_default())
        }
        "integer" | "floating" => "number".to_owned(),
        "string" => "string".to_owned(),
        "boolean" => "bool".to_owned(),
        "sequence" => "array".to_owned(),
        "map" => "object".to_owned(),
        other => other.to_owned(),
    };
    let wanted = match wanted {
        "a string" => "string",
        "a boolean" => "bool",
        "i64" => "int64",
        "u64" => "uint64",
        "u32" => "uint32",
        "u16" => "uint16",
        "u8" => "uint8",
        "a sequence" => "[]string",
        "a map" => "map[string]string",
        other => other.strip_prefix("struct ").unwrap_or(other),
    };
    match place {
        Some(place) => {
            format!("json: cannot unmarshal {found} into Go struct field {place} of type {wanted}")
        }
        None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
    }
}

/// A deserializer with Go's habits around another one.
#[derive(Debug)]
pub struct Go<'a, D> {
    inner: D,
    trace: &'a Trace,
}

/// What `null` stands for where the type is known.
#[derive(Clone, Copy)]
enum Zero {
    Bool,
    Signed,
    Unsigned,
    Float,
    Text,
    List,
    Map,
    Struct(&'static str, &'static [&'static str]),
}

macro_rules! zero_for {
    ($($method:ident => $zero:expr),+ $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.deserialize_option(OrNull { visitor, zero: $zero, trace: self.trace })
        }
    )+};
}

macro_rules! as_it_is {
    ($($method:ident),+ $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(Inside { visitor, shape: None, trace: self.trace })
        }
    )+};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Go<'_, D> {
    type Error = D::Error;

    zero_for! {
        deserialize_bool => Zero::Bool,
        deserialize_i8 => Zero::Signed, deserialize_i16 => Zero::Signed, deserialize_i32 => Zero::Signed,
        deserialize_i64 => Zero::Signed,
        deserialize_u8 => Zero::Unsigned, deserialize_u16 => Zero::Unsigned, deserialize_u32 => Zero::Unsigned,
        deserialize_u64 => Zero::Unsigned,
        deserialize_f32 => Zero::Float, deserialize_f64 => Zero::Float,
        deserialize_str => Zero::Text, deserialize_string => Zero::Text,
        deserialize_seq => Zero::List,
        deserialize_map => Zero::Map,
    }

    as_it_is! {
        deserialize_any, deserialize_i128, deserialize_u128, deserialize_char, deserialize_bytes, deserialize_byte_buf,
        deserialize_option, deserialize_unit, deserialize_identifier,
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(OrNull {
            visitor,
            zero: Zero::Struct(name, fields),
            trace: self.trace,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if name.starts_with("$serde_json") {
            // A `RawValue`: serde_json and its visitor talk in private.
            return self.inner.deserialize_newtype_struct(name, visitor);
        }
        self.inner
            .deserialize_newtype_struct(name, Inside { visitor, shape: None, trace: self.trace })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, Inside { visitor, shape: None, trace: self.trace })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple_struct(
            name,
            len,
            Inside { visitor, shape: None, trace: self.trace },
        )
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }
}

/// Gives the visitor its zero for `null`, and the value otherwise.
struct OrNull<'a, V> {
    visitor: V,
    zero: Zero,
    trace: &'a Trace,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OrNull<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.visit_none()
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        match self.zero {
            Zero::Bool => self.visitor.visit_bool(false),
            Zero::Signed => self.visitor.visit_i64(0),
            Zero::Unsigned => self.visitor.visit_u64(0),
            Zero::Float => self.visitor.visit_f64(0.0),
            Zero::Text => self.visitor.visit_str(""),
            Zero::List => self.visitor.visit_seq(Nothing::<E>::new()),
            Zero::Map | Zero::Struct(..) => self.visitor.visit_map(Nothing::<E>::new()),
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let Self { visitor, zero, trace } = self;
        let inside = |visitor| Inside { visitor, shape: None, trace };
        match zero {
            Zero::Bool => inner.deserialize_bool(inside(visitor)),
            Zero::Signed => inner.deserialize_i64(inside(visitor)),
            Zero::Unsigned => inner.deserialize_u64(inside(visitor)),
            Zero::Float => inner.deserialize_f64(inside(visitor)),
            Zero::Text => inner.deserialize_str(inside(visitor)),
            Zero::List => inner.deserialize_seq(inside(visitor)),
            Zero::Map => inner.deserialize_map(inside(visitor)),
            Zero::Struct(name, fields) => inner.deserialize_struct(
                name,
                fields,
                Inside { visitor, shape: Some((name, fields)), trace },
            ),
        }
    }
}

/// No items, no entries.
struct Nothing<E>(std::marker::PhantomData<E>);

impl<E> Nothing<E> {
    fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<'de, E: de::Error> SeqAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, _: T) -> Result<Option<T::Value>, E> {
        Ok(None)
    }
}

impl<'de, E: de::Error> MapAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _: K) -> Result<Option<K::Value>, E> {
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, _: T) -> Result<T::Value, E> {
        Err(E::custom("a value without a key"))
    }
}

/// A struct's name and the names of its fields.
type Shape = Option<(&'static str, &'static [&'static str])>;

/// Keeps the habits while a visitor goes deeper.
struct Inside<'a, V> {
    visitor: V,
    shape: Shape,
    trace: &'a Trace,
}

macro_rules! forward {
    ($($method:ident($t:ty)),+ $(,)?) => {$(
        fn $method<E: de::Error>(self, value: $t) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )+};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<'_, V> {
    type Value = V::Value;

    forward! {
        visit_bool(bool), visit_i64(i64), visit_i128(i128), visit_u64(u64), visit_u128(u128), visit_f64(f64),
        visit_char(char), visit_str(&str), visit_borrowed_str(&'de str), visit_string(String), visit_bytes(&[u8]),
        visit_borrowed_bytes(&'de [u8]), visit_byte_buf(Vec<u8>),
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Go { inner, trace: self.trace })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Go { inner, trace: self.trace })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if let Some((name, _)) = self.shape {
            // serde would read a struct from an array, field by field; Go does not.
            return Err(de::Error::invalid_type(
                de::Unexpected::Seq,
                &format!("struct {name}").as_str(),
            ));
        }
        self.visitor.visit_seq(Items { inner, trace: self.trace })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Entries { inner, shape: self.shape, field: "", trace: self.trace })
    }
}

struct Items<'a, A> {
    inner: A,
    trace: &'a Trace,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.inner.next_element_seed(Seed { seed, trace: self.trace })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct Entries<'a, A> {
    inner: A,
    shape: Shape,
    /// The field whose value comes next.
    field: &'static str,
    trace: &'a Trace,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some((_, fields)) = self.shape else { return self.inner.next_key_seed(seed) };
        let Some(field) = self.inner.next_key_seed(FieldName(fields))? else { return Ok(None) };
        self.field = field;
        // An unknown field has an empty name, which no struct of ours has: it is skipped.
        seed.deserialize(StrDeserializer::new(field)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let result = self.inner.next_value_seed(Seed { seed, trace: self.trace });
        if result.is_err()
            && let Some((name, _)) = self.shape
        {
            let mut trace = self.trace.borrow_mut();
            if trace.is_none() {
                *trace = Some(format!("{name}.{}", self.field));
            }
        }
        result
    }
}

/// Finds the field that a name means: the very name, or the same in another case.
struct FieldName(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        let exact = self.0.iter().find(|f| **f == name);
        Ok(exact
            .or_else(|| self.0.iter().find(|f| f.eq_ignore_ascii_case(name)))
            .copied()
            .unwrap_or(""))
    }
}

struct Seed<'a, S> {
    seed: S,
    trace: &'a Trace,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Go { inner, trace: self.trace })
    }
}

/// Reads one value that `T` borrows nothing of, from an already running deserializer.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let trace = Trace::default();
    T::deserialize(Go { inner: deserializer, trace: &trace })
}

#[cfg(test)]
mod tests;
