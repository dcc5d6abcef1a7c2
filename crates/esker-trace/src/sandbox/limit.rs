//! Limits on what a run may use, by control groups of the kernel: version 2 where it has the
//! controller, else version 1 (`Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst`).

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
    killed: [Option<&'static str>; 2],
}

const MEMORY: Controller = Controller {
    name: "memory",
    limit: ["memory.max", "memory.limit_in_bytes"],
    killed: [Some("memory.events"), Some("memory.oom_control")],
};
const PROCESSES: Controller = Controller { name: "pids", limit: ["pids.max"; 2], killed: [None; 2] };

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
        let (parent, version) = parent(controller.name)?;
        let folder = parent.join(format!("esker-{}-{}", std::process::id(), thread_number()));
        if !folder.is_dir() {
            fs::create_dir(&folder)?;
        }
        let file = folder.join(controller.limit[version]);
        self.0.push(Group { folder, killed: controller.killed[version] });
        fs::write(file, limit.to_string())
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

/// The group below which to make one, and 0 for version 2, 1 for version 1.
fn parent(controller: &str) -> io::Result<(PathBuf, usize)> {
    let enabled = fs::read_to_string(Path::new(MOUNT).join("cgroup.subtree_control")).unwrap_or_default();
    if enabled.split_whitespace().any(|name| name == controller) {
        return Ok((MOUNT.into(), 0));
    }
    // "4:memory:/some/group"; beside our own group, whose limits then hold for the run, too.
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let group = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let names = parts.next()?;
        names.split(',').any(|name| name == controller).then(|| parts.next().unwrap_or("/"))
    });
    let group = group.ok_or_else(|| io::Error::other(format!("no control group for `{controller}`")))?;
    Ok((Path::new(MOUNT).join(controller).join(group.trim_start_matches('/')), 1))
}

fn thread_number() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}
