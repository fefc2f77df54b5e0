//! Which collector there is: options and environment, with the names that OpenTelemetry gives them.

use std::{path::PathBuf, str::FromStr, time::Duration};

use tonic::{
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Also how long an export may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Export of traces.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Otlp {
    /// Collector that gets the way of sampled frames as spans (OTLP over gRPC), such as
    /// http://collector:4317
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Headers for the collector, `name=value` separated by commas; use the variable for secrets, a
    /// command line can be seen by other users
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        value_name = "HEADERS"
    )]
    pub otlp_headers: Option<String>,
    /// Certificate authority of the collector (PEM); without it, those that this machine trusts
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    pub otlp_certificate: Option<PathBuf>,
}

impl Otlp {
    /// The collector, if there is to be one.
    pub fn collector(&self) -> Result<Option<Collector>, CollectorError> {
        let Some(endpoint) = self.otlp_endpoint.as_deref().filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| CollectorError::Certificate {
                path: path.clone(),
                source,
            })
        };
        let certificate = self.otlp_certificate.as_ref().map(read).transpose()?;
        Collector::parse(endpoint, self.otlp_headers.as_deref(), certificate).map(Some)
    }
}

/// Why there can't be such a collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The address.
    #[error(
        "--otlp-endpoint {0} is no address of a collector; expected http://HOST:PORT or https://HOST:PORT, its OTLP port for gRPC, usually 4317"
    )]
    Endpoint(String),
    /// A header. Its value may be a secret and is not told.
    #[error(
        "header {0} of --otlp-headers can't be sent; expected NAME=VALUE, separated by commas, with special characters of the value as %XX"
    )]
    Header(usize),
    /// The certificate's file.
    #[error("the certificate of --otlp-certificate, {}, can't be read", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS.
    #[error("TLS for --otlp-endpoint can't be set up")]
    Tls(#[source] tonic::transport::Error),
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Collector {
    pub(super) channel: Channel,
    pub(super) headers: MetadataMap,
    /// As it was given, for logs.
    pub(super) address: String,
}

impl Collector {
    /// Nothing is dialled before there is something to send. Needs a runtime.
    pub fn parse(
        address: &str,
        headers: Option<&str>,
        certificate: Option<Vec<u8>>,
    ) -> Result<Self, CollectorError> {
        let wrong = || CollectorError::Endpoint(address.to_owned());
        let endpoint = Endpoint::from_str(address).map_err(|_| wrong())?;
        let uri = endpoint.uri();
        let has_path = !matches!(uri.path(), "" | "/");
        if uri.host().is_none() || has_path {
            return Err(wrong());
        }
        let endpoint = match uri.scheme_str() {
            Some("http") => endpoint,
            Some("https") => {
                let tls = match certificate {
                    Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                    None => ClientTlsConfig::new().with_enabled_roots(),
                };
                endpoint.tls_config(tls).map_err(CollectorError::Tls)?
            }
            _ => return Err(wrong()),
        };
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
        Ok(Self {
            channel: endpoint.connect_lazy(),
            headers: parse_headers(headers.unwrap_or_default())?,
            address: address.to_owned(),
        })
    }
}

fn parse_headers(text: &str) -> Result<MetadataMap, CollectorError> {
    let mut headers = MetadataMap::new();
    let parts = text.split(',').map(str::trim).enumerate();
    for (index, part) in parts.filter(|(_, part)| !part.is_empty()) {
        let header = parse_header(part).ok_or(CollectorError::Header(index + 1))?;
        headers.append(header.0, header.1);
    }
    Ok(headers)
}

fn parse_header(text: &str) -> Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)> {
    let (name, value) = text.split_once('=')?;
    let name = MetadataKey::from_str(name.trim()).ok()?;
    let value = percent_encoding::percent_decode_str(value.trim());
    let value = MetadataValue::from_str(&value.decode_utf8().ok()?).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_a_scheme_and_no_path() {
        for good in ["http://collector:4317", "http://[::1]:4317/", "http://host"] {
            assert!(Collector::parse(good, None, None).is_ok(), "{good}");
        }
        for bad in [
            "collector:4317",
            "grpc://collector:4317",
            "http://collector:4318/v1/traces",
            "",
            "http://",
        ] {
            let error = Collector::parse(bad, None, None).unwrap_err();
            assert!(error.to_string().contains("usually 4317"), "{bad}: {error}");
        }
    }

    #[test]
    fn headers_are_read_and_a_bad_one_is_not_told() {
        let headers = parse_headers("api-key=a%20b%3D, x-tenant = berlin,,").unwrap();
        let value = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            (value("api-key"), value("x-tenant")),
            ("a b=".to_owned(), "berlin".to_owned())
        );
        for bad in ["ok=1,secret", "ok=1,se cret=secret", "ok=1,name=se%0Acret"] {
            let error = parse_headers(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("header 2 of") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
