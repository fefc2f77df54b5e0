//! Two machines' networks with one cable between them: network namespaces that the test makes and
//! that go with it. Needs root and `ip` (iproute2).

use std::{fs::File, process::Command};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A pair of namespaces. Everything outside is out of reach from inside.
#[derive(Debug)]
pub struct Network {
    near: String,
    far: String,
}

impl Network {
    /// The near side's address.
    pub const NEAR: &'static str = "10.77.0.1";
    /// The far side's address.
    pub const FAR: &'static str = "10.77.0.2";

    /// Makes the namespaces; `None` where that is not allowed or there is no `ip`.
    pub fn new() -> Option<Self> {
        let id = std::process::id();
        let network = Self {
            near: format!("ef-{id}-near"),
            far: format!("ef-{id}-far"),
        };
        network.build().ok().map(|()| network)
    }

    fn build(&self) -> Result<()> {
        let (near, far) = (self.near.as_str(), self.far.as_str());
        ip(&["netns", "add", near])?;
        ip(&["netns", "add", far])?;
        ip(&[
            "-n", near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
            far,
        ])?;
        for (space, address) in [(near, Self::NEAR), (far, Self::FAR)] {
            ip(&["-n", space, "link", "set", "lo", "up"])?;
            let address = format!("{address}/24");
            ip(&["-n", space, "address", "add", &address, "dev", "cable"])?;
            ip(&["-n", space, "link", "set", "cable", "up"])?;
        }
        Ok(())
    }

    /// Pulls the cable: nobody is told, packets just go nowhere.
    pub fn cut(&self) -> Result<()> {
        ip(&["-n", &self.far, "link", "set", "cable", "down"])
    }

    /// Plugs it in again.
    pub fn mend(&self) -> Result<()> {
        ip(&["-n", &self.far, "link", "set", "cable", "up"])
    }

    /// Runs something on the near side; what it starts stays there.
    pub fn near<T: Send>(&self, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(&self.near, run)
    }

    /// Runs something on the far side; what it starts stays there.
    pub fn far<T: Send>(&self, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(&self.far, run)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for space in [&self.near, &self.far] {
            let _ = ip(&["netns", "delete", space]);
        }
    }
}

/// A thread of its own, since a thread can't come back without being root there.
fn inside<T: Send>(space: &str, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = File::open(format!("/run/netns/{space}")).context("opening the namespace")?;
    let enter = || {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), network)
            .context("entering the namespace")?;
        run()
    };
    std::thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.context("running ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
