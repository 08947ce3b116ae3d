//! The memory of a segment, mapped once in a process however many handles it has.
//!
//! The control area is writable; a ring is a mapping of its own, made when it is needed, read-only
//! until [`Mapping::protect_ring`]. (The slots of a queue are one ring, which all write to.) A ring that nobody has allocated is never mapped: reading a hole
//! of a full tmpfs is a SIGBUS, and `mlockall` would make it real.

use std::any::Any;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::header::Geometry;
use crate::os::{self, Protection};
use crate::process::{self, Descriptor, LockFile, Owner};

/// The memory of a segment.
#[derive(Debug)]
pub struct Mapping {
    /// Everything before the rings.
    control: ManuallyDrop<MmapRaw>,
    rings: ManuallyDrop<Box<[OnceLock<MmapRaw>]>>,
    geometry: Geometry,
    /// The file, opened for this: a mapping keeps the locks of the open file that it was made of.
    file: Descriptor,
}

impl Mapping {
    /// `None`: it is mapped, and was by another geometry, so the header has changed since.
    pub fn of(file: &LockFile, geometry: &Geometry) -> io::Result<Option<Arc<Mapping>>> {
        // A forked child has the entry of its parent, but not the memory.
        let is_good = |mapping: &Arc<Mapping>| mapping.owner().is_here();
        let mapping = |shared: Arc<dyn Any + Send + Sync>| shared.downcast::<Mapping>().ok();
        let same = |mapping: Arc<Mapping>| (mapping.geometry == *geometry).then_some(mapping);
        if let Some(mapping) = process::shared(file.id()).and_then(mapping).filter(is_good) {
            return Ok(same(mapping));
        }
        let own = Descriptor::open(|| os::open_again(file.file()))?;
        if own.id() != file.id() {
            return Err(lost());
        }
        let control = map(&own, 0, geometry.rings_offset, Protection::ReadWrite)?;
        let new: Arc<dyn Any + Send + Sync> = Arc::new(Mapping {
            control: ManuallyDrop::new(control),
            rings: ManuallyDrop::new((0..geometry.rings()).map(|_| OnceLock::new()).collect()),
            geometry: *geometry,
            file: own,
        });
        let is_good_one = |shared: &Arc<dyn Any + Send + Sync>| {
            shared.clone().downcast().is_ok_and(|mapping| is_good(&mapping))
        };
        // Another thread may have been faster.
        let first = process::share(file.id(), &new, is_good_one);
        Ok(mapping(first.unwrap_or(new)).and_then(same))
    }

    /// The process that has it mapped.
    pub fn owner(&self) -> Owner {
        self.file.owner()
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The first byte of the control area.
    pub fn control(&self) -> NonNull<u8> {
        // SAFETY: A checked geometry has the control area before the rings, so inside this mapping.
        unsafe { start(&self.control).add(self.geometry.control_offset as usize) }
    }

    /// The first byte of a ring, whose pages are allocated. `file` is a handle's, in case that somebody
    /// has closed ours.
    pub fn ring(&self, ring: u32, file: &Descriptor) -> io::Result<NonNull<u8>> {
        let cell = &self.rings[ring.min(self.geometry.rings() - 1) as usize];
        if let Some(map) = cell.get() {
            return Ok(start(map));
        }
        let offset = self.geometry.ring_offset(ring);
        let len = self.geometry.ring_stride;
        let new = if self.file.is_intact() {
            map(&self.file, offset, len, Protection::Read)?
        } else {
            let again = Descriptor::open(|| os::open_again(file.file()))?;
            if again.id() != self.file.id() {
                return Err(lost());
            }
            map(&again, offset, len, Protection::Read)?
        };
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

fn lost() -> io::Error {
    io::Error::other("its descriptor was closed by somebody else")
}

/// Maps whole pages of the file, for this process only.
fn map(file: &Descriptor, offset: u64, len: u64, protection: Protection) -> io::Result<MmapRaw> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut options = MmapOptions::new();
    let options = options.offset(offset).len(len);
    let map = process::without_fork(|| {
        let map = match protection {
            Protection::Read => options.map_raw_read_only(file.file()),
            Protection::ReadWrite => options.map_raw(file.file()),
        }?;
        map.advise(Advice::DontFork)?;
        io::Result::Ok(map)
    })?;
    if file.is_intact() { Ok(map) } else { Err(lost()) }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // A forked child does not have this memory, and may have other memory in its place.
        if self.owner().is_here() {
            // SAFETY: Not used again: this is the end of the only owner.
            unsafe {
                ManuallyDrop::drop(&mut self.control);
                ManuallyDrop::drop(&mut self.rings);
            }
        }
    }
}
