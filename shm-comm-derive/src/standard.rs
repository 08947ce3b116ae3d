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
        advice: "keeps its text behind a pointer: use bytes, `[u8; N]`",
    },
    Refused { names: "str", advice: "has no fixed size: use bytes, `[u8; N]`" },
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
        names: "AtomicBool AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize \
                AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize",
        advice: "changes what is shared, and readers have the message read-only: use the plain \
                 number",
    },
];

const GENERIC: &[Refused] = &[
    Refused {
        names: "Vec VecDeque LinkedList BinaryHeap",
        advice: "keeps its elements behind a pointer: use an array `[T; N]`, and a count beside it \
                 if not all of it is always in use",
    },
    Refused {
        names: "HashMap BTreeMap HashSet BTreeSet",
        advice: "keeps its elements behind a pointer: use an array of structs with key and value, \
                 `[Entry; N]`",
    },
    Refused {
        names: "Box Rc Arc Weak Cow NonNull Pin AtomicPtr",
        advice: "is a pointer, which means nothing in another process: hold the value itself",
    },
    Refused {
        names: "Option Result",
        advice: "has no fixed layout: use the value, and a `bool` or an enum beside it that says \
                 whether it counts",
    },
    Refused {
        names: "Cell RefCell UnsafeCell OnceCell Mutex RwLock OnceLock",
        advice: "changes what is shared, and readers have the message read-only: use the plain \
                 value",
    },
    Refused {
        names: "MaybeUninit",
        advice: "may hold bytes that nobody wrote, which would carry old memory out of this \
                 process: use the plain value",
    },
    Refused {
        names: "ManuallyDrop",
        advice: "is of no use, as nobody drops a message: use the plain value",
    },
    Refused { names: "PhantomData", advice: "holds nothing: remove the field" },
    Refused {
        names: "NonZero",
        advice: "is not any number, which no reader could check: use the plain number",
    },
];

/// Crates and modules that may stand before the names.
const MODULES: &str = "std core alloc atomic borrow boxed cell collections ffi hash_map marker mem \
                       num option path pin primitive ptr rc result string sync time vec";

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
