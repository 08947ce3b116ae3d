//! What holds when something else is in place of a segment, or garbage in one, and for any name.

use memmap2::{MmapOptions, MmapRaw};
use shm_comm::{AttachError, Channel, Publisher, Read, RecvError, Subscriber, SubscriberOptions};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

/// Somebody who is neither root nor us.
const NOBODY: u32 = 65_534;

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Root {
        // Whatever the umask.
        let private = Permissions::from_mode(0o700);
        Root(tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn channel(&self) -> Channel {
        Channel::new("hostile").root(self.path())
    }
    /// With room for two of each, so that there are few bits to flip.
    fn small_channel(&self) -> Channel {
        self.channel().depth(4).max_publishers(2).max_subscribers(2)
    }
    fn file(&self) -> PathBuf {
        self.path().join("hostile.pubsub")
    }
    fn files(&self) -> usize {
        fs::read_dir(self.path()).unwrap().count()
    }
    fn put(&self, bytes: &[u8]) {
        put(&self.file(), bytes);
    }
    /// Opens what the library would open, to write garbage into it.
    fn open(&self) -> File {
        File::options().read(true).write(true).open(self.file()).unwrap()
    }
}

/// A file that only we may use, whatever the umask.
fn put(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

/// The bytes of a segment that somebody is attached to, and that was used.
fn image() -> Vec<u8> {
    let root = Root::new();
    let mut publisher = Publisher::<u64>::new(root.small_channel()).unwrap();
    let _subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    publisher.send(&7).unwrap();
    fs::read(root.file()).unwrap()
}

/// Where what is in a segment. The first numbers of the header stay where they are in every
/// format; the others are found by what they say.
#[derive(Clone, Copy, Debug)]
struct Layout {
    description_end: u64,
    control: u64,
    records: u64,
    rings: u64,
    end: u64,
}

impl Layout {
    fn of(bytes: &[u8]) -> Layout {
        let u32_at = |offset: usize| u32::from_ne_bytes(*bytes[offset..].first_chunk().unwrap());
        let (header_size, name_len, schema_len) = (u32_at(20), u32_at(40), u32_at(44));
        let description_end = u64::from(header_size + name_len + schema_len);
        let end = bytes.len() as u64;
        let header = &bytes[..header_size as usize];
        let words = header.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
        let words: Vec<u64> = words.collect();
        let last = words.iter().rposition(|word| *word == end).expect("the size of the file");
        let [control, records, rings, stride, _] = words[last - 4..=last] else { unreachable!() };
        let layout = Layout { description_end, control, records, rings, end };
        assert!(description_end <= control && control < records && records < rings, "{layout:?}");
        assert_eq!((control % 64, records % 64, rings % 4096), (0, 0, 0), "{layout:?}");
        assert_eq!(rings + 2 * stride, end, "{layout:?}");
        layout
    }
}

/// Numbers that can be had again from the seed, which is printed when a test fails.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let seed = RandomState::new().build_hasher().finish() | 1;
        println!("seed {seed:#x}");
        Random(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }
}

fn skipped(what: &str) {
    // Not captured, other than by `eprintln!`.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

fn user() -> u32 {
    // SAFETY: No pointers are involved; it cannot fail.
    unsafe { libc::geteuid() }
}

fn is_root() -> bool {
    user() == 0
}

/// The test fails if it takes too long, instead of hanging.
fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(what()));
    receiver.recv_timeout(SOON).expect("it panics, or does not end")
}

/// In a thread that is nobody, if we are root: what is forbidden is allowed to root.
fn as_nobody<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    in_time(move || {
        if is_root() {
            // SAFETY: Numbers only. The system call, and not the function, changes but this thread.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        }
        what()
    })
}

/// Both kinds of handle are refused, for the same reason.
fn refusal(channel: Channel) -> AttachError {
    in_time(move || refusal_here(&channel))
}

fn refusal_here(channel: &Channel) -> AttachError {
    let subscriber = Subscriber::<u64>::new(channel).map(drop).unwrap_err();
    let publisher = Publisher::<u64>::new(channel).map(drop).unwrap_err();
    assert_eq!(subscriber.to_string(), publisher.to_string());
    subscriber
}

/// Everything in a folder: what it is, whose, since when, and its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (String, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let what = format!(
            "inode {} mode {:o} user {} length {} device {} links {}",
            metadata.ino(),
            metadata.mode(),
            metadata.uid(),
            metadata.len(),
            metadata.rdev(),
            metadata.nlink()
        );
        let bytes = if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        if kind.is_dir() {
            found.extend(contents(&path));
        }
        found.insert(path, (what, bytes));
    }
    found
}

/// Refused, and whatever is in the folder is as it was.
fn refused_and_left_alone(root: &Root) -> AttachError {
    let before = contents(root.path());
    let error = refusal(root.channel());
    assert_eq!(contents(root.path()), before, "{error}");
    error
}

/// The reason, of an error that says which file is no segment.
#[track_caller]
fn not_a_channel(root: &Root, error: &AttachError) -> String {
    let AttachError::NotAChannel { path, reason } = error else { panic!("{error:?}") };
    assert_eq!(*path, root.file());
    let text = error.to_string();
    assert_eq!(text, format!("{} is not a segment of a channel: {reason}", path.display()));
    reason.clone()
}

/// The reason, of an error that says which folder cannot be trusted.
#[track_caller]
fn unsafe_root(folder: &Path, error: &AttachError) -> String {
    let AttachError::UnsafeRoot { path, reason } = error else { panic!("{error:?}") };
    assert_eq!(path, folder);
    assert_eq!(error.to_string(), format!("root folder {path:?} {reason}"));
    reason.clone()
}

/// A message gets through, on handles that are new.
#[track_caller]
fn the_channel_works(channel: &Channel) {
    let mut subscriber = Subscriber::<u64>::new(channel).unwrap();
    let mut publisher = Publisher::<u64>::new(channel).unwrap();
    publisher.send(&12_345).unwrap();
    arrives(&mut subscriber, 12_345);
}

#[track_caller]
fn arrives(subscriber: &mut Subscriber<u64>, value: u64) {
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        let sample = subscriber.recv_timeout(Duration::from_millis(10)).unwrap();
        if sample.is_some_and(|sample| *sample == value) {
            return;
        }
    }
    panic!("{value} does not arrive");
}

// Something else in place of a segment.

#[test]
fn a_segment_that_is_cut_off_anywhere_is_refused_and_left_alone() {
    let image = image();
    let layout = Layout::of(&image);
    let root = Root::new();
    // Every length of what is parsed, and of the control area; then some.
    let lengths = (0..layout.records).chain((layout.records..layout.end).step_by(509));
    for len in lengths {
        root.put(&image[..len as usize]);
        let reason = not_a_channel(&root, &refused_and_left_alone(&root));
        assert!(reason.contains(&format!("{len} bytes")), "{len}: {reason}");
    }
    // Nor is it one with something behind it.
    let long = [&image[..], &[0]].concat();
    root.put(&long);
    let reason = not_a_channel(&root, &refused_and_left_alone(&root));
    assert_eq!(reason, format!("it has {} bytes and should have {}", long.len(), image.len()));
    // All of it, with nobody attached, is stale and is replaced.
    root.put(&image);
    the_channel_works(&root.channel());
    assert_eq!(root.files(), 0);
}

#[test]
fn random_bytes_are_refused_and_left_alone() {
    let image = image();
    let layout = Layout::of(&image);
    let mut random = Random::new();
    let root = Root::new();
    let sizes = [1, 7, 8, 9, 63, 64, 127, 128, 129, 511, 4095, 4096, 4097, 65_536, 1 << 20];
    let more: Vec<_> = (0..200).map(|_| random.below(8192) as usize).collect();
    for size in sizes.into_iter().chain(more) {
        root.put(&random.bytes(size));
        not_a_channel(&root, &refused_and_left_alone(&root));
    }
    // Also if they begin like a segment: behind the magic, the byte order and the format.
    for _ in 0..300 {
        let right = 16 + random.below(layout.description_end - 16) as usize;
        let len = random.below(layout.end - layout.description_end) as usize;
        let mut bytes = image[..right].to_vec();
        bytes.extend(random.bytes(layout.description_end as usize + len - right));
        root.put(&bytes);
        let error = refused_and_left_alone(&root);
        assert!(!not_a_channel(&root, &error).is_empty());
    }
}

/// The text of each error says which kind of thing is in the way.
#[test]
fn whatever_is_in_place_of_a_segment_is_named_and_left_alone() {
    let mut texts = BTreeSet::new();
    let mut is_new = |error: &AttachError| {
        // But for the name of the folder, which is another one each time.
        let text = error.to_string();
        let text = text.split("hostile.pubsub").last().unwrap().to_owned();
        assert!(texts.insert(text.clone()), "a second time: {text}");
    };
    let image = image();
    let layout = Layout::of(&image);
    let format = u32::from_ne_bytes(*image[12..].first_chunk().unwrap());
    let with = |offset: usize, bytes: &[u8]| {
        let mut changed = image.clone();
        changed[offset..offset + bytes.len()].copy_from_slice(bytes);
        changed
    };

    let bytes = [
        (Vec::new(), "0 bytes are no header"),
        (vec![b'x'; 100], "100 bytes are no header"),
        (vec![b'x'; 5000], "it begins with \"xxxxxxxx\", not \"shm-comm\""),
        (
            with(8, &0x0102_0304_u32.swap_bytes().to_ne_bytes()),
            "it was made on a machine with another byte order (0x04030201)",
        ),
        (with(20, &77_u32.to_ne_bytes()), "its header size is 77"),
        (with(40, &u32::MAX.to_ne_bytes()), "its name or its schema is too long"),
        (with(24, &[0; 8]), "its checksum is wrong"),
    ];
    for (bytes, expected) in bytes {
        let root = Root::new();
        root.put(&bytes);
        let error = refused_and_left_alone(&root);
        assert_eq!(not_a_channel(&root, &error), expected);
        is_new(&error);
    }
    let root = Root::new();
    let len = layout.description_end - 1;
    root.put(&image[..len as usize]);
    let error = refused_and_left_alone(&root);
    assert_eq!(not_a_channel(&root, &error), format!("it is cut off after {len} bytes"));
    is_new(&error);

    // Another format is refused while somebody is attached.
    let root = Root::new();
    let member = Publisher::<u64>::new(root.channel()).unwrap();
    root.open().write_all_at(&(format + 98).to_ne_bytes(), 12).unwrap();
    let error = refused_and_left_alone(&root);
    assert!(
        matches!(error, AttachError::FormatVersion { found, known, .. } if found == format + 98 && known == format)
    );
    assert_eq!(
        error.to_string(),
        format!(
            "{} has memory format {}, this program knows {format}",
            root.file().display(),
            format + 98
        )
    );
    is_new(&error);
    drop(member);

    // A copy of another channel's file, too.
    let root = Root::new();
    let member = Publisher::<u64>::new(Channel::new("other").root(root.path())).unwrap();
    fs::hard_link(root.path().join("other.pubsub"), root.file()).unwrap();
    let error = refused_and_left_alone(&root);
    assert!(matches!(&error, AttachError::WrongSegment { found, .. } if found == "other"));
    assert_eq!(error.to_string(), "the file of the pubsub \"hostile\" holds the pubsub \"other\"");
    is_new(&error);
    drop(member);

    // What is no file at all.
    let root = Root::new();
    make_node(&root.file(), libc::S_IFIFO, 0).unwrap();
    let error = refused_and_left_alone(&root);
    assert_eq!(not_a_channel(&root, &error), "it is a FIFO");
    is_new(&error);

    let root = Root::new();
    let _listener = UnixListener::bind(root.file()).unwrap();
    let error = refused_and_left_alone(&root);
    assert_eq!(not_a_channel(&root, &error), "it is a socket");
    is_new(&error);

    let root = Root::new();
    // The null device. Whether it can be opened depends on how the file system is mounted.
    match make_node(&root.file(), libc::S_IFCHR, libc::makedev(1, 3)) {
        Ok(()) => {
            let reason = not_a_channel(&root, &refused_and_left_alone(&root));
            assert_eq!(reason, "it is a character device");
        }
        Err(error) => skipped(&format!("a device in place of a segment: {error}")),
    }

    let root = Root::new();
    fs::create_dir(root.file()).unwrap();
    fs::write(root.file().join("inside"), "treasure").unwrap();
    let error = refused_and_left_alone(&root);
    assert_eq!(not_a_channel(&root, &error), "it is a folder");
    is_new(&error);

    // A link, wherever it leads: nothing is followed, and nothing made at its end.
    let elsewhere = Root::new();
    let member = Publisher::<u64>::new(elsewhere.channel()).unwrap();
    let before = contents(elsewhere.path());
    let root = Root::new();
    for (i, target) in
        [elsewhere.file(), elsewhere.path().join("nothing"), root.file()].iter().enumerate()
    {
        let _ = fs::remove_file(root.file());
        std::os::unix::fs::symlink(target, root.file()).unwrap();
        let error = refused_and_left_alone(&root);
        assert_eq!(not_a_channel(&root, &error), "it is a symbolic link");
        if i == 0 {
            is_new(&error);
        }
    }
    assert_eq!(contents(elsewhere.path()), before);
    drop(member);

    // A segment that is right, but not safe.
    for (i, mode) in [0o666, 0o622, 0o620, 0o602].into_iter().enumerate() {
        let root = Root::new();
        root.put(&image);
        fs::set_permissions(root.file(), Permissions::from_mode(mode)).unwrap();
        let error = refused_and_left_alone(&root);
        let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
        let expected = format!("{who} may write to it (mode {mode:04o})");
        assert_eq!(not_a_channel(&root, &error), expected);
        if i == 0 {
            is_new(&error);
        }
    }

    if is_root() {
        let root = Root::new();
        root.put(&image);
        std::os::unix::fs::chown(root.file(), Some(NOBODY), None).unwrap();
        let error = refused_and_left_alone(&root);
        assert!(matches!(error, AttachError::ForeignOwner { owner: NOBODY, user: 0, .. }));
        let path = root.file();
        assert_eq!(
            error.to_string(),
            format!("{} belongs to user {NOBODY} (mode 0600), you are user 0", path.display())
        );
        is_new(&error);
    } else {
        skipped("a foreign owner's file, which only root can make");
    }

    // A segment that cannot be read; not even by its owner, but that he is root.
    let root = Root::new();
    root.put(&image);
    fs::set_permissions(root.file(), Permissions::from_mode(0o000)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(root.file(), Some(NOBODY), None).unwrap();
        std::os::unix::fs::chown(root.path(), Some(NOBODY), None).unwrap();
    }
    let before = contents(root.path());
    let channel = root.channel();
    let error = as_nobody(move || refusal_here(&channel));
    assert_eq!(contents(root.path()), before);
    assert!(matches!(&error, AttachError::Os { action: "open", path, .. } if *path == root.file()));
    assert!(error.to_string().contains("Permission denied"), "{error}");
    is_new(&error);
}

fn make_node(path: &Path, kind: libc::mode_t, device: libc::dev_t) -> std::io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: The path is a C string.
    match unsafe { libc::mknod(path.as_ptr(), kind | 0o600, device) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn a_fifo_a_socket_and_a_device_have_texts_of_their_own() {
    let mut texts = BTreeSet::new();
    for kind in [libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR] {
        let root = Root::new();
        if let Err(error) = make_node(&root.file(), kind, libc::makedev(1, 3)) {
            skipped(&format!("a node of kind {kind:o}: {error}"));
            continue;
        }
        let reason = not_a_channel(&root, &refused_and_left_alone(&root));
        assert!(texts.insert(reason.clone()), "a second time: {reason}");
    }
}

#[test]
fn a_file_that_others_may_write_is_refused_with_its_mode() {
    for mode in [0o666, 0o622] {
        let root = Root::new();
        root.put(&image());
        fs::set_permissions(root.file(), Permissions::from_mode(mode)).unwrap();
        let reason = not_a_channel(&root, &refused_and_left_alone(&root));
        assert!(reason.contains(&format!("{mode:o}")), "{reason}");
    }
}

#[test]
fn a_root_that_cannot_be_trusted_is_named_and_left_alone() {
    let mut texts = BTreeSet::new();
    let base = Root::new();
    let folder = base.path().join("root");
    let channel = Channel::new("hostile").root(&folder);
    let mut check = |expected: &str| {
        let before = contents(base.path());
        let error = refusal(channel.clone());
        assert_eq!(contents(base.path()), before, "{error}");
        assert_eq!(unsafe_root(&folder, &error), expected);
        texts.insert(error.to_string());
    };

    fs::write(&folder, "a file").unwrap();
    check("is a file");
    fs::remove_file(&folder).unwrap();

    let elsewhere = Root::new();
    std::os::unix::fs::symlink(elsewhere.path(), &folder).unwrap();
    check("is a symbolic link");
    assert_eq!(elsewhere.files(), 0);
    fs::remove_file(&folder).unwrap();

    // A link to nothing: nothing is made at its end.
    std::os::unix::fs::symlink(elsewhere.path().join("nothing"), &folder).unwrap();
    let error = refusal(channel.clone());
    assert!(matches!(error, AttachError::UnsafeRoot { .. }), "{error}");
    assert_eq!(elsewhere.files(), 0);
    fs::remove_file(&folder).unwrap();

    fs::create_dir(&folder).unwrap();
    for mode in [0o777, 0o722, 0o1777, 0o770, 0o702] {
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        check(&format!("may be written to by others (mode {mode:04o})"));
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();

    if is_root() {
        std::os::unix::fs::chown(&folder, Some(NOBODY), None).unwrap();
        check(&format!("belongs to user {NOBODY}, you are user 0"));
    } else {
        skipped("a foreign owner's root, which only root can make");
    }
    assert_eq!(texts.len(), 7 + usize::from(is_root()), "{texts:?}");

    // One that its owner may not read.
    fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(base.path(), Some(NOBODY), None).unwrap();
    }
    let refused = channel.clone();
    let error = as_nobody(move || refusal_here(&refused));
    let reason = unsafe_root(&folder, &error);
    assert!(reason.starts_with("cannot be opened (mode 0000): Permission denied"), "{reason}");
    assert!(texts.insert(error.to_string()));
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();

    // One that cannot be made.
    let channel = Channel::new("hostile").root("/proc/root-of-channels");
    let error = refusal(channel);
    let reason = unsafe_root(Path::new("/proc/root-of-channels"), &error);
    assert!(reason.starts_with("cannot be made: "), "{reason}");
    assert_eq!(
        unsafe_root(Path::new(""), &refusal(Channel::new("x").root(""))),
        "is an empty path"
    );
    let with_nul = refusal(Channel::new("x").root("/dev/shm/a\0b"));
    assert!(matches!(with_nul, AttachError::UnsafeRoot { .. }), "{with_nul}");
}

#[test]
fn a_root_that_is_a_link_is_refused_however_it_is_written() {
    let base = Root::new();
    let folder = base.path().join("root");
    let elsewhere = Root::new();
    std::os::unix::fs::symlink(elsewhere.path(), &folder).unwrap();
    for end in ["", "/", "//", "/."] {
        let written = format!("{}{end}", folder.display());
        let opened = Publisher::<u64>::new(Channel::new("hostile").root(&written));
        assert!(matches!(opened, Err(AttachError::UnsafeRoot { .. })), "{written:?} is followed");
    }
}

// Garbage in a segment that somebody is attached to.

#[test]
fn a_bit_flipped_in_the_header_or_the_texts_keeps_newcomers_out_and_members_in() {
    let root = Root::new();
    let mut publisher = Publisher::<u64>::new(root.small_channel()).unwrap();
    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let before = fs::read(root.file()).unwrap();
    let layout = Layout::of(&before);
    let file = root.open();
    for bit in 0..layout.description_end * 8 {
        let (at, old) = (bit / 8, before[bit as usize / 8]);
        file.write_all_at(&[old ^ 1 << (bit % 8)], at).unwrap();
        let error = refusal(root.channel());
        assert!(
            matches!(error, AttachError::NotAChannel { .. } | AttachError::FormatVersion { .. }),
            "bit {bit}: {error}"
        );
        // In a process that has never seen it otherwise, too. (Some of them.)
        if bit % 37 == 0 {
            let output = Peer::start(&root, "attach", 0).wait();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "bit {bit}: {} {said}", output.status);
            assert!(said.contains("NotAChannel") || said.contains("FormatVersion"), "{said}");
        }
        publisher.send(&bit).unwrap();
        arrives(&mut subscriber, bit);
        file.write_all_at(&[old], at).unwrap();
    }
    assert_eq!(
        fs::read(root.file()).unwrap()[..layout.description_end as usize],
        before[..layout.description_end as usize]
    );
    drop(subscriber);
    the_channel_works(&root.channel());
    drop(publisher);
    assert_eq!(root.files(), 0);
}

/// What was in a file is not to steer the terminal on which the error is read.
#[test]
fn the_text_of_an_error_has_no_control_characters_of_the_file() {
    let root = Root::new();
    /// What it is called lies last in the description.
    #[derive(shm_comm::ShmMessage)]
    #[repr(C)]
    struct Named {
        last: u64,
    }
    let member = Publisher::<Named>::new(root.small_channel()).unwrap();
    let mut bytes = fs::read(root.file()).unwrap();
    let end = Layout::of(&bytes).description_end as usize;
    assert_eq!(&bytes[end - 4..end], b"last");
    bytes[end - 1] = 0x1b;
    make_right(&mut bytes, end);
    root.open().write_all_at(&bytes[..end], 0).unwrap();
    let error = refused_and_left_alone(&root);
    assert!(matches!(error, AttachError::NotAChannel { .. }), "{error:?}");
    let text = error.to_string();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    drop(member);
}

/// Makes the hash of the schema and the checksum of a header right that was changed.
fn make_right(bytes: &mut [u8], end: usize) {
    let fnv1a = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let schema_len = u32::from_ne_bytes(*bytes[44..].first_chunk().unwrap()) as usize;
    let schema = shm_comm::Schema::from_bytes(&bytes[end - schema_len..end]);
    let hash = schema.map_or(0, |schema| schema.hash());
    bytes[32..40].copy_from_slice(&hash.to_ne_bytes());
    bytes[24..32].fill(0);
    let checksum = fnv1a(&bytes[..end]);
    bytes[24..32].copy_from_slice(&checksum.to_ne_bytes());
}

/// It may be right in itself, and have a right checksum: whoever means it can do that.
#[test]
fn any_number_of_a_header_with_a_right_checksum_is_refused_or_harmless() {
    let root = Root::new();
    let before = image();
    root.put(&before);
    let end = Layout::of(&before).description_end as usize;
    let header_size = u32::from_ne_bytes(*before[20..].first_chunk().unwrap()) as usize;
    // Not a handle, because then this process would know the segment, and compare.
    let member = root.open();
    lock_as_a_member(&member);
    let attach = |channel: Channel| {
        in_time(move || {
            let subscriber = Subscriber::<u64>::new(&channel);
            let publisher = Publisher::<u64>::new(&channel);
            let refused = subscriber.is_err() && publisher.is_err();
            if let (Ok(mut subscriber), Ok(mut publisher)) = (subscriber, publisher) {
                for value in 0..100 {
                    let _ = publisher.send(&value);
                    let _ = (subscriber.try_recv(), subscriber.latest());
                }
            }
            refused
        })
    };
    let mut refused = 0;
    for at in (0..header_size).step_by(4) {
        let old = u32::from_ne_bytes(*before[at..].first_chunk().unwrap());
        let other = [0, 1, 2, 3, 7, 8, 63, 64, 65, 4095, 4096, 1 << 16, 1 << 20, 1 << 31, u32::MAX];
        let near = [old.wrapping_add(1), old.wrapping_sub(1), old.wrapping_mul(2), old / 2, !old];
        for new in other.into_iter().chain(near).filter(|new| *new != old) {
            let mut bytes = before.clone();
            bytes[at..at + 4].copy_from_slice(&new.to_ne_bytes());
            // Only if it still has its texts where they were.
            if !(20..24).contains(&at) && !(40..52).contains(&at) {
                make_right(&mut bytes, end);
            }
            member.write_all_at(&bytes, 0).unwrap();
            refused += usize::from(attach(root.channel()));
        }
    }
    assert!(refused > 400, "{refused}");
    assert_eq!(root.files(), 1);
    member.write_all_at(&before, 0).unwrap();
    drop(member);
    the_channel_works(&root.channel());
    assert_eq!(root.files(), 0);
}

/// What everybody who is attached does: a shared lock on a byte far behind the end of the file.
fn lock_as_a_member(file: &File) {
    let request = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 1 << 40,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: `request` is a `flock`, as this command requires.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &request) }, 0);
}

#[test]
fn a_bit_flipped_in_the_records_changes_nothing() {
    let root = Root::new();
    let mut publisher = Publisher::<u64>::new(root.small_channel()).unwrap();
    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let layout = Layout::of(&fs::read(root.file()).unwrap());
    let file = root.open();
    for bit in layout.records * 8..layout.rings.min(layout.records + 4 * 64) * 8 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, bit / 8).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
        publisher.send(&bit).unwrap();
        arrives(&mut subscriber, bit);
        the_channel_works(&root.channel());
        file.write_all_at(&byte, bit / 8).unwrap();
    }
    assert_eq!((publisher.subscribers(), subscriber.publishers()), (1, 1));
    drop((publisher, subscriber));
    assert_eq!(root.files(), 0);
}

#[test]
fn a_bit_flipped_in_the_control_area_ends_nobody() {
    let root = Root::new();
    let mut publisher = Publisher::<u64>::new(root.small_channel()).unwrap();
    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    let layout = Layout::of(&fs::read(root.file()).unwrap());
    let memory = Memory::of(&root.open());
    // Both rings are in use, so that there is nothing that a flipped bit could begin anew.
    the_channel_works(&root.channel());
    let words = layout.control / 8..layout.records / 8;
    let before: Vec<u64> =
        words.clone().map(|word| memory.word(word).load(Ordering::SeqCst)).collect();
    for bit in layout.control * 8..layout.records * 8 {
        let start = Instant::now();
        memory.word(bit / 64).fetch_xor(1 << (bit % 64), Ordering::SeqCst);
        // Errors are allowed here, and messages may be lost.
        for value in 0..3 {
            let _ = publisher.send(&value);
            let _ = subscriber.try_recv();
        }
        let _ = subscriber.latest();
        let _ = subscriber.recv_timeout(Duration::from_micros(10));
        let newcomer = Subscriber::<u64>::new(root.channel());
        let other = Publisher::<u64>::new(root.channel());
        if let (Ok(mut newcomer), Ok(mut other)) = (newcomer, other) {
            let _ = other.send(&1);
            let _ = newcomer.try_recv();
            let _ = (other.subscribers(), newcomer.publishers());
        }
        let _ = (publisher.subscribers(), subscriber.publishers());
        // As it was, all goes on.
        for (word, before) in words.clone().zip(&before) {
            memory.word(word).store(*before, Ordering::SeqCst);
        }
        publisher.send(&bit).unwrap();
        arrives(&mut subscriber, bit);
        assert!(start.elapsed() < SOON, "bit {bit}");
    }
    drop(subscriber);
    the_channel_works(&root.channel());
    drop(publisher);
    assert_eq!(root.files(), 0);
}

#[test]
fn nobody_dies_of_random_words_in_the_control_area_and_the_records() {
    scribble(|layout| layout.control..layout.rings);
}

#[test]
fn nobody_dies_of_random_words_in_the_rings() {
    // The messages, too: every bit pattern is a `u64`.
    scribble(|layout| layout.rings..layout.end);
}

/// Garbage may say that there is a ring where there is no memory, nor any to be had.
#[test]
fn nobody_dies_of_a_ring_that_has_no_memory() {
    let root = Root::new();
    let output = Peer::start(&root, "full", 0).wait();
    if output.status.code() == Some(77) {
        return skipped("a full file system, which only root can make");
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {said}", output.status);
}

/// Writes random words to these bytes for two seconds, while other processes use the channel.
fn scribble(place: impl Fn(Layout) -> std::ops::Range<u64>) {
    let time = Duration::from_secs(2);
    let root = Root::new();
    // They keep the file there, and see the garbage when they leave.
    let mut publisher = Publisher::<u64>::new(root.small_channel()).unwrap();
    let mut subscriber = Subscriber::<u64>::new(root.channel()).unwrap();
    publisher.send(&0).unwrap();
    the_channel_works(&root.channel());
    let place = place(Layout::of(&fs::read(root.file()).unwrap()));
    let memory = Memory::of(&root.open());
    let mut random = Random::new();
    let stop = AtomicBool::new(false);
    let peers = ["publish", "subscribe"].map(|role| Peer::start(&root, role, time.as_millis()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    memory.scribble(&place, &mut random);
                }
                // There are calm moments, so that they get further than to the first error.
                std::thread::sleep(Duration::from_micros(random.below(300)));
            }
        });
        let outputs = peers.map(Peer::wait);
        let _ = publisher.send(&1);
        let _ = (subscriber.try_recv(), subscriber.latest());
        let _ = subscriber.recv_timeout(Duration::from_millis(5));
        stop.store(true, Ordering::Relaxed);
        for output in outputs {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success(), "{} {said}", output.status);
            println!("{said}");
        }
    });
    drop((publisher, subscriber));
    assert_eq!(root.files(), 0);
    // Whatever was in it, the next one is new.
    the_channel_works(&root.channel());
}

/// A segment mapped by somebody who may write all of it.
struct Memory(MmapRaw);

impl Memory {
    fn of(file: &File) -> Memory {
        Memory(MmapOptions::new().map_raw(file).unwrap())
    }

    fn word(&self, number: u64) -> &AtomicU64 {
        assert!((number as usize) < self.0.len() / 8);
        // SAFETY: A word of the mapping, which lives as long as `self`; aligned, as that begins at
        // a page. Other processes store to it, too: that is what is tested.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast::<u64>().add(number as usize)) }
    }

    fn scribble(&self, place: &std::ops::Range<u64>, random: &mut Random) {
        let any =
            |random: &mut Random| place.start / 8 + random.below((place.end - place.start) / 8);
        let number = any(random);
        let word = self.word(number);
        let old = word.load(Ordering::Relaxed);
        let new = match random.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => random.next(),
            3 => random.below(256),
            4 => self.word(any(random)).load(Ordering::Relaxed),
            5 => old.wrapping_add(random.below(9)).wrapping_sub(4),
            6 => u64::MAX >> random.below(8),
            _ => old ^ 1 << random.below(64),
        };
        word.store(new, Ordering::Relaxed);
    }
}

/// A process that does not outlive its test.
struct Peer(Option<Child>);

impl Peer {
    fn start(root: &Root, role: &str, milliseconds: u128) -> Peer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostile-peer"));
        command.arg(role).arg(root.path()).arg(milliseconds.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Peer(Some(command.spawn().unwrap()))
    }

    /// What it says is little, so that it does not wait for us to read it.
    fn wait(mut self) -> Output {
        let end = Instant::now() + SOON;
        let child = self.0.as_mut().unwrap();
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "a peer does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// Names.

/// Names that have hurt somebody somewhere. No two are the same.
fn nasty_names() -> Vec<String> {
    let names = [
        "../../etc/x",
        "..",
        ".",
        "...",
        "....",
        "../",
        "./",
        "/",
        "//",
        "///",
        "/etc/passwd",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "/a",
        "../a",
        "..a",
        ".a",
        "a..",
        "a.",
        "a...",
        ".. ",
        ". .",
        "\\..\\..\\x",
        "..\\",
        "C:\\x",
        "\\\\server\\share",
        "a\\b",
        "\\",
        "%",
        "%%",
        "%2F",
        "%2f",
        "a%2Fb",
        "a/b",
        "%00",
        "%2E%2E%2F",
        "..%2F",
        "%252F",
        "%u002F",
        "100%",
        "%2",
        "%GG",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\u{1}",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{7f}",
        "\u{80}",
        "\u{85}",
        "\u{9f}",
        "a\nb",
        "a\u{8}b",
        "\u{7}",
        " ",
        "  ",
        " a",
        "a ",
        "a b",
        "\u{a0}",
        "\u{2003}",
        "\u{2028}",
        "\u{2029}",
        "\u{3000}",
        "\u{feff}",
        "\u{feff}a",
        "\u{200b}",
        "\u{200d}",
        "\u{200e}",
        "\u{200f}",
        "\u{202e}gpj.exe",
        "\u{202a}a\u{202c}",
        "\u{2066}a\u{2069}",
        "\u{e0001}",
        "\u{fe0f}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{e000}",
        "🤖",
        "👨‍👩‍👧‍👦",
        "🇩🇪",
        "臂/左",
        "إنسان آلي",
        "רובוט",
        "é",
        "e\u{301}",
        "\u{301}",
        "Å",
        "\u{212b}",
        "A\u{30a}",
        "ﬁ",
        "fi",
        "ß",
        "ẞ",
        "ss",
        "SS",
        "ı",
        "i",
        "I",
        "İ",
        "i\u{307}",
        "Z̸̢͝a̶l̴g̵o̶",
        "'",
        "\"",
        "`",
        "``",
        "$(reboot)",
        "`reboot`",
        "${HOME}",
        "$HOME",
        "~",
        "~root",
        "a;b",
        "a|b",
        "a&b",
        "a&&b",
        "a>b",
        "<a>",
        "*",
        "?",
        "[a-z]",
        "{a,b}",
        "!",
        "!!",
        "#",
        "# a",
        "-",
        "--",
        "-rf",
        "--help",
        "-rf *",
        "(",
        ")",
        "=",
        "a=b",
        ":",
        "a:b",
        ",",
        "@",
        "^",
        "con",
        "CON",
        "con.txt",
        "nul",
        "NUL",
        "aux",
        "prn",
        "com1",
        "lpt1",
        "COM¹",
        ".pubsub",
        "x.pubsub",
        "x.pubsub.pubsub",
        "x",
        "X",
        "pubsub",
        ".PUBSUB",
        "x%2Epubsub",
        ".git",
        ".bashrc",
        ".lock",
        "lost+found",
        "null",
        "undefined",
        "None",
        "true",
        "0",
        "-1",
        "1e309",
        "NaN",
        "{{7*7}}",
        "%s%n%x",
        "%n",
        "'; DROP TABLE x; --",
        "<script>",
        "&amp;",
        "file:///etc/passwd",
        "http://x/y?z#w",
        "/dev/null",
        "/proc/self/mem",
        "self",
        "shm-comm",
        "hostile",
        "tmp.XXXXXX",
    ];
    let long = [
        "x".repeat(248),
        "x".repeat(247),
        " ".repeat(248),
        "%".repeat(82),
        "/".repeat(82),
        "🤖".repeat(62),
        "é".repeat(124),
        "e\u{301}".repeat(82),
        "\u{85}".repeat(41),
        format!(".{}", ".".repeat(245)),
        format!("{}/", "y".repeat(245)),
        "../".repeat(49),
    ];
    names.into_iter().map(str::to_owned).chain(long).collect()
}

/// What a file name says, by the rule in the documentation.
fn decoded(file: &str) -> String {
    let mut rest = file.strip_suffix(".pubsub").unwrap().as_bytes();
    let mut bytes = Vec::new();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at(2);
        let digits = std::str::from_utf8(digits).unwrap();
        assert_eq!(digits, digits.to_uppercase());
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        rest = behind;
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn any_name_is_one_file_in_the_root_and_no_two_share_one() {
    let base = Root::new();
    let folder = base.path().join("root");
    let canary = base.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("x"), "sings").unwrap();
    let silence = contents(&canary);

    let names = nasty_names();
    assert!(names.len() >= 100);
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>().len(),
        names.len(),
        "a name stands there twice"
    );
    let mut files = BTreeSet::new();
    let mut members = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let channel = Channel::new(name).root(&folder).max_subscribers(2).depth(1);
        let mut publisher =
            Publisher::<u64>::new(&channel).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        let mut subscriber = Subscriber::<u64>::new(&channel).unwrap();
        publisher.send(&(i as u64)).unwrap();
        let sample = subscriber.recv_timeout(SOON).unwrap().expect("the message");
        assert_eq!((*sample, sample.sequence()), (i as u64, 0), "{name:?}");
        drop(sample);
        // All the others stay, so that this one can be mistaken for any of them.
        members.push((publisher, subscriber));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), i + 1, "{name:?}");
    }
    for (i, (publisher, subscriber)) in members.iter_mut().enumerate() {
        publisher.send(&(1000 + i as u64)).unwrap();
        arrives(subscriber, 1000 + i as u64);
    }
    for (path, (what, _)) in contents(&folder) {
        assert_eq!(path.parent(), Some(&*folder), "{path:?}");
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{path:?} {what}");
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!file.starts_with('.') && file.len() <= 255, "{file:?}");
        assert!(!file.chars().any(char::is_control), "{file:?}");
        files.insert(decoded(&file));
    }
    assert_eq!(files, names.into_iter().collect());
    assert_eq!(contents(&canary), silence);
    let beside: BTreeSet<_> =
        fs::read_dir(base.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(beside, BTreeSet::from([canary, folder.clone()]));
    drop(members);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_name_that_cannot_be_one_is_refused_with_what_is_wrong() {
    let root = Root::new();
    let check = |name: &str, expected: &str| {
        let error = refusal(Channel::new(name).root(root.path()));
        assert!(matches!(&error, AttachError::BadName { name: given, .. } if given == name));
        assert_eq!(error.to_string(), format!("channel name {name:?} {expected}"));
    };
    let too_long = |len| format!("takes {len} bytes as a file name, 255 are possible");
    check("", "is empty");
    for name in ["\0", "a\0", "\0a", "a\0b", "../\0"] {
        check(name, "contains a NUL");
    }
    check(&"x".repeat(249), &too_long(256));
    check(&"x".repeat(100_000), &too_long(100_007));
    check(&"/".repeat(83), &too_long(256));
    check(&format!(".{}", "x".repeat(246)), &too_long(256));
    check(&"🤖".repeat(63), &too_long(259));
    check(&"\u{85}".repeat(42), &too_long(259));
    assert_eq!(root.files(), 0);
}

/// The number of elements of an unsized message lies before it in its slot.
#[test]
fn a_number_of_elements_that_cannot_be_is_an_error_and_the_next_message_comes() {
    for read in [Read::Pinned, Read::Copied] {
        let root = Root::new();
        let channel = || root.small_channel().max_len(8);
        let options = SubscriberOptions::new().read(read).max_held(1);
        let mut publisher = Publisher::<[u32]>::new(channel()).unwrap();
        let mut subscriber = Subscriber::<[u32]>::with(channel(), options).unwrap();
        let rings = Layout::of(&fs::read(root.file()).unwrap()).rings;
        let file = root.open();
        for len in [9, 1 << 32, 1 << 62, u64::MAX / 4 + 2, u64::MAX] {
            publisher.send(&[1, 2, 3]).unwrap();
            let slots = u64::from(channel().info().unwrap()[0].slots);
            // Messages fill one slot after the other; of 8 words and 24 bytes each takes a line.
            let slot = publisher.stats().published.wrapping_sub(1) % slots;
            file.write_all_at(&u64::to_ne_bytes(len), rings + 128 + slot * 64 + 16).unwrap();
            let error = subscriber.try_recv().unwrap_err();
            assert!(matches!(error, RecvError::Invalid { .. }), "{error}");
            let text = format!("{len} elements, in a channel of at most 8");
            assert!(error.to_string().contains(&text), "{error}");
            publisher.send(&[4]).unwrap();
            assert_eq!(*subscriber.try_recv().unwrap().unwrap(), [4]);
        }
    }
}
