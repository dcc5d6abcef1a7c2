//! Which file of the repository a position is about.
//!
//! GitHub shows an annotation beside the code if its file is named by its path in the repository. Nix
//! names files from the top of the flake's source, or by where they are on this machine.

use std::path::{Component, Path, PathBuf};

use esker_nix::flake::percent_decode;

/// Where the files are that positions are about: GitHub knows them by their path in the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// What may be the top of the repository, the likeliest first.
    roots: Vec<PathBuf>,
    /// Where one stands.
    here: PathBuf,
    /// The folder that relative positions begin at, where that is not the top of the repository.
    source: Option<PathBuf>,
}

impl Places {
    /// Looks at `$GITHUB_WORKSPACE` and at the repository one stands in, which need not be its top.
    pub(crate) fn of_this_process() -> Self {
        let workspace =
            std::env::var_os("GITHUB_WORKSPACE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let real = workspace.as_ref().and_then(|path| path.canonicalize().ok());
        let here = std::env::current_dir().unwrap_or_default();
        let repository = here.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_path_buf);
        let repository =
            repository.filter(|folder| real.as_ref().is_none_or(|workspace| folder.starts_with(workspace)));
        let roots = [repository, real, workspace].into_iter().flatten().collect();
        Self { roots, here, source: None }
    }

    /// Takes in the flake's locked reference. In a git tree positions begin at its top already.
    pub(super) fn set_source(&mut self, url: &str) {
        let path = url.strip_prefix("path:").map(|path| path.split('?').next().unwrap_or(path));
        // Nix 2.8 leaves it relative.
        self.source = path.map(|path| plain(&self.here.join(percent_decode(path))));
    }

    /// The same when there is only the reference that was asked for, since Nix refused it.
    pub(crate) fn set_asked(&mut self, reference: &str) {
        if reference.starts_with("path:") {
            self.set_source(reference);
        } else if !Path::new(reference).ancestors().any(|folder| folder.join(".git").exists()) {
            self.source = Some(PathBuf::from(reference)).filter(|folder| folder.is_absolute());
        }
        self.source = self.source.take().map(|source| source.canonicalize().unwrap_or(source));
    }

    /// A path in the repository; `None` for a file elsewhere.
    pub(super) fn file(&self, path: &str) -> Option<String> {
        let full = match &self.source {
            Some(source) => source.join(path),
            None if path.starts_with('/') => PathBuf::from(path),
            None => return Some(path.to_owned()),
        };
        let inside = self.roots.iter().find_map(|root| full.strip_prefix(root).ok());
        match inside {
            Some(inside) => Some(inside.to_string_lossy().into_owned()),
            None => (!path.starts_with('/')).then(|| path.to_owned()),
        }
    }
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_as_the_repository_has_it() {
        let roots = vec!["/work/repo".into(), "/work".into()];
        let mut places = Places { roots, here: "/work/repo/here".into(), source: None };
        assert_eq!(places.file("sub/flake.nix").as_deref(), Some("sub/flake.nix"));
        assert_eq!(places.file("/work/repo/ci.nix").as_deref(), Some("ci.nix"));
        assert_eq!(places.file("/work/other/ci.nix").as_deref(), Some("other/ci.nix"));
        assert_eq!(places.file("/workshop/ci.nix"), None);
        places.set_source("path:/work/repo/my%20flake?lastModified=1&narHash=sha256-x");
        assert_eq!(places.file("nix/a.nix").as_deref(), Some("my flake/nix/a.nix"));
        assert_eq!(places.file("/nix/store/x/lib.nix"), None);
        places.set_source("path:./../here/sub/.");
        assert_eq!(places.file("a.nix").as_deref(), Some("here/sub/a.nix"));
        places.set_source("path:/elsewhere");
        assert_eq!(places.file("flake.nix").as_deref(), Some("flake.nix"));
        places.set_source("git+file:///work/repo?dir=sub");
        assert_eq!(places.file("sub/flake.nix").as_deref(), Some("sub/flake.nix"));
    }
}
