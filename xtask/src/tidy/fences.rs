//! Where a library may be used at all: by crate over `cargo metadata`, within a crate by folder.

use serde_json::Value;

use super::{SourceFile, dag};

/// A workspace package with the names of its normal and build dependencies.
pub(crate) struct Package<'a> {
    pub(crate) name: &'a str,
    pub(crate) dependencies: Vec<&'a str>,
}

/// Library and the only crates of ours that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("sqlx", &["edgeflow-control-plane"]),
    ("axum", &["edgeflow-control-plane", "edgeflow-agent"]),
    ("redis", &["edgeflow-stream"]),
    ("v4l", &["edgeflow-capture"]),
    ("pyo3", &["edgeflow-python"]),
    ("rten", &["edgeflow-infer"]),
    ("ort", &["edgeflow-infer"]),
    ("ureq", &["edgeflow-nodes", "edgeflow-runtime"]),
    ("zip", &["edgeflow-cli"]),
    ("libloading", &["edgeflow-capture"]),
    ("opentelemetry-proto", &["edgeflow-control-plane"]),
    ("rust-embed", &["edgeflow-web"]),
];

/// Word, the tree it is fenced in, and the only places of that tree that may use it.
struct Fence {
    word: &'static str,
    tree: &'static str,
    only: &'static [&'static str],
}

const FENCES: &[Fence] = &[
    Fence {
        word: "sqlx::",
        tree: "control-plane/src/",
        only: &["control-plane/src/store.rs", "control-plane/src/store/"],
    },
    Fence {
        word: "axum::",
        tree: "control-plane/src/",
        // tonic's routes come as an axum router; api.rs and server/ pass it on.
        only: &[
            "control-plane/src/http.rs",
            "control-plane/src/http/",
            "control-plane/src/api.rs",
            "control-plane/src/server/",
        ],
    },
    Fence {
        word: "axum::",
        tree: "agent/src/",
        only: &["agent/src/http.rs", "agent/src/http/"],
    },
];

/// Trees that must not know a word: rules and storage know nothing of the wire.
const ABSENT: &[(&str, &str)] = &[
    ("control-plane/src/store/", "tonic::"),
    ("control-plane/src/service/", "tonic::"),
    ("agent/src/reconcile/", "tonic::"),
    ("crates/spec/src/", "tokio::"),
    ("crates/spec/src/", "std::fs"),
    ("crates/stream/src/", "tokio::"),
];

pub(crate) fn packages(metadata: &Value) -> Vec<Package<'_>> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default().len();
    let mut packages = Vec::new();
    for index in 0..list(&metadata["packages"]) {
        let package = &metadata["packages"][index];
        let mut dependencies = Vec::new();
        for index in 0..list(&package["dependencies"]) {
            let dependency = &package["dependencies"][index];
            if dependency["kind"] != "dev" {
                dependencies.extend(dependency["name"].as_str());
            }
        }
        packages.push(Package {
            name: package["name"].as_str().unwrap_or_default(),
            dependencies,
        });
    }
    packages
}

pub(crate) fn check_dependencies(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages(metadata) {
        for (library, allowed) in CRATES {
            let free = allowed.contains(&package.name) || dag::DEVELOPMENT.contains(&package.name);
            if package.dependencies.contains(library) && !free {
                findings.push(format!(
                    "{}: {library} belongs in {}",
                    package.name,
                    allowed.join(", ")
                ));
            }
        }
    }
    findings
}

pub(crate) fn check_sources(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for fence in FENCES {
            let fenced = file.path.starts_with(fence.tree)
                && !fence.only.iter().any(|place| file.path.starts_with(place));
            if fenced && let Some(line) = line_with(&file.text, fence.word) {
                findings.push(format!(
                    "{}:{line}: `{}` belongs in {}",
                    file.path,
                    fence.word,
                    fence.only.join(", ")
                ));
            }
        }
        for (tree, word) in ABSENT {
            if file.path.starts_with(tree)
                && let Some(line) = line_with(&file.text, word)
            {
                findings.push(format!(
                    "{}:{line}: `{word}` does not belong in {tree}",
                    file.path
                ));
            }
        }
    }
    findings
}

/// First line, counted from 1, that uses a word outside of a comment.
fn line_with(text: &str, word: &str) -> Option<usize> {
    text.lines()
        .position(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.match_indices(word).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
            })
        })
        .map(|line| line + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{check_dependencies, check_sources, line_with};
    use crate::tidy::SourceFile;

    #[test]
    fn a_library_outside_of_its_crate_is_found() {
        let metadata = json!({"packages": [
            {"name": "edgeflow-agent", "dependencies": [{"name": "sqlx", "kind": null}]},
            {"name": "edgeflow-control-plane", "dependencies": [{"name": "sqlx", "kind": null}]},
        ]});
        let expected = ["edgeflow-agent: sqlx belongs in edgeflow-control-plane"];
        assert_eq!(check_dependencies(&metadata), expected);
    }

    #[test]
    fn sql_outside_of_the_store_is_found() {
        let files = [
            SourceFile::new("control-plane/src/store/tokens.rs", "use sqlx::query;"),
            SourceFile::new("control-plane/src/fleet.rs", "//! x\nuse sqlx::query;"),
        ];
        let findings = check_sources(&files);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("control-plane/src/fleet.rs:2:"));
    }

    #[test]
    fn the_pure_crate_does_no_io() {
        let files = [SourceFile::new(
            "crates/spec/src/parse.rs",
            "std::fs::read(path)",
        )];
        assert_eq!(check_sources(&files).len(), 1);
    }

    #[test]
    fn a_word_in_a_comment_or_at_the_end_of_another_does_not_count() {
        assert_eq!(line_with("// sqlx::query", "sqlx::"), None);
        assert_eq!(line_with("mysqlx::query", "sqlx::"), None);
        assert_eq!(line_with("a\nlet a = sqlx::query();", "sqlx::"), Some(2));
    }
}
