//! One memfd that two processes map and write. The only place of the benchmarks with `unsafe`; never
//! knows what the bytes mean.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Mapped for reading and writing. Its size is sealed, so that every byte stays there.
pub(super) struct Memory {
    start: NonNull<u8>,
    len: usize,
}

/// `len` bytes of zeros.
pub(super) fn create(len: usize) -> io::Result<(OwnedFd, Memory)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("reference", flags)?;
    rustix::fs::ftruncate(&fd, len as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
    let memory = map(&fd, len)?;
    Ok((fd, memory))
}

/// What the other process created, `len` bytes.
pub(super) fn open(fd: impl AsFd, len: usize) -> io::Result<Memory> {
    let size = rustix::fs::fstat(&fd)?.st_size;
    if !u64::try_from(size).is_ok_and(|size| size == len as u64) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    map(fd, len)
}

fn map(fd: impl AsFd, len: usize) -> io::Result<Memory> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses an address range that nothing uses.
    let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, access, MapFlags::SHARED, fd, 0)? };
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Memory { start, len })
}

impl Memory {
    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len), "in the mapping");
    }

    /// The word at an offset that is a multiple of eight. Such words are never part of a payload.
    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        self.check(offset, size_of::<u64>());
        assert!(offset.is_multiple_of(align_of::<u64>()), "aligned");
        // SAFETY: aligned and inside of the mapping, which lives as long as `self`; used through
        // atomics only.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Copies a payload in. The ring sees to it that nobody reads this range meanwhile.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        // SAFETY: the range lies in the mapping, `bytes` is other memory, and the producer, the
        // only one who calls this, holds no reference into the mapping.
        unsafe {
            let to = self.start.as_ptr().add(offset);
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// A payload, in place. The ring sees to it that nobody writes there before it is given back.
    pub(super) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len);
        // SAFETY: the range lies in the mapping and lives as long as `self`; the producer is this
        // same program and leaves a slot alone until it is given back.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: made by `map`, and no reference into it outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}
