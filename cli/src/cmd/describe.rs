//! `edgeflow describe`: everything about one system or device.

use clap::{Args, ValueEnum};
use edgeflow_proto::v1;
use edgeflow_spec::quantity::rounded_bytes;

use crate::{
    args::Globals,
    cells,
    client::Client,
    failure::Outcome,
    output::{
        self, Format, Row,
        colour::{self, Paint},
        table::{Cell, Table},
    },
    view::{
        camera::CameraView,
        device::{ConditionView, DeviceView, LoadView},
        instance::InstanceView,
        labels_text,
        system::{LinkView, NodeView, SystemView},
    },
};

const EXAMPLES: &str = "\
Examples:
  edgeflow describe system entrance
  edgeflow describe device pi-7
  edgeflow describe system entrance -o json";

/// Show everything about a system or a device
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Describe {
    /// What it is
    #[arg(value_enum, ignore_case = true)]
    kind: Kind,
    /// Its name; a device's id works too
    name: String,
    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    #[value(alias = "systems", alias = "sys")]
    System,
    #[value(alias = "devices", alias = "dev")]
    Device,
}

impl Describe {
    pub(crate) async fn run(self, globals: &Globals) -> Outcome {
        let client = Client::connect(globals).await?;
        let mut api = client.api();
        let paint = colour::stdout();
        match self.kind {
            Kind::System => {
                let request = v1::GetSystemRequest {
                    name: self.name.clone(),
                };
                let what = format!("get the system {}", self.name);
                let response = client.call(&what, api.get_system(request)).await?;
                let view = SystemView::from(response.system.unwrap_or_default());
                if self.is_document() {
                    return output::document(self.output, &view);
                }
                system(&view, paint);
            }
            Kind::Device => {
                let request = v1::GetDeviceRequest {
                    device: self.name.clone(),
                };
                let what = format!("get the device {}", self.name);
                let response = client.call(&what, api.get_device(request)).await?;
                let view = DeviceView::from(response.device.unwrap_or_default());
                if self.is_document() {
                    return output::document(self.output, &view);
                }
                device(&view, paint);
            }
        }
        Ok(())
    }

    fn is_document(&self) -> bool {
        matches!(self.output, Format::Json | Format::Yaml)
    }
}

fn field(paint: Paint, name: &str, value: &str) {
    if !value.is_empty() {
        output::line(format!("{} {value}", paint.dim(&format!("{name:<14}"))));
    }
}

fn heading(paint: Paint, text: &str) {
    output::line(format!("\n{}", paint.bold(text)));
}

fn print_table(table: &Table, paint: Paint) {
    for line in table.lines(paint) {
        output::line(format!("  {line}"));
    }
}

fn system(view: &SystemView, paint: Paint) {
    field(paint, "System", &paint.bold(&view.name));
    field(paint, "Phase", &paint.style(view.phase_style(), view.phase));
    field(paint, "Message", &view.message);
    field(paint, "Revision", &view.revision.to_string());
    field(paint, "Etag", &view.etag);
    let selector = if view.selector.is_empty() {
        "all devices"
    } else {
        &view.selector
    };
    field(paint, "Selector", selector);
    let placement = match view.placement.as_str() {
        "spread" => "spread: one copy over all devices",
        _ => "",
    };
    field(paint, "Placement", placement);
    field(paint, "Labels", &labels_text(&view.labels));
    field(
        paint,
        "Ready",
        &format!(
            "{} instances, {}/{} devices",
            view.ready_text(),
            view.devices_ready,
            view.devices_matched
        ),
    );
    field(paint, "Created", view.created_at.as_deref().unwrap_or("-"));
    field(paint, "Updated", view.updated_at.as_deref().unwrap_or("-"));
    field(paint, "Views", &view.views.join(", "));
    heading(paint, "Nodes");
    nodes(&view.nodes, paint);
    overrides(view, paint);
    if !view.links.is_empty() {
        heading(paint, "Links");
        links(&view.links, &view.instances, paint);
    }
    if !view.devices.is_empty() {
        heading(paint, "Devices");
        let mut table = Table::new(vec!["DEVICE", "ONLINE", "READY", "GENERATION", "MESSAGE"]);
        for place in &view.devices {
            table.push(cells![
                place.device.as_str(),
                yes_no(place.online),
                yes_no(place.ready),
                format!("{}/{}", place.observed_generation, place.desired_generation),
                place.message.as_str(),
            ]);
        }
        print_table(&table, paint);
    }
    instances(&view.instances, paint);
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn nodes(nodes: &[NodeView], paint: Paint) {
    let mut table = Table::new(vec!["NODE", "RUNS", "REPLICAS", "PARAMETERS"]);
    for node in nodes {
        let runs = if node.uses.is_empty() {
            node.run.join(" ")
        } else {
            node.uses.clone()
        };
        let params = match &node.params {
            serde_json::Value::Object(map) => map
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join(" "),
            _ => String::new(),
        };
        table.push(cells![
            node.name.as_str(),
            runs,
            node.replicas.to_string(),
            params
        ]);
    }
    print_table(&table, paint);
}

/// What was set while the system runs.
fn overrides(view: &SystemView, paint: Paint) {
    let mut table = Table::new(vec!["NODE", "PARAMETER", "VALUE", "MANIFEST", "UNTIL"]);
    for (node, set) in view.overrides() {
        let manifest = node.params.get(&set.name).map(ToString::to_string);
        let declared = || {
            let parameter = node.parameters.iter().find(|one| one.name == set.name)?;
            (!parameter.default.is_null()).then(|| format!("{} (default)", parameter.default))
        };
        table.push(cells![
            node.name.as_str(),
            set.name.as_str(),
            set.value.to_string(),
            manifest.or_else(declared).unwrap_or_else(|| "-".to_owned()),
            set.until(),
        ]);
    }
    if view.overrides().next().is_some() {
        heading(paint, "Parameters that were set");
        print_table(&table, paint);
    }
}

/// The links with what flows over them now, all devices together.
fn links(links: &[LinkView], instances: &[InstanceView], paint: Paint) {
    let mut table = Table::new(vec![
        "LINK",
        "QOS",
        "TRANSPORT",
        "FPS",
        "AGE P50",
        "DELIVERED",
        "DROPPED",
    ]);
    for link in links {
        let outputs = || {
            instances
                .iter()
                .flat_map(|one| &one.outputs)
                .filter(|one| one.link == link.id)
        };
        let inputs = || {
            instances
                .iter()
                .flat_map(|one| &one.inputs)
                .filter(|one| one.link == link.id)
        };
        let dropped: u64 = outputs().flat_map(|one| one.dropped.values()).sum::<u64>()
            + inputs().flat_map(|one| one.dropped.values()).sum::<u64>();
        let delivered: u64 = outputs().map(|one| one.delivered).sum();
        // What is in use, and what was planned while nothing is.
        let used = outputs().map(|one| &one.transport);
        let transport = used.max().unwrap_or(&link.transport);
        // The sum of nothing is -0.
        let fps = inputs().map(|one| one.fps).fold(0.0, |sum, one| sum + one);
        let age = inputs().map(|one| one.age_p50_us).max();
        table.push(cells![
            link.id.as_str(),
            link.qos.as_str(),
            transport.as_str(),
            format!("{fps:.1}"),
            age.map_or_else(
                || "-".to_owned(),
                |us| format!("{:.1} ms", f64::from(us) / 1000.0)
            ),
            delivered.to_string(),
            dropped.to_string(),
        ]);
    }
    print_table(&table, paint);
    clocks(instances);
}

/// How far the clocks of producers on other machines are from those of their consumers.
fn clocks(instances: &[InstanceView]) {
    for instance in instances {
        for input in &instance.inputs {
            if let Some(offset_us) = input.clock_offset_us {
                output::line(format!(
                    "  {}: the producer's clock is {:+.1} ms from that of {} (± {:.1} ms)",
                    input.link,
                    offset_us as f64 / 1000.0,
                    instance.device,
                    input.clock_error_us as f64 / 1000.0,
                ));
            }
        }
    }
}

fn instances(instances: &[InstanceView], paint: Paint) {
    if instances.is_empty() {
        return;
    }
    heading(paint, "Instances");
    let mut table = Table::new(InstanceView::header(true));
    for instance in instances {
        table.push(instance.cells(true));
    }
    print_table(&table, paint);
    facts(instances, paint);
    counters(instances, paint);
    let ended = |instance: &&InstanceView| instance.is_bad() || instance.restarts > 0;
    for instance in instances.iter().filter(ended) {
        let Some(exit) = &instance.last_exit else {
            continue;
        };
        heading(
            paint,
            &format!(
                "Last exit of {} on {}: {}",
                instance.id, instance.device, exit.message
            ),
        );
        for line in &exit.log_tail {
            output::line(format!("  | {line}"));
        }
    }
}

/// What nodes run on, and how long the parts of their loops take.
fn facts(instances: &[InstanceView], paint: Paint) {
    let tells = |instance: &&InstanceView| !instance.facts.is_empty() || !instance.parts.is_empty();
    let telling: Vec<_> = instances.iter().filter(tells).collect();
    if telling.is_empty() {
        return;
    }
    heading(paint, "Facts");
    let mut table = Table::new(vec!["INSTANCE", "DEVICE", "FACT", "VALUE"]);
    for instance in telling {
        let facts = instance.facts.iter();
        let facts = facts.map(|(name, text)| (name.clone(), text.clone()));
        let parts = instance.parts.iter().filter(|(_, times)| times.p99_us > 0);
        let parts = parts.map(|(name, times)| {
            let ms = |us: u32| f64::from(us) / 1000.0;
            let (p50, p99) = (ms(times.p50_us), ms(times.p99_us));
            (
                format!("time in {name}"),
                format!("p50 {p50:.1} ms, p99 {p99:.1} ms"),
            )
        });
        for (name, text) in facts.chain(parts) {
            table.push(cells![
                instance.id.as_str(),
                instance.device.as_str(),
                name,
                text
            ]);
        }
    }
    print_table(&table, paint);
}

/// What nodes count themselves.
fn counters(instances: &[InstanceView], paint: Paint) {
    let counts = |instance: &&InstanceView| !instance.counters.is_empty();
    let counting: Vec<_> = instances.iter().filter(counts).collect();
    if counting.is_empty() {
        return;
    }
    heading(paint, "Counters");
    let mut table = Table::new(vec!["INSTANCE", "DEVICE", "COUNTERS"]);
    for instance in counting {
        let each: Vec<String> = instance
            .counters
            .iter()
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        table.push(cells![
            instance.id.as_str(),
            instance.device.as_str(),
            each.join(" ")
        ]);
    }
    print_table(&table, paint);
}

fn device(view: &DeviceView, paint: Paint) {
    let facts = &view.facts;
    field(paint, "Device", &paint.bold(&view.name));
    field(paint, "Id", &view.id);
    field(
        paint,
        "Health",
        &paint.style(view.health_style(), view.health),
    );
    field(paint, "Message", &view.message);
    field(paint, "Labels", &labels_text(&view.labels));
    field(paint, "Machine", &facts.model);
    field(
        paint,
        "System",
        &[
            facts.os.as_str(),
            facts.kernel.as_str(),
            facts.arch.as_str(),
        ]
        .join(" "),
    );
    field(paint, "Host name", &facts.hostname);
    field(paint, "Processors", &facts.cpus.to_string());
    field(paint, "Memory", &rounded_bytes(facts.memory_bytes));
    field(paint, "Agent", &facts.agent_version);
    field(paint, "Last seen", &view.seen_text());
    field(
        paint,
        "Enrolled",
        view.enrolled_at.as_deref().unwrap_or("-"),
    );
    field(
        paint,
        "Certificate",
        &format!(
            "until {}",
            view.certificate_expires_at.as_deref().unwrap_or("-")
        ),
    );
    field(
        paint,
        "Generation",
        &format!("{}/{}", view.observed_generation, view.desired_generation),
    );
    load(view.load.as_ref(), paint);
    for accelerator in &facts.accelerators {
        field(
            paint,
            "Accelerator",
            &format!("{} ({})", accelerator.name, accelerator.kind),
        );
    }
    conditions(&view.conditions, paint);
    cameras(&facts.cameras, paint);
    instances(&view.instances, paint);
}

fn load(load: Option<&LoadView>, paint: Paint) {
    let Some(load) = load else { return };
    let cpu = format!(
        "{:.0}% of all processors, {:.2} over a minute",
        load.cpu * 100.0,
        load.load1
    );
    field(paint, "Load", &cpu);
    let of = |used, total| format!("{} of {}", rounded_bytes(used), rounded_bytes(total));
    field(
        paint,
        "Memory used",
        &of(load.memory_used_bytes, load.memory_total_bytes),
    );
    field(
        paint,
        "Disk used",
        &of(load.disk_used_bytes, load.disk_total_bytes),
    );
    if let Some(degrees) = load.temperature_celsius {
        field(paint, "Temperature", &format!("{degrees:.0} °C"));
    }
}

fn conditions(conditions: &[ConditionView], paint: Paint) {
    if conditions.is_empty() {
        return;
    }
    heading(paint, "Conditions");
    let mut table = Table::new(vec!["TYPE", "SINCE", "MESSAGE"]);
    for condition in conditions {
        table.push(vec![
            Cell::styled(condition.r#type.as_str(), colour::Style::Warn),
            condition.since.as_deref().unwrap_or("-").into(),
            condition.message.as_str().into(),
        ]);
    }
    print_table(&table, paint);
}

fn cameras(cameras: &[CameraView], paint: Paint) {
    if cameras.is_empty() {
        return;
    }
    heading(paint, "Cameras");
    let mut table = Table::new(vec!["PATH", "NAME", "DRIVER", "STATE", "FORMATS"]);
    for camera in cameras {
        table.push(vec![
            camera.path.as_str().into(),
            camera.name.as_str().into(),
            camera.driver.as_str().into(),
            camera.state(),
            camera.offers_text().into(),
        ]);
    }
    print_table(&table, paint);
}
