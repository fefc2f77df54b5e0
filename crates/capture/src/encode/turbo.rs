//! libjpeg-turbo, where its library `libturbojpeg.so.0` is on the machine: loaded at the first picture. The
//! only place for `unsafe` of encoding; what it offers can't be used wrongly.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uchar, c_ulong, c_void};
use std::sync::OnceLock;

use libloading::Library;

const NAME: &str = "libturbojpeg.so.0";
/// Values of turbojpeg.h.
const PIXELS_RGB: c_int = 0;
const NO_REALLOC: c_int = 1024;
/// Largest buffer that is accepted.
const MAX_ROOM: usize = 1 << 30;

type Handle = *mut c_void;
type Init = unsafe extern "C" fn() -> Handle;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;
type BufferSize = unsafe extern "C" fn(c_int, c_int, c_int) -> c_ulong;
type Compress = unsafe extern "C" fn(
    Handle,
    *const c_uchar,
    c_int,
    c_int,
    c_int,
    c_int,
    *mut *mut c_uchar,
    *mut c_ulong,
    c_int,
    c_int,
    c_int,
) -> c_int;
type CompressPlanes = unsafe extern "C" fn(
    Handle,
    *const *const c_uchar,
    c_int,
    *const c_int,
    c_int,
    c_int,
    *mut *mut c_uchar,
    *mut c_ulong,
    c_int,
    c_int,
) -> c_int;

/// The functions that are used.
#[derive(Debug)]
pub(super) struct Turbo {
    init: Init,
    destroy: Destroy,
    buffer_size: BufferSize,
    compress: Compress,
    compress_planes: CompressPlanes,
    /// The functions are in it.
    _library: Library,
}

/// How colours are sampled, with the value of turbojpeg.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// Half as many columns.
    Yuv422 = 1,
    /// Half as many columns and rows.
    Yuv420 = 2,
    /// None.
    Grey = 3,
}

impl Sampling {
    /// Columns and rows of a plane of colour.
    fn chroma(self, width: usize, height: usize) -> (usize, usize) {
        match self {
            Self::Yuv422 => (width / 2, height),
            Self::Yuv420 => (width / 2, height / 2),
            Self::Grey => (0, 0),
        }
    }
}

/// A compressor, which goes with this.
struct Compressor<'a> {
    turbo: &'a Turbo,
    handle: Handle,
}

impl Drop for Compressor<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from `init` and is not used any more.
        unsafe { (self.turbo.destroy)(self.handle) };
    }
}

/// The library; `None`: it is not there.
pub(super) fn get() -> Option<&'static Turbo> {
    static TURBO: OnceLock<Option<Turbo>> = OnceLock::new();
    TURBO.get_or_init(load).as_ref()
}

fn load() -> Option<Turbo> {
    // SAFETY: a system library whose start-up code does nothing but set itself up; the types above are
    // those of turbojpeg.h, which its version 0 keeps.
    let turbo = unsafe {
        let library = Library::new(NAME).ok()?;
        Turbo {
            init: *library.get::<Init>(b"tjInitCompress\0").ok()?,
            destroy: *library.get::<Destroy>(b"tjDestroy\0").ok()?,
            buffer_size: *library.get::<BufferSize>(b"tjBufSize\0").ok()?,
            compress: *library.get::<Compress>(b"tjCompress2\0").ok()?,
            compress_planes: *library
                .get::<CompressPlanes>(b"tjCompressFromYUVPlanes\0")
                .ok()?,
            _library: library,
        }
    };
    tracing::debug!(library = NAME, "JPEG is encoded by libjpeg-turbo");
    Some(turbo)
}

impl Turbo {
    /// `None`: it can't, for a reason that another encoder may not have.
    pub(super) fn rgb(
        &self,
        pixels: &[u8],
        (width, height): (u16, u16),
        quality: u8,
    ) -> Option<Vec<u8>> {
        let row = usize::from(width) * 3;
        if row == 0 || height == 0 || pixels.len() < row * usize::from(height) {
            return None;
        }
        let pitch = c_int::try_from(row).ok()?;
        let size = (c_int::from(width), c_int::from(height));
        self.run(size, Sampling::Yuv420, |handle, buffer, length| {
            // SAFETY: `pixels` has `height` rows of `pitch` bytes, which are only read; `buffer` has the
            // room that the library asks for, and it is told not to replace it.
            unsafe {
                (self.compress)(
                    handle,
                    pixels.as_ptr(),
                    size.0,
                    pitch,
                    size.1,
                    PIXELS_RGB,
                    buffer,
                    length,
                    Sampling::Yuv420 as c_int,
                    c_int::from(quality),
                    NO_REALLOC,
                )
            }
        })
    }

    /// The same for planes without gaps: brightness, then two of colour. Sides have to be even.
    pub(super) fn planes(
        &self,
        [luma, blue, red]: [&[u8]; 3],
        (width, height): (u16, u16),
        sampling: Sampling,
        quality: u8,
    ) -> Option<Vec<u8>> {
        let (columns, rows) = (usize::from(width), usize::from(height));
        let (half, half_rows) = sampling.chroma(columns, rows);
        let fits = luma.len() >= columns * rows
            && blue.len() >= half * half_rows
            && red.len() >= half * half_rows;
        if columns == 0 || rows == 0 || columns % 2 + rows % 2 > 0 || !fits {
            return None;
        }
        let size = (c_int::from(width), c_int::from(height));
        let half = c_int::try_from(half).ok()?;
        let planes = [luma.as_ptr(), blue.as_ptr(), red.as_ptr()];
        let strides = [size.0, half, half];
        self.run(size, sampling, |handle, buffer, length| {
            // SAFETY: the planes have the rows and strides that the sampling asks of even sides, and are
            // only read; `buffer` has the room that the library asks for.
            unsafe {
                (self.compress_planes)(
                    handle,
                    planes.as_ptr(),
                    size.0,
                    strides.as_ptr(),
                    size.1,
                    sampling as c_int,
                    buffer,
                    length,
                    c_int::from(quality),
                    NO_REALLOC,
                )
            }
        })
    }

    fn run(
        &self,
        (width, height): (c_int, c_int),
        sampling: Sampling,
        compress: impl FnOnce(Handle, *mut *mut c_uchar, *mut c_ulong) -> c_int,
    ) -> Option<Vec<u8>> {
        // SAFETY: no arguments; null says that it failed.
        let handle = unsafe { (self.init)() };
        if handle.is_null() {
            return None;
        }
        let compressor = Compressor {
            turbo: self,
            handle,
        };
        // SAFETY: numbers only.
        let room = unsafe { (self.buffer_size)(width, height, sampling as c_int) };
        let room = usize::try_from(room).ok().filter(|it| *it < MAX_ROOM)?;
        let mut out: Vec<u8> = Vec::with_capacity(room);
        let mut buffer = out.as_mut_ptr();
        let mut length = c_ulong::try_from(room).ok()?;
        let code = compress(compressor.handle, &raw mut buffer, &raw mut length);
        let length = usize::try_from(length).ok()?;
        if code != 0 || buffer != out.as_mut_ptr() || length > room {
            return None;
        }
        // SAFETY: the library has written `length` bytes from the start, within the room.
        unsafe { out.set_len(length) };
        out.shrink_to_fit();
        Some(out)
    }
}
