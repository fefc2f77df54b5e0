//! A small disk that a test can fill.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// A mounted tmpfs; dropping it unmounts it.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one at `path`. `None` where that is not allowed: it takes root.
    pub fn mount(path: &Path, kilobytes: u32) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        fs::create_dir_all(path).context("creating the mount point")?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"])
            .arg(path)
            .output()
            .context("running mount")?;
        if !mounted.status.success() {
            // In a container without the capability, root or not.
            return Ok(None);
        }
        Ok(Some(Self {
            path: path.to_owned(),
        }))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file until nothing more fits.
    pub fn fill(&self) -> Result<PathBuf> {
        use std::io::{ErrorKind, Write};
        let path = self.path.join("filler");
        let mut file = fs::File::create(&path).context("creating the filler")?;
        let mut size = 64 * 1024;
        while size > 0 {
            match file.write(&vec![0_u8; size]) {
                Ok(0) => size /= 2,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
                Err(error) => bail!("filling {}: {error}", path.display()),
            }
        }
        Ok(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that the test has just killed may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
