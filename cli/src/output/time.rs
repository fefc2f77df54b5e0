//! Durations and points in time, as typed and as shown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// RFC 3339 in UTC; nothing for 0, which means "never" in the protocol.
pub(crate) fn rfc3339(unix_ms: i64) -> Option<String> {
    if unix_ms == 0 {
        return None;
    }
    jiff::Timestamp::from_millisecond(unix_ms)
        .ok()
        .map(|at| at.to_string())
}

/// Local time of day with date, for logs and events.
pub(crate) fn local(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "-".to_owned(),
        |at| {
            at.to_zoned_datetime(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S%.3f")
                .to_string()
        },
    )
}

/// `12s`, `5m`, `3h`, `2d` ago; `-` for never.
pub(crate) fn age(unix_ms: i64, now_ms: i64) -> String {
    if unix_ms == 0 {
        return "-".to_owned();
    }
    short(Duration::from_millis(
        u64::try_from(now_ms.saturating_sub(unix_ms)).unwrap_or(0),
    ))
}

/// One unit, two below ten: `9m30s`, `12m`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (unit, size, smaller, small_size) = match seconds {
        0..60 => return format!("{seconds}s"),
        60..3_600 => ("m", 60, "s", 1),
        3_600..86_400 => ("h", 3_600, "m", 60),
        _ => ("d", 86_400, "h", 3_600),
    };
    let (whole, rest) = (seconds / size, seconds % size / small_size);
    if whole < 10 && rest > 0 {
        format!("{whole}{unit}{rest}{smaller}")
    } else {
        format!("{whole}{unit}")
    }
}

/// `850 ms`, `1.3 s`, `12m`.
pub(crate) fn elapsed(duration: Duration) -> String {
    if duration >= Duration::from_secs(60) {
        short(duration)
    } else if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// Reads `90s`, `10m`, `1h30m`, `500ms`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXAMPLES: &str = "write it like 30s, 10m, 1h30m or 7d";
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(EXAMPLES.to_owned());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| EXAMPLES.to_owned())?;
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(format!("the unit is missing; {EXAMPLES}")),
            other => return Err(format!("`{other}` is not a unit; {EXAMPLES}")),
        };
        let part = number
            .checked_mul(unit_ms)
            .ok_or_else(|| "too long".to_owned())?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(|| "too long".to_owned())?;
        rest = tail;
    }
    Ok(total)
}

/// `--since`: how long ago, or an RFC 3339 time. Unix milliseconds.
pub(crate) fn parse_since(text: &str) -> Result<i64, String> {
    if let Ok(duration) = parse_duration(text) {
        let ago = i64::try_from(duration.as_millis()).map_err(|_| "too long ago".to_owned())?;
        return Ok(now_ms().saturating_sub(ago));
    }
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "write it like 10m, 1h30m or 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in [
            "",
            "5",
            "m",
            "5 fortnights",
            "-3s",
            "99999999999999999999s",
            "1e3s",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} was read");
        }
    }

    #[test]
    fn since_takes_a_time_too() {
        assert_eq!(parse_since("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(parse_since("yesterday").is_err());
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(age(0, 5), "-");
        assert_eq!(age(1_000, 6_000), "5s");
        assert_eq!(age(1, 570_001), "9m30s");
        assert_eq!(age(1, 3 * 86_400_000 + 1), "3d");
        assert_eq!(elapsed(Duration::from_millis(850)), "850 ms");
        assert_eq!(elapsed(Duration::from_secs(59)), "59.0 s");
        assert_eq!(elapsed(Duration::from_secs(7_200)), "2h");
    }
}
