//! The memory of a segment, mapped once in a process however many handles it has.
//!
//! The control area is writable; a ring is a mapping of its own, made when it is needed, read-only
//! until [`Mapping::protect_ring`]. A ring that nobody has allocated is never mapped: reading a hole
//! of a full tmpfs is a SIGBUS, and `mlockall` would make it real.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::header::Geometry;
use crate::os::{self, FileId, Protection};
use crate::process::{self, LockFile, Owner};

/// The memory of a segment.
#[derive(Debug)]
pub struct Mapping {
    /// Everything before the rings.
    control: ManuallyDrop<MmapRaw>,
    rings: ManuallyDrop<Box<[OnceLock<MmapRaw>]>>,
    geometry: Geometry,
    file: FileId,
    owner: Owner,
}

/// Locked within `process::without_fork` only, so that it is never locked in a forked child.
static MAPPINGS: LazyLock<Mutex<HashMap<FileId, Weak<Mapping>>>> = LazyLock::new(Mutex::default);

fn mappings() -> MutexGuard<'static, HashMap<FileId, Weak<Mapping>>> {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mapping {
    /// `None`: it is mapped, and was by another geometry, so the header has changed since.
    pub fn of(file: &LockFile, geometry: &Geometry) -> io::Result<Option<Arc<Mapping>>> {
        let (id, owner) = (file.id(), file.owner());
        // Whatever is dropped here is dropped after the locks: dropping a `Mapping` takes them.
        let known = process::without_fork(|| mappings().get(&id).and_then(Weak::upgrade));
        // A forked child has the entry of its parent, but not the memory.
        if let Some(mapping) = known.filter(|mapping| mapping.owner.is_here()) {
            return Ok((mapping.geometry == *geometry).then_some(mapping));
        }
        let control = map(file.file(), id, 0, geometry.rings_offset, Protection::ReadWrite)?;
        let mapping = Arc::new(Mapping {
            control: ManuallyDrop::new(control),
            rings: ManuallyDrop::new(
                (0..geometry.max_publishers).map(|_| OnceLock::new()).collect(),
            ),
            geometry: *geometry,
            file: id,
            owner,
        });
        let first = process::without_fork(|| {
            let mut mappings = mappings();
            let other = mappings.get(&id).and_then(Weak::upgrade);
            let other = other.filter(|mapping| mapping.owner.is_here());
            if other.is_none() {
                mappings.insert(id, Arc::downgrade(&mapping));
            }
            other
        });
        // Another thread may have been faster.
        match first {
            Some(mapping) => Ok((mapping.geometry == *geometry).then_some(mapping)),
            None => Ok(Some(mapping)),
        }
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The process that has it mapped.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The first byte of the control area.
    pub fn control(&self) -> NonNull<u8> {
        // SAFETY: A checked geometry has the control area before the rings, so inside this mapping.
        unsafe { start(&self.control).add(self.geometry.control_offset as usize) }
    }

    /// The first byte of a ring, whose pages are allocated. `file` is any handle's.
    pub fn ring(&self, ring: u32, file: &File) -> io::Result<NonNull<u8>> {
        let cell = &self.rings[ring.min(self.geometry.max_publishers - 1) as usize];
        if let Some(map) = cell.get() {
            return Ok(start(map));
        }
        let offset = self.geometry.ring_offset(ring);
        let new = map(file, self.file, offset, self.geometry.ring_stride, Protection::Read)?;
        // If another thread was faster, ours goes.
        Ok(start(cell.get_or_init(|| new)))
    }

    /// Lets this process write to a ring, or not any more.
    ///
    /// # Safety
    ///
    /// With `Read` no reference for writing into the ring is left.
    pub unsafe fn protect_ring(&self, ring: u32, protection: Protection) -> io::Result<()> {
        match self.rings.get(ring as usize).and_then(OnceLock::get) {
            // SAFETY: A whole mapping. The rest the caller promises.
            Some(map) => unsafe { os::protect(start(map), map.len(), protection) },
            None => Ok(()),
        }
    }
}

fn start(map: &MmapRaw) -> NonNull<u8> {
    NonNull::new(map.as_mut_ptr()).unwrap_or(NonNull::dangling())
}

/// Maps whole pages of the file, for this process only.
fn map(
    file: &File,
    id: FileId,
    offset: u64,
    len: u64,
    protection: Protection,
) -> io::Result<MmapRaw> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut options = MmapOptions::new();
    let options = options.offset(offset).len(len);
    process::without_fork(|| {
        let file = os::open_again(file)?;
        if os::file_id(&file)? != id {
            return Err(io::Error::other("its descriptor was closed by somebody else"));
        }
        let map = match protection {
            Protection::Read => options.map_raw_read_only(&file),
            Protection::ReadWrite => options.map_raw(&file),
        }?;
        map.advise(Advice::DontFork)?;
        Ok(map)
    })
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            // A forked child does not have this memory, and may have other memory in its place.
            return;
        }
        process::without_fork(|| {
            let mut mappings = mappings();
            // Perhaps somebody has mapped it anew since the last handle went.
            if mappings.get(&self.file).is_some_and(|mapping| mapping.strong_count() == 0) {
                mappings.remove(&self.file);
            }
        });
        // SAFETY: Not used again: this is the end of the only owner.
        unsafe {
            ManuallyDrop::drop(&mut self.control);
            ManuallyDrop::drop(&mut self.rings);
        }
    }
}
