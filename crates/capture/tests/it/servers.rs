//! Real servers for streams: GStreamer's RTSP server, and ffmpeg's own for HTTP. Where the first one
//! is not installed it says so.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// Arguments: port, user, password.
const RTSP_SERVER: &str = "
import sys, gi
gi.require_version('Gst', '1.0')
gi.require_version('GstRtspServer', '1.0')
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
port, user, password = sys.argv[1:4]
server = GstRtspServer.RTSPServer(service=port, address='127.0.0.1')
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch('( videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,'
                   'framerate=15/1 ! jpegenc ! rtpjpegpay name=pay0 pt=26 )')
token = GstRtspServer.RTSPToken()
token.set_string('media.factory.role', 'user')
auth = GstRtspServer.RTSPAuth()
auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
server.set_auth(auth)
permissions = GstRtspServer.RTSPPermissions()
for right in ('access', 'construct'):
    permissions.add_permission_for_role('user', 'media.factory.' + right, True)
factory.set_permissions(permissions)
server.get_mount_points().add_factory('/camera', factory)
if server.attach(None) == 0:
    sys.exit('the port is taken')
print('ready', flush=True)
GLib.MainLoop().run()
";

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An RTSP server with one camera.
pub(crate) struct Rtsp {
    pub(crate) port: u16,
    login: [String; 2],
    child: Child,
}

impl Rtsp {
    /// `None`: it is not installed.
    pub(crate) fn start(user: &str, password: &str) -> Option<Self> {
        let (port, login) = (free_port(), [user.to_owned(), password.to_owned()]);
        let Some(child) = start(port, &login) else {
            eprintln!("skipped: GStreamer's RTSP server for Python is not installed");
            return None;
        };
        Some(Self { port, login, child })
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = start(self.port, &self.login).unwrap();
    }
}

fn start(port: u16, login: &[String; 2]) -> Option<Child> {
    // The system's own, which has the bindings.
    let mut server = Command::new("/usr/bin/python3");
    server
        .args(["-c", RTSP_SERVER, &port.to_string()])
        .args(login);
    let mut child = server
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let output = child.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    if line.trim() == "ready" {
        return Some(child);
    }
    let _ = child.wait();
    None
}

impl Drop for Rtsp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves a clip to one client.
pub(crate) struct Http {
    pub(crate) port: u16,
    child: Child,
}

impl Http {
    pub(crate) fn start(clip: &str) -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/clip");
        let child = Command::new("ffmpeg")
            .args([
                "-loglevel",
                "error",
                "-re",
                "-stream_loop",
                "-1",
                "-i",
                clip,
            ])
            .args(["-c", "copy", "-f", "matroska", "-listen", "1", &url])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { port, child }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
