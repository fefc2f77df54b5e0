//! Help texts, the reference page and usage errors.

use crate::run::Home;

const COMMANDS: [&str; 19] = [
    "apply",
    "plan",
    "get",
    "describe",
    "logs",
    "tap",
    "events",
    "delete",
    "history",
    "rollback",
    "set",
    "token",
    "label",
    "local",
    "doctor",
    "schema",
    "context",
    "completion",
    "version",
];

#[test]
fn every_command_has_help_with_examples() {
    let home = Home::new();
    let all = home.run(&["--help"]).expect(0).stdout;
    for command in COMMANDS {
        assert!(
            all.contains(&format!("\n  {command} ")),
            "{command} is not listed"
        );
        let help = home.run(&[command, "--help"]).expect(0).stdout;
        assert!(help.contains("Examples:"), "{command} has no examples");
    }
    assert!(all.contains("Exit codes:"));
}

#[test]
fn nested_commands_have_help_too() {
    let home = Home::new();
    for words in [
        ["token", "create"],
        ["token", "list"],
        ["token", "delete"],
        ["context", "add"],
        ["context", "list"],
        ["context", "use"],
        ["context", "remove"],
        ["context", "current"],
        ["label", "device"],
    ] {
        let help = home.run(&[words[0], words[1], "--help"]).expect(0).stdout;
        assert!(help.contains("Examples:"), "{words:?} has no examples");
    }
}

#[test]
fn the_reference_page_is_what_the_command_line_says() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    let made = Home::new().run(&["reference"]).expect(0).stdout;
    let mark = "<!-- made by `edgeflow reference`; do not edit below -->\n\n";
    let (_, committed) = page.split_once(mark).unwrap();
    assert!(
        committed == made,
        "docs/cli.md is out of date: write the output of `edgeflow reference` below its mark"
    );
}

#[test]
fn usage_errors_are_2() {
    let home = Home::new();
    for arguments in [
        &["fly"][..],
        &["apply", "--timeout", "soon", "x.yaml"],
        &["get", "everything"],
        &["delete", "system"],
        &["label", "device", "pi"],
        &["apply"],
        &["set", "entrance", "detect"],
        &["set", "entrance", "detect", "threshold"],
        &["apply", "missing.yaml"],
        &["get", "systems", "-l", "a=b"],
        &["--server", "http://192.0.2.1:7080", "get", "systems"],
    ] {
        home.run(arguments).expect(2);
    }
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Home::new().run(&["completion", shell]).expect(0).stdout;
        assert!(script.contains("rollback"), "{shell}");
    }
}

#[test]
fn the_schema_is_json() {
    let schema = Home::new().run(&["schema"]).expect(0).json();
    assert!(schema.get("$schema").is_some() || schema.get("properties").is_some());
}

#[test]
fn the_version_needs_no_control_plane() {
    let ran = Home::new().run(&["version", "--client"]).expect(0);
    assert_eq!(
        ran.stdout,
        format!("edgeflow {}\n", env!("CARGO_PKG_VERSION"))
    );
}
