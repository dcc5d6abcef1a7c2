//! Real runs with placeholders for hashes, as root: all that a builder sees is consistent.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "exec/place.rs"]
#[expect(dead_code, reason = "each test file uses a part of it")]
mod place;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use esker_trace::exec::{FileToPlace, NoPlaceholders};
use place::{Place, Run, base_name};

fn slots(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// A source that names a dependency in a file and in a link, and a shell that does so unregistered.
fn place() -> Option<Place> {
    let mut place = Place::new()?;
    let dep = place.input("dep");
    fs::write(dep.join("file"), "what lies there\n").unwrap();
    let path = format!("/nix/store/{}", base_name("dep"));
    let source = place.input("more");
    fs::write(source.join("names"), format!("{path}/file\n")).unwrap();
    fs::write(source.join("late"), format!("{}{path}{}{path}", "-".repeat(4090), "-".repeat(300_000)))
        .unwrap();
    symlink(format!("{path}/file"), source.join("link")).unwrap();
    let top = place.input_path("top");
    symlink(format!("{path}/file"), top).unwrap();
    place.refer("more", "dep");
    place.refer("top", "dep");
    let literal = place.folder_with(&format!("{}/literal", base_name("src")), path.as_bytes());
    assert!(literal.exists());
    Some(place)
}

fn both(place: &Place, keys: &[&str], script: &str) -> (Run, Run) {
    let real = place.run(script).succeeded();
    let spec = place.spec(script).with_placeholders(&slots(keys)).unwrap();
    let renamed = Place::run_spec(&spec).succeeded();
    assert_eq!(renamed.ran.unrecordable, Vec::<String>::new());
    assert_eq!(real.questions(), renamed.questions());
    (real, renamed)
}

#[test]
fn a_builder_finds_its_inputs_under_their_placeholders() {
    let Some(place) = place() else { return };
    let script = "[ $dep/file = $(cat $more/names) ] && [ $dep/file = $(readlink $more/link) ] \
                  && [ $dep/file = $(readlink $top) ] && cat $(cat $more/names) $more/link $top && echo $dep && echo 1 > $out";
    let (real, renamed) = both(&place, &["dep", "more", "top"], script);
    assert!(real.log.contains(&base_name("dep")), "{}", real.log);
    assert!(!renamed.log.contains("xxxxxxxx"), "{}", renamed.log);
    assert_eq!(renamed.log.matches("what lies there").count(), 3, "{}", renamed.log);
    let out = &renamed.ran.outputs[0];
    assert!(out.path.is_some() && out.base_name.ends_with("-out") && out.base_name != base_name("out"));
}

#[test]
fn a_hash_is_renamed_wherever_it_lies_in_a_file() {
    let Some(place) = place() else { return };
    let script = "[ $(cat $more/late | tr -d '\\n-' | wc -c) = 80 ]; grep -o '[a-z0-9]*-dep' $more/late; \
                  dd if=$more/late bs=7 skip=584 count=9 2>&1; : > $out";
    let script = script.replace("grep", "$B grep").replace("tr ", "$B tr ").replace("wc ", "$B wc ");
    let (real, renamed) = both(&place, &["dep"], &script);
    assert_eq!(real.log.matches("-dep").count(), 3, "{}", real.log);
    assert_eq!(renamed.log.matches("-dep").count(), 3, "{}", renamed.log);
    assert!(!renamed.log.contains("xxx"), "{}", renamed.log);
    assert_eq!(renamed.log.len(), real.log.len());
}

/// As an answer counts it: as the input that has it.
#[test]
fn a_hash_that_is_not_registered_is_renamed_too() {
    let Some(place) = place() else { return };
    let script = "[ $dep = $(cat $src/literal) ] && cat $(cat $src/literal)/file && : > $out";
    let (_, renamed) = both(&place, &["dep", "src"], script);
    assert!(renamed.log.contains("what lies there"), "{}", renamed.log);
}

#[test]
fn a_hash_in_pieces_stays_as_it_is() {
    let Some(place) = place() else { return };
    let pieces = format!("/nix/store/{} {}", &base_name("dep")[..9], &base_name("dep")[9..]);
    place.folder_with(&format!("{}/pieces", base_name("src")), pieces.as_bytes());
    let script =
        "read p q < $src/pieces; if [ -e $p$q ]; then echo $p$q there; else echo $p$q absent; fi; : > $out";
    let (real, renamed) = both(&place, &["dep", "src"], script);
    assert!(real.log.contains("there"), "{}", real.log);
    assert!(renamed.log.contains(&base_name("dep")) && renamed.log.contains("absent"), "{}", renamed.log);
}

/// An output's hash in an input is a text as any other: no later build has another one there.
#[test]
fn the_hash_of_an_output_is_no_reference_of_an_input() {
    let Some(place) = place() else { return };
    place.folder_with(&format!("{}/out", base_name("src")), base_name("out").as_bytes());
    let (_, renamed) = both(&place, &["dep"], "cat $src/out; : > $out");
    assert!(renamed.log.contains(&base_name("out")), "{}", renamed.log);
}

#[test]
fn hashes_in_names_have_no_placeholders() {
    let Some(place) = place() else { return };
    let chosen = slots(&["dep"]);
    let mut spec = place.spec("true");
    spec.env.insert(base_name("dep").into(), "1".into());
    assert!(matches!(spec.with_placeholders(&chosen), Err(NoPlaceholders::Names)));
    let mut spec = place.spec("true");
    spec.files.push(FileToPlace { name: base_name("dep"), bytes: "1".into(), mode: 0o644 });
    assert!(matches!(spec.with_placeholders(&chosen), Err(NoPlaceholders::Names)));
    let mut spec = place.spec("true");
    spec.args.push("x".repeat(33).into());
    assert!(matches!(spec.with_placeholders(&chosen), Err(NoPlaceholders::Entangled)));
}

#[test]
fn what_cannot_be_renamed_cannot_be_recorded() {
    let Some(place) = place() else { return };
    let source = format!("{}/entangled", base_name("more"));
    place.folder_with(&source, "x".repeat(40).as_bytes());
    let spec = place.spec("cat $more/entangled; : > $out").with_placeholders(&slots(&["dep"])).unwrap();
    let run = Place::run_spec(&spec);
    assert!(run.ran.unrecordable[0].contains("cannot be told apart"), "{:?}", run.ran.unrecordable);
    let name = format!("{}/folder/{}", base_name("src"), base_name("dep"));
    place.folder_with(&name, b"");
    let spec = place.spec("echo $src/folder/*; : > $out").with_placeholders(&slots(&["dep"])).unwrap();
    let run = Place::run_spec(&spec);
    assert!(run.ran.unrecordable[0].contains("a name with a hash"), "{:?}", run.ran.unrecordable);
}
