//! `{{ device.name }}`: the few values of a device that a manifest may use. No loops, no
//! conditions, no other variables.

use crate::device::DevicePlace;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const LABELS: &str = "device.labels.";

/// What a template refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable<'a> {
    Id,
    Name,
    Label(&'a str),
}

/// A mistake in a template, with the place in characters from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    pub(crate) message: String,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// Whether a text has a template in it.
pub(crate) fn has_template(text: &str) -> bool {
    text.contains(OPEN)
}

/// Checks every template in a text.
pub(crate) fn check(text: &str) -> Result<(), TemplateError> {
    let mut at = 0;
    while let Some(open) = text[at..].find(OPEN).map(|found| at + found) {
        let body_start = open + OPEN.len();
        let offset = text[..open].chars().count();
        let Some(end) = text[body_start..]
            .find(CLOSE)
            .map(|found| body_start + found)
        else {
            return Err(TemplateError {
                message: "the template is not closed with `}}`".to_owned(),
                offset,
                length: text[open..].chars().count(),
            });
        };
        let body = text[body_start..end].trim();
        if variable(body).is_none() {
            return Err(TemplateError {
                message: format!("there is no template value `{body}`"),
                offset,
                length: text[open..end + CLOSE.len()].chars().count(),
            });
        }
        at = end + CLOSE.len();
    }
    Ok(())
}

/// Fills in the values of a device. A label that the device does not have becomes empty and is
/// handed to `missing`.
pub(crate) fn fill(text: &str, device: &DevicePlace, missing: &mut dyn FnMut(&str)) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((body, tail)) = after.split_once(CLOSE) else {
            break;
        };
        filled.push_str(before);
        match variable(body.trim()) {
            Some(Variable::Id) => filled.push_str(&device.id),
            Some(Variable::Name) => filled.push_str(&device.name),
            Some(Variable::Label(key)) => match device.labels.get(key) {
                Some(value) => filled.push_str(value),
                None => missing(key),
            },
            None => {
                filled.push_str(OPEN);
                filled.push_str(body);
                filled.push_str(CLOSE);
            }
        }
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

fn variable(body: &str) -> Option<Variable<'_>> {
    match body {
        "device.id" => Some(Variable::Id),
        "device.name" => Some(Variable::Name),
        _ => body
            .strip_prefix(LABELS)
            .filter(|key| crate::names::check_label_key(key).is_ok())
            .map(Variable::Label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DevicePlace {
        DevicePlace {
            id: "d1".into(),
            name: "box".into(),
            labels: [("tz".to_owned(), "UTC".to_owned())].into(),
        }
    }

    #[test]
    fn values_of_the_device_are_filled_in() {
        let mut missing = Vec::new();
        let text = fill(
            "{{device.name}}/{{ device.labels.tz }}-{{ device.labels.rack }}.",
            &device(),
            &mut |key| missing.push(key.to_owned()),
        );
        assert_eq!(text, "box/UTC-.");
        assert_eq!(missing, ["rack"]);
    }

    #[test]
    fn mistakes_are_found_with_their_place() {
        assert_eq!(check("{{ device.name }}{{ device.labels.a/b }}"), Ok(()));
        let unclosed = check("é{{ device.name").unwrap_err();
        assert_eq!((unclosed.offset, unclosed.length), (1, 14));
        let unknown = check("{{ device.nam }}").unwrap_err();
        assert_eq!(unknown.message, "there is no template value `device.nam`");
    }
}
