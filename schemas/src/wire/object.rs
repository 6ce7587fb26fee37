//! A JSON object with known fields, each optional, and the rest kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::fault::{Fault, Problem};

/// A value of the wire format. Like `Deserialize`, and told where to note which field could not be read.
pub(crate) trait Read<'de>: Sized {
    fn read<D: Deserializer<'de>>(deserializer: D, fault: &Fault) -> Result<Self, D::Error>;
}

/// Reads a `T`, with `null` the same as absent.
pub(crate) struct Nullable<'f, T> {
    fault: &'f Fault,
    value: PhantomData<T>,
}

impl<'f, T> Nullable<'f, T> {
    pub(crate) fn new(fault: &'f Fault) -> Self {
        Self { fault, value: PhantomData }
    }
}

impl<'de, T: Read<'de>> DeserializeSeed<'de> for Nullable<'_, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T: Read<'de>> Visitor<'de> for Nullable<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        T::read(deserializer, self.fault).map(Some)
    }
}

struct Item<'f, T> {
    fault: &'f Fault,
    value: PhantomData<T>,
}

impl<'de, T: Read<'de>> DeserializeSeed<'de> for Item<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::read(deserializer, self.fault)
    }
}

impl<'de, T: Read<'de>> Read<'de> for Vec<T> {
    fn read<D: Deserializer<'de>>(deserializer: D, fault: &Fault) -> Result<Self, D::Error> {
        struct List<'f, T>(Item<'f, T>);

        impl<'de, T: Read<'de>> Visitor<'de> for List<'_, T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element_seed(Item { fault: self.0.fault, value: PhantomData })? {
                    items.push(item);
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(List(Item { fault, value: PhantomData }))
    }
}

/// Reads the value of a known field, once.
pub(super) fn field<'de, M: MapAccess<'de>, T: Read<'de>>(
    map: &mut M,
    name: &'static str,
    fault: &Fault,
) -> Result<Option<T>, M::Error> {
    map.next_value_seed(Nullable::new(fault)).inspect_err(|_| fault.within(name))
}

pub(super) fn twice<E: Error>(name: &'static str, fault: &Fault) -> E {
    fault.within(name);
    fault.set(Problem::Twice);
    E::custom(format_args!("the field comes twice: send it once"))
}

/// Declares a struct of optional fields and its reader. `name("key"): Type` reads a key that is no Rust name.
macro_rules! object {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    ($(#[$doc:meta])* $name:ident { $($field:ident $(($key:literal))?: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name<'a> {
            $(pub $field: Option<$type>,)*
            /// Fields of other names, in the order they came.
            pub extra: Vec<(std::borrow::Cow<'a, str>, &'a serde_json::value::RawValue)>,
        }

        impl $name<'_> {
            /// Names of the known fields, as they are in JSON.
            pub const FIELDS: &'static [&'static str] = &[$(object!(@key $field $($key)?)),*];
        }

        impl<'de: 'a, 'a> $crate::wire::object::Read<'de> for $name<'a> {
            fn read<D: serde::Deserializer<'de>>(
                deserializer: D,
                fault: &$crate::wire::fault::Fault,
            ) -> Result<Self, D::Error> {
                let mut out = Self::default();
                out.fill(deserializer, fault)?;
                Ok(out)
            }
        }

        impl<'a> $name<'a> {
            /// Reads the fields where they stand: the largest of these objects takes a kilobyte, and each hand-over by
            /// value would copy it.
            pub(crate) fn fill<'de: 'a, D: serde::Deserializer<'de>>(
                &mut self,
                deserializer: D,
                fault: &$crate::wire::fault::Fault,
            ) -> Result<(), D::Error> {
                #[derive(Clone, Copy)]
                #[allow(non_camel_case_types)]
                enum Key { $($field),* }

                struct Fields<'f, 'o, 'a>(&'f $crate::wire::fault::Fault, &'o mut $name<'a>);

                impl<'de: 'a, 'a> serde::de::Visitor<'de> for Fields<'_, '_, 'a> {
                    type Value = ();

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                        let out = self.1;
                        let mut seen = 0_u64;
                        while let Some($crate::wire::values::Text(key)) = map.next_key()? {
                            let (field, name) = match &*key {
                                $(object!(@key $field $($key)?) => (Key::$field, object!(@key $field $($key)?)),)*
                                _ => {
                                    out.extra.push((key, map.next_value()?));
                                    continue;
                                }
                            };
                            let bit = 1_u64 << (field as u32);
                            if seen & bit != 0 {
                                return Err($crate::wire::object::twice(name, self.0));
                            }
                            seen |= bit;
                            match field {
                                $(Key::$field => out.$field = $crate::wire::object::field(&mut map, name, self.0)?,)*
                            }
                        }
                        Ok(())
                    }
                }

                deserializer.deserialize_map(Fields(fault, self))
            }
        }
    };
}

pub(crate) use object;
