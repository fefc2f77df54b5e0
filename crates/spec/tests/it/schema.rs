//! The JSON Schema and the decoder describe the same language.

use std::{fs, path::Path};

use edgeflow_spec::{parse, schema::schema};
use serde_json::Value;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Resolves a reference into `$defs`.
fn follow<'a>(schema: &'a Value, part: &'a Value) -> &'a Value {
    match part.get("$ref").and_then(Value::as_str) {
        Some(reference) => schema.pointer(reference.trim_start_matches('#')).unwrap(),
        None => part,
    }
}

fn fields<'a>(schema: &'a Value, def: &str) -> Vec<&'a str> {
    let part = match def {
        "" => schema,
        name => &schema["$defs"][name],
    };
    let mut fields: Vec<_> = part["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    fields
}

/// A manifest that uses every field there is.
const EVERYTHING: &str = "
apiVersion: edgeflow.dev/v1
kind: System
metadata: {name: everything, labels: {team: retail, floor: 2}}
spec:
  devices: {selector: site=berlin}
  placement: spread
  broker: {redis: 'rediss://broker.local:6379', password_file: /etc/edgeflow/redis, ca_file: /etc/edgeflow/ca.pem}
  tracing: {sample: 1/50}
  nodes:
    camera: {use: pattern, with: {fps: 5}}
    mix:
      run: [./mix]
      with: {any: [1, {a: b}]}
      env: {TZ: UTC, PORT: 1}
      models: [bolts]
      on: camera
      replicas: 2
      inputs: [in, b]
      outputs: [out]
      restart: on-failure
      stop_grace: 2s
  links:
    - camera -> mix
    - {from: camera, to: mix.b, qos: durable, window: 8, window_bytes: 1MiB, on_full: fail}
    - {from: camera, to: log, max_age: 1s, ordered: true, order_timeout: 100ms}
    - {from: mix, to: log, qos: balanced, max_lag: 10, max_age: 2s}
    - {from: camera, to: other, qos: durable, on_full: spill, spill: 2GiB, max_deliveries: 3, via: broker}
  views: [mix]
";

#[test]
fn the_decoder_accepts_every_field_of_the_schema() {
    let schema = schema();
    let text = EVERYTHING.replace(
        "  links:",
        "    log: {use: log}\n    other: {use: log}\n  links:",
    );
    let parsed = parse("everything.yaml", &text).unwrap();
    assert_eq!(parsed.warnings, []);
    // Every field that the schema knows is in the text above, as a field.
    for def in [
        "",
        "MetadataText",
        "SpecText",
        "DevicesText",
        "Broker",
        "TracingText",
        "NodeText",
        "LinkFields",
    ] {
        for field in fields(&schema, def) {
            assert!(
                text.contains(&format!("{field}:")),
                "{def}.{field} is in the schema and not in the test"
            );
        }
    }
}

#[test]
fn the_schema_fits_the_examples() {
    let schema = schema();
    for name in [
        "system.yaml",
        "camera.yaml",
        "pattern.yaml",
        "two-devices.yaml",
    ] {
        let text = fs::read_to_string(root().join("examples/quickstart").join(name)).unwrap();
        let value: Value = serde_norway::from_str(&text).unwrap();
        check(&schema, &schema, &value, name);
    }
}

/// The few keywords of JSON Schema that decide over a manifest.
fn check(schema: &Value, part: &Value, value: &Value, at: &str) {
    let part = follow(schema, part);
    if let Some(constant) = part.get("const") {
        assert_eq!(value, constant, "{at}");
    }
    if let Some(values) = part.get("enum").and_then(Value::as_array) {
        assert!(values.contains(value), "{at}: {value}");
    }
    for field in part
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        assert!(
            value.get(field.as_str().unwrap()).is_some(),
            "{at} needs {field}"
        );
    }
    let Some(map) = value.as_object() else {
        return;
    };
    let properties = part.get("properties").and_then(Value::as_object);
    for (key, item) in map {
        let at = format!("{at}.{key}");
        match properties.and_then(|properties| properties.get(key)) {
            Some(property) => check(schema, property, item, &at),
            None => match part.get("additionalProperties") {
                Some(Value::Bool(false)) => panic!("{at} is not in the schema"),
                Some(rest) => check(schema, rest, item, &at),
                None => {}
            },
        }
    }
    for rule in part
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let wanted = &rule["if"]["properties"]["use"]["const"];
        if value.get("use") == Some(wanted) {
            check(schema, &rule["then"], value, at);
        }
    }
}

#[test]
fn the_published_schema_is_current() {
    let path = root().join("docs/system.schema.json");
    let current = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("EDGEFLOW_UPDATE").is_some() {
        fs::write(&path, &current).unwrap();
    }
    assert_eq!(
        fs::read_to_string(path).unwrap_or_default(),
        current,
        "run the test with EDGEFLOW_UPDATE=1 to write docs/system.schema.json"
    );
}
