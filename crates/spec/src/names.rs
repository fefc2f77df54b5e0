//! Names, label keys and label values: what is allowed, in one place. Never decides what a name
//! refers to.

use thiserror::Error;

/// Longest system, node or port name: a DNS label.
pub const MAX_NAME_LEN: usize = 63;
/// Longest label value, and longest name part of a label key.
pub const MAX_LABEL_LEN: usize = 63;
/// Longest prefix of a label key (`edgeflow.dev` in `edgeflow.dev/arch`): a DNS name.
pub const MAX_LABEL_PREFIX_LEN: usize = 253;

/// Why a name or label is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Over the limit.
    #[error("it is {length} characters long, at most {limit} are allowed")]
    TooLong {
        /// Characters found.
        length: usize,
        /// Characters allowed.
        limit: usize,
    },
    /// A character that is not allowed.
    #[error("{0:?} is not allowed in it")]
    Character(char),
    /// Starts with a digit where that is not allowed.
    #[error("it starts with a digit")]
    Digit,
    /// Starts or ends with punctuation.
    #[error("it has to start and end with a letter or digit")]
    Edge,
}

/// Checks a system, node or port name: lower-case letters, digits and `-`, starting and ending
/// with a letter or digit.
pub fn check_name(name: &str) -> Result<(), NameError> {
    check(name, MAX_NAME_LEN, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })
}

/// Checks a label key: `name` or `prefix/name`.
pub fn check_label_key(key: &str) -> Result<(), NameError> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            check(prefix, MAX_LABEL_PREFIX_LEN, |c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.'
            })?;
            name
        }
        None => key,
    };
    check(name, MAX_LABEL_LEN, is_label_char)
}

/// Checks a label value: empty, or letters, digits, `-`, `_` and `.`, starting and ending with a
/// letter or digit.
pub fn check_label_value(value: &str) -> Result<(), NameError> {
    if value.is_empty() {
        return Ok(());
    }
    check(value, MAX_LABEL_LEN, is_label_char)
}

/// Checks the name of an environment variable.
pub fn check_env_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    match name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || *c == '_'))
    {
        Some(bad) => Err(NameError::Character(bad)),
        None if name.starts_with(|c: char| c.is_ascii_digit()) => Err(NameError::Digit),
        None => Ok(()),
    }
}

/// Turns any text into an acceptable label value: other characters become `-`.
pub fn to_label_value(text: &str) -> String {
    let mapped: String = text
        .chars()
        .map(|c| if is_label_char(c) { c } else { '-' })
        .take(MAX_LABEL_LEN)
        .collect();
    mapped
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

/// A valid name close to `text`; `None` if nothing usable is left.
pub fn to_name(text: &str) -> Option<String> {
    let mapped: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(MAX_NAME_LEN)
        .collect();
    let name = mapped.trim_matches('-');
    check_name(name).ok().map(|()| name.to_owned())
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn check(text: &str, limit: usize, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    let length = text.chars().count();
    if length == 0 {
        return Err(NameError::Empty);
    }
    if length > limit {
        return Err(NameError::TooLong { length, limit });
    }
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character(bad));
    }
    let edge_ok = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if edge_ok(text.chars().next()) && edge_ok(text.chars().next_back()) {
        Ok(())
    } else {
        Err(NameError::Edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "camera", "cam-2", "0day"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert_eq!(check_name("Cam"), Err(NameError::Character('C')));
        assert_eq!(check_name("a.b"), Err(NameError::Character('.')));
        assert_eq!(check_name("-a"), Err(NameError::Edge));
        assert_eq!(
            check_name(&"a".repeat(64)),
            Err(NameError::TooLong {
                length: 64,
                limit: 63
            })
        );
    }

    #[test]
    fn label_keys_may_have_a_prefix() {
        assert_eq!(check_label_key("edgeflow.dev/arch"), Ok(()));
        assert_eq!(check_label_key("site"), Ok(()));
        assert!(check_label_key("/arch").is_err());
        assert!(check_label_key("a/b/c").is_err());
    }

    #[test]
    fn any_text_becomes_a_label_value() {
        assert_eq!(
            to_label_value("Debian GNU/Linux 13 (trixie)"),
            "Debian-GNU-Linux-13--trixie"
        );
        assert_eq!(to_label_value("///"), "");
        assert_eq!(check_label_value(&to_label_value("é x")), Ok(()));
    }
}
