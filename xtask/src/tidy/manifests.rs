//! Versions of dependencies stand once, in the workspace's table; every member takes them from
//! there, its lints too, and says what it is.

use super::SourceFile;

/// Manifests outside the workspace, which can't take versions from its table.
const OUTSIDE: &[&str] = &["Cargo.toml", "bench/peers/Cargo.toml", "fuzz/Cargo.toml"];

pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let manifest = file.path.ends_with("Cargo.toml") && !OUTSIDE.contains(&file.path.as_str());
        if manifest {
            check_manifest(file, &mut findings);
        }
    }
    findings
}

fn check_manifest(file: &SourceFile, findings: &mut Vec<String>) {
    let mut section = "";
    for (number, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            continue;
        }
        let dependency = section.ends_with("dependencies");
        let own_table = section.contains("dependencies.");
        let inherits = line.contains("workspace = true");
        if dependency && !inherits || own_table && line.starts_with("version") {
            findings.push(format!(
                "{}:{}: take the version from the workspace's table (`workspace = true`)",
                file.path,
                number + 1
            ));
        }
    }
    if !file.text.contains("[lints]\nworkspace = true") {
        findings.push(format!(
            "{}: `[lints] workspace = true` is missing",
            file.path
        ));
    }
    if file.text.contains("description = \"\"") || !file.text.contains("description = ") {
        findings.push(format!("{}: `description` is missing", file.path));
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::SourceFile;

    const GOOD: &str = "[package]\nname = \"a\"\ndescription = \"A\"\n[lints]\nworkspace = true\n\
        [dependencies]\nserde.workspace = true\ntokio = { workspace = true, features = [\"net\"] }\n";

    #[test]
    fn a_version_in_a_member_is_found() {
        let files = [
            SourceFile::new("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\n"),
            SourceFile::new("agent/Cargo.toml", GOOD),
            SourceFile::new("cli/Cargo.toml", &format!("{GOOD}clap = \"4\"\n")),
            SourceFile::new(
                "web/Cargo.toml",
                &format!("{GOOD}[dependencies.http]\nversion = \"1\"\n"),
            ),
        ];
        let findings = check(&files);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("cli/Cargo.toml:9:"), "{findings:?}");
        assert!(
            findings[1].starts_with("web/Cargo.toml:10:"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_member_without_lints_or_description_is_found() {
        let files = [SourceFile::new(
            "agent/Cargo.toml",
            "[package]\nname = \"a\"\n",
        )];
        assert_eq!(check(&files).len(), 2);
    }
}
