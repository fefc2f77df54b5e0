//! Durations, byte sizes and picture sizes as people write them: `500ms`, `64MiB`, `640x480`.

use thiserror::Error;

/// Longest duration that a manifest may name: a day.
pub const MAX_DURATION_MS: u64 = 24 * 60 * 60 * 1000;
/// Longest time that a recording may be kept: ten years.
pub const MAX_LONG_DURATION_MS: u64 = 3650 * MAX_DURATION_MS;
/// Largest side of a picture.
pub const MAX_SIDE: u32 = 8192;

const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const LONG_DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Why a quantity can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// No number at the start.
    #[error("it has to start with a number")]
    NoNumber,
    /// A number without a unit.
    #[error("the unit is missing")]
    NoUnit,
    /// A unit nobody knows.
    #[error("{0:?} is not a unit")]
    Unit(String),
    /// Too large or negative.
    #[error("it is out of range")]
    Range,
    /// Not `WIDTHxHEIGHT`.
    #[error("it is not WIDTHxHEIGHT")]
    Shape,
}

/// Reads `500ms`, `2s`, `1.5m`, `1h` into milliseconds.
pub fn parse_duration_ms(text: &str) -> Result<u64, QuantityError> {
    let value = scaled(text, &DURATION_UNITS)?;
    if value > MAX_DURATION_MS {
        return Err(QuantityError::Range);
    }
    Ok(value)
}

/// Reads like [`parse_duration_ms`], and days: `7d`.
pub fn parse_long_duration_ms(text: &str) -> Result<u64, QuantityError> {
    let value = scaled(text, &LONG_DURATION_UNITS)?;
    if value > MAX_LONG_DURATION_MS {
        return Err(QuantityError::Range);
    }
    Ok(value)
}

/// Writes milliseconds with the largest unit that keeps the number whole.
pub fn format_duration_ms(value: u64) -> String {
    format_scaled(value, &["h", "m", "s", "ms"], &DURATION_UNITS)
}

/// Reads `64MiB`, `10GB`, `512B` into bytes.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    scaled(text, &SIZE_UNITS)
}

/// Writes bytes with the largest binary unit that keeps the number whole.
pub fn format_bytes(value: u64) -> String {
    format_scaled(value, &["GiB", "MiB", "KiB", "B"], &SIZE_UNITS)
}

/// A size for people, rounded: `1.5 GiB`.
pub fn rounded_bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Reads `640x480`.
pub fn parse_resolution(text: &str) -> Result<(u32, u32), QuantityError> {
    let (width, height) = text.split_once('x').ok_or(QuantityError::Shape)?;
    let side = |part: &str| -> Result<u32, QuantityError> {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(QuantityError::Shape);
        }
        match part.parse::<u32>() {
            Ok(side) if (1..=MAX_SIDE).contains(&side) => Ok(side),
            _ => Err(QuantityError::Range),
        }
    };
    Ok((side(width)?, side(height)?))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, QuantityError> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| QuantityError::NoNumber)?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(QuantityError::NoUnit);
    }
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
        .ok_or_else(|| QuantityError::Unit(unit.chars().take(16).collect()))?;
    let value = (number * factor as f64).round();
    // Above 2^53 the product is no longer exact; nothing in a manifest is that large.
    if !(0.0..9_007_199_254_740_992.0).contains(&value) {
        return Err(QuantityError::Range);
    }
    Ok(value as u64)
}

fn format_scaled(value: u64, order: &[&str], units: &[(&str, u64)]) -> String {
    for unit in order {
        let Some((_, factor)) = units.iter().find(|(name, _)| name == unit) else {
            continue;
        };
        if value >= *factor && value.is_multiple_of(*factor) {
            return format!("{}{unit}", value / factor);
        }
    }
    format!("{value}{}", order.last().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (340 << 20, "340 MiB"),
        ] {
            assert_eq!(rounded_bytes(bytes), text);
        }
    }

    #[test]
    fn durations_read_and_write() {
        assert_eq!(parse_duration_ms("500ms"), Ok(500));
        assert_eq!(parse_duration_ms("1.5s"), Ok(1500));
        assert_eq!(parse_duration_ms("2 m"), Ok(120_000));
        assert_eq!(parse_duration_ms("5"), Err(QuantityError::NoUnit));
        assert_eq!(parse_duration_ms("-5s"), Err(QuantityError::NoNumber));
        assert_eq!(parse_duration_ms("25h"), Err(QuantityError::Range));
        assert_eq!(
            parse_duration_ms("5 sec"),
            Err(QuantityError::Unit("sec".into()))
        );
        assert_eq!(parse_long_duration_ms("7d"), Ok(7 * MAX_DURATION_MS));
        assert_eq!(parse_long_duration_ms("1.5h"), Ok(5_400_000));
        assert_eq!(parse_long_duration_ms("4000d"), Err(QuantityError::Range));
        assert_eq!(format_duration_ms(90_000), "90s");
        assert_eq!(format_duration_ms(0), "0ms");
    }

    #[test]
    fn sizes_read_and_write() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("10GB"), Ok(10_000_000_000));
        assert_eq!(parse_bytes("99999999999GiB"), Err(QuantityError::Range));
        assert_eq!(format_bytes(64 << 20), "64MiB");
        assert_eq!(format_bytes(1500), "1500B");
    }

    #[test]
    fn resolutions_are_bounded() {
        assert_eq!(parse_resolution("640x480"), Ok((640, 480)));
        assert_eq!(parse_resolution("640"), Err(QuantityError::Shape));
        assert_eq!(parse_resolution("+1x2"), Err(QuantityError::Shape));
        assert_eq!(parse_resolution("0x480"), Err(QuantityError::Range));
        assert_eq!(parse_resolution("9999x1"), Err(QuantityError::Range));
    }
}
