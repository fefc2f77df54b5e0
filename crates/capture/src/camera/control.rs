//! A camera's controls: brightness, exposure, focus and what else its driver has, with the driver's
//! own ranges. Values out of range are refused here, because drivers change them silently.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

use super::abi::{
    CONTROL_BITMASK, CONTROL_BOOLEAN, CONTROL_CLASSES, CONTROL_INACTIVE, CONTROL_INTEGER,
    CONTROL_INTEGER_MENU, CONTROL_MENU, CONTROL_NEXT, CONTROL_UNUSABLE, ControlQuery, ControlValue,
    MenuQuery,
};
use super::sys::{self, Plain};

/// Controls that are looked at.
const MAX_CONTROLS: usize = 128;
/// Words of a menu that are looked at.
const MAX_MENU: i64 = 64;

/// Short names for controls that drivers name differently, and what they stand for, in order.
const SHORT: &[(&str, &[&str])] = &[
    ("exposure", &["exposure_time_absolute", "exposure_absolute"]),
    ("exposure_auto", &["auto_exposure"]),
    ("focus", &["focus_absolute"]),
    ("focus_auto", &["focus_automatic_continuous", "focus_auto"]),
    ("white_balance", &["white_balance_temperature"]),
    (
        "white_balance_auto",
        &["white_balance_automatic", "white_balance_temperature_auto"],
    ),
    ("zoom", &["zoom_absolute"]),
    ("pan", &["pan_absolute"]),
    ("tilt", &["tilt_absolute"]),
];

/// One control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its name in lower case with `_`: `white_balance_temperature`.
    pub name: String,
    /// The smallest value.
    pub minimum: i64,
    /// The largest value.
    pub maximum: i64,
    /// Values are this far apart.
    pub step: u64,
    /// What the driver starts with.
    pub default: i64,
    /// The words of a menu with their values.
    pub menu: Vec<(i64, String)>,
    /// Of no effect at present, mostly because an automatic one decides.
    pub inactive: bool,
    id: u32,
    kind: u32,
}

/// Why a control is not set.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The camera has no such control.
    #[error("the camera has no control `{name}`; it has {known}")]
    Unknown {
        /// As asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Out of the driver's range.
    #[error("control `{name}`: {value} {why}")]
    Value {
        /// The control.
        name: String,
        /// As asked for.
        value: f64,
        /// What it has to be.
        why: String,
    },
    /// The driver refuses.
    #[error("control `{name}` can't be set{hint}")]
    Driver {
        /// The control.
        name: String,
        /// What to do about it.
        hint: &'static str,
        /// What the driver says.
        #[source]
        source: io::Error,
    },
}

impl ControlError {
    /// The words with what the driver says.
    pub fn text(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

impl Control {
    /// Whether it is on or off.
    pub fn is_switch(&self) -> bool {
        self.kind == CONTROL_BOOLEAN
    }

    /// The value for the driver, if it fits.
    fn check(&self, value: f64) -> Result<i32, ControlError> {
        let refuse = |why: String| ControlError::Value {
            name: self.name.clone(),
            value,
            why,
        };
        if value.fract() != 0.0 || value.abs() > f64::from(i32::MAX) {
            return Err(refuse("is not a whole number".to_owned()));
        }
        // Checked: whole and within 32 bits.
        let whole = value as i32;
        let wide = i64::from(whole);
        if !(self.minimum..=self.maximum).contains(&wide) {
            let (from, to) = (self.minimum, self.maximum);
            return Err(refuse(format!("is not from {from} to {to}")));
        }
        if !self.menu.is_empty() && !self.menu.iter().any(|(at, _)| *at == wide) {
            let menu = self.menu.iter();
            let each: Vec<String> = menu.map(|(at, word)| format!("{at} ({word})")).collect();
            return Err(refuse(format!("is none of {}", each.join(", "))));
        }
        let step = i64::try_from(self.step).unwrap_or(1).max(1);
        if (wide - self.minimum) % step != 0 {
            let from = self.minimum;
            return Err(refuse(format!("is not {from} and a multiple of {step}")));
        }
        Ok(whole)
    }
}

/// Every control that can be read and set.
pub(super) fn list(fd: BorrowedFd<'_>) -> Vec<Control> {
    let mut found: Vec<Control> = Vec::new();
    let mut last = 0;
    for _ in 0..MAX_CONTROLS {
        let mut query = ControlQuery {
            id: last | CONTROL_NEXT,
            ..ControlQuery::zeroed()
        };
        // The end of the list, or a driver without controls.
        if sys::list_controls(fd, &mut query).is_err() || query.id <= last {
            break;
        }
        last = query.id;
        let simple = matches!(
            query.kind,
            CONTROL_INTEGER
                | CONTROL_BOOLEAN
                | CONTROL_MENU
                | CONTROL_INTEGER_MENU
                | CONTROL_BITMASK
        );
        let ours = CONTROL_CLASSES.contains(&(query.id & 0x0fff_0000));
        if simple && ours && query.flags & CONTROL_UNUSABLE == 0 && query.elements <= 1 {
            found.push(describe(fd, &query));
        }
    }
    found
}

fn describe(fd: BorrowedFd<'_>, query: &ControlQuery) -> Control {
    let mut menu = Vec::new();
    if matches!(query.kind, CONTROL_MENU | CONTROL_INTEGER_MENU) {
        for index in query.minimum..=query.maximum.min(query.minimum.saturating_add(MAX_MENU)) {
            let mut entry = MenuQuery {
                id: query.id,
                index: u32::try_from(index).unwrap_or(u32::MAX),
                ..MenuQuery::zeroed()
            };
            if sys::list_menu(fd, &mut entry).is_ok() {
                let name = entry.name;
                let word = if query.kind == CONTROL_MENU {
                    text(&name)
                } else {
                    let mut value = [0; 8];
                    value.copy_from_slice(&name[..8]);
                    i64::from_ne_bytes(value).to_string()
                };
                menu.push((index, word));
            }
        }
    }
    Control {
        name: plain_name(&text(&query.name)),
        minimum: query.minimum,
        maximum: query.maximum,
        step: query.step,
        default: query.default,
        menu,
        inactive: query.flags & CONTROL_INACTIVE != 0,
        id: query.id,
        kind: query.kind,
    }
}

/// Finds a control by its name or short name.
fn find<'a>(controls: &'a [Control], name: &str) -> Option<&'a Control> {
    let by = |wanted: &str| controls.iter().find(|control| control.name == wanted);
    by(name).or_else(|| {
        let (_, names) = SHORT.iter().find(|(short, _)| *short == name)?;
        names.iter().find_map(|name| by(name))
    })
}

/// Checks all values, then sets them, automatic ones first: they decide what else can be set.
/// Nothing is set when a value does not fit.
pub(super) fn set_all(
    fd: BorrowedFd<'_>,
    wanted: &BTreeMap<String, f64>,
) -> Result<(), ControlError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut settings = plan(&list(fd), wanted)?;
    settings.sort_by_key(|(control, _)| !control.name.contains("auto"));
    for (control, value) in settings {
        let mut setting = ControlValue {
            id: control.id,
            value,
        };
        sys::set_control(fd, &mut setting).map_err(|source| ControlError::Driver {
            name: control.name.clone(),
            hint: if control.inactive {
                ", an automatic control decides"
            } else {
                ""
            },
            source,
        })?;
    }
    Ok(())
}

/// The present value of a control.
pub(super) fn get(fd: BorrowedFd<'_>, name: &str) -> Option<i64> {
    let controls = list(fd);
    let mut setting = ControlValue {
        id: find(&controls, name)?.id,
        value: 0,
    };
    sys::get_control(fd, &mut setting).ok()?;
    Some(setting.value.into())
}

fn plan(
    controls: &[Control],
    wanted: &BTreeMap<String, f64>,
) -> Result<Vec<(Control, i32)>, ControlError> {
    let each = wanted.iter().map(|(name, value)| {
        let Some(control) = find(controls, name) else {
            let known: Vec<&str> = controls.iter().map(|one| one.name.as_str()).collect();
            return Err(ControlError::Unknown {
                name: name.clone(),
                known: if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                },
            });
        };
        Ok((control.clone(), control.check(*value)?))
    });
    each.collect()
}

/// Text of the kernel up to its first zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = &bytes[..end.unwrap_or(bytes.len())];
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// `White Balance, Auto` becomes `white_balance_auto`.
fn plain_name(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, range: (i64, i64), step: u64) -> Control {
        Control {
            name: name.to_owned(),
            minimum: range.0,
            maximum: range.1,
            step,
            default: 0,
            menu: Vec::new(),
            inactive: false,
            id: 1,
            kind: CONTROL_INTEGER,
        }
    }

    fn refused(wanted: &str, value: f64) -> String {
        let mut automatic = control("auto_exposure", (0, 3), 1);
        automatic.menu = vec![(1, "Manual Mode".to_owned()), (3, "Auto".to_owned())];
        let controls = [
            control("brightness", (0, 255), 1),
            control("exposure_time_absolute", (3, 2047), 4),
            automatic,
        ];
        let wanted = BTreeMap::from([(wanted.to_owned(), value)]);
        match plan(&controls, &wanted) {
            Ok(settings) => format!("{}={}", settings[0].0.name, settings[0].1),
            Err(error) => error.text(),
        }
    }

    #[test]
    fn values_are_held_against_the_drivers_ranges() {
        for (name, value, result) in [
            ("brightness", 10.0, "brightness=10"),
            ("exposure", 7.0, "exposure_time_absolute=7"),
            ("exposure_auto", 1.0, "auto_exposure=1"),
            (
                "brightness",
                300.0,
                "control `brightness`: 300 is not from 0 to 255",
            ),
            (
                "brightness",
                0.5,
                "control `brightness`: 0.5 is not a whole number",
            ),
            (
                "brightness",
                f64::NAN,
                "control `brightness`: NaN is not a whole number",
            ),
            (
                "exposure",
                8.0,
                "control `exposure_time_absolute`: 8 is not 3 and a multiple of 4",
            ),
            (
                "exposure_auto",
                2.0,
                "control `auto_exposure`: 2 is none of 1 (Manual Mode), 3 (Auto)",
            ),
            (
                "zoom",
                1.0,
                "the camera has no control `zoom`; it has brightness, exposure_time_absolute, \
                 auto_exposure",
            ),
        ] {
            assert_eq!(refused(name, value), result);
        }
    }

    #[test]
    fn names_are_plain_words() {
        assert_eq!(
            plain_name("White Balance, Automatic"),
            "white_balance_automatic"
        );
        assert_eq!(plain_name(" Gain"), "gain");
        assert_eq!(text(b"ab\0cd"), "ab");
    }
}
