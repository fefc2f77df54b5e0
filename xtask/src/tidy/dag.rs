//! Who of our crates may depend on whom: the table of ARCHITECTURE.md. Dev-dependencies are free.

use serde_json::Value;

/// Crate and the crates of ours that it may use. A crate without a row is a finding.
const TABLE: &[(&str, &[&str])] = &[
    ("edgeflow-spec", &[]),
    ("edgeflow-runtime", &[]),
    ("edgeflow-web", &[]),
    ("edgeflow-stream", &["edgeflow-spec"]),
    ("edgeflow-capture", &["edgeflow-spec"]),
    ("edgeflow-infer", &["edgeflow-model"]),
    ("edgeflow-model", &[]),
    ("edgeflow-proto", &["edgeflow-spec"]),
    (
        "edgeflow",
        &[
            "edgeflow-stream",
            "edgeflow-spec",
            "edgeflow-proto",
            "edgeflow-runtime",
        ],
    ),
    (
        "edgeflow-nodes",
        &[
            "edgeflow",
            "edgeflow-stream",
            "edgeflow-capture",
            "edgeflow-infer",
            "edgeflow-model",
            "edgeflow-runtime",
        ],
    ),
    (
        "edgeflow-agent",
        &[
            "edgeflow-proto",
            "edgeflow-spec",
            "edgeflow-stream",
            "edgeflow-capture",
            "edgeflow-runtime",
        ],
    ),
    (
        "edgeflow-control-plane",
        &[
            "edgeflow-model",
            "edgeflow-proto",
            "edgeflow-spec",
            "edgeflow-stream",
            "edgeflow-web",
            "edgeflow-runtime",
        ],
    ),
    (
        "edgeflow-cli",
        &[
            "edgeflow-model",
            "edgeflow-proto",
            "edgeflow-runtime",
            "edgeflow-spec",
        ],
    ),
    ("edgeflow-example-brightness", &["edgeflow"]),
    ("edgeflow-codegen", &[]),
    ("xtask", &[]),
];

/// For tests and measurements: they may use anything, and nothing shipped may use them.
pub(super) const DEVELOPMENT: &[&str] = &["edgeflow-testkit", "edgeflow-e2e", "edgeflow-bench"];

pub(crate) fn check(metadata: &Value) -> Vec<String> {
    let packages = super::fences::packages(metadata);
    let ours: Vec<&str> = packages.iter().map(|package| package.name).collect();
    let mut findings = Vec::new();
    for package in &packages {
        if DEVELOPMENT.contains(&package.name) {
            continue;
        }
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!(
                "{}: not in the dependency table; give it a row in xtask/src/tidy/dag.rs and ARCHITECTURE.md",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if ours.contains(dependency) && !allowed.contains(dependency) {
                findings.push(format!(
                    "{}: must not depend on {dependency} (table in ARCHITECTURE.md)",
                    package.name
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::check;

    #[test]
    fn a_dependency_against_the_table_is_found_and_a_dev_dependency_is_not() {
        let metadata = json!({"packages": [
            {"name": "edgeflow-spec", "dependencies": [
                {"name": "edgeflow-stream", "kind": null},
                {"name": "edgeflow-testkit", "kind": "dev"},
            ]},
            {"name": "edgeflow-stream", "dependencies": [{"name": "edgeflow-spec", "kind": null}]},
            {"name": "edgeflow-testkit", "dependencies": [{"name": "edgeflow-cli", "kind": null}]},
            {"name": "edgeflow-cli", "dependencies": [{"name": "edgeflow-testkit", "kind": "build"}]},
        ]});
        assert_eq!(
            check(&metadata),
            [
                "edgeflow-spec: must not depend on edgeflow-stream (table in ARCHITECTURE.md)",
                "edgeflow-cli: must not depend on edgeflow-testkit (table in ARCHITECTURE.md)",
            ]
        );
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let metadata = json!({"packages": [{"name": "edgeflow-new", "dependencies": []}]});
        assert_eq!(check(&metadata).len(), 1);
    }
}
