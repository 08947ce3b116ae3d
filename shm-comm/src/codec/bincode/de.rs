//! Bytes become values: see [`bincode`](super) for the format.

use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use crate::codec::limit::Failure;

pub(super) struct Deserializer<'de> {
    /// What has not been read.
    pub(super) rest: &'de [u8],
}

impl<'de> Deserializer<'de> {
    #[inline]
    fn take(&mut self, len: usize) -> Result<&'de [u8], Failure> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| ends(self.rest.len(), len))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Failure> {
        let (taken, rest) =
            self.rest.split_first_chunk().ok_or_else(|| ends(self.rest.len(), LEN))?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn len(&mut self) -> Result<usize, Failure> {
        let len = u64::from_le_bytes(self.array()?);
        usize::try_from(len).map_err(|_| Failure::custom(format_args!("a length is {len}")))
    }

    /// 0 or 1.
    #[inline]
    fn flag(&mut self, what: &str) -> Result<bool, Failure> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Failure::custom(format_args!("{what} is {other}, not 0 or 1"))),
        }
    }

    #[inline]
    fn str(&mut self) -> Result<&'de str, Failure> {
        let len = self.len()?;
        str::from_utf8(self.take(len)?).map_err(Failure::custom)
    }

    #[inline]
    fn char(&mut self) -> Result<char, Failure> {
        let first = *self.rest.first().ok_or_else(|| ends(0, 1))?;
        let len = match first {
            ..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
        };
        let text = str::from_utf8(self.take(len)?).map_err(Failure::custom)?;
        text.chars().next().ok_or_else(|| Failure::custom("no char"))
    }
}

#[cold]
fn ends(left: usize, needed: usize) -> Failure {
    Failure::custom(format_args!("{needed} bytes are needed, {left} are left"))
}

/// The format does not say what follows.
#[cold]
fn unsaid(asked: &str) -> Failure {
    Failure::custom(format_args!("the type asks for {asked}, which bincode does not tell"))
}

macro_rules! numbers {
    ($($method:ident($type:ty) -> $visit:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(<$type>::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = Failure;

    numbers! {
        deserialize_i8(i8) -> visit_i8;
        deserialize_i16(i16) -> visit_i16;
        deserialize_i32(i32) -> visit_i32;
        deserialize_i64(i64) -> visit_i64;
        deserialize_i128(i128) -> visit_i128;
        deserialize_u8(u8) -> visit_u8;
        deserialize_u16(u16) -> visit_u16;
        deserialize_u32(u32) -> visit_u32;
        deserialize_u64(u64) -> visit_u64;
        deserialize_u128(u128) -> visit_u128;
        deserialize_f32(f32) -> visit_f32;
        deserialize_f64(f64) -> visit_f64;
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_bool(self.flag("a bool")?)
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_char(self.char()?)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(self.str()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let len = self.len()?;
        visitor.visit_borrowed_bytes(self.take(len)?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.flag("the tag of an option")? {
            false => visitor.visit_none(),
            true => visitor.visit_some(self),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let left = self.len()?;
        visitor.visit_seq(Elements { from: self, left })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_seq(Elements { from: self, left: len })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let left = self.len()?;
        visitor.visit_map(Elements { from: self, left })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(unsaid("any value"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(unsaid("the name of a field"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(unsaid("the end of a value that it ignores"))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements, or pairs of them.
struct Elements<'a, 'de> {
    from: &'a mut Deserializer<'de>,
    left: usize,
}

impl Elements<'_, '_> {
    /// Whether there is another.
    #[inline]
    fn next(&mut self) -> bool {
        let is_there = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_there
    }

    /// Elements of any size need a byte each.
    #[inline]
    fn plausible(&self) -> usize {
        self.left.min(self.from.rest.len())
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Failure;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        match self.next() {
            true => seed.deserialize(&mut *self.from).map(Some),
            false => Ok(None),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.plausible())
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = Failure;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        match self.next() {
            true => seed.deserialize(&mut *self.from).map(Some),
            false => Ok(None),
        }
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(&mut *self.from)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.plausible())
    }
}

impl<'de> de::EnumAccess<'de> for &mut Deserializer<'de> {
    type Error = Failure;
    type Variant = Self;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Failure> {
        let number = u32::from_le_bytes(self.array()?);
        let number: U32Deserializer<Failure> = number.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Deserializer<'de> {
    type Error = Failure;

    #[inline]
    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}
