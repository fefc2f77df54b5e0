//! The flow of pictures of a device: buffers in the driver's memory, taken when they are filled, the
//! newest first and only, copied and given back at once. Every error ends it; it never waits longer
//! than it is told.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Fault;
use super::abi::{BUFFER_CLOCK_MASK, BUFFER_CLOCK_MONOTONIC, BUFFER_ERROR};
use super::clock::{Capture, Now};
use super::device::{Device, Setting};
use super::sys::{self, Mapping, Slot};

/// Buffers asked for: one is filled, one is read, two wait.
const BUFFERS: u32 = 4;
/// Drivers may give more.
const MAX_BUFFERS: u32 = 32;
/// Assumed when the driver names no rate.
const SLOW_FRAME_NS: f64 = 1e9 / 10.0;
/// Bytes of a compressed picture that are accepted.
const MAX_COMPRESSED: usize = crate::jpeg::MAX_JPEG_BYTES;

/// What has become of pictures that were not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Delivered.
    pub pictures: u64,
    /// The driver counted them and nobody saw them: buffers were not back in time, or it lost them.
    pub lost: u64,
    /// A newer one was there already.
    pub superseded: u64,
    /// Marked as broken by the driver, or too short.
    pub damaged: u64,
}

/// One picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    pub(super) capture: Capture,
    pub(super) sequence: u32,
}

/// A device that delivers pictures.
#[derive(Debug)]
pub(super) struct Stream {
    device: Device,
    setting: Setting,
    buffers: Vec<Vec<Mapping>>,
    last_sequence: Option<u32>,
    frame_ns: u64,
}

impl Stream {
    /// Makes buffers and starts the flow.
    pub(super) fn start(device: Device, setting: Setting) -> Result<Self, Fault> {
        let frame_ns = setting.mode.fps.map_or(SLOW_FRAME_NS, |fps| 1e9 / fps);
        let mut stream = Self {
            device,
            setting,
            buffers: Vec::new(),
            last_sequence: None,
            // A frame takes far less than 2^64 ns.
            frame_ns: frame_ns as u64,
        };
        match stream.prepare() {
            Ok(()) => Ok(stream),
            Err((step, error)) => Err(stream.device.fault(step, error)),
        }
    }

    fn prepare(&mut self) -> Result<(), (&'static str, io::Error)> {
        let (fd, kind) = (self.device.fd(), self.device.kind);
        let at = |step: &'static str| move |error: io::Error| (step, error);
        let count = sys::request_buffers(fd, kind, BUFFERS).map_err(at("make buffers"))?;
        if count == 0 {
            return Err(("make buffers", io::ErrorKind::OutOfMemory.into()));
        }
        for index in 0..count.min(MAX_BUFFERS) {
            let slot = sys::query_buffer(fd, kind, index).map_err(at("show its buffers"))?;
            let planes = slot.parts();
            let mappings = planes.iter().map(|plane| Mapping::new(fd, plane));
            let mappings = mappings.collect::<io::Result<Vec<_>>>();
            self.buffers.push(mappings.map_err(at("map its buffers"))?);
        }
        for index in 0..count.min(MAX_BUFFERS) {
            sys::queue(fd, kind, index).map_err(at("take its buffers"))?;
        }
        sys::stream(fd, kind, true).map_err(at("start"))
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Waits up to `time`, then takes the newest picture there is.
    pub(super) fn next(
        &mut self,
        time: Duration,
        counters: &mut Counters,
    ) -> io::Result<Option<Taken>> {
        let Some(broken) = self.wait(time)? else {
            return Ok(None);
        };
        let (mut newest, mut saw_any) = (None::<Slot>, false);
        // The driver fills them again meanwhile: not for ever.
        for _ in 0..self.buffers.len() * 2 {
            let Some(slot) = sys::dequeue(self.device.fd(), self.device.kind)? else {
                break;
            };
            saw_any = true;
            self.count(slot.buffer.sequence, counters);
            if slot.buffer.flags & BUFFER_ERROR != 0 {
                counters.damaged += 1;
                self.give_back(&slot)?;
            } else if let Some(older) = newest.replace(slot) {
                counters.superseded += 1;
                self.give_back(&older)?;
            }
        }
        let Some(slot) = newest else {
            // An error that no buffer tells of: without this the wait would end at once for ever.
            return if broken && !saw_any {
                Err(Errno::IO.into())
            } else {
                Ok(None)
            };
        };
        let bytes = self.copy(&slot);
        self.give_back(&slot)?;
        match bytes {
            Some(bytes) => {
                counters.pictures += 1;
                Ok(Some(Taken {
                    bytes,
                    capture: Now::read().capture(stamp_ns(&slot), self.frame_ns),
                    sequence: slot.buffer.sequence,
                }))
            }
            None => {
                counters.damaged += 1;
                Ok(None)
            }
        }
    }

    /// `None`: nothing came. Otherwise whether the driver reports an error.
    fn wait(&self, time: Duration) -> io::Result<Option<bool>> {
        let fd = self.device.fd();
        let mut waits = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut waits, Timespec::try_from(time).ok().as_ref()) {
            Ok(0) | Err(Errno::INTR) => Ok(None),
            Ok(_) => {
                let ends = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
                Ok(Some(waits[0].revents().intersects(ends)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Numbers that are left out are pictures that were lost. Some drivers begin anew.
    fn count(&mut self, sequence: u32, counters: &mut Counters) {
        if let Some(last) = self.last_sequence.replace(sequence)
            && sequence > last
        {
            counters.lost += u64::from(sequence - last - 1);
        }
    }

    fn give_back(&self, slot: &Slot) -> io::Result<()> {
        sys::queue(self.device.fd(), self.device.kind, slot.buffer.index)
    }

    /// The picture with its rows close together; `None`: it is too short.
    fn copy(&self, slot: &Slot) -> Option<Vec<u8>> {
        let index = usize::try_from(slot.buffer.index).ok()?;
        let mappings = self.buffers.get(index)?;
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let parts: Vec<Part<'_>> = slot
            .parts()
            .iter()
            .zip(mappings)
            .map(|(plane, mapping)| Part {
                mapping,
                from: size(plane.data_offset),
                to: size(plane.bytes_used).min(mapping.len()),
            })
            .collect();
        let (width, height) = self.setting.mode.size;
        let planes = self.setting.mode.format.planes(size(width), size(height));
        if planes.is_empty() {
            return compressed(parts.first()?);
        }
        raw(&parts, &planes, &self.setting.strides)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let (fd, kind) = (self.device.fd(), self.device.kind);
        // Nothing can be done about a failure: the device is gone, or closed next.
        let _ = sys::stream(fd, kind, false);
        self.buffers.clear();
        let _ = sys::request_buffers(fd, kind, 0);
    }
}

/// The filled part of a plane of memory.
struct Part<'a> {
    mapping: &'a Mapping,
    from: usize,
    to: usize,
}

fn compressed(part: &Part<'_>) -> Option<Vec<u8>> {
    let count = part.to.checked_sub(part.from)?;
    if count == 0 || count > MAX_COMPRESSED {
        return None;
    }
    let mut out = Vec::new();
    part.mapping.append(part.from, count, &mut out);
    Some(out)
}

/// Planes of pixels that lie each in its own memory, or one after the other in the first.
fn raw(parts: &[Part<'_>], planes: &[(usize, usize)], strides: &[usize]) -> Option<Vec<u8>> {
    let total = planes.iter().map(|(row, rows)| row * rows).sum();
    let mut out = Vec::with_capacity(total);
    let apart = parts.len() >= planes.len();
    let mut offset = 0;
    for (number, &(row, rows)) in planes.iter().enumerate() {
        let memory = if apart { number } else { 0 };
        let part = parts.get(memory)?;
        // Some drivers say 0 for rows without gaps.
        let stride = strides.get(memory).copied().unwrap_or(0).max(row);
        let start = if apart { part.from } else { part.from + offset };
        let end = start + stride * (rows.saturating_sub(1)) + row;
        if end > part.to {
            return None;
        }
        if stride == row {
            part.mapping.append(start, row * rows, &mut out);
        } else {
            for y in 0..rows {
                part.mapping.append(start + stride * y, row, &mut out);
            }
        }
        offset += stride * rows;
    }
    (out.len() == total).then_some(out)
}

/// The driver's own time, if it is of the monotonic clock.
fn stamp_ns(slot: &Slot) -> Option<i64> {
    let buffer = &slot.buffer;
    let monotonic = buffer.flags & BUFFER_CLOCK_MASK == BUFFER_CLOCK_MONOTONIC;
    #[allow(clippy::useless_conversion)] // 32 bits on some machines.
    let (seconds, micro) = (i64::from(buffer.seconds), i64::from(buffer.microseconds));
    let ns = seconds
        .checked_mul(1_000_000_000)?
        .checked_add(micro.checked_mul(1000)?)?;
    (monotonic && ns > 0).then_some(ns)
}
