//! Reads manifests: files, folders and standard input. Does not look into them.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Outcome};

/// More than any manifest has; keeps a wrong path from being sent.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;
/// Manifests in one apply.
const MAX_MANIFESTS: usize = 200;

/// One manifest as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Path as given, or `-`.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Reads everything that is named, in the order given; folders in the order of their names.
pub(crate) fn load(names: &[String]) -> Outcome<Vec<Manifest>> {
    if names.is_empty() {
        return Err(Failure::usage("no manifest is given")
            .next("name a file, a folder, or - for standard input: edgeflow apply system.yaml"));
    }
    if names.iter().filter(|name| *name == "-").count() > 1 {
        return Err(Failure::usage("standard input can be read only once").next("give - only once"));
    }
    let mut manifests = Vec::new();
    for name in names {
        if name == "-" {
            manifests.push(read("-", std::io::stdin().lock())?);
            continue;
        }
        let path = Path::new(name);
        if path.is_dir() {
            for file in folder(path)? {
                manifests.push(open(&file)?);
            }
        } else {
            manifests.push(open(path)?);
        }
    }
    if manifests.len() > MAX_MANIFESTS {
        return Err(
            Failure::usage(format!("{} manifests are too many", manifests.len()))
                .why(format!("at most {MAX_MANIFESTS} can be applied at once")),
        );
    }
    Ok(manifests)
}

fn folder(path: &Path) -> Outcome<Vec<PathBuf>> {
    let what = || format!("can't read the folder {}", path.display());
    let entries = fs::read_dir(path).map_err(|error| Failure::usage(what()).why(error))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry
            .map_err(|error| Failure::usage(what()).why(error))?
            .path();
        let yaml = file
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(
            Failure::usage(format!("there is no manifest in {}", path.display()))
                .why("the folder has no .yaml or .yml file (folders inside it are not searched)"),
        );
    }
    Ok(files)
}

fn open(path: &Path) -> Outcome<Manifest> {
    let name = path.display().to_string();
    let file = fs::File::open(path)
        .map_err(|error| Failure::usage(format!("can't read {name}")).why(error))?;
    read(&name, file)
}

fn read(name: &str, source: impl Read) -> Outcome<Manifest> {
    let shown = if name == "-" { "standard input" } else { name };
    let mut bytes = Vec::new();
    source
        .take(MAX_MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("can't read {shown}")).why(error))?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(Failure::usage(format!("{shown} is not a manifest"))
            .why(format!("it is larger than {MAX_MANIFEST_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("{shown} is not a manifest")).why("it is not UTF-8 text")
    })?;
    Ok(Manifest {
        file: name.to_owned(),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_folder_gives_its_manifests_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yml", "b"), ("a.yaml", "a"), ("notes.txt", "no")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let manifests = load(&[dir.path().display().to_string()]).unwrap();
        let texts: Vec<&str> = manifests.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn what_is_no_manifest_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("binary.yaml");
        fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        for path in [binary, empty, dir.path().join("missing.yaml")] {
            let failure = load(&[path.display().to_string()]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{}", path.display());
        }
        assert!(load(&[]).is_err());
    }
}
