//! What the tests of the handles have in common.

use std::os::unix::fs::PermissionsExt;

/// A folder for the channels of one test, gone with it. Of mode 0700, whatever the umask.
pub fn private_folder() -> tempfile::TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap()
}
