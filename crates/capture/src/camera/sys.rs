//! The system calls of a camera: requests on its descriptor, and its mapped memory. The only place
//! for `unsafe` of this module; what it offers can't be used wrongly. Decides nothing.
#![allow(unsafe_code)]

use std::ffi::c_ulong;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};

use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags};

use super::abi::{
    Buffer, BufferRequest, Capability, ControlQuery, ControlValue, Format, FormatDescription,
    FrameInterval, FrameSize, MAX_PLANES, MEMORY_MMAP, MULTI, MenuQuery, MultiPixels, Pixels,
    Plane, SINGLE, StreamParameters,
};

const GROUP: u8 = b'V';
/// A memory mapping that is accepted: a raw 8K picture with room.
const MAX_MAPPING: usize = 256 << 20;

/// A structure of integers only.
///
/// # Safety
/// Every pattern of bits is a value of it, zeros included.
pub(super) unsafe trait Plain: Copy {
    /// All zeros.
    fn zeroed() -> Self {
        // SAFETY: the trait promises that zeros are a value.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($name:ty),* $(,)?) => {
        $(
            // SAFETY: integers, and arrays, structures and unions of them.
            unsafe impl Plain for $name {}
        )*
    };
}

plain!(
    Capability,
    FormatDescription,
    FrameSize,
    FrameInterval,
    Format,
    StreamParameters,
    BufferRequest,
    Buffer,
    Plane,
    ControlQuery,
    MenuQuery,
    ControlValue,
);

/// Requests whose structure has no pointer for the kernel to follow.
macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident: $number:literal, $type:ty;)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $name(fd: impl AsFd, value: &mut $type) -> io::Result<()> {
                const CODE: Opcode = opcode::read_write::<$type>(GROUP, $number);
                // SAFETY: the number belongs to this structure, whose size is the kernel's and part
                // of the number. The kernel writes into it and nowhere else.
                unsafe { repeat(|| ioctl(&fd, Updater::<CODE, $type>::new(value))) }
            }
        )*
    };
}

requests! {
    list_formats: 2, FormatDescription;
    list_controls: 103, ControlQuery;
    list_menu: 37, MenuQuery;
    list_sizes: 74, FrameSize;
    list_intervals: 75, FrameInterval;
    get_control: 27, ControlValue;
    set_control: 28, ControlValue;
    get_format_unchecked: 4, Format;
    set_format_unchecked: 5, Format;
    get_rate_unchecked: 21, StreamParameters;
    set_rate_unchecked: 22, StreamParameters;
    request_buffers_unchecked: 8, BufferRequest;
}

/// What the device is.
pub(super) fn query_capability(fd: impl AsFd) -> io::Result<Capability> {
    const CODE: Opcode = opcode::read::<Capability>(GROUP, 0);
    let mut capability = Capability::zeroed();
    // SAFETY: as in `requests`; this one is only written by the kernel.
    unsafe { repeat(|| ioctl(&fd, Updater::<CODE, Capability>::new(&mut capability)))? };
    Ok(capability)
}

/// The picture of a queue with one plane of memory.
pub(super) fn single(format: &Format) -> Pixels {
    // SAFETY: every field of the union is integers.
    unsafe { format.pixels.single }
}

/// The picture of a queue with several planes of memory.
pub(super) fn multi(format: &Format) -> MultiPixels {
    // SAFETY: every field of the union is integers.
    unsafe { format.pixels.multi }
}

/// The format in use.
pub(super) fn get_format(fd: impl AsFd, format: &mut Format) -> io::Result<()> {
    check_kind(format.kind)?;
    get_format_unchecked(fd, format)
}

/// Asks for a format; the driver writes what it made of it.
pub(super) fn set_format(fd: impl AsFd, format: &mut Format) -> io::Result<()> {
    check_kind(format.kind)?;
    set_format_unchecked(fd, format)
}

/// The rate in use.
pub(super) fn get_rate(fd: impl AsFd, rate: &mut StreamParameters) -> io::Result<()> {
    check_kind(rate.kind)?;
    get_rate_unchecked(fd, rate)
}

/// Asks for a rate; the driver writes what it made of it.
pub(super) fn set_rate(fd: impl AsFd, rate: &mut StreamParameters) -> io::Result<()> {
    check_kind(rate.kind)?;
    set_rate_unchecked(fd, rate)
}

/// Makes buffers in the driver's memory; none frees them. Returns how many there are.
pub(super) fn request_buffers(fd: impl AsFd, kind: u32, count: u32) -> io::Result<u32> {
    check_kind(kind)?;
    let mut request = BufferRequest {
        count,
        kind,
        memory: MEMORY_MMAP,
        ..BufferRequest::zeroed()
    };
    request_buffers_unchecked(fd, &mut request)?;
    Ok(request.count)
}

/// A buffer with its planes.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) buffer: Buffer,
    pub(super) planes: [Plane; MAX_PLANES],
}

impl Slot {
    fn new(kind: u32, index: u32) -> Self {
        let buffer = Buffer {
            kind,
            index,
            memory: MEMORY_MMAP,
            ..Buffer::zeroed()
        };
        Self {
            buffer,
            planes: [Plane::zeroed(); MAX_PLANES],
        }
    }

    /// The planes that are in use. A single-planar buffer is one plane.
    pub(super) fn parts(&self) -> Vec<Plane> {
        if self.buffer.kind == MULTI {
            let count = usize::try_from(self.buffer.length).unwrap_or(MAX_PLANES);
            return self.planes[..count.min(MAX_PLANES)].to_vec();
        }
        vec![Plane {
            bytes_used: self.buffer.bytes_used,
            length: self.buffer.length,
            place: self.buffer.place,
            ..Plane::zeroed()
        }]
    }

    fn call<const CODE: Opcode>(&mut self, fd: impl AsFd) -> io::Result<()> {
        check_kind(self.buffer.kind)?;
        self.buffer.memory = MEMORY_MMAP;
        if self.buffer.kind == MULTI {
            self.buffer.length = u32::try_from(MAX_PLANES).unwrap_or(0);
            self.buffer.place = self.planes.as_mut_ptr() as c_ulong;
        }
        // SAFETY: the number belongs to this structure. With several planes it has the address and
        // the number of `planes`, which live as long as the call; otherwise the kernel follows no
        // pointer, since the memory is the driver's own (MEMORY_MMAP).
        unsafe { repeat(|| ioctl(&fd, Updater::<CODE, Buffer>::new(&mut self.buffer))) }
    }
}

/// Where the memory of a buffer is.
pub(super) fn query_buffer(fd: impl AsFd, kind: u32, index: u32) -> io::Result<Slot> {
    let mut slot = Slot::new(kind, index);
    slot.call::<{ opcode::read_write::<Buffer>(GROUP, 9) }>(fd)?;
    Ok(slot)
}

/// Gives a buffer to the driver, to be filled.
pub(super) fn queue(fd: impl AsFd, kind: u32, index: u32) -> io::Result<()> {
    Slot::new(kind, index).call::<{ opcode::read_write::<Buffer>(GROUP, 15) }>(fd)
}

/// Takes a filled buffer; `None`: there is none.
pub(super) fn dequeue(fd: impl AsFd, kind: u32) -> io::Result<Option<Slot>> {
    let mut slot = Slot::new(kind, 0);
    match slot.call::<{ opcode::read_write::<Buffer>(GROUP, 17) }>(fd) {
        Ok(()) => Ok(Some(slot)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Starts or stops the flow of pictures.
pub(super) fn stream(fd: impl AsFd, kind: u32, on: bool) -> io::Result<()> {
    const ON: Opcode = opcode::write::<u32>(GROUP, 18);
    const OFF: Opcode = opcode::write::<u32>(GROUP, 19);
    check_kind(kind)?;
    // SAFETY: both read one integer.
    unsafe {
        if on {
            repeat(|| ioctl(&fd, Setter::<ON, u32>::new(kind)))
        } else {
            repeat(|| ioctl(&fd, Setter::<OFF, u32>::new(kind)))
        }
    }
}

/// Other kinds of queues have structures with pointers in them.
fn check_kind(kind: u32) -> io::Result<()> {
    if matches!(kind, SINGLE | MULTI) {
        return Ok(());
    }
    Err(io::ErrorKind::InvalidInput.into())
}

fn repeat<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Memory of the driver, mapped to be read. It changes whenever the driver likes, so it is copied
/// from and never borrowed.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory, valid in every thread until it is dropped.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn new(fd: BorrowedFd<'_>, plane: &Plane) -> io::Result<Self> {
        let len = usize::try_from(plane.length).unwrap_or(usize::MAX);
        if len == 0 || len > MAX_MAPPING {
            return Err(io::ErrorKind::InvalidData.into());
        }
        #[allow(clippy::useless_conversion)] // 32 bits on some machines.
        let offset = u64::from(plane.place);
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::SHARED,
                fd,
                offset,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends `count` bytes from `offset` to `out`; less where the mapping ends.
    pub(super) fn append(&self, offset: usize, count: usize, out: &mut Vec<u8>) {
        let offset = offset.min(self.len);
        let count = count.min(self.len - offset);
        out.reserve(count);
        // SAFETY: source: `offset + count` is within the mapping, which is readable. Target: room
        // was reserved behind the present length. The driver may write meanwhile when it breaks its
        // contract; the bytes are then mixed, which is a broken picture and nothing worse.
        unsafe {
            let target = out.as_mut_ptr().add(out.len());
            ptr::copy_nonoverlapping(self.start.as_ptr().add(offset), target, count);
            out.set_len(out.len() + count);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new`, unmapped once; nothing borrows from it.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_kernel() {
        // As <linux/videodev2.h> has them on every 64-bit machine that is supported.
        assert_eq!(opcode::read::<Capability>(GROUP, 0), 0x8068_5600);
        assert_eq!(
            opcode::read_write::<FormatDescription>(GROUP, 2),
            0xc040_5602
        );
        assert_eq!(opcode::read_write::<Format>(GROUP, 5), 0xc0d0_5605);
        assert_eq!(opcode::read_write::<BufferRequest>(GROUP, 8), 0xc014_5608);
        assert_eq!(opcode::read_write::<Buffer>(GROUP, 17), 0xc058_5611);
        assert_eq!(opcode::write::<u32>(GROUP, 18), 0x4004_5612);
        assert_eq!(
            opcode::read_write::<StreamParameters>(GROUP, 22),
            0xc0cc_5616
        );
        assert_eq!(opcode::read_write::<ControlValue>(GROUP, 28), 0xc008_561c);
        assert_eq!(opcode::read_write::<MenuQuery>(GROUP, 37), 0xc02c_5625);
        assert_eq!(opcode::read_write::<FrameSize>(GROUP, 74), 0xc02c_564a);
        assert_eq!(opcode::read_write::<FrameInterval>(GROUP, 75), 0xc034_564b);
        assert_eq!(opcode::read_write::<ControlQuery>(GROUP, 103), 0xc0e8_5667);
    }

    #[test]
    fn a_file_that_is_no_camera_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(query_capability(&file).is_err());
        assert!(dequeue(&file, SINGLE).is_err());
        assert!(queue(&file, MULTI, 0).is_err());
        let other = request_buffers(&file, 3, 1).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::InvalidInput);
        let plane = Plane {
            length: u32::MAX,
            ..Plane::zeroed()
        };
        assert!(Mapping::new(file.as_fd(), &plane).is_err());
    }
}
