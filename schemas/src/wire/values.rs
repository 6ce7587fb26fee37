//! Leaf values of the wire format.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::fault::{Fault, Problem};
use super::object::Read;

/// A string, borrowed unless it holds escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Strings; a single one stands for a list of one.
#[derive(Clone, Debug, Default)]
pub struct Texts<'a>(pub Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Read<'de> for Texts<'a> {
    fn read<D: Deserializer<'de>>(deserializer: D, _: &Fault) -> Result<Self, D::Error> {
        struct TextsVisitor;

        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Texts(vec![Cow::Borrowed(text)]))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Texts(vec![Cow::Owned(text.to_owned())]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut texts = Vec::new();
                while let Some(Text(text)) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_any(TextsVisitor)
    }
}

/// A whole number from 0 to 2^64-1; `12.0` counts as 12, as some languages write every number so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub u64);

impl<'de> Read<'de> for Count {
    fn read<D: Deserializer<'de>>(deserializer: D, fault: &Fault) -> Result<Self, D::Error> {
        struct CountVisitor<'f>(&'f Fault);

        impl Visitor<'_> for CountVisitor<'_> {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number that is not negative")
            }

            fn visit_u64<E>(self, n: u64) -> Result<Count, E> {
                Ok(Count(n))
            }

            fn visit_i64<E: Error>(self, n: i64) -> Result<Count, E> {
                u64::try_from(n).map(Count).map_err(|_| {
                    self.0.set(Problem::Value);
                    E::invalid_value(Unexpected::Signed(n), &self)
                })
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be whole and in range"
            )]
            fn visit_f64<E: Error>(self, n: f64) -> Result<Count, E> {
                const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
                if n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&n) {
                    return Ok(Count(n as u64));
                }
                self.0.set(Problem::Value);
                Err(E::invalid_value(Unexpected::Float(n), &self))
            }
        }

        deserializer.deserialize_any(CountVisitor(fault))
    }
}

/// The `attributes` object: names and values as they stand.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Read<'de> for Attributes<'a> {
    fn read<D: Deserializer<'de>>(deserializer: D, _: &Fault) -> Result<Self, D::Error> {
        struct AttributesVisitor;

        impl<'de> Visitor<'de> for AttributesVisitor {
            type Value = Attributes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut out = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    out.push((name, value));
                }
                Ok(Attributes(out))
            }
        }

        deserializer.deserialize_map(AttributesVisitor)
    }
}

impl<'de: 'a, 'a> Read<'de> for Text<'a> {
    fn read<D: Deserializer<'de>>(deserializer: D, _: &Fault) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl<'de: 'a, 'a> Read<'de> for &'a RawValue {
    fn read<D: Deserializer<'de>>(deserializer: D, _: &Fault) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl<'de> Read<'de> for f64 {
    fn read<D: Deserializer<'de>>(deserializer: D, _: &Fault) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}
