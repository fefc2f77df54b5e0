//! Unix stream sockets: the transport between processes of one device.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Dial, Dialed, Listen, TCP};

/// Longest socket path the kernel takes.
pub const MAX_PATH_LEN: usize = 107;

/// A listening socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct UnixListen {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl UnixListen {
    /// Listens on `path`. A socket file that nobody listens on any more is replaced; one that is
    /// in use is an error.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let len = path.as_os_str().len();
        if len > MAX_PATH_LEN {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("socket path of {len} bytes is longer than {MAX_PATH_LEN}"),
            ));
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        listener.set_nonblocking(true)?;
        let inode = std::fs::metadata(path)?.ino();
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
        })
    }
}

/// Removes a socket file unless somebody listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens on this socket",
        )),
    }
}

impl Listen for UnixListen {
    fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn accept(&mut self) -> io::Result<Option<OwnedFd>> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(stream.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn name(&self) -> &'static str {
        "unix"
    }

    fn passes_descriptors(&self) -> bool {
        true
    }
}

impl Drop for UnixListen {
    fn drop(&mut self) {
        // Another process may have replaced the file meanwhile.
        if std::fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Connects to a socket path.
#[derive(Clone, Debug)]
pub struct UnixDial {
    path: PathBuf,
    via: Option<&'static str>,
}

impl UnixDial {
    /// Connects to `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            via: None,
        }
    }

    /// Connects to the agent's relay at `path`, which leads to a producer on another device.
    pub fn relayed(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            via: Some(TCP),
        }
    }
}

impl Dial for UnixDial {
    fn dial(&mut self) -> io::Result<Dialed> {
        let address = SocketAddrUnix::new(&self.path)?;
        // Non-blocking before connecting: a full backlog must not hold up the other inputs.
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket.into())
    }

    fn address(&self) -> String {
        self.path.display().to_string()
    }

    fn via(&self) -> Option<&'static str> {
        self.via
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let live = UnixListen::bind(&path).unwrap();
        let error = UnixListen::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists());
    }

    #[test]
    fn a_replaced_socket_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let old = UnixListen::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // Keeps the inode number of the old file from being used again.
        std::fs::write(dir.path().join("other"), b"").unwrap();
        let _new = UnixListen::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
    }

    #[test]
    fn dialling_nobody_fails_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let error = UnixDial::new(dir.path().join("none")).dial().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_long_path_is_refused_with_its_length() {
        let error = UnixListen::bind(Path::new(&"x".repeat(120))).unwrap_err();
        assert!(error.to_string().contains("120 bytes"));
    }
}
