//! The folder of channels: which it is, whether it can be trusted, and what its files are called.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::AttachError;
use crate::options::Access;
use crate::os;
use crate::pattern::{PATTERNS, Pattern};
use crate::process::Descriptor;

/// How long the one who makes a folder for a group has for that.
const FOLDER_PATIENCE: Duration = Duration::from_millis(200);

/// The folder of channels: the one that was named, or that of the environment, or the default.
pub fn root(chosen: Option<&Path>, access: Access) -> PathBuf {
    let from_environment = || os::environment("SHM_COMM_ROOT").filter(|root| !root.is_empty());
    let chosen = chosen.map(Path::to_owned).or_else(|| from_environment().map(PathBuf::from));
    // Without a slash at the end, which would follow a link.
    let chosen = chosen.map(|path| path.components().collect());
    chosen.unwrap_or_else(|| match access {
        Access::Owner => os::default_root(),
        Access::Group => os::default_group_root(),
    })
}

/// Whether there is nothing of that name, as far as can be told.
pub fn is_absent(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    !path.as_os_str().is_empty()
        && found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// For whom a folder of channels is, by its mode: it cannot be trusted as the other.
pub fn access_of(root: &Path) -> Access {
    let shared = |found: Metadata| found.mode() & GROUP_MODE == GROUP_MODE;
    if std::fs::symlink_metadata(root).is_ok_and(shared) { Access::Group } else { Access::Owner }
}

/// Opens the folder of channels if it can be trusted; makes it if it is not there and `make`
/// says so, and else changes nothing.
pub fn open_root(path: &Path, access: Access, make: bool) -> Result<Descriptor, AttachError> {
    let unsafe_root = |reason: String| AttachError::UnsafeRoot { path: path.to_owned(), reason };
    if path.as_os_str().is_empty() {
        return Err(unsafe_root("is an empty path".to_owned()));
    }
    let made = match access {
        Access::Owner if make => os::create_folder(path, true),
        Access::Group if make => os::create_folder(path, false),
        _ => Ok(()),
    };
    let found = match (std::fs::symlink_metadata(path), made) {
        (Ok(found), _) => found,
        (Err(_), Err(error)) => return Err(unsafe_root(format!("cannot be made: {error}"))),
        (Err(error), Ok(())) => return Err(unsafe_root(format!("is not there: {error}"))),
    };
    if !found.is_dir() {
        return Err(unsafe_root(format!("is {}", kind_of(&found))));
    }
    let (user, mode) = (os::user(), found.mode() & 0o7777);
    let foreign = |owner| unsafe_root(format!("belongs to user {owner}, you are user {user}"));
    let not_a_member = |found: &Metadata| {
        let (owner, group) = (found.uid(), found.gid());
        unsafe_root(format!(
            "belongs to user {owner} and group {group}, you are user {user} and not in that group"
        ))
    };
    if access == Access::Group && !os::is_in_group(found.gid()) {
        return Err(not_a_member(&found));
    }
    let start = Instant::now();
    let opened = loop {
        match Descriptor::open(|| os::open_folder(path)) {
            // Whoever makes a folder for a group needs two steps.
            Err(error)
                if access == Access::Group
                    && error.kind() == io::ErrorKind::PermissionDenied
                    && start.elapsed() < FOLDER_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => break opened,
        }
    };
    let folder = opened.map_err(|error| match found.uid() {
        owner if owner != user => foreign(owner),
        _ => unsafe_root(format!("cannot be opened (mode {mode:04o}): {error}")),
    })?;
    let inspect = || {
        let found = folder.file().metadata();
        found.map_err(|error| unsafe_root(format!("cannot be inspected: {error}")))
    };
    if access == Access::Owner {
        let found = inspect()?;
        let mode = found.mode() & 0o7777;
        return match found.uid() == user {
            false => Err(foreign(found.uid())),
            true if mode & 0o2022 == 0o2020 => Err(unsafe_root(format!(
                "is shared with group {} (mode {mode:04o}): that is for Access::Group",
                found.gid()
            ))),
            true if mode & 0o022 != 0 => {
                Err(unsafe_root(format!("may be written to by others (mode {mode:04o})")))
            }
            true => Ok(folder),
        };
    }
    // For a group. Whoever makes it needs two steps, and may have been killed between them.
    let mut tried = false;
    loop {
        let found = inspect()?;
        let mode = found.mode() & 0o7777;
        if !os::is_in_group(found.gid()) {
            return Err(not_a_member(&found));
        }
        // Where everybody can make folders, so can somebody who shares some other group with us.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let open = std::fs::metadata(parent.unwrap_or(Path::new("."))).ok();
        let is_open = open.is_none_or(|parent| parent.mode() & 0o002 != 0);
        if is_open && found.gid() != os::group() && ![0, user].contains(&found.uid()) {
            let (owner, group) = (found.uid(), found.gid());
            return Err(unsafe_root(format!(
                "belongs to user {owner} and group {group}, which is not your first group, in a \
                 folder where everybody can make others"
            )));
        }
        if mode & 0o002 != 0 {
            return Err(unsafe_root(format!("may be written to by everybody (mode {mode:04o})")));
        }
        if mode & GROUP_MODE == GROUP_MODE {
            return Ok(folder);
        }
        let is_empty = std::fs::read_dir(path).is_ok_and(|mut files| files.next().is_none());
        if make && !tried && found.uid() == user && is_empty {
            tried = true;
            let set = os::set_mode(folder.file(), GROUP_MODE);
            set.map_err(|error| unsafe_root(format!("cannot be shared with its group: {error}")))?;
        } else if start.elapsed() > FOLDER_PATIENCE {
            return Err(unsafe_root(format!(
                "is not shared with its group (mode {mode:04o} instead of {GROUP_MODE:04o})"
            )));
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Of a folder that is shared with its group: files in it get that group, too.
const GROUP_MODE: u32 = 0o2770;

/// The longest name of a file.
const NAME_MAX: usize = 255;

/// The file of a channel: `/`, `%`, control characters and a leading dot are `%XX`, so that every
/// name is one file name and no two share one.
pub fn file_name(name: &str, pattern: Pattern) -> Result<String, AttachError> {
    let bad = |reason: String| Err(AttachError::BadName { name: name.to_owned(), reason });
    if name.is_empty() {
        return bad("is empty".to_owned());
    }
    if name.contains('\0') {
        return bad("contains a NUL".to_owned());
    }
    let mut file = String::with_capacity(name.len() + 8);
    for (i, c) in name.char_indices() {
        if c == '/' || c == '%' || c.is_control() || (i == 0 && c == '.') {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                file.push_str(&format!("%{byte:02X}"));
            }
        } else {
            file.push(c);
        }
    }
    file.push('.');
    file.push_str(pattern.suffix());
    if file.len() > NAME_MAX {
        let reason = format!("takes {} bytes as a file name, {NAME_MAX} are possible", file.len());
        return bad(reason);
    }
    Ok(file)
}

/// The channel that has a file of this name, if any has.
pub fn channel_of(file: &str) -> Option<(String, Pattern)> {
    let (stem, suffix) = file.rsplit_once('.')?;
    let pattern = PATTERNS.into_iter().find(|pattern| pattern.suffix() == suffix)?;
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high << 4 | low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // `%61` is no way to write `a`.
    file_name(&name, pattern).is_ok_and(|canonical| canonical == file).then_some((name, pattern))
}

/// What stands in the place of something, in words.
pub fn kind_of(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() => "a character device",
        () if kind.is_block_device() => "a block device",
        () if kind.is_file() => "a file",
        () => "no file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_file_and_no_two_share_one() {
        let file = |name| file_name(name, Pattern::PubSub).unwrap();
        assert_eq!(file("robot/pose"), "robot%2Fpose.pubsub");
        assert_eq!(file("../../etc/x"), "%2E.%2F..%2Fetc%2Fx.pubsub");
        assert_eq!(file("100%"), "100%25.pubsub");
        assert_eq!(file("a\nb\u{85}"), "a%0Ab%C2%85.pubsub");
        assert_eq!(file("Führer/臂"), "Führer%2F臂.pubsub");
        assert_ne!(file("a/b"), file("a%2Fb"));
    }

    #[test]
    fn the_name_of_a_file_tells_the_channel() {
        for name in ["robot/pose", "../../etc/x", "100%", "a\nb\u{85}", "Führer/臂", "a.pubsub"] {
            let file = file_name(name, Pattern::PubSub).unwrap();
            assert_eq!(channel_of(&file), Some((name.to_owned(), Pattern::PubSub)));
        }
        for file in [
            "",
            ".pubsub",
            "pubsub",
            "pose",
            "pose.log",
            "pose.pubsub.bak",
            ".x.pubsub",
            "%",
            "%.pubsub",
            "%2.pubsub",
            "%2f.pubsub",
            "%61.pubsub",
            "%FF.pubsub",
            "%00.pubsub",
            "%臂.pubsub",
            "a/b.pubsub",
        ] {
            assert_eq!(channel_of(file), None, "{file}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let text = |name: &str| file_name(name, Pattern::PubSub).unwrap_err().to_string();
        assert_eq!(text(""), "channel name \"\" is empty");
        assert_eq!(text("a\0b"), "channel name \"a\\0b\" contains a NUL");
        assert!(
            text(&"x".repeat(249)).ends_with("takes 256 bytes as a file name, 255 are possible")
        );
        assert!(file_name(&"x".repeat(248), Pattern::PubSub).is_ok());
        assert!(file_name(&"/".repeat(83), Pattern::PubSub).is_err());
    }
}
