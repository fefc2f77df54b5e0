//! Every source file says what it owns, stays short, and has no leftovers. Functions are measured
//! by clippy (`too-many-lines-threshold`).

use super::SourceFile;

/// A file longer than this has more than one purpose.
const MAX_LINES: usize = 600;

const CODE: &[&str] = &[".rs", ".ts", ".tsx", ".mjs", ".py"];

/// Text that must not be committed. Written in pieces so that this file passes.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("dbg", "!("),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
];

/// Paths of one machine.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/."),
    concat!("/tmp/", "team"),
    concat!("/tmp/", "target"),
    concat!("/ro", "ot/"),
];

pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !file.is_generated()) {
        let code = CODE.iter().any(|extension| file.path.ends_with(extension));
        if file.path.ends_with(".rs") && !file.text.starts_with("//!") {
            findings.push(format!(
                "{}: has to open with `//!`: what it owns",
                file.path
            ));
        }
        let lines = file.text.lines().count();
        if code && lines > MAX_LINES {
            findings.push(format!(
                "{}: {lines} lines, {MAX_LINES} is the limit",
                file.path
            ));
        }
        if code {
            find(file, LEFTOVERS, "is a leftover", &mut findings);
        }
        find(
            file,
            MACHINE_PATHS,
            "is a path of one machine",
            &mut findings,
        );
    }
    findings
}

fn find(file: &SourceFile, needles: &[&str], what: &str, findings: &mut Vec<String>) {
    for (number, line) in file.text.lines().enumerate() {
        if let Some(needle) = needles.iter().find(|needle| line.contains(**needle)) {
            findings.push(format!("{}:{}: `{needle}` {what}", file.path, number + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LEFTOVERS, MACHINE_PATHS, check};
    use crate::tidy::SourceFile;

    #[test]
    fn a_module_has_to_say_what_it_owns() {
        let files = [
            SourceFile::new("agent/src/a.rs", "//! Owns a.\n"),
            SourceFile::new("agent/src/b.rs", "use std::fs;\n"),
            SourceFile::new("proto/src/gen/c.rs", "use std::fs;\n"),
        ];
        assert_eq!(
            check(&files),
            ["agent/src/b.rs: has to open with `//!`: what it owns"]
        );
    }

    #[test]
    fn a_long_file_is_found() {
        let text = format!("//! Long.\n{}", "fn a() {}\n".repeat(600));
        let files = [SourceFile::new("agent/src/a.rs", &text)];
        assert_eq!(
            check(&files),
            ["agent/src/a.rs: 601 lines, 600 is the limit"]
        );
    }

    #[test]
    fn leftovers_and_paths_of_a_machine_are_found() {
        let text = format!("//! A.\n// {}\n// {}\n", LEFTOVERS[0], MACHINE_PATHS[0]);
        let files = [
            SourceFile::new("agent/src/a.rs", &text),
            SourceFile::new("docs/a.md", MACHINE_PATHS[1]),
        ];
        let findings = check(&files);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].starts_with("agent/src/a.rs:2:"));
        assert!(findings[1].starts_with("agent/src/a.rs:3:"));
        assert!(findings[2].starts_with("docs/a.md:1:"));
    }
}
