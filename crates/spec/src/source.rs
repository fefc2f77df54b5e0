//! Places in a manifest: marks on its parts, and problems made from them. Knows nothing about what
//! the parts mean.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::{Problem, Severity};

/// Longest source line that a problem carries, in characters.
const MAX_SOURCE_LINE: usize = 400;

/// Part of the path of a link whose `on_full: spill` nobody wrote; its mark is the policy's.
pub(crate) const IMPLIED_SPILL: &str = "implied-spill";

/// A marked piece of text on one line. Counts from 1; line 0 is nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl Mark {
    /// A part of the marked text, in characters from its start.
    pub(crate) fn part(self, offset: usize, length: usize) -> Self {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            line: self.line,
            column: self.column.saturating_add(offset),
            length: length.max(1),
        }
    }
}

/// A manifest's file name and lines.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let lines = text
            .split('\n')
            .map(|line| line.trim_end_matches('\r'))
            .collect();
        Self { file, lines }
    }

    /// A line by its number from 1; empty if there is none.
    pub(crate) fn line(&self, number: u32) -> &'a str {
        let index = (number as usize).checked_sub(1);
        index
            .and_then(|index| self.lines.get(index))
            .copied()
            .unwrap_or_default()
    }

    /// Number of lines.
    pub(crate) fn line_count(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn problem(
        &self,
        code: &'static str,
        severity: Severity,
        mark: Mark,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Problem {
        let line = self.line(mark.line);
        let source_line = if line.chars().count() <= MAX_SOURCE_LINE {
            line.to_owned()
        } else if (mark.column as usize) < MAX_SOURCE_LINE {
            line.chars().take(MAX_SOURCE_LINE).collect()
        } else {
            String::new()
        };
        Problem {
            code: code.to_owned(),
            severity,
            message: message.into(),
            hint: hint.into(),
            file: self.file.to_owned(),
            line: mark.line,
            column: mark.column,
            length: mark.length.max(1),
            source_line,
        }
    }
}

/// Where the parts of a system stand in its manifest, by path (`nodes.camera.with.fps`), and which
/// nodes could not be read. Empty for a system that was built in a program.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    by_path: BTreeMap<String, Mark>,
    broken_nodes: BTreeSet<String>,
    links_incomplete: bool,
}

impl Marks {
    pub(crate) fn set(&mut self, path: impl Into<String>, mark: Mark) {
        self.by_path.insert(path.into(), mark);
    }

    /// The mark of a path, or of the nearest part that it belongs to.
    pub(crate) fn get(&self, path: &str) -> Mark {
        let mut path = path;
        loop {
            if let Some(mark) = self.by_path.get(path) {
                return *mark;
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return Mark::default(),
            }
        }
    }

    /// Whether this very path has a mark.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Remembers that a node exists and has been complained about already.
    pub(crate) fn set_broken(&mut self, node: &str) {
        self.broken_nodes.insert(node.to_owned());
    }

    /// Whether the system was read from text, so that what is missing has been reported.
    pub(crate) fn has_text(&self) -> bool {
        !self.by_path.is_empty()
    }

    /// Remembers that a link could not be read, so that nothing can be said about missing ones.
    pub(crate) fn set_links_incomplete(&mut self) {
        self.links_incomplete = true;
    }

    pub(crate) fn links_incomplete(&self) -> bool {
        self.links_incomplete
    }

    pub(crate) fn is_broken(&self, node: &str) -> bool {
        self.broken_nodes.contains(node)
    }

    pub(crate) fn broken_nodes(&self) -> impl Iterator<Item = &str> + Clone {
        self.broken_nodes.iter().map(String::as_str)
    }
}
