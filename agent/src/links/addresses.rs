//! Where other devices may find this one: the address that leads to the control plane first, then
//! those of its other interfaces. They are candidates; whoever dials checks who answers.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::DEFAULT_PORT;

/// Candidates that are told.
const MAX_ADDRESSES: usize = 8;
/// Interfaces of containers and virtual machines on this host: told last.
const INNER: &[&str] = &[
    "docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxc",
];

/// What the command line says about it.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// `--link-listen`.
    pub listen: Option<SocketAddr>,
    /// `--link-address`.
    pub addresses: Vec<String>,
}

/// `host:port` of this device for others, the likeliest first. What is configured is told alone.
pub fn addresses(configured: &Configured, server: Option<SocketAddr>) -> Vec<String> {
    if !configured.addresses.is_empty() {
        return configured.addresses.clone();
    }
    let port = match configured.listen {
        Some(listen) if !listen.ip().is_unspecified() => return vec![listen.to_string()],
        Some(listen) => listen.port(),
        None => DEFAULT_PORT,
    };
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let interfaces = interfaces.into_iter().map(|one| (one.ip(), one.name));
    let sorted = sort(server.and_then(source_towards), interfaces.collect());
    let named = sorted.into_iter().map(|ip| SocketAddr::new(ip, port));
    named.map(|address| address.to_string()).collect()
}

/// The address that packets to the server leave from. Nothing is sent.
fn source_towards(server: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(server).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn sort(source: Option<IpAddr>, mut interfaces: Vec<(IpAddr, String)>) -> Vec<IpAddr> {
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
        // fe80::/10 means nothing without the interface of whoever dials.
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
    };
    interfaces.retain(|(ip, _)| usable(ip));
    interfaces.sort_by_key(|(ip, name)| {
        let inner = INNER.iter().any(|prefix| name.starts_with(prefix));
        (inner, ip.is_ipv6(), *ip)
    });
    let others = interfaces.into_iter().map(|(ip, _)| ip);
    let mut all: Vec<IpAddr> = Vec::new();
    for ip in source.into_iter().chain(others) {
        if !all.contains(&ip) {
            all.push(ip);
        }
    }
    all.truncate(MAX_ADDRESSES);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_control_plane_is_told_first_and_containers_last() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let interfaces = [
            ("127.0.0.1", "lo"),
            ("172.17.0.1", "docker0"),
            ("fe80::1", "eth0"),
            ("192.168.1.5", "eth0"),
            ("10.8.0.2", "tun0"),
            ("2001:db8::5", "eth0"),
        ];
        let interfaces = interfaces.map(|(text, name)| (ip(text), name.to_owned()));
        let told = sort(Some(ip("192.168.1.5")), interfaces.to_vec());
        let expected = ["192.168.1.5", "10.8.0.2", "2001:db8::5", "172.17.0.1"];
        assert_eq!(told, expected.map(ip));
        assert_eq!(sort(Some(ip("127.0.0.1")), Vec::new()), [ip("127.0.0.1")]);
    }

    #[test]
    fn what_is_configured_is_told_alone() {
        let server = "127.0.0.1:1".parse().ok();
        let mut configured = Configured::default();
        let told = |configured: &Configured| addresses(configured, server);
        assert_eq!(told(&configured)[0], "127.0.0.1:7444");
        configured.listen = "0.0.0.0:99".parse().ok();
        assert_eq!(told(&configured)[0], "127.0.0.1:99");
        configured.listen = "10.0.0.1:99".parse().ok();
        assert_eq!(told(&configured), ["10.0.0.1:99"]);
        configured.addresses = vec!["cam.example:9000".to_owned()];
        assert_eq!(told(&configured), ["cam.example:9000"]);
    }
}
