//! A JSON object with known fields, each optional, and the rest kept.

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

        const _: () = {
            #[derive(Clone, Copy)]
            #[allow(non_camel_case_types)]
            enum Key { $($field),* }

            #[allow(unreachable_pub)]
            pub struct Visitor<'f> { fault: Option<&'f $crate::wire::Fault> }

            impl<'a> $name<'a> {
                #[allow(dead_code)]
                pub(crate) fn visitor<'f>(fault: Option<&'f $crate::wire::Fault>) -> Visitor<'f> {
                    Visitor { fault }
                }
            }

            impl<'de> serde::de::Visitor<'de> for Visitor<'_> {
                type Value = $name<'de>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                    use serde::de::Error as _;
                    let mut out = $name::default();
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
                            if let Some(fault) = self.fault {
                                fault.field.set(Some(name));
                                fault.twice.set(true);
                            }
                            return Err(M::Error::custom(format_args!("field `{name}` comes twice: send it once")));
                        }
                        seen |= bit;
                        match field {
                            $(Key::$field => {
                                out.$field = map.next_value().map_err(|error| {
                                    if let Some(fault) = self.fault {
                                        fault.field.set(Some(name));
                                    }
                                    M::Error::custom(format_args!("field `{name}`: {error}"))
                                })?;
                            })*
                        }
                    }
                    Ok(out)
                }
            }

            impl<'de: 'a, 'a> serde::Deserialize<'de> for $name<'a> {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_map(Visitor { fault: None })
                }
            }
        };
    };
}

pub(crate) use object;
