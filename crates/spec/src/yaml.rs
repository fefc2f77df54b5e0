//! YAML text to a tree in which every part knows its place. Bounded in depth and in size, aliases
//! included; knows nothing about systems.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::Number;

use crate::source::{Mark, Source};

/// Deepest nesting.
pub(crate) const MAX_DEPTH: usize = 32;
/// Most parts of the tree, aliases expanded.
pub(crate) const MAX_PARTS: usize = 50_000;

/// A part of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// A scalar: its text, and what the text means if it is not quoted.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) kind: ScalarKind,
    /// Characters between the mark and the text (the opening quote); `None` if the source does not
    /// spell the text as it is.
    pub(crate) inset: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ScalarKind {
    Null,
    Bool(bool),
    Number(Number),
    Text,
}

/// The text is not YAML, or not YAML that a manifest may use.
#[derive(Debug)]
pub(crate) struct YamlError {
    pub(crate) code: &'static str,
    pub(crate) mark: Mark,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Node {
    /// `a list`, for messages.
    pub(crate) fn words(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => "nothing",
                ScalarKind::Bool(_) => "true or false",
                ScalarKind::Number(_) => "a number",
                ScalarKind::Text => "text",
            },
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }

    /// The place of a part of a scalar's text, in characters from its start.
    pub(crate) fn part(&self, offset: usize, length: usize) -> Mark {
        match &self.value {
            Value::Scalar(Scalar {
                inset: Some(inset), ..
            }) => self.mark.part(inset + offset, length),
            _ => self.mark,
        }
    }
}

/// Reads one document. `None` if there is nothing in it.
pub(crate) fn read(text: &str, source: &Source<'_>) -> Result<Option<Node>, YamlError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        source,
        anchors: HashMap::new(),
        parts: 0,
    };
    let mut document = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(document),
            Event::StreamStart | Event::Nothing | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                let (event, first) = reader.next()?;
                let node = reader.node(event, first, 0)?;
                if node.is_null() {
                    continue;
                }
                if document.is_some() {
                    return Err(YamlError {
                        code: "several-documents",
                        mark: reader.mark(span),
                        message: "a manifest is one document, and here a second one starts".into(),
                        hint: "put every system in a file of its own".into(),
                    });
                }
                document = Some(node);
            }
            _ => return Err(reader.unexpected(span)),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    source: &'a Source<'a>,
    /// Anchored nodes with the number of their parts.
    anchors: HashMap<usize, (Node, usize)>,
    parts: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax(error.marker(), error.info())),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, YamlError> {
        if depth > MAX_DEPTH {
            return Err(YamlError {
                code: "too-deep",
                mark: self.mark(span),
                message: format!("nested deeper than {MAX_DEPTH} levels"),
                hint: String::new(),
            });
        }
        let before = self.parts;
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), span)?;
                let text_tag = tag.is_some_and(|tag| tag.suffix == "str");
                (
                    self.scalar(text.into_owned(), style, text_tag, span),
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span)?;
                (self.sequence(span, depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span)?;
                (self.mapping(span, depth)?, anchor)
            }
            _ => return Err(self.unexpected(span)),
        };
        if anchor != 0 {
            // Its own copy counts too, so that anchors can't multiply memory.
            let parts = self.parts - before;
            self.count(parts, span)?;
            self.anchors.insert(anchor, (node.clone(), parts));
        }
        Ok(node)
    }

    fn sequence(&mut self, span: Span, depth: usize) -> Result<Node, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, at, depth + 1)?);
        }
        Ok(Node {
            mark: self.mark(span),
            value: Value::Sequence(items),
        })
    }

    fn mapping(&mut self, span: Span, depth: usize) -> Result<Node, YamlError> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, at, depth + 1)?;
            let (event, at) = self.next()?;
            let mut value = self.node(event, at, depth + 1)?;
            if value.is_null() && value.mark.line != key.mark.line {
                // A key with nothing after it: the parser's place is the next token.
                value.mark = key.mark;
            }
            entries.push((key, value));
        }
        // A block map starts where its first key does; mark the key, which says more.
        let mark = match entries.first() {
            Some((key, _)) if span.is_empty() => key.mark,
            _ => self.mark(span),
        };
        Ok(Node {
            mark,
            value: Value::Mapping(entries),
        })
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, YamlError> {
        let Some((mut node, parts)) = self.anchors.get(&id).cloned() else {
            return Err(self.syntax(&span.start, "an alias can't stand inside its own anchor"));
        };
        self.count(parts, span)?;
        // What is wrong with it is shown where it is used.
        node.mark = self.mark(span);
        if let Value::Scalar(scalar) = &mut node.value {
            scalar.inset = None;
        }
        Ok(node)
    }

    fn count(&mut self, parts: usize, span: Span) -> Result<(), YamlError> {
        self.parts = self.parts.saturating_add(parts);
        if self.parts <= MAX_PARTS {
            return Ok(());
        }
        Err(YamlError {
            code: "too-large",
            mark: self.mark(span),
            message: format!("more than {MAX_PARTS} values, with aliases written out"),
            hint: String::new(),
        })
    }

    fn scalar(&self, text: String, style: ScalarStyle, text_tag: bool, span: Span) -> Node {
        let mark = self.mark(span);
        let plain = style == ScalarStyle::Plain && !text_tag;
        let kind = if plain {
            resolve(&text)
        } else {
            ScalarKind::Text
        };
        let inset = match style {
            ScalarStyle::Plain => Some(0),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Some(1),
            ScalarStyle::Literal | ScalarStyle::Folded => None,
        };
        let spelled = |inset: &usize| {
            let start = (mark.column as usize).saturating_sub(1) + inset;
            let found = self.source.line(mark.line).chars().skip(start);
            // Masked link options differ in their spaces only, see `decode::mask_links`.
            let space = |c: char| if c == '\u{a0}' { ' ' } else { c };
            found
                .take(text.chars().count())
                .map(space)
                .eq(text.chars().map(space))
        };
        let inset = inset.filter(spelled);
        Node {
            mark,
            value: Value::Scalar(Scalar { text, kind, inset }),
        }
    }

    fn check_tag(&self, tag: Option<&Tag>, span: Span) -> Result<(), YamlError> {
        let Some(tag) = tag else {
            return Ok(());
        };
        if tag.is_yaml_core_schema() {
            return Ok(());
        }
        Err(YamlError {
            code: "tag",
            mark: self.mark(span),
            message: format!("the YAML tag `{tag}` is not supported"),
            hint: "remove it".into(),
        })
    }

    fn mark(&self, span: Span) -> Mark {
        let start = place(&span.start);
        let length = if span.end.line() == span.start.line() {
            span.end.index().saturating_sub(span.start.index())
        } else {
            let rest = self.source.line(start.line).chars().count();
            (rest + 1).saturating_sub(start.column as usize)
        };
        start.part(0, length)
    }

    fn unexpected(&self, span: Span) -> YamlError {
        self.syntax(&span.start, "this can't stand here")
    }

    fn syntax(&self, marker: &Marker, info: &str) -> YamlError {
        let mut mark = place(marker);
        // The end of the text is shown at its last line that has something on it.
        while mark.line > 1
            && (mark.line > self.source.line_count()
                || self.source.line(mark.line).trim().is_empty())
        {
            mark.line -= 1;
            mark.column =
                u32::try_from(self.source.line(mark.line).chars().count()).unwrap_or(0) + 1;
        }
        if let Some(tab) = self.tab_in_indentation(mark.line) {
            return YamlError {
                code: "tab",
                mark: tab,
                message: "a tab can't indent YAML".into(),
                hint: "use spaces, usually two for each level".into(),
            };
        }
        let line = self.source.line(mark.line);
        let hint = if line.contains("{{") {
            "a value with a template has to be in quotes: \"{{ device.name }}\""
        } else if info.contains("mapping values") {
            "a text that contains `: ` has to be in quotes, and nested fields go on a line of their own"
        } else if info.contains("anchor") || info.contains("alias") {
            "a text that starts with `*` or `&` has to be in quotes"
        } else {
            ""
        };
        YamlError {
            code: "syntax",
            mark,
            message: format!("this is not valid YAML: {info}"),
            hint: hint.into(),
        }
    }

    /// A tab among the leading white space of a line or of the one before.
    fn tab_in_indentation(&self, line: u32) -> Option<Mark> {
        (line.saturating_sub(1)..=line).rev().find_map(|number| {
            let text = self.source.line(number);
            let indent = text.len() - text.trim_start().len();
            text[..indent].find('\t').map(|at| {
                Mark {
                    line: number,
                    column: 1,
                    length: 1,
                }
                .part(text[..at].chars().count(), 1)
            })
        })
    }
}

fn place(marker: &Marker) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark {
        line: number(marker.line()).max(1),
        column: number(marker.col()).saturating_add(1),
        length: 1,
    }
}

/// What a plain scalar means in YAML 1.2's core schema.
fn resolve(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "true" | "True" | "TRUE" => return ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => return ScalarKind::Bool(false),
        _ => {}
    }
    number(text).map_or(ScalarKind::Text, ScalarKind::Number)
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = unsigned.strip_prefix("0x") {
        return radix(text, unsigned, hex, 16);
    }
    if let Some(octal) = unsigned.strip_prefix("0o") {
        return radix(text, unsigned, octal, 8);
    }
    let digits = unsigned.bytes().filter(u8::is_ascii_digit).count();
    let shape = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    if digits == 0
        || !unsigned.bytes().all(shape)
        || !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return None;
    }
    if digits == unsigned.len() {
        if let Ok(value) = text.parse::<i64>() {
            return Some(value.into());
        }
        if let Ok(value) = text.parse::<u64>() {
            return Some(value.into());
        }
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

fn radix(text: &str, unsigned: &str, digits: &str, radix: u32) -> Option<Number> {
    if text != unsigned || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok().map(Number::from)
}
