//! What people see for each kind of mistake, as text. Every file in `bad_yaml/` is a case.

use std::{collections::BTreeSet, fs, path::Path};

use edgeflow_spec::{parse, parse_with_models, problem};

#[test]
fn every_mistake_is_explained_with_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bad_yaml");
    let names: BTreeSet<String> = fs::read_dir(folder.clone())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() >= 30, "only {} cases", names.len());
    for name in names {
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        let known = BTreeSet::from(["bolts"]);
        let problems = parse_with_models(&name, &text, &known)
            .expect_err(&name)
            .problems;
        assert!(problems.iter().any(|problem| problem.is_error()), "{name}");
        for problem in &problems {
            let width = problem.source_line.chars().count() as u32;
            assert!(problem.column <= width + 1, "{name}: {problem:?}");
        }
        insta::assert_snapshot!(
            name.trim_end_matches(".yaml"),
            problem::render(&problems, false)
        );
    }
}

#[test]
fn a_manifest_over_the_limit_is_refused_before_it_is_read() {
    let text = " ".repeat(edgeflow_spec::MAX_MANIFEST_BYTES + 1);
    let problems = parse("big.yaml", &text).unwrap_err().problems;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].code, "too-large");
}

#[test]
fn a_flood_of_problems_is_cut_and_counted() {
    let mut text = String::from("apiVersion: edgeflow.dev/v1\nkind: System\n");
    for number in 0..500 {
        text.push_str(&format!("field{number}: 1\n"));
    }
    let problems = parse("flood.yaml", &text).unwrap_err().problems;
    assert_eq!(problems.len(), 101);
    assert!(
        problems[100]
            .message
            .ends_with("more problems are not shown")
    );
}

#[test]
fn color_is_only_there_when_asked_for() {
    let problems = parse("a.yaml", "kind: System\n").unwrap_err().problems;
    assert!(problem::render(&problems, true).contains('\u{1b}'));
    assert!(!problem::render(&problems, false).contains('\u{1b}'));
}
