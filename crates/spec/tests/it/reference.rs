//! The reference in docs/ says what the catalog says.

use std::{fmt::Write, fs, path::Path};

use edgeflow_spec::catalog::{BUILTINS, ParamKind};
use edgeflow_spec::quantity::{MAX_DURATION_MS, format_bytes, format_duration_ms};

const START: &str = "see crates/spec/tests/it/reference.rs -->\n";
const END: &str = "<!-- end -->";

#[test]
fn the_reference_lists_every_parameter() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/system-yaml.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(START).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let current = format!("{head}{START}{}{END}{tail}", section());
    if std::env::var_os("EDGEFLOW_UPDATE").is_some() {
        fs::write(&path, &current).unwrap();
        return;
    }
    assert_eq!(
        text, current,
        "run the test with EDGEFLOW_UPDATE=1 to write docs/system-yaml.md"
    );
}

fn section() -> String {
    let mut text = String::new();
    for builtin in &BUILTINS {
        write!(text, "\n### {}\n\n{}", builtin.name, builtin.summary).unwrap();
        for (ports, what) in [(builtin.inputs, "Input"), (builtin.outputs, "Output")] {
            for port in ports {
                write!(
                    text,
                    " {what} `{}`: {}",
                    port.name,
                    lower_first(port.summary)
                )
                .unwrap();
            }
        }
        text.push_str(
            "\n\n| parameter | type | default | live | meaning |\n|---|---|---|---|---|\n",
        );
        for param in builtin.params {
            let default = match param.default.to_json() {
                Some(value) => format!("`{}`", value.to_string().trim_matches('"')),
                None if param.required => "required".to_owned(),
                None => "none".to_owned(),
            };
            let kind = kind(&param.kind);
            let live = if builtin.live_params().contains(&param.name) {
                "yes"
            } else {
                "no"
            };
            writeln!(
                text,
                "| `{}` | {kind} | {default} | {live} | {} |",
                param.name, param.summary
            )
            .unwrap();
        }
    }
    text.push('\n');
    text
}

fn kind(kind: &ParamKind) -> String {
    match kind {
        ParamKind::Bool => "`true` or `false`".to_owned(),
        ParamKind::Integer { min, max } => format!("whole number, {min} to {max}"),
        ParamKind::Number { min, max } => format!("number, {min} to {max}"),
        ParamKind::Text => "text".to_owned(),
        ParamKind::Resolution => "`WIDTHxHEIGHT`".to_owned(),
        ParamKind::Size { min, max } => {
            format!("size, {} to {}", format_bytes(*min), format_bytes(*max))
        }
        ParamKind::Duration { min_ms, max_ms } => {
            let days = max_ms / MAX_DURATION_MS;
            let max = match days {
                0 => format_duration_ms(*max_ms),
                days => format!("{days}d"),
            };
            format!("duration, {} to {max}", format_duration_ms(*min_ms))
        }
        ParamKind::TextList => "list of texts".to_owned(),
        ParamKind::Choice { options } => options
            .iter()
            .map(|option| format!("`{option}`"))
            .collect::<Vec<_>>()
            .join(", "),
        ParamKind::NumberMap { min, max } => format!("map of numbers, {min} to {max}"),
        ParamKind::Shapes {
            min_points,
            max_points,
        } if min_points == max_points => format!("map of {min_points} points each"),
        ParamKind::Shapes {
            min_points,
            max_points,
        } => format!("map of {min_points} to {max_points} points each"),
        ParamKind::Model => "model".to_owned(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}
