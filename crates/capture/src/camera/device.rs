//! One open video device: what it is, what it offers, what it is set to. Makes no buffers.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use rustix::io::Errno;

use super::abi::{
    CAP_CAPTURE, CAP_CAPTURE_MULTI, CAP_DEVICE_CAPS, CAP_RATE, CAP_STREAMING, COLORSPACE_JPEG,
    Capability, FIELD_NONE, Format, FormatDescription, FrameInterval, FrameSize, MAX_PLANES, MULTI,
    QUANTIZATION_FULL, SINGLE, SIZES_DISCRETE, StreamParameters,
};
use super::control::text;
use super::fault::Place;
use super::mode::{Mode, Offer, SizeOffer, Wish, choose};
use super::sys::{self, Plain};
use super::{Fault, PixelFormat};

/// Formats, sizes of a format and rates of a size that are looked at.
const MAX_LIST: u32 = 256;
/// A JPEG can have sides this long, and a frame too.
const MAX_SIDE: u32 = 65_500;

/// An open device that captures pictures.
#[derive(Debug)]
pub(super) struct Device {
    fd: OwnedFd,
    pub(super) place: Place,
    /// Whether pictures have one plane of memory or several.
    pub(super) kind: u32,
    pub(super) facts: DeviceFacts,
}

/// What the driver says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceFacts {
    pub(super) driver: String,
    pub(super) card: String,
    pub(super) bus: String,
}

/// What a device is set to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) mode: Mode,
    /// Bytes from row to row in each plane of memory.
    pub(super) strides: Vec<usize>,
    pub(super) full_range: bool,
}

impl Device {
    /// Opens a device. Never waits for another program.
    pub(super) fn open(place: Place) -> Result<Self, Fault> {
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        let not = |what| Fault::NotCamera {
            path: place.path.clone(),
            what,
        };
        let is_device =
            |path| std::fs::metadata(path).is_ok_and(|m| m.file_type().is_char_device());
        if place.path.exists() && !is_device(&place.path) {
            return Err(not("is no device"));
        }
        let file = options
            .open(&place.path)
            .map_err(|error| Fault::from_io(&place, "open it", error))?;
        let capability = sys::query_capability(&file)
            .map_err(|error| Fault::from_io(&place, "tell what it is", error))?;
        let Some(kind) = kind(&capability) else {
            return Err(not("does not capture pictures"));
        };
        Ok(Self {
            fd: file.into(),
            kind,
            facts: DeviceFacts {
                driver: text(&capability.driver),
                card: text(&capability.card),
                bus: text(&capability.bus_info),
            },
            place,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn fault(&self, step: &'static str, error: io::Error) -> Fault {
        if error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) {
            let why = "its USB bus has no bandwidth left: ask for a smaller size, a lower rate or \
                       mjpeg, or plug it into another port";
            return Fault::from_io(&self.place, step, io::Error::other(why));
        }
        Fault::from_io(&self.place, step, error)
    }

    /// The formats that can be read, and the codes of those that can't.
    pub(super) fn offers(&self) -> (Vec<Offer>, Vec<String>) {
        let (mut offers, mut others) = (Vec::<Offer>::new(), Vec::new());
        for index in 0..MAX_LIST {
            let mut entry = FormatDescription {
                index,
                kind: self.kind,
                ..FormatDescription::zeroed()
            };
            if sys::list_formats(self.fd(), &mut entry).is_err() {
                break;
            }
            let fourcc = entry.fourcc.to_le_bytes();
            match PixelFormat::from_fourcc(fourcc) {
                // The first of two ways to store one format will do.
                Some(format) if offers.iter().all(|one| one.format != format) => {
                    offers.push(Offer {
                        format,
                        fourcc,
                        sizes: self.sizes(entry.fourcc),
                    });
                }
                Some(_) => {}
                None => others.push(code_text(fourcc)),
            }
        }
        (offers, others)
    }

    fn sizes(&self, fourcc: u32) -> Vec<SizeOffer> {
        let mut sizes = Vec::new();
        for index in 0..MAX_LIST {
            let mut entry = FrameSize {
                index,
                fourcc,
                ..FrameSize::zeroed()
            };
            if sys::list_sizes(self.fd(), &mut entry).is_err() {
                break;
            }
            let [a, b, c, d, e, f] = entry.values;
            let (from, to, step) = if entry.kind == SIZES_DISCRETE {
                ((a, b), (a, b), (1, 1))
            } else {
                ((a, d), (b, e), (c, f))
            };
            let (rates, any_rate) = self.rates(fourcc, to);
            sizes.push(SizeOffer {
                from,
                to,
                step,
                rates,
                any_rate,
            });
            if entry.kind != SIZES_DISCRETE {
                break;
            }
        }
        if sizes.is_empty() {
            sizes.extend(self.present_size());
        }
        sizes
    }

    /// For drivers that list no sizes: the one in use.
    fn present_size(&self) -> Option<SizeOffer> {
        let mut format = self.empty_format();
        sys::get_format(self.fd(), &mut format).ok()?;
        let (mode, _) = read_format(&format)?;
        Some(SizeOffer {
            from: mode.size,
            to: mode.size,
            step: (1, 1),
            rates: Vec::new(),
            any_rate: false,
        })
    }

    fn rates(&self, fourcc: u32, size: (u32, u32)) -> (Vec<f64>, bool) {
        let mut rates = Vec::new();
        for index in 0..MAX_LIST {
            let mut entry = FrameInterval {
                index,
                fourcc,
                width: size.0,
                height: size.1,
                ..FrameInterval::zeroed()
            };
            if sys::list_intervals(self.fd(), &mut entry).is_err() {
                break;
            }
            let [a, b, c, d, ..] = entry.values;
            if entry.kind == SIZES_DISCRETE {
                rates.extend(rate(a, b));
            } else {
                let ends = [rate(c, d), rate(a, b)];
                return (ends.into_iter().flatten().collect(), true);
            }
        }
        (rates, false)
    }

    /// Sets the device to what is nearest to `wish`.
    pub(super) fn set(&self, wish: &Wish) -> Result<Setting, Fault> {
        let (offers, others) = self.offers();
        let wrong = || {
            let names = offers.iter().map(|offer| offer.format.name().to_owned());
            let mut offered: Vec<String> = names.chain(others.clone()).collect();
            offered.dedup();
            Fault::Format {
                path: self.place.path.clone(),
                asked: wish.words(),
                offered: if offered.is_empty() {
                    "nothing".to_owned()
                } else {
                    offered.join(", ")
                },
            }
        };
        let mode = choose(&offers, wish).ok_or_else(wrong)?;
        // The rate asked for may be one that the driver has and does not list.
        let rate = wish.fps.or(mode.fps);
        self.set_mode(&mode, rate)?.ok_or_else(wrong)
    }

    /// Sets a mode; `None`: the driver changed the format, or gives a size that can't be.
    pub(super) fn set_mode(
        &self,
        mode: &Mode,
        rate: Option<f64>,
    ) -> Result<Option<Setting>, Fault> {
        let mut format = self.empty_format();
        write_format(&mut format, mode);
        sys::set_format(self.fd(), &mut format)
            .map_err(|error| self.fault("set the format", error))?;
        let Some((mut got, strides)) = read_format(&format) else {
            return Ok(None);
        };
        let fits = (1..=MAX_SIDE).contains(&got.size.0) && (1..=MAX_SIDE).contains(&got.size.1);
        if got.format != mode.format || !fits {
            return Ok(None);
        }
        got.fps = self.set_rate(rate).or(mode.fps);
        Ok(Some(Setting {
            full_range: got.format == PixelFormat::Mjpg || is_full_range(&format),
            mode: got,
            strides,
        }))
    }

    /// Asks for a rate; returns the one that the device has then, if it tells.
    fn set_rate(&self, wanted: Option<f64>) -> Option<f64> {
        let mut parameters = StreamParameters {
            kind: self.kind,
            ..StreamParameters::zeroed()
        };
        sys::get_rate(self.fd(), &mut parameters).ok()?;
        if let Some(wanted) = wanted
            && parameters.capability & CAP_RATE != 0
        {
            let mut asked = parameters;
            // Thousandths of a frame; the catalog's range fits.
            (asked.numerator, asked.denominator) = (1000, (wanted * 1000.0).round() as u32);
            if sys::set_rate(self.fd(), &mut asked).is_ok() {
                parameters = asked;
            }
        }
        rate(parameters.numerator, parameters.denominator)
    }

    fn empty_format(&self) -> Format {
        Format {
            kind: self.kind,
            ..Format::zeroed()
        }
    }
}

fn kind(capability: &Capability) -> Option<u32> {
    let caps = if capability.capabilities & CAP_DEVICE_CAPS != 0 {
        capability.device_caps
    } else {
        capability.capabilities
    };
    if caps & CAP_STREAMING == 0 {
        return None;
    }
    if caps & CAP_CAPTURE != 0 {
        Some(SINGLE)
    } else if caps & CAP_CAPTURE_MULTI != 0 {
        Some(MULTI)
    } else {
        None
    }
}

/// `Y16-BE`: the highest bit says that the most significant byte comes first.
fn code_text(mut fourcc: [u8; 4]) -> String {
    let big_endian = fourcc[3] & 0x80 != 0;
    fourcc[3] &= 0x7f;
    let text = String::from_utf8_lossy(&fourcc);
    let text = text.trim().replace(|c: char| !c.is_ascii_graphic(), "?");
    if big_endian {
        format!("{text}-BE")
    } else {
        text
    }
}

/// Frames a second of an interval in seconds, given as a fraction.
fn rate(numerator: u32, denominator: u32) -> Option<f64> {
    (numerator != 0 && denominator != 0).then(|| f64::from(denominator) / f64::from(numerator))
}

fn write_format(format: &mut Format, mode: &Mode) {
    let (width, height) = mode.size;
    let fourcc = u32::from_le_bytes(mode.fourcc);
    if format.kind == MULTI {
        let mut pixels = sys::multi(format);
        (pixels.width, pixels.height, pixels.fourcc) = (width, height, fourcc);
        (pixels.field, pixels.count) = (FIELD_NONE, 1);
        format.pixels.multi = pixels;
    } else {
        let mut pixels = sys::single(format);
        (pixels.width, pixels.height, pixels.fourcc) = (width, height, fourcc);
        pixels.field = FIELD_NONE;
        format.pixels.single = pixels;
    }
}

/// What a format says; `None`: a format that can't be read.
fn read_format(format: &Format) -> Option<(Mode, Vec<usize>)> {
    let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    let (width, height, fourcc, strides) = if format.kind == MULTI {
        let pixels = sys::multi(format);
        let planes = pixels.planes;
        let count = usize::from(pixels.count).clamp(1, MAX_PLANES);
        let strides = planes[..count]
            .iter()
            .map(|plane| size(plane.bytes_per_line));
        (
            pixels.width,
            pixels.height,
            pixels.fourcc,
            strides.collect(),
        )
    } else {
        let pixels = sys::single(format);
        let strides = vec![size(pixels.bytes_per_line)];
        (pixels.width, pixels.height, pixels.fourcc, strides)
    };
    let fourcc = fourcc.to_le_bytes();
    let mode = Mode {
        format: PixelFormat::from_fourcc(fourcc)?,
        fourcc,
        size: (width, height),
        fps: None,
    };
    Some((mode, strides))
}

fn is_full_range(format: &Format) -> bool {
    let (colorspace, quantization) = if format.kind == MULTI {
        let pixels = sys::multi(format);
        (pixels.colorspace, u32::from(pixels.quantization))
    } else {
        let pixels = sys::single(format);
        (pixels.colorspace, pixels.quantization)
    };
    // The default range follows from the colour space.
    quantization == QUANTIZATION_FULL || (quantization == 0 && colorspace == COLORSPACE_JPEG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> Fault {
        let place = Place {
            path: path.to_owned(),
            name: String::new(),
        };
        Device::open(place).unwrap_err()
    }

    #[test]
    fn what_is_no_camera_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("video0");
        std::fs::write(&file, "x").unwrap();
        assert!(open(&file).text().ends_with("is no device"));
        assert!(
            open("/dev/null".as_ref())
                .text()
                .ends_with("is no video device")
        );
        assert_eq!(open(&dir.path().join("none")).word(), "unplugged");
    }

    #[test]
    fn a_format_is_read_as_it_was_written() {
        let mode = Mode {
            format: PixelFormat::Nv12,
            fourcc: *b"NM12",
            size: (640, 480),
            fps: None,
        };
        for kind in [SINGLE, MULTI] {
            let mut format = Format {
                kind,
                ..Format::zeroed()
            };
            write_format(&mut format, &mode);
            assert_eq!(read_format(&format).unwrap().0, mode);
        }
    }

    #[test]
    fn codes_are_readable() {
        assert_eq!(code_text(*b"H264"), "H264");
        assert_eq!(code_text([b'Y', b'1', b'6', b' ' | 0x80]), "Y16-BE");
        assert_eq!(code_text([1, b'A', b'B', b'C']), "?ABC");
    }

    #[test]
    fn rates_without_a_meaning_are_none() {
        assert_eq!(rate(1, 30), Some(30.0));
        assert_eq!(rate(0, 30), None);
        assert_eq!(rate(1, 0), None);
    }
}
