//! What of the standard library cannot be a field, told by its name, and what to use instead.
//!
//! A macro sees names, not types. A name counts only where it may lead into the standard library,
//! and a generic one only with its `<…>`, which no message has: so a message of one's own may be
//! called `Cell`, or `msgs::Duration`. What is missed here is refused by the compiler, in its words.

use syn::{Path, PathArguments, TypePath};

/// Names, separated by spaces, and what there is to say about them.
struct Refused {
    names: &'static str,
    advice: &'static str,
}

const PLAIN: &[Refused] = &[
    Refused {
        names: "String OsString CString PathBuf",
        advice: "keeps its text behind a pointer: use `ShmString<N>`, or send the whole message \
                 encoded, `Publisher<Msgpack<T>>`",
    },
    Refused {
        names: "str",
        advice: "has no fixed size: use `ShmString<N>`, or at the end of the message `[u8]`",
    },
    Refused { names: "usize", advice: "is not equally wide everywhere: use `u64`" },
    Refused { names: "isize", advice: "is not equally wide everywhere: use `i64`" },
    Refused {
        names: "Duration",
        advice: "has no fixed layout: use nanoseconds in `u64` (a message of your own that is \
                 called so is written `self::Duration`)",
    },
    Refused {
        names: "Instant SystemTime",
        advice: "has no fixed layout: use nanoseconds in `u64`, of a clock that both sides know",
    },
    Refused {
        names: "IpAddr Ipv4Addr Ipv6Addr",
        advice: "has no fixed layout: use its octets, `[u8; 4]` or `[u8; 16]`",
    },
    Refused {
        names: "SocketAddr SocketAddrV4 SocketAddrV6",
        advice: "has no fixed layout: use the octets of the address, `[u8; 4]` or `[u8; 16]`, and the \
                 port in `u16`",
    },
    Refused {
        names: "AtomicBool AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize \
                AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize",
        advice: "changes what is shared, and readers have the message read-only: use the plain \
                 number",
    },
];

const GENERIC: &[Refused] = &[
    Refused {
        names: "Vec VecDeque LinkedList BinaryHeap",
        advice: "keeps its elements behind a pointer: use `ShmVec<T, N>` or an array `[T; N]`, or make \
                 a slice `[T]` the last field",
    },
    Refused {
        names: "HashMap BTreeMap HashSet BTreeSet",
        advice: "keeps its elements behind a pointer: use a list of structs with key and value, \
                 `ShmVec<Entry, N>`, or send the whole message encoded, `Publisher<Msgpack<T>>`",
    },
    Refused {
        names: "Box Rc Arc Weak Cow NonNull Pin AtomicPtr",
        advice: "is a pointer, which means nothing in another process: hold the value itself",
    },
    Refused { names: "Option", advice: "has no fixed layout: use `ShmOption<T>`" },
    Refused {
        names: "Result",
        advice: "has no fixed layout: use `ShmOption<T>` for the value, and an enum without fields \
                 beside it for the error",
    },
    Refused {
        names: "Cell RefCell UnsafeCell OnceCell LazyCell Mutex RwLock OnceLock LazyLock",
        advice: "changes what is shared, and readers have the message read-only: use the plain \
                 value",
    },
    Refused {
        names: "MaybeUninit",
        advice: "may hold bytes that nobody wrote, which would carry old memory out of this \
                 process: use the plain value, or `ShmOption<T>`",
    },
    Refused {
        names: "ManuallyDrop",
        advice: "is of no use, as nobody drops a message: use the plain value",
    },
    Refused {
        names: "Wrapping Saturating",
        advice: "is a way to calculate, not to store: use the plain number",
    },
    Refused {
        names: "Range RangeInclusive",
        advice: "has no fixed layout: use an array `[T; 2]`, or a struct with start and end",
    },
    Refused { names: "PhantomData", advice: "holds nothing: remove the field" },
];

/// Crates and modules that may stand before the names.
const MODULES: &str = "std core alloc atomic borrow boxed cell collections ffi hash_map marker mem \
                       net num ops option path pin primitive ptr rc result string sync time vec";

/// The error for a field of this type, if there is one.
pub fn refusal(ty: &TypePath) -> Option<String> {
    let TypePath { qself: None, path: Path { segments, .. }, .. } = ty else { return None };
    let last = segments.last()?;
    let mut before = segments.iter().take(segments.len() - 1);
    if !before.all(|segment| contains(MODULES, &segment.ident.to_string())) {
        return None;
    }

    let name = last.ident.to_string();
    let list = if matches!(last.arguments, PathArguments::None) { PLAIN } else { GENERIC };
    let refused = list.iter().find(|refused| contains(refused.names, &name))?;
    Some(format!("`{name}` {}", refused.advice))
}

fn contains(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|other| other == word)
}
