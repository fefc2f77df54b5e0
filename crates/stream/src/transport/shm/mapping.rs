//! One memfd and its mapping: making, sealing, checking, and access with bounds. The only place of
//! this crate with `unsafe`; never knows what the bytes mean.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::ShareError;

/// `f_type` of a memfd without huge pages. Pages of others can fail to be there when touched.
const TMPFS_MAGIC: i128 = 0x0102_1994;
/// What keeps a mapping valid whatever the other side does.
const FIXED_SIZE: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// A mapped memfd. The size is sealed, so that every byte stays accessible.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping is plain memory, valid in every thread until it is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above; who may write when is the callers' agreement, see `write` and `word`.
unsafe impl Sync for Mapping {}

/// Memory that both sides write, `len` bytes of zeros.
pub(super) fn create_shared(len: usize) -> io::Result<(OwnedFd, Mapping)> {
    create(len, FIXED_SIZE)
}

/// Memory that only this mapping can ever write, `len` bytes of zeros.
pub(super) fn create_private(len: usize) -> io::Result<(OwnedFd, Mapping)> {
    create(len, FIXED_SIZE | SealFlags::FUTURE_WRITE)
}

fn create(len: usize, seals: SealFlags) -> io::Result<(OwnedFd, Mapping)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create("edgeflow", flags | MemfdFlags::NOEXEC_SEAL) {
        // A kernel before 6.3.
        Err(Errno::INVAL) => rustix::fs::memfd_create("edgeflow", flags)?,
        made => made?,
    };
    rustix::fs::ftruncate(&fd, len as u64)?;
    let mapping = map(&fd, len, true)?;
    rustix::fs::fcntl_add_seals(&fd, seals)?;
    Ok((fd, mapping))
}

/// Maps memory of another process, after checking that it is `len` bytes and stays so.
pub(super) fn open(fd: impl AsFd, len: usize, writable: bool) -> Result<Mapping, ShareError> {
    let kind = rustix::fs::fstatfs(&fd).map_err(|e| ShareError::Map(e.into()))?;
    // Only a memfd has seals; another file answers with an error.
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|_| ShareError::Unsealed)?;
    let size = rustix::fs::fstat(&fd).map_err(|e| ShareError::Map(e.into()))?;
    let fits = u64::try_from(size.st_size).is_ok_and(|size| size == len as u64);
    if i128::from(kind.f_type) != TMPFS_MAGIC || !seals.contains(FIXED_SIZE) || !fits || len == 0 {
        return Err(ShareError::Unsealed);
    }
    map(fd, len, writable).map_err(ShareError::Map)
}

fn map(fd: impl AsFd, len: usize, writable: bool) -> io::Result<Mapping> {
    let mut access = ProtFlags::READ;
    access.set(ProtFlags::WRITE, writable);
    // SAFETY: the kernel chooses an address range that nothing uses.
    let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, access, MapFlags::SHARED, fd, 0)? };
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Mapping {
        start,
        len,
        writable,
    })
}

impl Mapping {
    fn covers(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Bytes of the mapping; `None` outside of it. An honest producer does not change them while
    /// they are held; what a dishonest one changes are foreign bytes before and after.
    pub(super) fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        if !self.covers(offset, len) {
            return None;
        }
        // SAFETY: the range lies in the mapping, whose size is sealed, and lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) })
    }

    /// Copies bytes in. `false` outside of the mapping. The caller makes sure that nobody holds
    /// this range: see `Pool`.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.writable || !self.covers(offset, bytes.len()) {
            return false;
        }
        // SAFETY: the range lies in the writable mapping, no reference into it exists in this
        // process (it reads no slots but those it was lent), and `bytes` is other memory: at most
        // another slot.
        unsafe {
            let to = self.start.as_ptr().add(offset);
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        true
    }

    /// Where bytes of this process lie in the mapping; `None` outside of it.
    pub(super) fn offset_of(&self, bytes: &[u8]) -> Option<usize> {
        let offset = bytes.as_ptr().addr().checked_sub(self.start.addr().get())?;
        self.covers(offset, bytes.len()).then_some(offset)
    }

    /// Word `index` of a control page; `None` outside of it.
    pub(super) fn word(&self, index: u32) -> Option<&AtomicU32> {
        let offset = index as usize * size_of::<u32>();
        if !self.writable || !self.covers(offset, size_of::<u32>()) {
            return None;
        }
        // SAFETY: aligned (pages are), inside of the writable mapping, alive as long as `self`; a
        // control page is used through atomics only.
        Some(unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) })
    }
}

/// Bytes of a writable mapping that nobody else reads or writes until they are frozen, and nobody
/// writes from then on.
#[derive(Debug)]
pub(super) struct Exclusive {
    map: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl Exclusive {
    /// `None` outside of the mapping. The caller makes sure that nobody holds this range, and that
    /// nobody is given it while this lives: see `Pool`.
    pub(super) fn new(map: &Arc<Mapping>, offset: usize, len: usize) -> Option<Self> {
        (map.writable && map.covers(offset, len)).then(|| Self {
            map: Arc::clone(map),
            offset,
            len,
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.map.bytes(self.offset, self.len).unwrap_or_default()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `new` has checked the range, `self` keeps the mapping alive, and by its promise
        // this is the only way to these bytes.
        unsafe {
            let start = self.map.start.as_ptr().add(self.offset);
            std::slice::from_raw_parts_mut(start, self.len)
        }
    }

    /// Leaves the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `map`, and no reference into it outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_only_and_of_fixed_size_for_everybody_else() {
        let (fd, mapping) = create_private(8192).unwrap();
        assert!(mapping.write(4096, b"hello"));
        let other = open(&fd, 8192, false).unwrap();
        assert_eq!(other.bytes(4096, 5).unwrap(), b"hello");
        assert!(!other.write(0, b"x"));
        assert!(other.word(0).is_none());
        assert!(matches!(open(&fd, 8192, true), Err(ShareError::Map(_))));
        assert!(rustix::io::write(&fd, b"x").is_err());
        assert!(rustix::fs::ftruncate(&fd, 0).is_err());
        assert!(rustix::fs::ftruncate(&fd, 1 << 20).is_err());
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(&fd, punch, 0, 4096).is_err());
        // Written through the first mapping, seen through the other.
        assert!(mapping.write(4096, b"again"));
        assert_eq!(other.bytes(4096, 5).unwrap(), b"again");
    }

    #[test]
    fn nothing_outside_of_the_mapping_is_reached() {
        let (_fd, mapping) = create_shared(4096).unwrap();
        assert!(mapping.bytes(4096, 0).is_some());
        for (offset, len) in [(4096, 1), (0, 4097), (usize::MAX, 2), (1, usize::MAX)] {
            assert!(mapping.bytes(offset, len).is_none());
        }
        assert!(!mapping.write(4095, b"ab"));
        assert!(mapping.word(1023).is_some());
        assert!(mapping.word(1024).is_none());
        assert!(mapping.word(u32::MAX).is_none());
    }

    #[test]
    fn bytes_that_are_written_in_place_are_found_again() {
        let (fd, mapping) = create_private(8192).unwrap();
        let mapping = Arc::new(mapping);
        let mut own = Exclusive::new(&mapping, 4096, 10).unwrap();
        own.bytes_mut().copy_from_slice(b"0123456789");
        own.truncate(5);
        assert_eq!(own.bytes(), b"01234");
        assert_eq!(mapping.offset_of(own.bytes()), Some(4096));
        assert_eq!(mapping.offset_of(&own.bytes()[2..]), Some(4098));
        assert_eq!(mapping.offset_of(b"elsewhere"), None);
        let other = Arc::new(open(&fd, 8192, false).unwrap());
        assert_eq!(other.bytes(4096, 10).unwrap(), b"0123456789");
        assert_eq!(other.offset_of(own.bytes()), None, "another mapping");
        for (map, offset, len) in [
            (&mapping, 8192, 1),
            (&mapping, 1, usize::MAX),
            (&other, 0, 1),
        ] {
            assert!(Exclusive::new(map, offset, len).is_none());
        }
    }

    #[test]
    fn what_could_be_cut_short_is_refused() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("t", flags).unwrap();
        rustix::fs::ftruncate(&fd, 8192).unwrap();
        let refused = |fd: &OwnedFd, len| matches!(open(fd, len, false), Err(ShareError::Unsealed));
        assert!(refused(&fd, 8192), "unsealed");
        rustix::fs::fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SEAL).unwrap();
        assert!(refused(&fd, 8192), "can shrink");
        let (fd, _mapping) = create_private(4096).unwrap();
        assert!(refused(&fd, 8192), "shorter than announced");
        assert!(refused(&fd, 2048), "longer than announced");
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        assert!(refused(&file, 4096), "not a memfd");
    }
}
