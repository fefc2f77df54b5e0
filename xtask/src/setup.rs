//! `cargo xtask setup`: the programs that the demo and the tests need. As root on a Debian-like
//! machine it installs them; elsewhere it says what to install.

use anyhow::{Result, bail};

use crate::{assets, process, web};

/// A program, what it is for and the Debian packages that bring it.
struct Tool {
    /// Any of these will do.
    programs: &'static [&'static str],
    purpose: &'static str,
    packages: &'static [&'static str],
}

const DEMO: &[Tool] = &[
    Tool {
        programs: &["cc"],
        purpose: "linking, and SQLite, which is built from C",
        packages: &["gcc", "libc6-dev"],
    },
    Tool {
        programs: &["python3"],
        purpose: "getting the model and the picture",
        packages: &["python3", "python3-pip"],
    },
];

const TEST: &[Tool] = &[
    Tool {
        programs: &["c++"],
        purpose: "building the fuzz targets",
        packages: &["g++"],
    },
    Tool {
        programs: &["make"],
        purpose: "building a camera driver for the virtual machine",
        packages: &["make"],
    },
    Tool {
        programs: &["npm"],
        purpose: "the dashboard's tests and build",
        packages: &["nodejs", "npm"],
    },
    Tool {
        programs: &["chromium"],
        purpose: "the browser test",
        packages: &["chromium", "fonts-dejavu-core"],
    },
    Tool {
        programs: &["ffmpeg"],
        purpose: "the tests of videos in other formats",
        packages: &["ffmpeg"],
    },
    Tool {
        programs: &["redis-server", "redis-cli"],
        purpose: "the tests of links over a broker",
        packages: &["redis-server", "redis-tools"],
    },
    Tool {
        programs: &["mosquitto", "/usr/sbin/mosquitto"],
        purpose: "the tests of events over MQTT",
        packages: &["mosquitto"],
    },
    Tool {
        programs: &["mosquitto_sub"],
        purpose: "the same",
        packages: &["mosquitto-clients"],
    },
    Tool {
        programs: &["git"],
        purpose: "listing the repository's files",
        packages: &["git"],
    },
];

pub(crate) fn run() -> Result<()> {
    for_test()?;
    web::install()?;
    web::npm_ci("e2e/browser")?;
    assets::download()
}

/// What the quick start needs. Best effort: the demo has a way without Python.
pub(crate) fn for_demo() -> Result<()> {
    install(DEMO)?;
    if pip_is_there() {
        return Ok(());
    }
    apt(
        &["python3-pip"],
        "python3 -m pip, for getting the model and the picture",
    )
}

/// What the tests need.
pub(crate) fn for_test() -> Result<()> {
    for_demo()?;
    install(TEST)?;
    if !turbo_is_there()
        && let Err(error) = apt(&["libturbojpeg0"], "encoding JPEG by libjpeg-turbo")
    {
        // The package has another name elsewhere; the built-in encoder is tested all the same.
        println!("note: {error:#}");
    }
    if rtsp_server_is_there() {
        return Ok(());
    }
    apt(
        RTSP_SERVER,
        "GStreamer's RTSP server, for the tests of network cameras",
    )
}

/// A library that nodes load when it is there.
fn turbo_is_there() -> bool {
    let listed = process::output(process::command("/sbin/ldconfig").arg("-p"));
    listed.is_ok_and(|text| text.contains("libturbojpeg.so.0"))
}

/// It has no program of its own: a script of the test uses it.
const RTSP_SERVER: &[&str] = &[
    "gir1.2-gst-rtsp-server-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "python3-gi",
];

fn rtsp_server_is_there() -> bool {
    let look = "import gi; gi.require_version('GstRtspServer', '1.0'); \
                from gi.repository import Gst, GstRtspServer; Gst.init(None); \
                assert Gst.ElementFactory.find('rtpjpegpay')";
    // The system's own, which has the bindings.
    process::quiet(process::command("/usr/bin/python3").args(["-c", look])).is_ok()
}

fn pip_is_there() -> bool {
    process::quiet(process::command("python3").args(["-m", "pip", "--version"])).is_ok()
}

fn install(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools
        .iter()
        .filter(|tool| {
            !tool
                .programs
                .iter()
                .any(|name| process::find(name).is_some())
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let purposes: Vec<String> = missing
        .iter()
        .map(|tool| format!("{} ({})", tool.programs.join(" or "), tool.purpose))
        .collect();
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|tool| tool.packages)
        .copied()
        .collect();
    apt(&packages, &purposes.join(", "))
}

fn apt(packages: &[&str], purposes: &str) -> Result<()> {
    let by_hand = format!(
        "missing: {purposes}. On Debian: apt-get install {}",
        packages.join(" ")
    );
    if process::find("apt-get").is_none() || !is_root() {
        bail!("{by_hand}");
    }
    println!("installing {} for {purposes}", packages.join(" "));
    let apt_get = || {
        let mut command = process::command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    process::run(apt_get().args(["update", "-qq"]))?;
    process::run(
        apt_get()
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages),
    )
}

fn is_root() -> bool {
    process::output(process::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
