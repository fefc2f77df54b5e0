//! Where an output port keeps frames on disk: a folder for each link, by kind. Owns the names of
//! these folders and what a group keeps there; never looks into the files.

use std::path::{Path, PathBuf};

use super::dead_letters::DeadLetters;
use super::group::Group;
use super::spill::Spill;
use crate::frame::Limits;

/// Folder of spilled frames.
const SPILL_FOLDER: &str = "spill";
/// Folder of dead letters.
const DEAD_LETTER_FOLDER: &str = "dead-letters";

/// Opens what a group keeps on disk and returns the largest number of a frame that is there.
pub(super) fn open(group: &mut Group, dir: &Path, limits: Limits) -> u64 {
    if !group.declared || !group.keeps_frames() {
        return 0;
    }
    let name = folder_name(&group.name, &group.link);
    let dead_letters = dir.join(DEAD_LETTER_FOLDER).join(&name);
    group.use_dead_letters(DeadLetters::new(
        &group.link,
        &group.name,
        dead_letters,
        limits,
    ));
    if !group.qos.spills() {
        return 0;
    }
    match Spill::open(
        dir.join(SPILL_FOLDER).join(&name),
        group.qos.spill_bytes,
        limits,
    ) {
        Ok(spill) => group.use_spill(spill),
        Err(error) => {
            group.set_trouble(&error, "nothing can be kept on disk");
            0
        }
    }
}

/// Readable, fit for a file name, and different for every link.
fn folder_name(group: &str, link: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let plain: String = group.chars().filter(is_plain).take(64).collect();
    format!("{plain}-{:08x}", crc32c::crc32c(link.as_bytes()))
}

/// Folders of spilled frames below `dir` that no link in `links` (group and link id) uses, with at
/// least one file. Nobody will send what is in them.
pub fn left_behind(dir: &Path, links: &[(String, String)]) -> Vec<PathBuf> {
    let used: Vec<String> = links
        .iter()
        .map(|(group, link)| folder_name(group, link))
        .collect();
    let folders = std::fs::read_dir(dir.join(SPILL_FOLDER));
    let folders = folders.into_iter().flatten().flatten();
    folders
        .filter(|folder| !used.iter().any(|name| folder.file_name() == name.as_str()))
        .map(|folder| folder.path())
        .filter(|path| std::fs::read_dir(path).is_ok_and(|mut files| files.next().is_some()))
        .collect()
}
