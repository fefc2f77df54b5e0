//! Which of a camera's formats, sizes and rates is nearest to what is wanted. Pure: asks no device.

use super::PixelFormat;

/// Wanted when nothing is said.
pub const DEFAULT_SIZE: (u32, u32) = (1280, 720);
/// Wanted when nothing is said.
pub const DEFAULT_RATE: f64 = 30.0;
/// Rates this close are the same: cameras say 30000/1001.
const RATE_TOLERANCE: f64 = 0.5;

/// A format with its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The format.
    pub format: PixelFormat,
    /// The driver's code of it.
    pub fourcc: [u8; 4],
    /// The sizes.
    pub sizes: Vec<SizeOffer>,
}

/// A size, or a range of sizes, with the rates there.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeOffer {
    /// Width and height, the smallest of a range.
    pub from: (u32, u32),
    /// The largest of a range.
    pub to: (u32, u32),
    /// The grid of a range.
    pub step: (u32, u32),
    /// Frames a second; empty: the driver doesn't say.
    pub rates: Vec<f64>,
    /// The rates are the ends of a range.
    pub any_rate: bool,
}

impl SizeOffer {
    /// The size of this offer that is nearest to `size`.
    fn nearest(&self, size: (u32, u32)) -> (u32, u32) {
        (
            on_grid(size.0, self.from.0, self.to.0, self.step.0),
            on_grid(size.1, self.from.1, self.to.1, self.step.1),
        )
    }

    /// The rate of this offer that is nearest to `rate`.
    fn nearest_rate(&self, rate: f64) -> Option<f64> {
        if self.any_rate && self.rates.len() == 2 {
            let (low, high) = (self.rates[0], self.rates[1]);
            return Some(rate.max(low.min(high)).min(high.max(low)));
        }
        let distance = |other: &f64| (other - rate).abs();
        let mut rates = self.rates.iter().copied();
        let first = rates.next()?;
        Some(rates.fold(first, |best, next| {
            if distance(&next) < distance(&best) {
                next
            } else {
                best
            }
        }))
    }
}

fn on_grid(value: u32, from: u32, to: u32, step: u32) -> u32 {
    let value = value.clamp(from.min(to), to.max(from));
    let step = step.max(1);
    let steps = (value - from.min(to)).saturating_add(step / 2) / step;
    let up = from.min(to).saturating_add(steps.saturating_mul(step));
    if up > to.max(from) {
        up.saturating_sub(step).max(from.min(to))
    } else {
        up
    }
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Width and height.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// Only this format.
    pub format: Option<PixelFormat>,
    /// Pictures that are not compressed.
    pub raw: bool,
}

impl Wish {
    /// In words: `nv12`, `raw pictures`, `a format that can be read`.
    pub(super) fn words(&self) -> String {
        match self.format {
            Some(format) => format!("asked for {}", format.name()),
            None if self.raw => "asked for pictures that are not compressed".to_owned(),
            None => "needs mjpeg, nv12, yuyv, rgb24 or grey".to_owned(),
        }
    }

    fn allows(&self, format: PixelFormat) -> bool {
        match self.format {
            Some(only) => only == format,
            None => !(self.raw && format == PixelFormat::Mjpg),
        }
    }
}

/// What a camera is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// The format.
    pub format: PixelFormat,
    /// The driver's code of it.
    pub fourcc: [u8; 4],
    /// Width and height.
    pub size: (u32, u32),
    /// Frames a second, where the driver tells.
    pub fps: Option<f64>,
}

impl Mode {
    /// `640x480@25 yuyv`.
    pub fn words(&self) -> String {
        let rate = self.fps.map(|fps| format!("@{}", short(fps)));
        let (width, height) = self.size;
        let rate = rate.unwrap_or_default();
        format!("{width}x{height}{rate} {}", self.format.name())
    }

    /// How this differs from what was asked for in so many words; `None`: it does not.
    pub fn differs(&self, wish: &Wish) -> Option<String> {
        let size = wish.size.is_some_and(|size| size != self.size);
        let rate = match (wish.fps, self.fps) {
            (Some(asked), Some(got)) => (asked - got).abs() > RATE_TOLERANCE,
            _ => false,
        };
        if !size && !rate {
            return None;
        }
        let part = |size: Option<(u32, u32)>, fps: Option<f64>| {
            let size = size.map(|(width, height)| format!("{width}x{height}"));
            let rate = fps.map(|fps| format!("@{}", short(fps)));
            format!("{}{}", size.unwrap_or_default(), rate.unwrap_or_default())
        };
        let got = (wish.size.is_none() || size).then_some(self.size);
        let got = part(got, self.fps.filter(|_| wish.fps.is_some()));
        Some(format!("asked {}, got {got}", part(wish.size, wish.fps)))
    }
}

/// `25`, `29.97`.
fn short(fps: f64) -> String {
    let text = format!("{fps:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The nearest offer: by size, then a rate that is not too low, then the cheapest format.
pub fn choose(offers: &[Offer], wish: &Wish) -> Option<Mode> {
    let size = wish.size.unwrap_or(DEFAULT_SIZE);
    let rate = wish.fps.unwrap_or(DEFAULT_RATE);
    let mut best: Option<((u64, u64, usize), Mode)> = None;
    for offer in offers.iter().filter(|offer| wish.allows(offer.format)) {
        for sizes in &offer.sizes {
            let got = sizes.nearest(size);
            let fps = sizes.nearest_rate(rate);
            let distance = u64::from(got.0.abs_diff(size.0)) + u64::from(got.1.abs_diff(size.1));
            let short = fps.map_or(0.0, |fps| rate - fps - RATE_TOLERANCE).max(0.0);
            let rank = PixelFormat::ALL.iter().position(|one| *one == offer.format);
            // Hundredths of a frame are close enough.
            let cost = (distance, (short * 100.0) as u64, rank.unwrap_or(usize::MAX));
            if best.as_ref().is_none_or(|(known, _)| cost < *known) {
                let mode = Mode {
                    format: offer.format,
                    fourcc: offer.fourcc,
                    size: got,
                    fps,
                };
                best = Some((cost, mode));
            }
        }
    }
    best.map(|(_, mode)| mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(width: u32, height: u32, rates: &[f64]) -> SizeOffer {
        SizeOffer {
            from: (width, height),
            to: (width, height),
            step: (1, 1),
            rates: rates.to_vec(),
            any_rate: false,
        }
    }

    fn offer(format: PixelFormat, sizes: Vec<SizeOffer>) -> Offer {
        Offer {
            format,
            fourcc: *b"????",
            sizes,
        }
    }

    /// Like most USB cameras: large pictures are fast only as JPEG.
    fn usb() -> Vec<Offer> {
        vec![
            offer(
                PixelFormat::Yuyv,
                vec![one(640, 480, &[30.0, 15.0]), one(1280, 720, &[10.0])],
            ),
            offer(
                PixelFormat::Mjpg,
                vec![one(640, 480, &[30.0]), one(1280, 720, &[30.0, 15.0])],
            ),
        ]
    }

    fn wish(size: Option<(u32, u32)>, fps: Option<f64>) -> Wish {
        Wish {
            size,
            fps,
            ..Wish::default()
        }
    }

    #[test]
    fn without_a_wish_it_is_720p_at_30_in_the_format_that_can_do_it() {
        let mode = choose(&usb(), &Wish::default()).unwrap();
        assert_eq!(mode.words(), "1280x720@30 mjpeg");
        assert_eq!(mode.differs(&Wish::default()), None);
    }

    #[test]
    fn raw_pictures_are_slower_and_that_is_said() {
        let wish = Wish {
            raw: true,
            ..wish(Some((1280, 720)), Some(30.0))
        };
        let mode = choose(&usb(), &wish).unwrap();
        assert_eq!(mode.words(), "1280x720@10 yuyv");
        assert_eq!(mode.differs(&wish).unwrap(), "asked 1280x720@30, got @10");
    }

    #[test]
    fn the_nearest_size_and_rate_are_taken_and_told() {
        let offers = [offer(
            PixelFormat::Yuyv,
            vec![
                one(640, 360, &[40.0, 25.0]),
                one(640, 480, &[25.0, 15.0]),
                one(1280, 720, &[12.5]),
            ],
        )];
        for (size, fps, words, told) in [
            (
                (640, 480),
                30.0,
                "640x480@25 yuyv",
                Some("asked 640x480@30, got @25"),
            ),
            ((640, 480), 25.0, "640x480@25 yuyv", None),
            (
                (800, 600),
                12.0,
                "640x480@15 yuyv",
                Some("asked 800x600@12, got 640x480@15"),
            ),
            (
                (9000, 1),
                12.5,
                "1280x720@12.5 yuyv",
                Some("asked 9000x1@12.5, got 1280x720@12.5"),
            ),
        ] {
            let wish = wish(Some(size), Some(fps));
            let mode = choose(&offers, &wish).unwrap();
            assert_eq!(mode.words(), words);
            assert_eq!(mode.differs(&wish).as_deref(), told);
        }
    }

    #[test]
    fn ranges_are_used_on_their_grid() {
        let offers = [offer(
            PixelFormat::Nv12,
            vec![SizeOffer {
                from: (16, 16),
                to: (4096, 2160),
                step: (16, 2),
                rates: vec![1.0, 60.0],
                any_rate: true,
            }],
        )];
        let size = |width, height, fps| {
            let wish = wish(Some((width, height)), Some(fps));
            choose(&offers, &wish).unwrap().words()
        };
        assert_eq!(size(641, 481, 20.0), "640x482@20 nv12");
        assert_eq!(size(9999, 9999, 90.0), "4096x2160@60 nv12");
        assert_eq!(size(1, 1, 0.5), "16x16@1 nv12");
    }

    #[test]
    fn a_format_that_is_not_offered_is_no_mode() {
        let wish = Wish {
            format: Some(PixelFormat::Grey),
            ..Wish::default()
        };
        assert_eq!(choose(&usb(), &wish), None);
        assert_eq!(choose(&[], &Wish::default()), None);
        assert_eq!(wish.words(), "asked for grey");
    }

    #[test]
    fn rates_of_television_count_as_met() {
        let offers = [offer(PixelFormat::Mjpg, vec![one(640, 480, &[29.97])])];
        let wish = wish(None, Some(30.0));
        let mode = choose(&offers, &wish).unwrap();
        assert_eq!(mode.words(), "640x480@29.97 mjpeg");
        assert_eq!(mode.differs(&wish), None);
    }
}
