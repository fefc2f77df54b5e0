//! `edgeflow label`: sets and removes labels of a device.

use std::collections::HashMap;

use clap::{Args, Subcommand};
use edgeflow_proto::v1;

use crate::{
    args::Globals,
    client::Client,
    failure::{Failure, Outcome},
    output::{self, colour},
    view::{device::DeviceView, labels_text},
};

const EXAMPLES: &str = "\
Examples:
  edgeflow label device pi-7 site=berlin camera=true     set
  edgeflow label device pi-7 camera-                     remove
  
Systems follow at once: nodes start where the selector matches now and stop where it no longer does.";

/// Set or remove labels of a device
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Label {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Set or remove labels of a device
    #[command(after_help = EXAMPLES)]
    Device {
        /// Name or id
        device: String,
        /// KEY=VALUE to set, KEY- to remove
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        labels: Vec<String>,
    },
}

impl Label {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let Kind::Device { device, labels } = self.kind;
        let (set, remove) = changes(&labels)?;
        let client = Client::connect(globals).await?;
        let mut api = client.api();
        let request = v1::SetDeviceLabelsRequest {
            device: device.clone(),
            set,
            remove,
        };
        let what = format!("label the device {device}");
        let response = client.call(&what, api.set_device_labels(request)).await?;
        let view = DeviceView::from(response.device.unwrap_or_default());
        output::line(format!(
            "{} {}",
            colour::stdout().bold(&view.name),
            labels_text(&view.labels)
        ));
        Ok(())
    }
}

fn changes(labels: &[String]) -> Outcome<(HashMap<String, String>, Vec<String>)> {
    let mut set = HashMap::new();
    let mut remove = Vec::new();
    for label in labels {
        if let Ok((key, value)) = super::parse_pair(label) {
            set.insert(key, value);
        } else if let Some(key) = label.strip_suffix('-').filter(|key| !key.is_empty()) {
            remove.push(key.to_owned());
        } else {
            return Err(
                Failure::usage(format!("`{label}` is neither KEY=VALUE nor KEY-"))
                    .next("set with site=berlin, remove with site-"),
            );
        }
    }
    Ok((set, remove))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minus_removes_and_an_equals_sign_sets() {
        let words = ["site=a-", "old-", "empty="].map(str::to_owned);
        let (set, remove) = changes(&words).unwrap();
        assert_eq!(set["site"], "a-");
        assert_eq!(set["empty"], "");
        assert_eq!(remove, ["old"]);
        assert!(changes(&["word".to_owned()]).is_err());
        assert!(changes(&["-".to_owned()]).is_err());
    }
}
