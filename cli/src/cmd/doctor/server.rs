//! Checks of the control plane and what it knows of the devices.

use edgeflow_proto::v1;

use super::Check;
use crate::{
    args::Globals,
    client::{Client, Origin, Target, discover},
    cmd::get,
    failure::{Exit, Failure},
};

/// A certificate that ends sooner should have been renewed by now.
const CERTIFICATE_SOON_MS: i64 = 3 * 24 * 3_600 * 1_000;

/// The checks, and the target if one is known.
pub(crate) async fn checks(globals: &Globals) -> (Vec<Check>, Option<Target>) {
    let target = match discover(globals) {
        Ok(target) => target,
        Err(failure) => {
            return (
                without_server(Check::failed(
                    "server",
                    failure.to_string(),
                    advice(&failure),
                )),
                None,
            );
        }
    };
    let client = match Client::connect_to(target.clone()).await {
        Ok(client) => client,
        Err(failure) => {
            let check = Check::failed("server", failure.to_string(), advice(&failure));
            return (without_server(check), Some(target));
        }
    };
    let mut checks = vec![Check::ok(
        "server",
        format!("{} ({})", target.server, origin(&target)),
    )];
    let mut api = client.api();
    match client
        .call(
            "ask for the version",
            api.get_server_info(v1::GetServerInfoRequest {}),
        )
        .await
    {
        Ok(info) => {
            checks.push(Check::ok("token", "accepted"));
            checks.push(versions(&info));
            checks.extend(fleet(&client).await);
        }
        Err(failure) if failure.exit == Exit::Denied => {
            checks.push(Check::failed(
                "token",
                failure.to_string(),
                advice(&failure),
            ));
            checks.extend(skipped(&["version", "devices", "certificates", "systems"]));
        }
        Err(failure) => {
            checks.push(Check::failed(
                "version",
                failure.to_string(),
                advice(&failure),
            ));
            checks.extend(skipped(&["devices", "certificates", "systems"]));
        }
    }
    (checks, Some(target))
}

fn without_server(first: Check) -> Vec<Check> {
    let mut checks = vec![first];
    checks.extend(skipped(&[
        "token",
        "version",
        "devices",
        "certificates",
        "systems",
    ]));
    checks
}

fn skipped(names: &[&'static str]) -> Vec<Check> {
    names
        .iter()
        .map(|name| Check::skipped(name, "needs the control plane"))
        .collect()
}

fn advice(failure: &Failure) -> String {
    failure.advice()
}

fn origin(target: &Target) -> String {
    match &target.origin {
        Origin::Given => "from --server".to_owned(),
        Origin::Context(name) => format!("context {name}"),
        Origin::DataDir(dir) => format!("on this machine, {}", dir.display()),
    }
}

fn versions(info: &v1::GetServerInfoResponse) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    if info.version == own {
        Check::ok("version", format!("{own} on both sides"))
    } else {
        Check::warning(
            "version",
            format!("this program is {own}, the control plane {}", info.version),
            "install the same version on both sides; one version apart works",
        )
    }
}

async fn fleet(client: &Client) -> Vec<Check> {
    let mut checks = Vec::new();
    match get::devices(client, "").await {
        Ok(devices) => {
            let online = devices.iter().filter(|device| device.online).count();
            let offline: Vec<&str> = devices
                .iter()
                .filter(|device| !device.online)
                .map(|device| device.name.as_str())
                .collect();
            let detail = format!("{online} of {} online", devices.len());
            checks.push(if devices.is_empty() {
                Check::failed("devices", "none has joined", "join one: edgeflow token create, then run the command it prints")
            } else if online == 0 {
                Check::failed("devices", detail, "start the agent on a device: edgeflow-agent (its log says why it can't connect)")
            } else if offline.is_empty() {
                Check::ok("devices", detail)
            } else {
                Check::warning("devices", detail, format!("look at the agent of {}", offline.join(", ")))
            });
            let soon = crate::output::time::now_ms() + CERTIFICATE_SOON_MS;
            let ending: Vec<String> = devices
                .iter()
                .filter(|device| {
                    device.certificate_expires_unix_ms != 0
                        && device.certificate_expires_unix_ms < soon
                })
                .map(|device| device.name.clone())
                .collect();
            checks.push(if ending.is_empty() {
                Check::ok("certificates", "none ends within 3 days")
            } else {
                Check::warning("certificates", format!("{} ends soon or has ended", ending.join(", ")), "an online agent renews it by itself; bring the device online, or join it again")
            });
        }
        Err(failure) => checks.push(Check::failed(
            "devices",
            failure.to_string(),
            advice(&failure),
        )),
    }
    checks.push(match get::systems(client).await {
        Ok(systems) => {
            let bad: Vec<&str> = systems
                .iter()
                .filter(|system| system.phase == "degraded")
                .map(|system| system.name.as_str())
                .collect();
            let ready = systems
                .iter()
                .filter(|system| system.phase == "ready")
                .count();
            let detail = format!("{ready} of {} ready", systems.len());
            match bad.first() {
                Some(first) => Check::failed(
                    "systems",
                    format!("{detail}; degraded: {}", bad.join(", ")),
                    format!("edgeflow describe system {first}"),
                ),
                None => Check::ok("systems", detail),
            }
        }
        Err(failure) => Check::failed("systems", failure.to_string(), advice(&failure)),
    });
    checks
}
