//! Between the user's type and a format's serialiser: see [`limit`](super).

use std::fmt::Display;

use serde::ser::{self, Serialize};

use super::{Failure, Level};

/// What [`super::serialize`] does.
pub(super) fn serialize<T: Serialize + ?Sized, S: ser::Serializer>(
    value: &T,
    serializer: S,
    level: Level<'_>,
) -> Result<S::Ok, Failure> {
    value.serialize(Serializer { format: serializer, level })
}

/// To the format, with a failure of the user's type.
#[cold]
fn carry<E: ser::Error>(level: Level<'_>, failure: Failure) -> E {
    level.carry(failure, |failure| E::custom(failure))
}

/// To the user's type, with an error of the format.
#[cold]
fn uncarry<E: ser::Error>(level: Level<'_>, error: E) -> Failure {
    level.uncarry(error, |failure| E::custom(failure))
}

/// A format's serialiser, as the user's type sees it.
struct Serializer<'b, S> {
    format: S,
    level: Level<'b>,
}

/// A method that takes a value with nothing inside.
macro_rules! leaf {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> Result<S::Ok, Failure> {
            let Serializer { format, level } = self;
            format.$method($($argument),*).map_err(|error| uncarry(level, error))
        }
    )*};
}

/// A method that takes a value with one other inside.
macro_rules! wrap {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method<T: Serialize + ?Sized>(
            self,
            $($argument: $type,)*
            value: &T,
        ) -> Result<S::Ok, Failure> {
            let Serializer { format, level } = self;
            let value = Value { user: value, level: level.deeper()? };
            format.$method($($argument,)* &value).map_err(|error| uncarry(level, error))
        }
    )*};
}

/// A method that begins a value with any number of others inside.
macro_rules! begin {
    ($($method:ident($($argument:ident: $type:ty),*) -> $inside:ident;)*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> Result<Self::$inside, Failure> {
            let Serializer { format, level } = self;
            let inside = level.deeper()?;
            match format.$method($($argument),*) {
                Ok(format) => Ok(Inside { format, level: inside }),
                Err(error) => Err(uncarry(level, error)),
            }
        }
    )*};
}

impl<'b, S: ser::Serializer> ser::Serializer for Serializer<'b, S> {
    type Ok = S::Ok;
    type Error = Failure;
    type SerializeSeq = Inside<'b, S::SerializeSeq>;
    type SerializeTuple = Inside<'b, S::SerializeTuple>;
    type SerializeTupleStruct = Inside<'b, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Inside<'b, S::SerializeTupleVariant>;
    type SerializeMap = Inside<'b, S::SerializeMap>;
    type SerializeStruct = Inside<'b, S::SerializeStruct>;
    type SerializeStructVariant = Inside<'b, S::SerializeStructVariant>;

    leaf! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    wrap! {
        serialize_some();
        serialize_newtype_struct(name: &'static str);
        serialize_newtype_variant(name: &'static str, index: u32, variant: &'static str);
    }

    begin! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant;
    }

    // Some formats write it without making a string of it.
    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, Failure> {
        let Serializer { format, level } = self;
        format.collect_str(value).map_err(|error| uncarry(level, error))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.format.is_human_readable()
    }
}

/// A value that has begun, for those inside.
struct Inside<'b, S> {
    format: S,
    /// Where those inside are.
    level: Level<'b>,
}

/// The trait of one kind of values, with its one or two methods for a value inside.
macro_rules! inside {
    ($($trait:ident { $($method:ident($($key:ident: $type:ty)?);)* })*) => {$(
        impl<S: ser::$trait> ser::$trait for Inside<'_, S> {
            type Ok = S::Ok;
            type Error = Failure;

            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    $($key: $type,)?
                    value: &T,
                ) -> Result<(), Failure> {
                    let level = self.level;
                    let value = Value { user: value, level };
                    self.format.$method($($key,)? &value).map_err(|error| uncarry(level, error))
                }
            )*

            #[inline]
            fn end(self) -> Result<S::Ok, Failure> {
                let Inside { format, level } = self;
                format.end().map_err(|error| uncarry(level, error))
            }
        }
    )*};
}

inside! {
    SerializeSeq { serialize_element(); }
    SerializeTuple { serialize_element(); }
    SerializeTupleStruct { serialize_field(); }
    SerializeTupleVariant { serialize_field(); }
    SerializeMap { serialize_key(); serialize_value(); }
    SerializeStruct { serialize_field(key: &'static str); }
    SerializeStructVariant { serialize_field(key: &'static str); }
}

/// The user's value, as the format sees it.
struct Value<'b, 'v, T: ?Sized> {
    user: &'v T,
    level: Level<'b>,
}

impl<T: Serialize + ?Sized> Serialize for Value<'_, '_, T> {
    #[inline]
    fn serialize<S: ser::Serializer>(&self, format: S) -> Result<S::Ok, S::Error> {
        let Value { user, level } = *self;
        user.serialize(Serializer { format, level }).map_err(|failure| carry(level, failure))
    }
}
