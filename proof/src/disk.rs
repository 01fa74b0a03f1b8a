//! File systems of the run's own: a disk whose power can be cut, and one that is soon full. Both need root.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::place::Place;

/// What is missing for mounting file systems, and how it is had; nothing where all is there.
pub(crate) fn missing() -> Option<String> {
    let tools = [("losetup", "mount"), ("mkfs.ext4", "e2fsprogs"), ("mkfs.xfs", "xfsprogs")];
    let lacking = tools.into_iter().find(|(tool, _)| Command::new(tool).arg("-V").output().is_err());
    lacking.map(|(tool, package)| format!("{tool} is missing: apt-get install {package}"))
}

/// Why no file system can be mounted here, whatever is installed, and where `in_files` none that is in a file; nothing
/// where it can be.
pub(crate) fn barred(place: &Place, in_files: bool) -> Option<String> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    });
    if !is_root {
        return Some("mounting file systems needs root".into());
    }
    if let Err(error) = Mount::memory(place, 1 << 20) {
        return Some(format!("root may not mount file systems here ({error})"));
    }
    let file = place.path("loop");
    let looped = || -> Result<()> {
        std::fs::File::create(&file)?.set_len(1 << 20)?;
        let device = tool("losetup", &["-f", "--show", text(&file)?])?;
        tool("losetup", &["-d", &device]).map(drop)
    };
    let error = if in_files { looped().err()? } else { return None };
    Some(format!("there is no loop device to be had here ({error})"))
}

/// Runs a tool that has to succeed; answers what it printed.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    let out = Command::new(program).args(arguments).output()?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    } else {
        Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr)).into())
    }
}

fn text(path: &Path) -> Result<&str> {
    Ok(path.to_str().ok_or("a path that is no text")?)
}

/// Something mounted; unmounted when it goes.
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    /// The loop device behind it, where this made one.
    device: Option<String>,
}

impl Mount {
    fn new(place: &Place, arguments: &[&str], device: Option<String>) -> Result<Self> {
        let at = place.path("mount");
        std::fs::create_dir(&at)?;
        let mounted = tool("mount", &[arguments, &[text(&at)?]].concat());
        let mount = Self { at, device };
        mounted.map(|_| mount)
    }

    /// The file system in the file `image`, through a loop device that reads and writes it directly where `direct`.
    pub(crate) fn image(place: &Place, image: &Path, direct: bool) -> Result<Self> {
        let direct = if direct { "--direct-io=on" } else { "--direct-io=off" };
        let device = tool("losetup", &["-f", "--show", direct, text(image)?])?;
        Self::new(place, &[&device.clone()], Some(device))
    }

    /// Memory that holds at most `size` bytes.
    pub(crate) fn memory(place: &Place, size: u64) -> Result<Self> {
        Self::new(place, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], None)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = tool("umount", &[&self.at.to_string_lossy()]) {
            eprintln!("{error}");
        }
        if let Some(device) = &self.device {
            let _ = tool("losetup", &["-d", device]);
        }
    }
}

/// Room for disks of which a copy is made in one moment: XFS shares the blocks of both.
pub(crate) struct Shelf<'p> {
    place: &'p Place,
    mount: Mount,
}

/// How large the shelf and each disk on it may become.
const SHELF: u64 = 8 << 30;
const DISK: u64 = 512 << 20;

impl<'p> Shelf<'p> {
    pub(crate) fn new(place: &'p Place) -> Result<Self> {
        let image = place.path("shelf");
        std::fs::File::create(&image)?.set_len(SHELF)?;
        tool("mkfs.xfs", &["-q", "-m", "reflink=1", text(&image)?])?;
        Ok(Self { place, mount: Mount::image(place, &image, true)? })
    }

    /// A new disk with ext4 as it comes.
    pub(crate) fn disk(&self) -> Result<Disk<'_>> {
        let image = self.mount.at.join("disk");
        std::fs::File::create(&image)?.set_len(DISK)?;
        tool("mkfs.ext4", &["-q", text(&image)?])?;
        let mount = Mount::image(self.place, &image, true)?;
        Ok(Disk { shelf: self, image, mount })
    }
}

/// A disk in a file: what the kernel has not sent to it yet is not in the file.
pub(crate) struct Disk<'s> {
    shelf: &'s Shelf<'s>,
    image: PathBuf,
    mount: Mount,
}

impl Disk<'_> {
    /// Where it is mounted.
    pub(crate) fn folder(&self) -> &Path {
        &self.mount.at
    }

    /// The disk as the power's going leaves it: a copy, made in one moment, under that name.
    pub(crate) fn cut(&self, name: &str) -> Result<PathBuf> {
        let copy = self.shelf.mount.at.join(name);
        tool("cp", &["--reflink=always", text(&self.image)?, text(&copy)?])?;
        Ok(copy)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // The next one is made in its place.
        let _ = std::fs::remove_file(&self.image);
    }
}
