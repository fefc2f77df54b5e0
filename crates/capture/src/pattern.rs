//! A test card: colour bars, a square that moves, a clock and a frame number burned in as pixels.
//! Only what changes is drawn again; the picture is the same for the same number and time.

mod glyphs;

use crate::encode::{self, EncodeError};

/// Widths and heights that are accepted.
pub const SIDES: std::ops::RangeInclusive<u16> = 1..=8192;

const BARS: [[u8; 3]; 8] = [
    [235, 235, 235],
    [235, 235, 16],
    [16, 235, 235],
    [16, 235, 16],
    [235, 16, 235],
    [235, 16, 16],
    [16, 16, 235],
    [16, 16, 16],
];
const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [0; 3];
/// Characters of `HH:MM:SS.mmm`.
const CLOCK_CHARACTERS: usize = 12;

/// Why a test card can't be made.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Too small or too large.
    #[error("a test card of {width}x{height} is not supported: each side has to be from {} to {}", SIDES.start(), SIDES.end())]
    Size {
        /// Width asked for.
        width: u16,
        /// Height asked for.
        height: u16,
    },
    /// The JPEG encoder failed.
    #[error("the test card can't be encoded")]
    Encode(#[from] EncodeError),
}

#[derive(Clone, Copy, Debug)]
struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

/// Draws test cards of one size.
#[derive(Debug)]
pub struct TestCard {
    size: (u16, u16),
    width: usize,
    height: usize,
    quality: u8,
    background: Vec<u8>,
    pixels: Vec<u8>,
    drawn: Vec<Area>,
}

impl TestCard {
    /// A card of `width` x `height` pixels; JPEG `quality` 1 to 100.
    pub fn new(width: u16, height: u16, quality: u8) -> Result<Self, PatternError> {
        if !SIDES.contains(&width) || !SIDES.contains(&height) {
            return Err(PatternError::Size { width, height });
        }
        let background = background(usize::from(width), usize::from(height));
        Ok(Self {
            size: (width, height),
            width: usize::from(width),
            height: usize::from(height),
            quality: quality.clamp(1, 100),
            pixels: background.clone(),
            background,
            drawn: Vec::new(),
        })
    }

    /// JPEG quality of the pictures from now on, 1 to 100.
    pub fn set_quality(&mut self, quality: u8) {
        self.quality = quality.clamp(1, 100);
    }

    /// The JPEG of picture `number` at a time in milliseconds since 1970, shown as UTC.
    pub fn jpeg(&mut self, number: u64, unix_ms: i64) -> Result<Vec<u8>, PatternError> {
        self.draw(number, unix_ms);
        let (width, height) = self.size;
        Ok(encode::rgb(&self.pixels, width, height, self.quality)?)
    }

    /// The RGB pixels as last drawn.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Draws what changes.
    pub fn draw(&mut self, number: u64, unix_ms: i64) {
        for area in std::mem::take(&mut self.drawn) {
            self.restore(area);
        }
        self.square(number);
        let scale = self.clock_scale();
        let clock = clock_text(unix_ms);
        let width = CLOCK_CHARACTERS * glyphs::ADVANCE * scale;
        let x = self.width.saturating_sub(width) / 2;
        let y = self.height / 4;
        self.text(&clock, x, y, scale);
        let small = (scale / 2).max(1);
        let height = (glyphs::HEIGHT + 2) * small;
        self.text(
            &number.to_string(),
            2 * small,
            self.height.saturating_sub(height),
            small,
        );
    }

    /// The clock takes about 7/10 of the width.
    fn clock_scale(&self) -> usize {
        let by_width = self.width * 7 / 10 / (CLOCK_CHARACTERS * glyphs::ADVANCE);
        let by_height = self.height / 3 / glyphs::HEIGHT;
        by_width.min(by_height).max(1)
    }

    fn square(&mut self, number: u64) {
        let side = (self.height / 8).max(2);
        let track = self.width.saturating_sub(side).max(1);
        // There and back in 200 pictures.
        let phase = usize::try_from(number % 200).unwrap_or(0);
        let phase = if phase < 100 { phase } else { 200 - phase };
        let area = Area {
            x: track * phase / 100,
            y: self.height * 2 / 3 + side / 4,
            width: side,
            height: side,
        };
        self.fill(area, WHITE);
    }

    fn text(&mut self, text: &str, x: usize, y: usize, scale: usize) {
        let margin = scale;
        let area = Area {
            x: x.saturating_sub(margin),
            y: y.saturating_sub(margin),
            width: text.len() * glyphs::ADVANCE * scale + margin,
            height: glyphs::HEIGHT * scale + 2 * margin,
        };
        self.fill(area, BLACK);
        for (index, character) in text.chars().enumerate() {
            let left = x + index * glyphs::ADVANCE * scale;
            for (row, bits) in glyphs::glyph(character).iter().enumerate() {
                for column in 0..glyphs::WIDTH {
                    if bits >> (glyphs::WIDTH - 1 - column) & 1 == 1 {
                        let dot = Area {
                            x: left + column * scale,
                            y: y + row * scale,
                            width: scale,
                            height: scale,
                        };
                        self.paint(dot, WHITE);
                    }
                }
            }
        }
    }

    /// Paints an area that has to be restored before the next picture.
    fn fill(&mut self, area: Area, color: [u8; 3]) {
        self.paint(area, color);
        self.drawn.push(area);
    }

    fn paint(&mut self, area: Area, color: [u8; 3]) {
        for row in self.rows(area) {
            for pixel in self.pixels[row].chunks_exact_mut(3) {
                pixel.copy_from_slice(&color);
            }
        }
    }

    fn restore(&mut self, area: Area) {
        for row in self.rows(area) {
            self.pixels[row.clone()].copy_from_slice(&self.background[row]);
        }
    }

    /// The byte ranges of an area's rows, cut at the picture's edges.
    fn rows(&self, area: Area) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let width = self.width;
        let left = area.x.min(width);
        let right = (area.x + area.width).min(width);
        let top = area.y.min(self.height);
        let bottom = (area.y + area.height).min(self.height);
        (top..bottom).map(move |y| (y * width + left) * 3..(y * width + right) * 3)
    }
}

/// Colour bars over a grey ramp.
fn background(width: usize, height: usize) -> Vec<u8> {
    let bars: Vec<u8> = (0..width)
        .flat_map(|x| BARS[x * BARS.len() / width])
        .collect();
    let ramp: Vec<u8> = (0..width)
        .flat_map(|x| [u8::try_from(x * 200 / width).unwrap_or(u8::MAX); 3])
        .collect();
    let split = height * 2 / 3;
    let mut pixels = bars.repeat(split);
    pixels.extend(ramp.repeat(height - split));
    pixels
}

/// `HH:MM:SS.mmm` in UTC.
fn clock_text(unix_ms: i64) -> String {
    let of_day = unix_ms.rem_euclid(86_400_000);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the clock off the pixels again.
    fn read_clock(card: &TestCard) -> String {
        let scale = card.clock_scale();
        let x = (card.width - CLOCK_CHARACTERS * glyphs::ADVANCE * scale) / 2;
        let y = card.height / 4;
        let lit = |x: usize, y: usize| card.pixels[(y * card.width + x) * 3] > 127;
        (0..CLOCK_CHARACTERS)
            .map(|index| {
                let left = x + index * glyphs::ADVANCE * scale;
                let rows: Vec<u8> = (0..glyphs::HEIGHT)
                    .map(|row| {
                        (0..glyphs::WIDTH).fold(0, |bits, column| {
                            bits << 1 | u8::from(lit(left + column * scale, y + row * scale))
                        })
                    })
                    .collect();
                "0123456789:."
                    .chars()
                    .find(|c| glyphs::glyph(*c)[..] == rows[..])
                    .unwrap_or('?')
            })
            .collect()
    }

    #[test]
    fn the_clock_can_be_read_off_the_pixels() {
        let mut card = TestCard::new(640, 480, 80).unwrap();
        card.draw(1, 0);
        assert_eq!(read_clock(&card), "00:00:00.000");
        card.draw(2, 1_700_000_012_345);
        assert_eq!(read_clock(&card), "22:13:32.345");
        card.draw(3, 86_399_999);
        assert_eq!(read_clock(&card), "23:59:59.999");
    }

    #[test]
    fn drawing_leaves_nothing_of_the_picture_before() {
        let mut used = TestCard::new(320, 240, 80).unwrap();
        (0..150).for_each(|number| used.draw(number, 1_000_003 * number.cast_signed()));
        used.draw(7, 42);
        let mut fresh = TestCard::new(320, 240, 80).unwrap();
        fresh.draw(7, 42);
        assert!(used.pixels == fresh.pixels);
    }

    #[test]
    fn the_square_moves() {
        let mut card = TestCard::new(320, 240, 80).unwrap();
        card.draw(1, 0);
        let first = card.pixels.clone();
        card.draw(30, 0);
        assert!(first != card.pixels);
    }

    #[test]
    fn every_supported_size_draws_and_others_are_refused() {
        for (width, height) in [(1, 1), (16, 16), (17, 8192), (8192, 16), (1280, 720)] {
            let mut card = TestCard::new(width, height, 50).unwrap();
            let jpeg = card.jpeg(u64::MAX, i64::MIN).unwrap();
            let size = crate::jpeg::inspect(&jpeg).unwrap();
            assert_eq!((size.width, size.height), (width, height));
        }
        assert!(TestCard::new(0, 100, 50).is_err());
        assert!(TestCard::new(100, 8193, 50).is_err());
    }
}
