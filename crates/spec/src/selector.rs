//! Label selectors: `key=value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, `key`, `!key`;
//! a comma means and. Never looks at anything but labels.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::names;

/// Longest selector, in bytes.
pub const MAX_SELECTOR_LEN: usize = 1024;

/// A conjunction of requirements on labels. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    /// Any of these values.
    In(Vec<String>),
    /// Missing, or none of these values.
    NotIn(Vec<String>),
}

/// A selector that can't be read, with the place in characters from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SelectorError {
    /// What is wrong.
    pub message: String,
    /// Where it starts.
    pub offset: usize,
    /// How many characters it is long, at least 1.
    pub length: usize,
}

impl Selector {
    /// Reads a selector. An empty text gives the selector that matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_SELECTOR_LEN {
            return Err(SelectorError {
                message: format!("the selector is longer than {MAX_SELECTOR_LEN} bytes"),
                offset: 0,
                length: 1,
            });
        }
        Reader::new(text).selector()
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels fulfil every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => value.is_some_and(|v| values.contains(v)),
                Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            }
        })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                out.write_str(",")?;
            }
            let key = &requirement.key;
            match &requirement.test {
                Test::Exists => write!(out, "{key}")?,
                Test::Missing => write!(out, "!{key}")?,
                Test::In(values) => match values.as_slice() {
                    [one] => write!(out, "{key}={one}")?,
                    many => write!(out, "{key} in ({})", many.join(", "))?,
                },
                Test::NotIn(values) => match values.as_slice() {
                    [one] => write!(out, "{key}!={one}")?,
                    many => write!(out, "{key} notin ({})", many.join(", "))?,
                },
            }
        }
        Ok(())
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn new(text: &str) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
        }
    }

    fn selector(mut self) -> Result<Selector, SelectorError> {
        let mut requirements = Vec::new();
        self.skip_space();
        while self.at < self.chars.len() {
            requirements.push(self.requirement()?);
            self.skip_space();
            if self.at == self.chars.len() {
                break;
            }
            self.expect(',', "a comma has to stand between two requirements")?;
            self.skip_space();
            if self.at == self.chars.len() {
                return Err(self.error_here("a requirement has to follow the comma"));
            }
        }
        Ok(Selector { requirements })
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.take('!') {
            self.skip_space();
            let key = self.key()?;
            return Ok(Requirement {
                key,
                test: Test::Missing,
            });
        }
        let key = self.key()?;
        self.skip_space();
        let test = match self.peek() {
            None | Some(',') => Test::Exists,
            Some('=') => {
                self.at += 1;
                // `==` is the same.
                self.take('=');
                Test::In(vec![self.value()?])
            }
            Some('!') => {
                self.at += 1;
                self.expect('=', "`!` between key and value has to be `!=`")?;
                Test::NotIn(vec![self.value()?])
            }
            Some(_) => self.set()?,
        };
        Ok(Requirement { key, test })
    }

    fn set(&mut self) -> Result<Test, SelectorError> {
        let start = self.at;
        let word = self.word();
        if word != "in" && word != "notin" {
            let length = word.chars().count().max(1);
            let message =
                "expected `=`, `!=`, `in (…)`, `notin (…)` or a comma after the label key"
                    .to_owned();
            return Err(SelectorError {
                message,
                offset: start,
                length,
            });
        }
        self.skip_space();
        self.expect('(', "the values have to stand in parentheses: `in (a, b)`")?;
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            self.skip_space();
            if self.take(')') {
                break;
            }
            self.expect(',', "expected a comma or `)` after a value")?;
        }
        Ok(if word == "in" {
            Test::In(values)
        } else {
            Test::NotIn(values)
        })
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        let start = self.at;
        let key = self.word();
        match names::check_label_key(&key) {
            Ok(()) => Ok(key),
            Err(_) if key.is_empty() => Err(self.error_here("expected a label key")),
            Err(error) => Err(SelectorError {
                message: format!("`{key}` is not a label key: {error}"),
                offset: start,
                length: key.chars().count(),
            }),
        }
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        self.skip_space();
        let start = self.at;
        let value = self.word();
        if value.is_empty() {
            return Err(self.error_here("expected a label value"));
        }
        names::check_label_value(&value).map_err(|error| SelectorError {
            message: format!("`{value}` is not a label value: {error}"),
            offset: start,
            length: value.chars().count(),
        })?;
        Ok(value)
    }

    /// Everything up to white space or an operator.
    fn word(&mut self) -> String {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| !c.is_whitespace() && !matches!(c, '=' | '!' | ',' | '(' | ')'))
        {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: char, message: &str) -> Result<(), SelectorError> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(self.error_here(message))
        }
    }

    fn error_here(&self, message: &str) -> SelectorError {
        SelectorError {
            message: message.to_owned(),
            offset: self.at,
            length: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn each_operator_matches_what_it_says() {
        let device = labels(&[("site", "berlin"), ("edgeflow.dev/arch", "aarch64")]);
        for (text, expected) in [
            ("", true),
            ("site=berlin", true),
            ("site == berlin", true),
            ("site!=berlin", false),
            ("rack!=a", true),
            ("site in (paris, berlin)", true),
            ("site notin (paris, berlin)", false),
            ("rack notin (a)", true),
            ("site", true),
            ("!site", false),
            ("!rack, edgeflow.dev/arch=aarch64", true),
            ("site=berlin,rack", false),
        ] {
            assert_eq!(
                Selector::parse(text).unwrap().matches(&device),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for text in [
            "a=b",
            "a!=b",
            "a in (b, c)",
            "a notin (b, c)",
            "a",
            "!a",
            "x/a=b,!c",
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn an_error_says_where() {
        for (text, offset) in [
            ("a=", 2),
            ("a=b,", 4),
            ("a=b c", 4),
            ("a ! b", 3),
            ("a in b", 5),
            ("a in (b", 7),
            ("a within (b)", 2),
            ("=b", 0),
            ("a=-b", 2),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().offset, offset, "{text}");
        }
    }
}
