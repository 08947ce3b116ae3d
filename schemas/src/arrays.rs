//! Arrays of any length as lists, which serde's own arrays are up to 32 elements.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

pub fn serialize<T: Serialize, S: Serializer, const N: usize>(
    array: &[T; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut tuple = serializer.serialize_tuple(N)?;
    for element in array {
        tuple.serialize_element(element)?;
    }
    tuple.end()
}

pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[T; N], D::Error> {
    struct Elements<T, const N: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Elements<T, N> {
        type Value = [T; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of {N} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<[T; N], A::Error> {
            let mut elements = Vec::with_capacity(N);
            while elements.len() < N {
                match from.next_element()? {
                    Some(element) => elements.push(element),
                    None => return Err(A::Error::invalid_length(elements.len(), &self)),
                }
            }
            // There are as many as there have to be.
            elements.try_into().map_err(|_| A::Error::custom("a list of another length"))
        }
    }

    deserializer.deserialize_tuple(N, Elements(PhantomData))
}
