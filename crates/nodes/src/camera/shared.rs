//! One capture for several nodes: who has a camera says so in a file of the run folder, named by the
//! device's number; who finds it busy takes the pictures from there. The kernel decides who has it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use edgeflow::{Context, Frame};
use edgeflow_stream::{
    InputConfig, Limits, LinkQos, Subscriber, SubscriberConfig, publisher::VIEW_PREFIX,
    transport::unix::UnixDial,
};
use serde::{Deserialize, Serialize};

/// Folder in the run folder.
const FOLDER: &str = "cameras";
/// Without a frame for so long the camera itself is tried again.
const SILENCE: Duration = Duration::from_secs(3);
/// Largest file that was ours.
const MAX_BYTES: u64 = 64 * 1024;

/// Who has a camera, and where its pictures are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) instance: String,
    /// Socket by output port.
    sockets: Vec<(String, PathBuf)>,
}

/// The files of this device's cameras.
#[derive(Debug)]
pub(super) struct Registry {
    dir: PathBuf,
    me: Owner,
    /// What was written for the camera that is ours.
    mine: Option<PathBuf>,
}

impl Registry {
    pub(super) fn new(ctx: &Context, ports: &[&str]) -> Self {
        let socket = |port: &&str| Some(((*port).to_owned(), ctx.output_socket(port)?.to_owned()));
        Self {
            dir: ctx.run_dir().join(FOLDER),
            me: Owner {
                instance: ctx.instance().to_owned(),
                sockets: ports.iter().filter_map(socket).collect(),
            },
            mine: None,
        }
    }

    /// Says that the camera is ours.
    pub(super) fn take(&mut self, device: &Path) -> io::Result<()> {
        let path = self.path(device)?;
        fs::create_dir_all(&self.dir)?;
        let part = path.with_extension(std::process::id().to_string());
        fs::write(&part, serde_json::to_vec(&self.me)?)?;
        fs::rename(&part, &path)?;
        self.mine = Some(path);
        Ok(())
    }

    /// Says that it is ours no more, unless somebody else has it already.
    pub(super) fn give_up(&mut self) {
        if let Some(path) = self.mine.take()
            && read(&path).is_some_and(|owner| owner == self.me)
        {
            // A file that stays names a socket where nobody answers.
            let _ = fs::remove_file(path);
        }
    }

    /// Who has a camera, if it is another node that shares it.
    pub(super) fn owner(&self, device: &Path) -> Option<Owner> {
        let owner = read(&self.path(device).ok()?)?;
        (owner.instance != self.me.instance).then_some(owner)
    }

    fn path(&self, device: &Path) -> io::Result<PathBuf> {
        // The same whatever link led there.
        Ok(self
            .dir
            .join(format!("{}.json", fs::metadata(device)?.rdev())))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn read(path: &Path) -> Option<Owner> {
    let meta = fs::metadata(path).ok()?;
    if meta.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Takes the pictures of the node that has the camera.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) owner: Owner,
    ports: Vec<String>,
    subscriber: Subscriber,
    last: Instant,
}

/// What a look at it gave.
#[derive(Debug)]
pub(super) enum Followed {
    /// A frame of this output port.
    Frame(String, Frame),
    Nothing,
    /// Nobody is there, or nothing comes.
    Lost,
}

impl Follower {
    /// Follows these output ports of the owner.
    pub(super) fn new(owner: Owner, me: &str, ports: &[&str]) -> io::Result<Self> {
        let config = SubscriberConfig {
            member: me.to_owned(),
            limits: Limits::default(),
        };
        let mut inputs = Vec::new();
        let mut followed = Vec::new();
        for (port, socket) in &owner.sockets {
            if !ports.contains(&port.as_str()) {
                continue;
            }
            let group = format!("{VIEW_PREFIX}{me}");
            inputs.push(InputConfig {
                port: port.clone(),
                link: group.clone(),
                group,
                qos: LinkQos::realtime(),
                from: owner.instance.clone(),
                dial: Box::new(UnixDial::new(socket)),
            });
            followed.push(port.clone());
        }
        Ok(Self {
            owner,
            ports: followed,
            subscriber: Subscriber::new(&config, inputs)?,
            last: Instant::now(),
        })
    }

    /// Whether it follows just these ports.
    pub(super) fn follows(&self, ports: &[&str]) -> bool {
        self.ports.len() == ports.len() && self.ports.iter().all(|it| ports.contains(&it.as_str()))
    }

    pub(super) fn poll(&mut self, time: Duration) -> Followed {
        match self.subscriber.recv(time) {
            Ok(Some(received)) => {
                self.subscriber.ack();
                self.last = Instant::now();
                Followed::Frame(received.port.to_string(), received.frame)
            }
            Ok(None) if self.last.elapsed() < SILENCE => Followed::Nothing,
            Ok(None) | Err(_) => Followed::Lost,
        }
    }
}
