//! Between a format's deserialiser and the user's type: see [`limit`](super).

use serde::de::{self, DeserializeSeed};

use super::{Failure, Level};

/// What [`super::deserialize_seed`] does.
pub(super) fn deserialize<'de, T: DeserializeSeed<'de>, D: de::Deserializer<'de>>(
    seed: T,
    deserializer: D,
    level: Level<'_>,
) -> Result<T::Value, Failure> {
    seed.deserialize(Deserializer { format: deserializer, level })
}

/// To the format, with a failure of the user's type.
#[cold]
fn carry<E: de::Error>(level: Level<'_>, failure: Failure) -> E {
    level.carry(failure, |failure| E::custom(failure))
}

/// To the user's type, with an error of the format.
#[cold]
fn uncarry<E: de::Error>(level: Level<'_>, error: E) -> Failure {
    level.uncarry(error, |failure| E::custom(failure))
}

/// A format's deserialiser, as the user's type sees it.
struct Deserializer<'b, D> {
    format: D,
    level: Level<'b>,
}

/// A method that says what is expected, and hands a visitor over. The type knows of `$free` elements.
macro_rules! expect {
    ($($method:ident($($argument:ident: $type:ty),*), free $free:expr;)*) => {$(
        #[inline]
        fn $method<V: de::Visitor<'de>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> Result<V::Value, Failure> {
            let Deserializer { format, level } = self;
            let visitor = Visitor { user: visitor, level, free: $free };
            format.$method($($argument,)* visitor).map_err(|error| uncarry(level, error))
        }
    )*};
}

impl<'de, D: de::Deserializer<'de>> de::Deserializer<'de> for Deserializer<'_, D> {
    type Error = Failure;

    expect! {
        deserialize_any(), free 0;
        deserialize_bool(), free 0;
        deserialize_i8(), free 0;
        deserialize_i16(), free 0;
        deserialize_i32(), free 0;
        deserialize_i64(), free 0;
        deserialize_i128(), free 0;
        deserialize_u8(), free 0;
        deserialize_u16(), free 0;
        deserialize_u32(), free 0;
        deserialize_u64(), free 0;
        deserialize_u128(), free 0;
        deserialize_f32(), free 0;
        deserialize_f64(), free 0;
        deserialize_char(), free 0;
        deserialize_str(), free 0;
        deserialize_string(), free 0;
        deserialize_bytes(), free 0;
        deserialize_byte_buf(), free 0;
        deserialize_option(), free 0;
        deserialize_unit(), free 0;
        deserialize_unit_struct(name: &'static str), free 0;
        deserialize_newtype_struct(name: &'static str), free 0;
        deserialize_seq(), free 0;
        deserialize_tuple(len: usize), free len;
        deserialize_tuple_struct(name: &'static str, len: usize), free len;
        deserialize_map(), free 0;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]), free fields.len();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]), free 0;
        deserialize_identifier(), free 0;
        deserialize_ignored_any(), free 0;
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.format.is_human_readable()
    }
}

/// The user's visitor, as the format sees it.
struct Visitor<'b, V> {
    user: V,
    /// Where the visited value is.
    level: Level<'b>,
    /// Elements that do not count.
    free: usize,
}

/// A method that is given a value with nothing inside.
macro_rules! visit {
    ($($method:ident($($value:ident: $type:ty)?);)*) => {$(
        #[inline]
        fn $method<E: de::Error>(self, $($value: $type)?) -> Result<V::Value, E> {
            let Visitor { user, level, .. } = self;
            user.$method($($value)?).map_err(|failure| carry(level, failure))
        }
    )*};
}

impl<'de, V: de::Visitor<'de>> de::Visitor<'de> for Visitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.user.expecting(f)
    }

    visit! {
        visit_bool(value: bool);
        visit_i8(value: i8);
        visit_i16(value: i16);
        visit_i32(value: i32);
        visit_i64(value: i64);
        visit_i128(value: i128);
        visit_u8(value: u8);
        visit_u16(value: u16);
        visit_u32(value: u32);
        visit_u64(value: u64);
        visit_u128(value: u128);
        visit_f32(value: f32);
        visit_f64(value: f64);
        visit_char(value: char);
        visit_str(value: &str);
        visit_borrowed_str(value: &'de str);
        visit_string(value: String);
        visit_bytes(value: &[u8]);
        visit_borrowed_bytes(value: &'de [u8]);
        visit_byte_buf(value: Vec<u8>);
        visit_none();
        visit_unit();
    }

    #[inline]
    fn visit_some<D: de::Deserializer<'de>>(self, format: D) -> Result<V::Value, D::Error> {
        let Visitor { user, level, .. } = self;
        let inside = level.deeper().map_err(|failure| carry(level, failure))?;
        user.visit_some(Deserializer { format, level: inside })
            .map_err(|failure| carry(level, failure))
    }

    #[inline]
    fn visit_newtype_struct<D: de::Deserializer<'de>>(
        self,
        format: D,
    ) -> Result<V::Value, D::Error> {
        let Visitor { user, level, .. } = self;
        let inside = level.deeper().map_err(|failure| carry(level, failure))?;
        user.visit_newtype_struct(Deserializer { format, level: inside })
            .map_err(|failure| carry(level, failure))
    }

    #[inline]
    fn visit_seq<A: de::SeqAccess<'de>>(self, format: A) -> Result<V::Value, A::Error> {
        let Visitor { user, level, free } = self;
        let inside = level.deeper().map_err(|failure| carry(level, failure))?;
        let room = level.grant(format.size_hint(), free);
        user.visit_seq(Elements { format, level: inside, free, room })
            .map_err(|failure| carry(level, failure))
    }

    #[inline]
    fn visit_map<A: de::MapAccess<'de>>(self, format: A) -> Result<V::Value, A::Error> {
        let Visitor { user, level, free } = self;
        let inside = level.deeper().map_err(|failure| carry(level, failure))?;
        let room = level.grant(format.size_hint(), free);
        user.visit_map(Elements { format, level: inside, free, room })
            .map_err(|failure| carry(level, failure))
    }

    #[inline]
    fn visit_enum<A: de::EnumAccess<'de>>(self, format: A) -> Result<V::Value, A::Error> {
        let Visitor { user, level, .. } = self;
        user.visit_enum(Enum { format, level }).map_err(|failure| carry(level, failure))
    }
}

/// The elements of a sequence, or the entries of a map.
struct Elements<'b, A> {
    format: A,
    /// Where the elements are.
    level: Level<'b>,
    /// How many more do not count.
    free: usize,
    /// For how many room may be made in advance.
    room: Option<usize>,
}

impl<A> Elements<'_, A> {
    #[inline]
    fn count(&mut self) -> Result<(), Failure> {
        match self.free.checked_sub(1) {
            Some(free) => {
                self.free = free;
                Ok(())
            }
            None => self.level.count(),
        }
    }
}

impl<'de, A: de::SeqAccess<'de>> de::SeqAccess<'de> for Elements<'_, A> {
    type Error = Failure;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let level = self.level;
        let element = self
            .format
            .next_element_seed(Seed { user: seed, level })
            .map_err(|error| uncarry(level, error))?;
        if element.is_some() {
            self.count()?;
        }
        Ok(element)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.room
    }
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Elements<'_, A> {
    type Error = Failure;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let level = self.level;
        let key = self
            .format
            .next_key_seed(Seed { user: seed, level })
            .map_err(|error| uncarry(level, error))?;
        if key.is_some() {
            self.count()?;
        }
        Ok(key)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let level = self.level;
        self.format
            .next_value_seed(Seed { user: seed, level })
            .map_err(|error| uncarry(level, error))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.room
    }
}

/// Which variant, and then its content.
struct Enum<'b, A> {
    format: A,
    level: Level<'b>,
}

impl<'de, 'b, A: de::EnumAccess<'de>> de::EnumAccess<'de> for Enum<'b, A> {
    type Error = Failure;
    type Variant = Enum<'b, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), Failure> {
        let Enum { format, level } = self;
        let (variant, content) = format
            .variant_seed(Seed { user: seed, level })
            .map_err(|error| uncarry(level, error))?;
        Ok((variant, Enum { format: content, level }))
    }
}

impl<'de, A: de::VariantAccess<'de>> de::VariantAccess<'de> for Enum<'_, A> {
    type Error = Failure;

    #[inline]
    fn unit_variant(self) -> Result<(), Failure> {
        let Enum { format, level } = self;
        format.unit_variant().map_err(|error| uncarry(level, error))
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        let Enum { format, level } = self;
        let seed = Seed { user: seed, level: level.deeper()? };
        format.newtype_variant_seed(seed).map_err(|error| uncarry(level, error))
    }

    #[inline]
    fn tuple_variant<V: de::Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Enum { format, level } = self;
        let visitor = Visitor { user: visitor, level, free: len };
        format.tuple_variant(len, visitor).map_err(|error| uncarry(level, error))
    }

    #[inline]
    fn struct_variant<V: de::Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let Enum { format, level } = self;
        let visitor = Visitor { user: visitor, level, free: fields.len() };
        format.struct_variant(fields, visitor).map_err(|error| uncarry(level, error))
    }
}

/// How the user's type makes the next value, as the format sees it.
struct Seed<'b, T> {
    user: T,
    level: Level<'b>,
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: de::Deserializer<'de>>(self, format: D) -> Result<T::Value, D::Error> {
        let Seed { user, level } = self;
        user.deserialize(Deserializer { format, level }).map_err(|failure| carry(level, failure))
    }
}
