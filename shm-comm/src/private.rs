//! What the expansion of `#[derive(ShmMessage)]` needs. Not for people: it may change in any release.
//!
//! The expansion of a struct is one [`Struct`], a table of its fields ([`Fields::TABLE`]). What follows
//! from the table is computed here, by constant functions, rather than spelled out in every expansion.

pub use bytemuck;

pub use crate::__shm_sized;
pub use crate::message::{Invalid, Layout, ShmMessage};
pub use crate::schema::{Field, Kind, Primitive, Schema, Variant};
pub use crate::text::Text;
pub use crate::word::Word;

/// A struct with the derive. A trait, because only an associated constant can know type parameters.
pub trait Fields {
    /// Its fields.
    const TABLE: Struct;

    /// The ways to the first field that cannot be zero, and to the first that cannot be anything.
    const OBSTACLES: &'static [Text; 2] = &Self::TABLE.obstacles();
}

/// A struct and its fields, in the order of their offsets.
pub struct Struct {
    /// As in the source, with the names of its parameters.
    pub name: &'static str,
    /// Bytes of the whole; of what comes before the slice if it ends in one.
    pub size: usize,
    /// Alignment of the whole.
    pub align: usize,
    /// Every field, padding too.
    pub members: &'static [Member],
    /// The fields have no names, so that none can be inserted.
    pub is_tuple: bool,
    /// The layout depends on parameters.
    pub is_generic: bool,
    /// `_pad…` with this number and above are not in use.
    pub first_free_pad: usize,
    /// What stands before the name of a field: `pub `, or nothing.
    pub pad_visibility: &'static str,
}

/// One field of a [`Struct`], and what is known of its type.
pub struct Member {
    name: &'static str,
    offset: usize,
    /// 0 of a slice.
    size: usize,
    align: usize,
    /// Bytes of an element of a slice, 0 of all else.
    stride: usize,
    zero_is_valid: bool,
    plain: bool,
    zero_obstacle: &'static str,
    plain_obstacle: &'static str,
    needs_drop: bool,
    schema: fn() -> Schema,
    check: fn(&[u8]) -> Result<(), Invalid>,
}

impl Member {
    /// The one place where the expansion asks that a field be a message: one mistake, one error.
    pub const fn new<Field: ShmMessage>(name: &'static str, offset: usize) -> Member {
        Member {
            name,
            offset,
            size: size_of::<Field>(),
            align: align_of::<Field>(),
            stride: 0,
            schema: Field::schema,
            zero_is_valid: Field::ZERO_IS_VALID,
            plain: Field::PLAIN,
            zero_obstacle: Field::LAYOUT.zero_obstacle,
            plain_obstacle: Field::LAYOUT.plain_obstacle,
            needs_drop: std::mem::needs_drop::<Field>(),
            check: Field::check,
        }
    }

    /// The slice at the end of a struct, behind a field that ends at byte `end`: where `repr(C)` puts
    /// it, as the compiler tells offsets only of fields with a size.
    pub const fn slice<Element: ShmMessage>(name: &'static str, end: usize) -> Member {
        Member {
            offset: end.next_multiple_of(align_of::<Element>()),
            size: 0,
            stride: size_of::<Element>(),
            schema: <[Element]>::schema,
            check: <[Element]>::check,
            ..Member::new::<Element>(name, 0)
        }
    }

    /// A field of a foreign type: what it is to others is `Shown`, which has the same size and
    /// alignment ([`pod_differs`]).
    pub const fn pod<Field: PodField, Shown: ShmMessage>(
        name: &'static str,
        offset: usize,
    ) -> Member {
        let (size, align) = (size_of::<Field>(), align_of::<Field>());
        Member { size, align, ..Member::new::<Shown>(name, offset) }
    }

    /// A slice of such a type.
    pub const fn pod_slice<Element: PodField, Shown: ShmMessage>(
        name: &'static str,
        end: usize,
    ) -> Member {
        Member::slice::<Shown>(name, end)
    }

    /// What the schema says of it.
    fn field(&self) -> Field {
        Field { name: self.name.to_owned(), offset: self.offset, schema: (self.schema)() }
    }

    /// Whether this field of a struct with these bytes holds a value.
    #[inline]
    pub fn check(&self, bytes: &[u8]) -> Result<(), Invalid> {
        if self.plain {
            return Ok(());
        }
        let end = if self.stride != 0 { bytes.len() } else { self.end() };
        let checked = match bytes.get(self.offset..end) {
            Some(bytes) => (self.check)(bytes),
            None => Err(cut_off(bytes)),
        };
        checked.map_err(|invalid| invalid.in_field(self.name))
    }

    const fn end(&self) -> usize {
        self.offset + self.size
    }

    /// An array of bytes, which the derive has checked.
    const fn is_padding(&self) -> bool {
        matches!(self.name.as_bytes(), [b'_', b'p', b'a', b'd', ..])
    }
}

/// What follows for the message.
impl Struct {
    /// All-zero bytes are a value of every field.
    pub const fn zero_is_valid(&self) -> bool {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].zero_is_valid {
                return false;
            }
            i += 1;
        }
        true
    }

    /// All bytes are a value of every field.
    pub const fn plain(&self) -> bool {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].plain {
                return false;
            }
            i += 1;
        }
        true
    }

    const fn obstacles(&self) -> [Text; 2] {
        [self.zero_obstacle(), self.plain_obstacle()]
    }

    const fn zero_obstacle(&self) -> Text {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].zero_is_valid {
                return self.way_to(i).str(self.members[i].zero_obstacle);
            }
            i += 1;
        }
        Text::new()
    }

    const fn plain_obstacle(&self) -> Text {
        let mut i = 0;
        while i < self.members.len() {
            if !self.members[i].plain {
                return self.way_to(i).str(self.members[i].plain_obstacle);
            }
            i += 1;
        }
        Text::new()
    }

    const fn way_to(&self, i: usize) -> Text {
        let text = Text::new().str("field `").str(self.members[i].name);
        text.str("` of `").str(self.name).str("`: ")
    }

    /// What the compiler has to know of it.
    pub const fn layout(&self, obstacles: &'static [Text; 2]) -> Layout {
        let stride = match self.members {
            [.., last] => last.stride,
            [] => 0,
        };
        let [zero, plain] = obstacles;
        Layout {
            fixed: self.size,
            align: self.align,
            stride,
            zero_obstacle: "",
            plain_obstacle: "",
        }
        .but(zero.as_str(), plain.as_str())
    }

    /// The schema, under this name.
    pub fn schema(&self, name: String) -> Schema {
        let shown = self.members.iter().filter(|member| !member.is_padding());
        let fields = shown.map(Member::field).collect();
        Schema { size: self.size, align: self.align, kind: Kind::Struct { name, fields } }
    }
}

/// Padding, and how to get rid of it.
impl Struct {
    /// Bytes of padding between field `i` and the next one, or the end. Behind a slice there is none:
    /// what is there differs from message to message, and the library zeroes it.
    pub const fn gap_after(&self, i: usize) -> usize {
        self.next_start(i).saturating_sub(self.members[i].end())
    }

    /// There is padding.
    pub const fn has_gap(&self) -> bool {
        let mut i = 0;
        while i < self.members.len() {
            if self.gap_after(i) > 0 {
                return true;
            }
            i += 1;
        }
        false
    }

    /// The same fields in another order have no padding.
    pub const fn order_matters(&self) -> bool {
        self.has_gap() && (self.fits_in_order(false) || self.fits_in_order(true))
    }

    /// Where the padding after field `i` is, and what to write there.
    pub const fn explain_gap_after(&self, i: usize) -> Text {
        let gap = self.gap_after(i);
        let member = &self.members[i];
        let is_last = i + 1 == self.members.len();

        let text = Text::new().str("`").str(self.name).str("`: ").num(gap);
        let text = text.str(if gap == 1 { " byte" } else { " bytes" }).str(" of padding ");
        let text = text.str(if is_last { "after `" } else { "between `" }).str(member.name);
        let text = text.str("` (ends at byte ").num(member.end());
        let text = if is_last {
            text.str(" of ").num(self.size).str("): ")
        } else {
            let text = text.str(") and `").str(self.members[i + 1].name);
            text.str("` (starts at byte ").num(self.next_start(i)).str("): ")
        };
        self.remedy_for(i, text)
    }

    /// All the padding, and how to get rid of it at once.
    pub const fn explain_gaps(&self) -> Text {
        let text = Text::new().str("`").str(self.name).str("`");
        let text = text.str(if self.is_generic { " with these arguments" } else { "" });
        let text = text.str(" has padding: ");
        let mut text = if self.order_matters() {
            let text = self.order(text.str("put its fields in the order "));
            text.str(", and none is left; or keep the order and ")
        } else if self.is_generic {
            text.str("use arguments that leave none, or for these a struct of its own: ")
        } else {
            text
        };
        let mut is_first = true;
        let mut i = 0;
        while i < self.members.len() {
            if self.gap_after(i) > 0 {
                text = self.remedy_for(i, text.str(if is_first { "" } else { ", " }));
                text = text.str(" (bytes ").num(self.members[i].end());
                text = text.str("..").num(self.next_start(i)).str(")");
                is_first = false;
            }
            i += 1;
        }
        text
    }

    const fn remedy_for(&self, i: usize, text: Text) -> Text {
        let gap = self.gap_after(i);
        let member = &self.members[i];
        if member.is_padding() {
            let size = member.size + gap;
            text.str("make `").str(member.name).str("` a `[u8; ").num(size).str("]`")
        } else {
            let text = text.str(if self.is_tuple { "name the fields and " } else { "" });
            let number = self.number_of_pad_after(i);
            let text = text
                .str("insert `")
                .str(self.pad_visibility)
                .str("_pad")
                .num(number)
                .str(": [u8; ")
                .num(gap);
            text.str("],` after `").str(member.name).str("`")
        }
    }

    /// By falling alignment every field starts where the one before ends, as its size is a multiple of
    /// its alignment, and so of that of the next. What is left is the end, or where the slice starts.
    const fn fits_in_order(&self, with_pads: bool) -> bool {
        let mut sum = 0;
        let mut i = 0;
        while i < self.members.len() {
            if with_pads || !self.members[i].is_padding() {
                sum += self.members[i].size;
            }
            i += 1;
        }
        let align = match self.members {
            [.., last] if last.stride != 0 => last.align,
            _ => self.align,
        };
        sum % align == 0
    }

    const fn order(&self, mut text: Text) -> Text {
        let with_pads = !self.fits_in_order(false);
        let mut is_first = true;
        let mut align = self.align;
        // Once more at the end, for the slice.
        loop {
            let mut i = 0;
            while i < self.members.len() {
                let member = &self.members[i];
                let is_here = match member.stride {
                    0 => member.align == align,
                    _ => align == 0,
                };
                if is_here && (with_pads || !member.is_padding()) {
                    text = text.str(if is_first { "`" } else { ", `" }).str(member.name).str("`");
                    is_first = false;
                }
                i += 1;
            }
            if align == 0 {
                break;
            }
            align /= 2;
        }
        let mut i = 0;
        while i < self.members.len() {
            if !with_pads && self.members[i].is_padding() {
                text = text.str(", without `").str(self.members[i].name).str("`");
            }
            i += 1;
        }
        text
    }

    /// Some field has a destructor, which was reported where its type is declared.
    pub const fn has_field_to_drop(&self) -> bool {
        let mut i = 0;
        while i < self.members.len() {
            if self.members[i].needs_drop {
                return true;
            }
            i += 1;
        }
        false
    }

    /// Fields and gaps make up the whole: nothing is hidden, nothing overlaps.
    pub const fn is_covered(&self) -> bool {
        let mut covered = 0;
        let mut i = 0;
        while i < self.members.len() {
            covered += self.members[i].size + self.gap_after(i);
            i += 1;
        }
        covered == self.size
    }

    /// The slice at the end begins in byte `tail` of the whole, which has this alignment: as `repr(C)` says,
    /// and the table.
    pub const fn is_laid_out(&self, align: isize, tail: isize) -> bool {
        match self.members {
            [.., last] => self.align as isize == align && last.offset as isize == tail,
            [] => false,
        }
    }

    const fn next_start(&self, i: usize) -> usize {
        if i + 1 < self.members.len() { self.members[i + 1].offset } else { self.size }
    }

    /// All gaps are reported at once, and what is pasted for them must not collide.
    const fn number_of_pad_after(&self, i: usize) -> usize {
        let mut number = self.first_free_pad;
        let mut before = 0;
        while before < i {
            if self.gap_after(before) > 0 && !self.members[before].is_padding() {
                number += 1;
            }
            before += 1;
        }
        number
    }
}

/// The larger one of two alignments.
pub const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// The name of a generic type with its arguments: `Stamped<Pose>`, `Pair<[f64; 3], 4>`.
pub fn generic_name(base: &str, arguments: &[String]) -> String {
    format!("{base}<{}>", arguments.join(", "))
}

/// The message is shorter than its type, so that this part of it does not exist.
#[cold]
pub fn cut_off(bytes: &[u8]) -> Invalid {
    Invalid::new(format_args!("part of only {} bytes", bytes.len()), "whole value")
}

/// A type of another crate that may be in a message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `bytemuck::Pod`, so it cannot be a field by `#[shm(pod = …)]`",
    label = "not known to be plain data",
    note = "many crates have a feature `bytemuck`, which says so of their types",
    note = "a type of your own needs no `pod`: put `#[derive(ShmMessage)] #[repr(C)]` on it"
)]
pub trait PodField: bytemuck::Pod {}

// So that the error is the one above.
#[diagnostic::do_not_recommend]
impl<T: bytemuck::Pod> PodField for T {}

/// `Field` cannot be shown as `Shown`.
pub const fn pod_differs<Field, Shown: ShmMessage>() -> bool {
    !Shown::PLAIN
        || size_of::<Field>() != size_of::<Shown>()
        || align_of::<Field>() != align_of::<Shown>()
}

/// Why not, by how much, and what would do.
pub const fn explain_pod<Field, Shown: ShmMessage>(field: &str, shown: &str) -> Text {
    let text = Text::new().str("field `").str(field);
    let text = if Shown::PLAIN {
        let text = text.str("` is ").num(size_of::<Field>()).str(" bytes at an alignment of ");
        let text = text.num(align_of::<Field>()).str(", but `").str(shown).str("` ");
        text.num(size_of::<Shown>()).str(" at ").num(align_of::<Shown>())
    } else {
        let text = text.str("` cannot be shown as `").str(shown);
        // Of a single type the obstacle is its name and why.
        let why = Shown::LAYOUT.plain_obstacle;
        text.str("`, of which not every bit pattern is a value: ").str(why)
    };
    let number = match align_of::<Field>() {
        1 => "u8",
        2 => "u16",
        4 => "f32",
        8 => "f64",
        16 => "u128",
        // No primitive is aligned like that.
        _ => return text,
    };
    let text = text.str("; write `[").str(number).str("; ");
    text.num(size_of::<Field>() / align_of::<Field>()).str("]`, or what else has its layout")
}

/// Asks that a field of a generic message be one.
pub fn is_message<Field: ShmMessage>() {}

/// What is known of a type, whether it has a size or not.
///
/// A field without a size is one mistake, and is to be one error. So where the expansion needs the size
/// of the whole, it takes what is known: what `Facts` says of types with a size, and otherwise what
/// [`NoFacts`] says, which gives way to it.
pub struct Facts<T: ?Sized>(std::marker::PhantomData<T>);

impl<T> Facts<T> {
    /// Bytes of a value.
    pub const SIZE: usize = size_of::<T>();
    /// Alignment of a value.
    pub const ALIGN: usize = align_of::<T>();

    /// A pointer to a value that begins there.
    #[inline(always)]
    pub const fn at(start: *mut u8) -> *mut T {
        start.cast()
    }
}

/// Nothing is known.
pub trait NoFacts<T: ?Sized> {
    /// Of no type.
    const SIZE: usize = 0;
    /// Of no type.
    const ALIGN: usize = 1;

    /// No pointer.
    fn at(_: *mut u8) -> *mut T {
        unreachable!("a type without a size was refused")
    }
}

impl<T: ?Sized> NoFacts<T> for Facts<T> {}

/// Of a struct that ends in a slice, the compiler tells alignment and offsets only by addresses in a
/// value. This is where there could be one, for any alignment that a message may have: `Parts` are its
/// fields. Nothing is ever in it.
#[repr(C, align(4096))]
pub struct Room<Parts>(u8, std::mem::MaybeUninit<Parts>);

impl<Parts> Room<Parts> {
    /// Nothing is in it.
    pub const EMPTY: Room<Parts> = Room(0, std::mem::MaybeUninit::uninit());

    /// The first byte.
    pub const fn start(&self) -> *const u8 {
        std::ptr::from_ref(self).cast()
    }
}

/// How far from the first byte a value begins is its alignment.
#[repr(C)]
pub struct AfterAByte<T: ?Sized>(u8, pub T);

/// Stands for an alignment, to get from the number to the type.
pub struct Alignment<const N: usize>;

/// The integer of an alignment, or the widest one.
pub trait HasWord {
    /// See [`ShmMessage::Word`].
    type Word: Word;
}

macro_rules! alignments {
    ($($word:ty: $($align:literal)+;)+) => {$($(
        impl HasWord for Alignment<$align> {
            type Word = $word;
        }
    )+)+};
}

alignments! {
    u8: 1;
    u16: 2;
    u32: 4;
    u64: 8;
    // There is no wider integer. What needs the very alignment asserts that it has it.
    u128: 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768 65536 131072 262144 524288 1048576
          2097152 4194304 8388608 16777216 33554432 67108864 134217728 268435456 536870912;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two gaps: after `a` and at the end.
    const GAPS: Struct = Struct {
        name: "Gaps",
        size: 12,
        align: 4,
        members: &[
            Member::new::<u8>("a", 0),
            Member::new::<u32>("b", 4),
            Member::new::<bool>("flag", 8),
            Member::new::<[u8; 2]>("_pad0", 9),
        ],
        is_tuple: false,
        is_generic: false,
        first_free_pad: 1,
        pad_visibility: "",
    };

    #[test]
    fn a_gap_is_explained_with_what_to_write() {
        assert_eq!(
            GAPS.explain_gap_after(0).as_str(),
            "`Gaps`: 3 bytes of padding between `a` (ends at byte 1) and `b` (starts at byte 4): \
             insert `_pad1: [u8; 3],` after `a`"
        );
        assert_eq!(
            GAPS.explain_gap_after(3).as_str(),
            "`Gaps`: 1 byte of padding after `_pad0` (ends at byte 11 of 12): \
             make `_pad0` a `[u8; 3]`"
        );
    }

    #[test]
    fn padding_that_is_too_short_takes_no_number() {
        const SHORT: Struct = Struct {
            name: "Short",
            size: 24,
            align: 8,
            members: &[
                Member::new::<u8>("id", 0),
                Member::new::<[u8; 3]>("_pad0", 1),
                Member::new::<f64>("x", 8),
                Member::new::<bool>("valid", 16),
            ],
            ..GAPS
        };
        assert_eq!(
            SHORT.explain_gap_after(1).as_str(),
            "`Short`: 4 bytes of padding between `_pad0` (ends at byte 4) and `x` (starts at byte \
             8): make `_pad0` a `[u8; 7]`"
        );
        assert_eq!(
            SHORT.explain_gap_after(3).as_str(),
            "`Short`: 7 bytes of padding after `valid` (ends at byte 17 of 24): \
             insert `_pad1: [u8; 7],` after `valid`"
        );
    }

    #[test]
    fn an_order_without_padding_is_found_if_there_is_one() {
        assert!(GAPS.order_matters());
        assert_eq!(
            GAPS.explain_gaps().as_str(),
            "`Gaps` has padding: put its fields in the order `b`, `a`, `flag`, `_pad0`, and none is \
             left; or keep the order and insert `_pad1: [u8; 3],` after `a` (bytes 1..4), make \
             `_pad0` a `[u8; 3]` (bytes 11..12)"
        );
        // Without the padding that is there already, if that is enough.
        const PADDED: Struct = Struct {
            name: "Padded",
            size: 24,
            align: 8,
            members: &[
                Member::new::<u32>("id", 0),
                Member::new::<[u8; 3]>("_pad0", 4),
                Member::new::<f64>("x", 8),
                Member::new::<u32>("flags", 16),
            ],
            ..GAPS
        };
        assert!(PADDED.explain_gaps().as_str().starts_with(
            "`Padded` has padding: put its fields in the order `x`, `id`, `flags`, without `_pad0`, \
             and none is left; or"
        ));
        const NONE: Struct = Struct {
            size: 16,
            align: 8,
            members: &[Member::new::<f64>("x", 0), Member::new::<u32>("id", 8)],
            ..GAPS
        };
        assert!(NONE.has_gap() && !NONE.order_matters());
    }

    #[test]
    fn a_slice_stays_last() {
        const CLOUD: Struct = Struct {
            name: "Cloud",
            size: 24,
            align: 8,
            members: &[
                Member::new::<u32>("id", 0),
                Member::new::<u64>("stamp", 8),
                Member::new::<u32>("flags", 16),
                Member::slice::<u64>("points", 20),
            ],
            ..GAPS
        };
        assert_eq!((CLOUD.gap_after(0), CLOUD.gap_after(2), CLOUD.gap_after(3)), (4, 4, 0));
        assert!(CLOUD.explain_gaps().as_str().starts_with(
            "`Cloud` has padding: put its fields in the order `stamp`, `id`, `flags`, `points`, and \
             none is left; or"
        ));
        let layout = CLOUD.layout(const { &[Text::new(), Text::new()] });
        assert_eq!((layout.fixed, layout.stride), (24, 8));
    }

    #[test]
    fn a_table_that_leaves_bytes_out_does_not_cover_the_struct() {
        assert!(GAPS.is_covered());
        const STARTS_LATE: Struct = Struct { members: &[Member::new::<u64>("late", 4)], ..GAPS };
        assert!(!STARTS_LATE.is_covered());
    }

    #[test]
    fn a_field_beyond_the_end_of_the_bytes_is_an_error() {
        let error = GAPS.members[2].check(&[0; 8]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field `flag` holds part of only 8 bytes, which is no whole value"
        );
    }
}
