//! Generated folders and files: replaced, or compared with what is committed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Relative path → content of every file below a folder. A missing folder is empty.
pub(crate) fn read_tree(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    collect(folder, folder, &mut files)?;
    Ok(files)
}

/// Fails, naming the files, when `committed` is not what `generated` is.
pub(crate) fn same(committed: &Path, generated: &Path, command: &str) -> Result<()> {
    let old = read_tree(committed)?;
    let new = read_tree(generated)?;
    let differing = differences(&old, &new);
    if differing.is_empty() {
        return Ok(());
    }
    bail!(
        "{} is not what its sources generate; run `cargo xtask {command}` and commit:\n  {}",
        committed.display(),
        differing.join("\n  ")
    )
}

/// Makes `committed` what `generated` is.
pub(crate) fn replace(committed: &Path, generated: &Path) -> Result<()> {
    let old = read_tree(committed)?;
    let new = read_tree(generated)?;
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        let path = committed.join(name);
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    for (name, content) in new
        .iter()
        .filter(|(name, content)| old.get(*name) != Some(content))
    {
        let path = committed.join(name);
        let folder = path.parent().unwrap_or(committed);
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// An empty folder at `path`.
pub(crate) fn fresh_dir(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("emptying {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))
}

fn differences(old: &BTreeMap<PathBuf, Vec<u8>>, new: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, content) in new {
        match old.get(name) {
            None => found.push(format!("{} (missing)", name.display())),
            Some(committed) if committed != content => {
                found.push(format!("{} (differs)", name.display()));
            }
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        found.push(format!("{} (left over)", name.display()));
    }
    found
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
        files.insert(name, content);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{replace, same};

    #[test]
    fn a_changed_a_missing_and_a_left_over_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::create_dir_all(&old).unwrap();
        fs::create_dir_all(new.join("sub")).unwrap();
        fs::write(old.join("changed"), "1").unwrap();
        fs::write(new.join("changed"), "2").unwrap();
        fs::write(old.join("left"), "").unwrap();
        fs::write(new.join("sub/missing"), "").unwrap();
        let text = same(&old, &new, "x").expect_err("they differ").to_string();
        for part in [
            "changed (differs)",
            "left (left over)",
            "sub/missing (missing)",
        ] {
            assert!(text.contains(part), "{text}");
        }
        replace(&old, &new).unwrap();
        same(&old, &new, "x").unwrap();
    }
}
