//! JSON of an agent as a value of the language, built only when a condition names it.

use std::collections::HashMap;
use std::fmt;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The value; an empty object for text that is too long or no JSON. `step.truncated` tells the difference.
pub(super) fn value(json: Option<&str>, bytes_max: usize) -> Box<dyn Val> {
    json.filter(|it| it.len() <= bytes_max)
        .and_then(|it| serde_json::from_str::<Json>(it).ok())
        .map_or_else(|| Box::new(CelMap::default()) as Box<dyn Val>, |it| it.0)
}

/// An object out of named values.
pub(super) fn object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>, bytes_max: usize) -> Box<dyn Val> {
    let mut left = bytes_max;
    let mut out: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
    for (name, json) in members {
        let Some(rest) = left.checked_sub(name.len() + json.len()) else { break };
        left = rest;
        out.insert(CelMapKey::from(name.to_owned()), value(Some(json), bytes_max));
    }
    Box::new(CelMap::from(out))
}

struct Json(Box<dyn Val>);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;

        fn leaf<E>(it: impl Val + 'static) -> Result<Json, E> {
            Ok(Json(Box::new(it)))
        }

        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                leaf(CelNull)
            }

            fn visit_bool<E>(self, it: bool) -> Result<Json, E> {
                leaf(CelBool::from(it))
            }

            fn visit_i64<E>(self, it: i64) -> Result<Json, E> {
                leaf(CelInt::from(it))
            }

            fn visit_u64<E>(self, it: u64) -> Result<Json, E> {
                i64::try_from(it).map_or_else(|_| leaf(CelUInt::from(it)), |it| leaf(CelInt::from(it)))
            }

            fn visit_f64<E>(self, it: f64) -> Result<Json, E> {
                leaf(CelDouble::from(it))
            }

            fn visit_str<E>(self, it: &str) -> Result<Json, E> {
                leaf(CelString::from(it.to_owned()))
            }

            fn visit_string<E>(self, it: String) -> Result<Json, E> {
                leaf(CelString::from(it))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Json, S::Error> {
                let mut items: Vec<Box<dyn Val>> = Vec::new();
                while let Some(Json(item)) = seq.next_element()? {
                    items.push(item);
                }
                leaf(CelList::from(items))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Json, M::Error> {
                let mut members: HashMap<CelMapKey<'static>, Box<dyn Val>> = HashMap::new();
                while let Some((name, Json(member))) = map.next_entry::<String, Json>()? {
                    members.insert(CelMapKey::from(name), member);
                }
                leaf(CelMap::from(members))
            }
        }

        deserializer.deserialize_any(JsonVisitor)
    }
}
