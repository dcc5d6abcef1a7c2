//! Real runs, as root: what is observed, what is refused, and that nothing is left behind.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "exec/place.rs"]
#[expect(dead_code, reason = "each test file uses a part of it")]
mod place;

use std::fs;
use std::os::unix::fs::symlink;

use esker_trace::exec::{Architecture, End, Etc, SandboxPath};
use place::Place;

/// Runs a script and compares what it asked, the top of its input aside.
#[track_caller]
fn check(script: &str, expected: &[&str]) {
    let Some(place) = Place::new() else { return };
    let run = place.run(script).succeeded();
    let questions = run.questions();
    let questions: Vec<_> = questions.lines().filter(|line| *line != "src Stat").collect();
    let expected: Vec<_> = expected.iter().map(|line| format!("src {line}")).collect();
    assert_eq!(questions, expected, "{}", run.log);
    assert_eq!(run.ran.unrecordable, Vec::<String>::new());
}

#[test]
fn a_run_that_looks_at_nothing_asks_only_what_its_inputs_are() {
    check("true", &[]);
}

#[test]
fn reading_a_file_asks_for_its_content() {
    check("cat $src/read", &["Stat read", "Content read"]);
}

#[test]
fn an_absent_file_is_asked_for_once() {
    check("cat $src/absent/x; cat $src/absent/y; true", &["Stat absent"]);
}

#[test]
fn listing_a_folder_asks_for_its_names_alone() {
    check("echo $src/*", &["Names"]);
    check("echo $src/folder/*", &["Stat folder", "Names folder"]);
}

#[test]
fn a_link_shows_its_target() {
    check("readlink $src/link", &["Stat link", "Target link"]);
    check("cat $src/link", &["Stat link", "Target link", "Stat read", "Content read"]);
}

#[test]
fn an_empty_file_is_settled_by_its_size() {
    check("cat $src/empty", &["Stat empty"]);
}

#[test]
fn a_descriptor_opened_again_is_still_the_same_file() {
    check("exec 5< $src/read; cat /proc/self/fd/5", &["Stat read", "Content read"]);
}

#[test]
fn two_names_of_one_file_are_two_files() {
    check("cat $src/hard", &["Stat hard", "Content hard"]);
    check("[ $(stat -c %h $src/hard) = 1 ] && ! [ $src/hard -ef $src/read ]", &["Stat hard", "Stat read"]);
}

#[test]
fn running_a_program_reads_it() {
    let Some(place) = Place::new() else { return };
    let run = place.run("true").succeeded();
    assert!(
        run.ran.questions.iter().any(|q| q.path == b"bin/busybox" && format!("{:?}", q.kind) == "Content")
    );
}

#[test]
fn inputs_that_are_files_and_links_can_be_used() {
    let Some(mut place) = Place::new() else { return };
    fs::write(place.input_path("file"), "content").unwrap();
    symlink(format!("{}/read", place::base_name("src")), place.input_path("link")).unwrap();
    let run = place.run("cat $file $link; stat -c %Y $link").succeeded();
    assert_eq!(run.log, "contenttext\n1\n");
    let expected =
        "file Stat\nfile Content\nlink Stat\nlink Target\nsrc Stat\nsrc Stat read\nsrc Content read";
    assert_eq!(run.questions(), expected);
}

#[test]
fn metadata_says_nothing_about_the_host() {
    let Some(place) = Place::new() else { return };
    let script = "cd $src; stat -c '%n %a %h %u %g %s %b %X %Y %Z' . read folder link";
    let first = place.run(script).succeeded().log;
    assert_eq!(
        first,
        ". 555 1 65534 65534 4096 8 1 1 1\nread 444 1 65534 65534 5 8 1 1 1\n\
         folder 555 1 65534 65534 4096 8 1 1 1\nlink 777 1 65534 65534 4 8 1 1 1\n"
    );
    let inodes = "cd $src; stat -c '%n %i' . read folder folder/one";
    assert_eq!(place.run(inodes).succeeded().log, place.run(inodes).succeeded().log);
}

#[test]
fn etc_can_look_sealed() {
    let Some(mut place) = Place::new() else { return };
    assert_eq!(place.run("stat -c %a /etc").succeeded().log, "755\n");
    place.spec.etc = Etc::Sealed;
    assert_eq!(place.run("stat -c %a /etc").succeeded().log, "555\n");
}

#[test]
fn what_is_not_an_input_cannot_be_reached() {
    let Some(place) = Place::new() else { return };
    let run = place.run("echo /*; ls /etc /home /root; cat /etc/shadow; ps | cat; id").ran;
    assert_eq!(run.end, End::Exited(0));
    let log = place.run("echo /*; echo /etc/*; [ -e /sys ] || [ -e /root ] || echo none; id").log;
    let expected = "/build /dev /etc /nix /proc /tmp\n/etc/group /etc/hosts /etc/passwd\nnone\n\
                    uid=1000(nixbld) gid=100(nixbld)\n";
    assert_eq!(log, expected);
}

#[test]
fn only_the_machine_itself_is_on_the_network() {
    let Some(place) = Place::new() else { return };
    let log = place.run("ifconfig -a").succeeded().log;
    assert!(log.contains("inet addr:127.0.0.1") && log.matches("Link encap").count() == 1, "{log}");
}

#[test]
fn inputs_and_the_system_cannot_be_written_to() {
    let Some(place) = Place::new() else { return };
    let script =
        "for f in $src/read $src/new /new /etc/passwd /nix/new /dev/new; do (: >> $f) || echo no; done
                  mv $src /nix/store/moved || rm $src/read || chmod +w $src/read || echo no";
    let log = place.run(script).succeeded().log;
    assert_eq!(log.lines().filter(|line| *line == "no").count(), 7, "{log}");
    assert_eq!(
        log.matches("Permission denied").count() + log.matches("Operation not permitted").count(),
        9,
        "{log}"
    );
}

#[test]
fn privileges_cannot_be_given_to_files() {
    let Some(place) = Place::new() else { return };
    let script =
        ": > $out; chmod 4755 $out || chmod u+s $out || chmod g+s $out || mknod /tmp/d c 1 3 || echo no";
    let log = place.run(script).succeeded().log;
    assert!(log.ends_with("no\n"), "{log}");
}

#[test]
fn listing_the_store_cannot_be_recorded() {
    let Some(place) = Place::new() else { return };
    let run = place.run("echo /nix/store/* > /dev/null").succeeded();
    assert_eq!(run.ran.unrecordable, ["the builder listed `/nix/store`"]);
}

#[test]
fn what_is_read_of_the_machine_is_told() {
    let Some(place) = Place::new() else { return };
    let run = place.run("head -n1 /proc/cpuinfo; cat /proc/sys/kernel/osrelease /proc/uptime").succeeded();
    assert_eq!(run.ran.ambient, ["/proc/cpuinfo", "/proc/sys/kernel/osrelease"]);
    assert!(run.ran.unrecordable.is_empty());
    let run = place.run("head -n 1 /proc/interrupts /proc/kallsyms").succeeded();
    assert_eq!(run.ran.unrecordable.len(), 2, "{:?}", run.ran.unrecordable);
}

#[test]
fn what_lies_deep_in_proc_is_watched_too() {
    let Some(place) = Place::new() else { return };
    let may =
        "/proc/sys/kernel/random/uuid /proc/sys/net/core/somaxconn /proc/net/dev /proc/self/net/if_inet6";
    let run = place.run(&format!("ls -R /proc/sys /proc/irq > /dev/null; cat {may} > /dev/null")).succeeded();
    assert_eq!(run.ran.unrecordable, Vec::<String>::new());
    let facts = [
        "/proc/bus/input/devices",
        "/proc/irq/default_smp_affinity",
        "/proc/sys/fs/inotify/max_user_watches",
        "/proc/sys/kernel/random/boot_id",
        "/proc/sys/net/core/rmem_max",
        "/proc/sys/net/ipv4/conf/all/forwarding",
        "/proc/sys/net/ipv4/conf/lo/forwarding",
        "/proc/sys/net/ipv4/tcp_mem",
        "/proc/sys/user/max_user_namespaces",
        "/proc/tty/drivers",
        "/proc/vmstat",
    ];
    for fact in facts.iter().filter(|fact| fs::exists(fact).unwrap()) {
        let run = place.run(&format!("head -n 1 {fact} > /dev/null || echo {fact}")).succeeded();
        // Of some, a new network has none.
        let expected = if run.log.is_empty() { vec![format!("the builder opened `{fact}`")] } else { vec![] };
        assert_eq!(run.ran.unrecordable, expected, "{}", run.log);
    }
}

#[test]
fn outputs_are_where_it_is_said() {
    let Some(place) = Place::new() else { return };
    let run = place.run("mkdir $out; echo hello > $out/file; umask").succeeded();
    let path = run.ran.outputs[0].path.clone().unwrap();
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "hello\n");
    assert_eq!(run.log, "0022\n");
    assert_eq!(place.run("true").ran.outputs[0].path, None);
}

#[test]
fn files_are_placed_in_the_build_folder() {
    let Some(place) = Place::new() else { return };
    let mut spec = place.spec("cat attrs; stat -c '%a %u %n' *; pwd");
    spec.files.push(esker_trace::exec::FileToPlace {
        name: "attrs".into(),
        bytes: "{}\n".into(),
        mode: 0o644,
    });
    let mut log = Vec::new();
    esker_trace::exec::run(&spec, &mut |bytes| log.extend_from_slice(bytes)).unwrap();
    assert_eq!(String::from_utf8(log).unwrap(), "{}\n644 1000 attrs\n/build\n");
    spec.files[0].name = "../escape".into();
    spec.work_dir = place.spec("").work_dir;
    assert!(esker_trace::exec::run(&spec, &mut |_| {}).is_err());
}

#[test]
fn host_paths_are_seen_where_they_are_wanted() {
    let Some(mut place) = Place::new() else { return };
    let tool = place.folder_with("tool", b"a tool\n");
    let target = format!("/nix/store/{}", place::base_name("tool"));
    for target in [target.as_str(), "/etc/tool", "/opt/deep/tool"] {
        let path = SandboxPath { target: target.to_owned(), source: tool.clone(), optional: false };
        place.spec.sandbox_paths.push(path);
    }
    let none = SandboxPath { target: "/none".to_owned(), source: "/none".into(), optional: true };
    place.spec.sandbox_paths.push(none);
    place.spec.shell = Some("/bin/busybox".into());
    let run =
        place.run(&format!("cat {target} /etc/tool /opt/deep/tool; /bin/sh -c 'echo shell'")).succeeded();
    assert_eq!(run.log, "a tool\na tool\na tool\nshell\n");
}

#[test]
fn the_machine_can_be_said_to_be_an_older_one() {
    let Some(mut place) = Place::new() else { return };
    place.spec.architecture = Architecture::Linux32;
    let log = place.run("$B uname -m; cd $src; stat -c %i . read folder").succeeded().log;
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("i686"));
    assert!(lines.all(|inode| inode.parse::<u32>().is_ok()), "{log}");
}

#[test]
fn links_out_of_an_input_lead_into_the_sandbox_and_not_to_the_host() {
    let Some(mut place) = Place::new() else { return };
    let hostile = place.input("hostile");
    symlink("/etc/shadow", hostile.join("absolute")).unwrap();
    symlink("../../../../../../../etc/shadow", hostile.join("relative")).unwrap();
    symlink("/etc", hostile.join("folder")).unwrap();
    let script = "cd $hostile; cat absolute relative folder/shadow; echo folder/*";
    let log = place.run(script).succeeded().log;
    assert!(log.ends_with("folder/group folder/hosts folder/passwd\n"), "{log}");
    assert_eq!(log.matches("No such file or directory").count(), 3, "{log}");
}

#[test]
fn neither_warden_nor_supervisor_can_be_reached() {
    let Some(place) = Place::new() else { return };
    // Every process that can be seen or signalled is the builder's own.
    let script = "kill -9 -1 2>/dev/null; echo /proc/[0-9]*; [ -e /proc/self/root/etc/shadow ] || echo none";
    let log = place.run(script).succeeded().log;
    assert_eq!(log.lines().take(2).collect::<Vec<_>>(), ["/proc/1", "none"], "{log}");
    // Nothing of the supervisor's is open: 3 is the listing of this very folder.
    let log = place.run("for f in /proc/1/fd/*; do echo $f $(readlink $f); done").succeeded().log;
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}");
    assert!(lines[0].ends_with("0 /dev/null") && lines[1].contains("1 /dev/pts/"), "{log}");
}
