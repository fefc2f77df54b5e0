//! Which kernel modules a module needs, and in which order: the package has no list of that, so it is
//! read from the modules themselves.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Modules with what they need before them.
pub(super) fn in_order(dir: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut all = BTreeMap::new();
    collect(dir, &mut all)?;
    let builtin = fs::read_to_string(dir.join("modules.builtin")).unwrap_or_default();
    let builtin: Vec<String> = builtin
        .lines()
        .map(|line| name_of(Path::new(line)))
        .collect();
    let mut order = Vec::new();
    for name in wanted {
        add(name, &all, &builtin, &mut order)?;
    }
    Ok(order)
}

fn add(
    name: &str,
    all: &BTreeMap<String, PathBuf>,
    builtin: &[String],
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    let name = name.replace('-', "_");
    if builtin.contains(&name) {
        return Ok(());
    }
    let path = all
        .get(&name)
        .with_context(|| format!("the kernel has no module `{name}`"))?;
    if order.contains(path) {
        return Ok(());
    }
    for needed in depends(&fs::read(path)?) {
        add(&needed, all, builtin, order)?;
    }
    order.push(path.clone());
    Ok(())
}

fn collect(dir: &Path, all: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, all)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            all.insert(name_of(&path), path);
        }
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('-', "_")
}

/// The names in a module's own description.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|part| part == KEY) else {
        return Vec::new();
    };
    let rest = &module[at + KEY.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
    let names = String::from_utf8_lossy(&rest[..end]).into_owned();
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
