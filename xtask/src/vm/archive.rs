//! File formats of a boot: the archive of the first root file system (`newc`), and the compressed
//! kernel.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::process;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes an archive.
pub(super) struct Archive<W> {
    out: W,
    number: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, number: 0 }
    }

    pub(super) fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY, (0, 0), &[])
    }

    /// Every file may be executed: there is nobody to keep from it.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, (0, 0), content)
    }

    pub(super) fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, LINK, (0, 0), target.as_bytes())
    }

    pub(super) fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(name, CHARACTER_DEVICE, (major, minor), &[])
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        self.number += 1;
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        let name_length = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let fields = [
            self.number,
            mode,
            0,
            0,
            1,
            0,
            length,
            0,
            0,
            device.0,
            device.1,
            name_length,
            0,
        ];
        let mut head = String::from("070701");
        for field in fields {
            head.push_str(&format!("{field:08x}"));
        }
        head.push_str(name);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(data)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let rest = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(&[0; 4][..rest])
    }
}

/// Takes the kernel out of its compressed form: it boots in half the time.
pub(super) fn unpack_kernel(image: &Path, target: &Path) -> Result<()> {
    let bytes = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let payload = payload(&bytes).context("the kernel image has no payload")?;
    if !payload.starts_with(b"\xfd7zXZ\0") {
        bail!("the kernel is not compressed with xz");
    }
    let file = fs::File::create(target)?;
    let mut xz = process::command("xz")
        .args(["--decompress", "--stdout", "--single-stream"])
        .stdin(Stdio::piped())
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = xz.stdin.take().context("the input of xz")?;
    // It ends at the end of the stream, before the size that follows.
    let _ = input.write_all(payload);
    drop(input);
    xz.wait()?;
    if !fs::read(target)?.starts_with(b"\x7fELF") {
        bail!("the kernel can't be unpacked");
    }
    Ok(())
}

/// The compressed part of a bzImage, by its boot protocol.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + number(0x248)?;
    image.get(start..start.checked_add(number(0x24c)?)?)
}
