//! What `--json` prints is what the published schema promises.

#![expect(clippy::unwrap_used, reason = "tests")]

mod story;

use std::collections::BTreeSet;

use story::{Nix, Project, on_each_nix};

fn every_line_fits_the_published_schema(nix: &Nix) {
    let project = Project::with_checks(
        nix,
        r#"
        passes = builtins.trace "a remark" (lib.passes "passes");
        fails = lib.run "fails" "echo @nix '{\"action\":\"setPhase\",\"phase\":\"checkPhase\"}' >&2; echo last; exit 3";
        after = lib.run "after" "read x < ${lib.run "below" "exit 1"}";
        throws = throw "no";
        elsewhere = derivation { name = "elsewhere"; system = "riscv64-linux"; builder = "/bin/sh"; };
        nested = { recurseForDerivations = true; inner = lib.passes "inner"; };
        "#,
    );
    let schema = include_str!("../../../docs/src/events.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    for arguments in [&["--dry-run"][..], &[], &[], &["--rebuild"]] {
        let told = project.check(arguments);
        assert_eq!(told.code, 1, "{told}");
        assert_eq!(told.stdout.lines().count(), told.events.len(), "each line is an object\n{told}");
        for event in &told.events {
            let error = schema.iter_errors(event).next();
            assert!(error.is_none(), "{}\n{event:#}", error.unwrap());
            seen.insert(event["event"].as_str().unwrap().to_owned());
        }
    }
    let expected = "build_finished build_started discovered dissolved environment evaluated evaluating \
                    evaluation_failed evaluation_finished finished job_finished log phase present scheduled \
                    source warning";
    let missing: Vec<&str> = expected.split(' ').filter(|kind| !seen.contains(*kind)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?} among {seen:?}");
    // And it can be broken.
    assert!(!schema.is_valid(&serde_json::json!({ "v": 1, "time": "", "event": "evaluating" })));
}

on_each_nix! { every_line_fits_the_published_schema }
