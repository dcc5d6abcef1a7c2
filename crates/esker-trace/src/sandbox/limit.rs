//! Limits on what a run may use, by control groups of the kernel: version 2 where it has the
//! controller, else version 1 (`Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst`).
//!
//! In version 2 a group with processes has no groups with limits below it, so ours are at the top,
//! beside those of the system; in version 1 they are below our own. A container that may make neither
//! cannot limit anything: then there is no run, rather than one without the limits that were asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::exec::Limits;

const MOUNT: &str = "/sys/fs/cgroup";

/// The groups of one run; removed when dropped, which is when all its processes are gone.
pub(crate) struct Groups(Vec<Group>);

struct Group {
    folder: PathBuf,
    /// Holds the line `oom_kill N`.
    killed: Option<&'static str>,
}

struct Controller {
    name: &'static str,
    /// Files for the limit, in version 2 and in version 1.
    limit: [&'static str; 2],
    /// Files for what may be swapped out beside that, and what to write there. Not every kernel has them.
    swap: [Option<(&'static str, Swap)>; 2],
    killed: [Option<&'static str>; 2],
}

/// How a limit without swap is said.
#[derive(Clone, Copy)]
enum Swap {
    /// Of swap alone: nothing.
    None,
    /// Of memory and swap together: no more than of memory.
    Both,
}

const MEMORY: Controller = Controller {
    name: "memory",
    limit: ["memory.max", "memory.limit_in_bytes"],
    // Or a builder would crawl on where it should end.
    swap: [Some(("memory.swap.max", Swap::None)), Some(("memory.memsw.limit_in_bytes", Swap::Both))],
    killed: [Some("memory.events"), Some("memory.oom_control")],
};
const PROCESSES: Controller =
    Controller { name: "pids", limit: ["pids.max"; 2], swap: [None; 2], killed: [None; 2] };

impl Groups {
    /// Makes groups with these limits; none, if there are no limits.
    pub(crate) fn make(limits: &Limits) -> io::Result<Self> {
        let mut groups = Self(Vec::new());
        for (controller, limit) in [(MEMORY, limits.memory), (PROCESSES, limits.processes)] {
            if let Some(limit) = limit {
                groups.add(&controller, limit)?;
            }
        }
        Ok(groups)
    }

    fn add(&mut self, controller: &Controller, limit: u64) -> io::Result<()> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let (parent, version) = parent(controller.name, Path::new(MOUNT), &own)?;
        let folder = parent.join(format!("esker-{}-{}", std::process::id(), thread_number()));
        if !folder.is_dir() {
            fs::create_dir(&folder)?;
        }
        self.0.push(Group { folder: folder.clone(), killed: controller.killed[version] });
        fs::write(folder.join(controller.limit[version]), limit.to_string())?;
        if let Some((file, swap)) = controller.swap[version]
            && folder.join(file).exists()
        {
            let rest = match swap {
                Swap::None => 0,
                Swap::Both => limit,
            };
            fs::write(folder.join(file), rest.to_string())?;
        }
        Ok(())
    }

    /// Puts a process into the groups, and all that it starts from then on.
    pub(crate) fn admit(&self, pid: u32) -> io::Result<()> {
        self.0.iter().try_for_each(|group| fs::write(group.folder.join("cgroup.procs"), pid.to_string()))
    }

    /// Whether the kernel has killed for lack of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.0.iter().any(|group| {
            let Some(file) = group.killed else { return false };
            let text = fs::read_to_string(group.folder.join(file)).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            // Left behind, an empty group costs nothing.
            let _ = fs::remove_dir(&group.folder);
        }
    }
}

/// The group below which to make one, and 0 for version 2, 1 for version 1. `own` is the text of
/// `/proc/self/cgroup`.
fn parent(controller: &str, mount: &Path, own: &str) -> io::Result<(PathBuf, usize)> {
    // The second is where systemd puts version 2 beside version 1.
    for top in [mount.to_owned(), mount.join("unified")] {
        let enabled = fs::read_to_string(top.join("cgroup.subtree_control")).unwrap_or_default();
        if enabled.split_whitespace().any(|name| name == controller) {
            return Ok((top, 0));
        }
    }
    // "4:memory:/some/group"; below our own group, whose limits then hold for the run, too.
    let group = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let names = parts.next()?;
        names.split(',').any(|name| name == controller).then(|| parts.next().unwrap_or("/"))
    });
    let group = group.ok_or_else(|| io::Error::other(format!("no control group for `{controller}`")))?;
    // In a container our group may be mounted as the top.
    let top = mount.join(controller);
    let below = top.join(group.trim_start_matches('/'));
    Ok((if below.is_dir() { below } else { top }, 1))
}

fn thread_number() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where groups would be made, below a mount with these files.
    fn check(files: &[(&str, &str)], own: &str, expected: Option<(&str, usize)>) {
        let mount = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = mount.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = parent("memory", mount.path(), own).ok();
        let expected = expected.map(|(folder, version)| (mount.path().join(folder), version));
        assert_eq!(found, expected);
    }

    #[test]
    fn groups_are_made_where_the_kernel_has_the_controller() {
        let control = "cgroup.subtree_control";
        check(&[(control, "cpu io memory pids\n")], "0::/user.slice/esker.scope\n", Some(("", 0)));
        // A container whose processes are in the group at its top.
        check(&[(control, "\n")], "0::/\n", None);
        check(&[("unified/cgroup.subtree_control", "memory\n")], "0::/\n", Some(("unified", 0)));
        let own = "8:pids:/\n4:cpu,memory:/system.slice/esker\n0::/\n";
        let files = [("unified/cgroup.subtree_control", ""), ("memory/system.slice/esker/tasks", "")];
        check(&files, own, Some(("memory/system.slice/esker", 1)));
        check(&[("memory/tasks", "")], own, Some(("memory", 1)));
        check(&[], "", None);
    }
}
