//! Publishes one message at a time to an MQTT 3.1.1 broker with quality of service 1: connect, publish,
//! wait for the broker's word, leave. Events are rare; a connection that idles for days is not needed.
//! The packets are those of the OASIS standard, section 3.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::Path,
    sync::Arc,
    time::Duration,
};

use edgeflow::NodeError;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::courier::{Deliver, Failed};

const TIMEOUT: Duration = Duration::from_secs(15);
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;
const PACKET_ID: u16 = 1;
/// Longest text in a packet.
const MAX_TEXT: usize = 65_535;

mod packet {
    pub(super) const CONNECT: u8 = 0x10;
    pub(super) const CONNACK: u8 = 0x20;
    /// Quality of service 1.
    pub(super) const PUBLISH: u8 = 0x32;
    pub(super) const PUBACK: u8 = 0x40;
    pub(super) const DISCONNECT: u8 = 0xe0;
    pub(super) const CLEAN: u8 = 0x02;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USER: u8 = 0x80;
}

/// Where and as whom.
#[derive(Clone)]
struct Broker {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    topic: String,
    client: String,
    user: String,
    password: String,
}

/// As whom, and whom to trust.
pub(super) struct Account<'a> {
    /// The client's name at the broker.
    pub(super) client: &'a str,
    pub(super) password: &'a str,
    /// Certificates that the broker's is checked with, in place of the device's own.
    pub(super) ca_file: Option<&'a Path>,
}

/// Delivers to `mqtt://[user@]host[:port]/topic` or `mqtts://`.
pub(super) fn deliver(url: &str, account: &Account<'_>) -> Result<Deliver, NodeError> {
    let broker = broker(url, account)?;
    Ok(Box::new(move |message| {
        let told = |text: String| Failed::Later(format!("{}: {text}", broker.host));
        let address = (broker.host.as_str(), broker.port);
        let tcp = connect(address).map_err(|error| told(error.to_string()))?;
        let done = match &broker.tls {
            None => publish(tcp, &broker, message),
            Some(config) => {
                let name = ServerName::try_from(broker.host.clone());
                let name = name.map_err(|error| told(error.to_string()))?;
                let session = ClientConnection::new(Arc::clone(config), name);
                let session = session.map_err(|error| told(error.to_string()))?;
                publish(StreamOwned::new(session, tcp), &broker, message)
            }
        };
        done.map_err(|error| told(error.to_string()))
    }))
}

fn broker(url: &str, account: &Account<'_>) -> Result<Broker, NodeError> {
    let wrong = || {
        NodeError::new("parameter `mqtt` is an address like mqtt://user@broker:1883/site/events")
    };
    let address: ureq::http::Uri = url.parse().map_err(|_| wrong())?;
    let tls = match address.scheme_str() {
        Some("mqtt") => None,
        Some("mqtts") => Some(Arc::new(trusting(roots(account.ca_file)?)?)),
        _ => return Err(wrong()),
    };
    let authority = address.authority().ok_or_else(wrong)?;
    let (user, _) = authority.as_str().rsplit_once('@').unwrap_or_default();
    if user.contains(':') {
        return Err(NodeError::new(
            "parameter `mqtt`: the password goes into a file, named by `mqtt_password_file`",
        ));
    }
    let topic = address.path().trim_start_matches('/').to_owned();
    // Behind a `#` an address has a fragment, which is not in its path.
    if topic.is_empty() || topic.contains('+') || url.contains('#') || topic.len() > MAX_TEXT {
        return Err(wrong());
    }
    let usual = if tls.is_some() { TLS_PORT } else { PORT };
    Ok(Broker {
        host: authority.host().to_owned(),
        port: authority.port_u16().unwrap_or(usual),
        tls,
        topic,
        client: account.client.to_owned(),
        user: user.to_owned(),
        password: account.password.to_owned(),
    })
}

/// The device's certificates, or those of a file in PEM.
fn roots(file: Option<&Path>) -> Result<RootCertStore, NodeError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unusable = |why: String| {
        let path = path.display();
        NodeError::new(format!("parameter `mqtt_ca_file`: {path}: {why}"))
    };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, NodeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

fn connect(address: (&str, u16)) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One message over a fresh connection; returns once the broker has it.
fn publish(mut stream: impl Read + Write, broker: &Broker, message: &[u8]) -> io::Result<()> {
    stream.write_all(&connect_packet(broker))?;
    stream.flush()?;
    let [_, code] = answer(&mut stream, packet::CONNACK)?;
    if code != 0 {
        let words = match code {
            2 => "the broker refuses the client's name",
            4 => "the user or the password is wrong",
            5 => "the broker does not let this user in",
            _ => "the broker refuses the connection",
        };
        return Err(io::Error::other(words));
    }
    let mut body = Vec::with_capacity(message.len() + broker.topic.len() + 4);
    put_text(&mut body, &broker.topic);
    body.extend_from_slice(&PACKET_ID.to_be_bytes());
    body.extend_from_slice(message);
    stream.write_all(&framed(packet::PUBLISH, &body))?;
    stream.flush()?;
    if answer(&mut stream, packet::PUBACK)? != PACKET_ID.to_be_bytes() {
        return Err(io::Error::other("the broker answers out of turn"));
    }
    // The broker has it; how the connection ends is no matter.
    let _ = stream.write_all(&framed(packet::DISCONNECT, &[]));
    let _ = stream.flush();
    Ok(())
}

fn connect_packet(broker: &Broker) -> Vec<u8> {
    let mut flags = packet::CLEAN;
    if !broker.user.is_empty() {
        flags |= packet::USER;
    }
    if !broker.user.is_empty() && !broker.password.is_empty() {
        flags |= packet::PASSWORD;
    }
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.extend_from_slice(&[4, flags]);
    body.extend_from_slice(&60_u16.to_be_bytes());
    put_text(&mut body, &broker.client);
    if flags & packet::USER != 0 {
        put_text(&mut body, &broker.user);
    }
    if flags & packet::PASSWORD != 0 {
        put_text(&mut body, &broker.password);
    }
    framed(packet::CONNECT, &body)
}

/// The two bytes of a short answer.
fn answer(stream: &mut impl Read, kind: u8) -> io::Result<[u8; 2]> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    match bytes {
        [first, 2, high, low] if first == kind => Ok([high, low]),
        _ => Err(io::Error::other("what answers is no MQTT broker")),
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut left = body.len();
    loop {
        let digit = (left % 128) as u8;
        left /= 128;
        out.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(MAX_TEXT)];
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Account<'_> = Account {
        client: "id",
        password: "p",
        ca_file: None,
    };

    #[test]
    fn addresses_are_read_and_bad_ones_refused() {
        let one = broker("mqtt://me@broker.local/site/a", &ACCOUNT).unwrap();
        assert_eq!(
            (
                one.host.as_str(),
                one.port,
                one.topic.as_str(),
                one.user.as_str()
            ),
            ("broker.local", 1883, "site/a", "me")
        );
        assert_eq!(broker("mqtts://b:99/t", &ACCOUNT).unwrap().port, 99);
        for bad in [
            "http://b/t",
            "mqtt://b",
            "mqtt://b/",
            "mqtt://b/a/#",
            "mqtt://u:p@b/t",
            "b/t",
        ] {
            assert!(broker(bad, &ACCOUNT).is_err(), "{bad}");
        }
    }

    #[test]
    fn packets_are_those_of_the_standard() {
        let one = broker("mqtt://u@b/t", &ACCOUNT).unwrap();
        assert_eq!(
            connect_packet(&one),
            b"\x10\x14\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02id\x00\x01u\x00\x01p"
        );
        let long = framed(packet::PUBLISH, &[0; 321]);
        assert_eq!(long[..3], [0x32, 0xc1, 0x02]);
    }

    #[test]
    fn a_broker_that_is_none_is_told() {
        let one = broker("mqtt://b/t", &ACCOUNT).unwrap();
        struct Canned(Vec<u8>);
        impl Read for Canned {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let some = buffer.len().min(self.0.len());
                buffer[..some].copy_from_slice(&self.0[..some]);
                self.0.drain(..some);
                Ok(some)
            }
        }
        impl Write for Canned {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let said = |bytes: &[u8]| publish(Canned(bytes.to_vec()), &one, b"x");
        assert!(said(b"\x20\x02\x00\x00\x40\x02\x00\x01").is_ok());
        for (bytes, words) in [
            (&b"HTTP/1.1 400"[..], "no MQTT broker"),
            (b"\x20\x02\x00\x05", "does not let this user in"),
            (b"\x20\x02\x00\x00\x40\x02\x00\x07", "out of turn"),
            (b"\x20", "failed to fill"),
        ] {
            let error = said(bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
