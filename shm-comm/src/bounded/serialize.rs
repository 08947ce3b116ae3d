//! With the feature `serde`: text as a `str`, a list as a sequence, an option as an option.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{CapacityError, ShmMessage, ShmOption, ShmString, ShmVec};

impl<const N: usize> Serialize for ShmString<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// A text that is too long is an error.
impl<'de, const N: usize> Deserialize<'de> for ShmString<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const N: usize>;

        impl<const N: usize> Visitor<'_> for Text<N> {
            type Value = ShmString<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a text of at most {N} bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ShmString<N>, E> {
                ShmString::try_from(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl<T: ShmMessage + Serialize, const N: usize> Serialize for ShmVec<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_slice().serialize(serializer)
    }
}

/// A list that is too long is an error.
impl<'de, T: ShmMessage + Deserialize<'de>, const N: usize> Deserialize<'de> for ShmVec<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const N: usize>(PhantomData<T>);

        impl<'de, T: ShmMessage + Deserialize<'de>, const N: usize> Visitor<'de> for Elements<T, N> {
            type Value = ShmVec<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<ShmVec<T, N>, A::Error> {
                let mut list = ShmVec::new();
                let mut needed = 0_usize;
                while let Some(element) = from.next_element()? {
                    needed = needed.saturating_add(1);
                    // What has no room is counted, so that the error says how much there would be.
                    let _ = list.push(element);
                }
                match needed {
                    needed if needed <= N => Ok(list),
                    needed => Err(A::Error::custom(CapacityError { needed, capacity: N })),
                }
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

impl<T: ShmMessage + Serialize> Serialize for ShmOption<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de, T: ShmMessage + Deserialize<'de>> Deserialize<'de> for ShmOption<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(ShmOption::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_a_list_and_an_option_are_those_of_every_format() {
        let text = ShmString::<8>::try_from("größe").unwrap();
        let list = ShmVec::<u16, 4>::try_from(&[1, 2, 300][..]).unwrap();
        for (written, json) in [
            (serde_json::to_string(&text), "\"größe\""),
            (serde_json::to_string(&list), "[1,2,300]"),
            (serde_json::to_string(&ShmOption::some(7_u8)), "7"),
            (serde_json::to_string(&ShmOption::<u8>::none()), "null"),
        ] {
            assert_eq!(written.unwrap(), json);
        }
        assert_eq!(serde_json::from_str::<ShmString<8>>("\"größe\"").unwrap(), text);
        assert_eq!(serde_json::from_str::<ShmVec<u16, 4>>("[1,2,300]").unwrap(), list);
        assert_eq!(serde_json::from_str::<ShmOption<u8>>("7").unwrap(), Some(7));
        assert_eq!(serde_json::from_str::<ShmOption<u8>>("null").unwrap(), None);
    }

    #[test]
    fn what_is_too_long_is_an_error_with_both_numbers() {
        let error = serde_json::from_str::<ShmString<4>>("\"scout\"").unwrap_err().to_string();
        assert!(error.starts_with("5 do not fit where there is room for 4"), "{error}");
        let error = serde_json::from_str::<ShmVec<u8, 2>>("[1,2,3,4]").unwrap_err().to_string();
        assert!(error.starts_with("4 do not fit where there is room for 2"), "{error}");
    }
}
