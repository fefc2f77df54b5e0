//! What lies where: only known names at the top level, no `mod.rs`, a changelog with a place for
//! the next entry.

use super::SourceFile;

/// Files and folders that may lie at the top level.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".sqlx",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "agent",
    "bench",
    "cli",
    "clippy.toml",
    "control-plane",
    "crates",
    "deny.toml",
    "deploy",
    "docs",
    "e2e",
    "examples",
    "fuzz",
    "migrations",
    "proto",
    "python",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "web",
    "xtask",
];

/// Files that a reader of the repository looks for.
const REQUIRED: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "deny.toml",
    "rust-toolchain.toml",
];

pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut strays: Vec<&str> = files
        .iter()
        .map(|file| file.path.split('/').next().unwrap_or_default())
        .filter(|name| !TOP_LEVEL.contains(name))
        .collect();
    strays.dedup();
    for name in strays {
        findings.push(format!(
            "{name}: does not belong at the top level (xtask/src/tidy/layout.rs)"
        ));
    }
    for name in REQUIRED {
        if !files.iter().any(|file| file.path == *name) {
            findings.push(format!("{name}: missing"));
        }
    }
    for file in files {
        if file.path.ends_with("/mod.rs") {
            findings.push(format!("{}: modules are `foo.rs` beside `foo/`", file.path));
        }
        if file.path == "CHANGELOG.md" && !file.text.contains("\n## Unreleased\n") {
            findings.push("CHANGELOG.md: no section `## Unreleased`".to_owned());
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{REQUIRED, check};
    use crate::tidy::SourceFile;

    fn complete() -> Vec<SourceFile> {
        let text = "# Changes\n\n## Unreleased\n";
        REQUIRED
            .iter()
            .map(|name| SourceFile::new(name, text))
            .collect()
    }

    #[test]
    fn a_stray_file_and_a_mod_rs_are_found() {
        let mut files = complete();
        assert_eq!(check(&files), Vec::<String>::new());
        files.push(SourceFile::new("notes.txt", ""));
        files.push(SourceFile::new("agent/src/session/mod.rs", ""));
        assert_eq!(check(&files).len(), 2);
    }

    #[test]
    fn a_missing_file_and_a_changelog_without_unreleased_are_found() {
        let mut files = complete();
        files.retain(|file| file.path != "LICENSE");
        for file in &mut files {
            file.text.clear();
        }
        let findings = check(&files);
        assert_eq!(
            findings,
            [
                "LICENSE: missing",
                "CHANGELOG.md: no section `## Unreleased`"
            ]
        );
    }
}
