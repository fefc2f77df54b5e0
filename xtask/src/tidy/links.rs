//! Relative links in Markdown lead to files that exist.

use std::collections::BTreeSet;

use super::SourceFile;

pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut known = BTreeSet::new();
    for file in files {
        let mut path = file.path.as_str();
        known.insert(path);
        while let Some((folder, _)) = path.rsplit_once('/') {
            known.insert(folder);
            path = folder;
        }
    }
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in targets(&file.text) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            let resolved = resolve(&file.path, path);
            if !known.contains(resolved.as_str()) {
                findings.push(format!("{}:{line}: `{target}` leads nowhere", file.path));
            }
        }
    }
    findings
}

/// Targets of `[text](target)` outside of code blocks, with their lines.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        for part in line.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                let target = target.split(' ').next().unwrap_or(target);
                found.push((number + 1, target));
            }
        }
    }
    found
}

fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::SourceFile;

    #[test]
    fn a_link_to_a_missing_file_is_found() {
        let text = "see [a](../README.md#top), [b](cli.md), [c](#here), [d](https://x.dev/y),\n\
                    [folder](../examples/quickstart/)\n```\n[e](nowhere)\n```\n[f](gone.md)";
        let files = [
            SourceFile::new("docs/README.md", text),
            SourceFile::new("docs/cli.md", ""),
            SourceFile::new("README.md", ""),
            SourceFile::new("examples/quickstart/system.yaml", ""),
        ];
        assert_eq!(check(&files), ["docs/README.md:6: `gone.md` leads nowhere"]);
    }
}
