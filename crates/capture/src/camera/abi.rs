//! The structures and numbers of Video4Linux that are used here, as the kernel's interface fixes
//! them for ever. Sizes are checked when this is compiled. Calls nothing.

use std::ffi::{c_long, c_ulong};

/// Planes that a picture may have.
pub(super) const MAX_PLANES: usize = 8;

/// The kind of a queue: pictures in one plane of memory.
pub(super) const SINGLE: u32 = 1;
/// The kind of a queue: pictures in several planes of memory.
pub(super) const MULTI: u32 = 9;
pub(super) const MEMORY_MMAP: u32 = 1;
pub(super) const FIELD_NONE: u32 = 1;

pub(super) const CAP_CAPTURE: u32 = 0x1;
pub(super) const CAP_CAPTURE_MULTI: u32 = 0x1000;
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
pub(super) const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
/// The rate can be set.
pub(super) const CAP_RATE: u32 = 0x1000;

pub(super) const BUFFER_ERROR: u32 = 0x40;
pub(super) const BUFFER_CLOCK_MASK: u32 = 0xe000;
pub(super) const BUFFER_CLOCK_MONOTONIC: u32 = 0x2000;

pub(super) const QUANTIZATION_FULL: u32 = 1;
pub(super) const COLORSPACE_JPEG: u32 = 7;

pub(super) const SIZES_DISCRETE: u32 = 1;

pub(super) const CONTROL_INTEGER: u32 = 1;
pub(super) const CONTROL_BOOLEAN: u32 = 2;
pub(super) const CONTROL_MENU: u32 = 3;
pub(super) const CONTROL_BITMASK: u32 = 8;
pub(super) const CONTROL_INTEGER_MENU: u32 = 9;
/// Disabled, read-only or write-only.
pub(super) const CONTROL_UNUSABLE: u32 = 0x1 | 0x4 | 0x40;
pub(super) const CONTROL_INACTIVE: u32 = 0x10;
pub(super) const CONTROL_NEXT: u32 = 0x8000_0000;
/// Classes of controls that are about pictures: user and camera.
pub(super) const CONTROL_CLASSES: [u32; 2] = [0x0098_0000, 0x009a_0000];

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct FormatDescription {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) description: [u8; 32],
    pub(super) fourcc: u32,
    pub(super) mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct FrameSize {
    pub(super) index: u32,
    pub(super) fourcc: u32,
    pub(super) kind: u32,
    /// Discrete: width, height. Otherwise: width from, to, step; height from, to, step.
    pub(super) values: [u32; 6],
    pub(super) reserved: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct FrameInterval {
    pub(super) index: u32,
    pub(super) fourcc: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: u32,
    /// Discrete: the interval. Otherwise: shortest, longest, step. Each a fraction of a second.
    pub(super) values: [u32; 6],
    pub(super) reserved: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) fourcc: u32,
    pub(super) field: u32,
    pub(super) bytes_per_line: u32,
    pub(super) size: u32,
    pub(super) colorspace: u32,
    pub(super) private: u32,
    pub(super) flags: u32,
    pub(super) encoding: u32,
    pub(super) quantization: u32,
    pub(super) transfer: u32,
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
pub(super) struct PlanePixels {
    pub(super) size: u32,
    pub(super) bytes_per_line: u32,
    pub(super) reserved: [u16; 6],
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
pub(super) struct MultiPixels {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) fourcc: u32,
    pub(super) field: u32,
    pub(super) colorspace: u32,
    pub(super) planes: [PlanePixels; MAX_PLANES],
    pub(super) count: u8,
    pub(super) flags: u8,
    pub(super) encoding: u8,
    pub(super) quantization: u8,
    pub(super) transfer: u8,
    pub(super) reserved: [u8; 7],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union FormatUnion {
    pub(super) single: Pixels,
    pub(super) multi: MultiPixels,
    /// The kernel's union has pointers in it, which give it its alignment.
    pub(super) raw: [c_ulong; 200 / size_of::<c_ulong>()],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) kind: u32,
    pub(super) pixels: FormatUnion,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct StreamParameters {
    pub(super) kind: u32,
    pub(super) capability: u32,
    pub(super) mode: u32,
    /// A frame's time in seconds, as a fraction.
    pub(super) numerator: u32,
    pub(super) denominator: u32,
    pub(super) rest: [u32; 46],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct BufferRequest {
    pub(super) count: u32,
    pub(super) kind: u32,
    pub(super) memory: u32,
    pub(super) capabilities: u32,
    pub(super) flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) bytes_used: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) seconds: c_long,
    pub(super) microseconds: c_long,
    pub(super) timecode: [u32; 4],
    pub(super) sequence: u32,
    pub(super) memory: u32,
    /// Offset for a mapping, or the address of the planes.
    pub(super) place: c_ulong,
    pub(super) length: u32,
    pub(super) reserved: u32,
    pub(super) request: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Plane {
    pub(super) bytes_used: u32,
    pub(super) length: u32,
    /// Offset for a mapping.
    pub(super) place: c_ulong,
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ControlQuery {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) name: [u8; 32],
    pub(super) minimum: i64,
    pub(super) maximum: i64,
    pub(super) step: u64,
    pub(super) default: i64,
    pub(super) flags: u32,
    pub(super) element_size: u32,
    pub(super) elements: u32,
    pub(super) dimensions: u32,
    pub(super) sizes: [u32; 4],
    pub(super) reserved: [u32; 32],
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
pub(super) struct MenuQuery {
    pub(super) id: u32,
    pub(super) index: u32,
    pub(super) name: [u8; 32],
    pub(super) reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ControlValue {
    pub(super) id: u32,
    pub(super) value: i32,
}

/// A request's number is made of its direction, size and index: the sizes have to be the kernel's.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FormatDescription>() == 64);
    assert!(size_of::<FrameSize>() == 44);
    assert!(size_of::<FrameInterval>() == 52);
    assert!(size_of::<Pixels>() == 48);
    assert!(size_of::<MultiPixels>() == 192);
    assert!(size_of::<Format>() == 208 && std::mem::offset_of!(Format, pixels) == 8);
    assert!(size_of::<StreamParameters>() == 204);
    assert!(size_of::<BufferRequest>() == 20);
    assert!(size_of::<Buffer>() == 88 && std::mem::offset_of!(Buffer, seconds) == 24);
    assert!(std::mem::offset_of!(Buffer, place) == 64);
    assert!(size_of::<Plane>() == 64 && std::mem::offset_of!(Plane, data_offset) == 16);
    assert!(size_of::<ControlQuery>() == 232 && std::mem::offset_of!(ControlQuery, flags) == 72);
    assert!(size_of::<MenuQuery>() == 44);
    assert!(size_of::<ControlValue>() == 8);
};
