//! Under which key the runs of a flake are remembered.
//!
//! `esker check` and `esker log` must find the same key from wherever in a project they are called,
//! so a local flake is its folder, and anything else is the reference as it was written.

use std::path::{Path, PathBuf};

use esker_engine::config::{Config, ConfigFile};

/// The key for a flake reference (or the path of a Nix file) that was given in the folder `cwd`.
pub(crate) fn subject_of(reference: &str, cwd: &Path) -> String {
    let reference = reference.split('#').next().unwrap_or_default();
    let scheme = ["path:", "git+file:"].iter().find_map(|scheme| reference.strip_prefix(scheme));
    let (path, query) = match scheme {
        Some(path) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            path.split_once('?').unwrap_or((path, ""))
        }
        None if is_path(reference, cwd) => (reference, ""),
        None => return reference.to_string(),
    };
    let path = cwd.join(path);
    let path = path.canonicalize().unwrap_or(path);
    let subfolder = query.split('&').find_map(|parameter| parameter.strip_prefix("dir="));
    let key = match (scheme, subfolder) {
        (_, Some(subfolder)) => path.join(subfolder),
        (Some(_), None) => path,
        (None, None) => flake_of(&path),
    };
    key.to_string_lossy().into_owned()
}

/// The key for a Nix file that was given in the folder `cwd`.
pub(crate) fn subject_of_file(file: &Path, cwd: &Path) -> String {
    let path = cwd.join(file);
    path.canonicalize().unwrap_or(path).to_string_lossy().into_owned()
}

/// Whether `esker check` takes it for a path rather than an entry of the registry.
fn is_path(reference: &str, cwd: &Path) -> bool {
    let looks_local = reference.is_empty() || reference.starts_with(['.', '/']);
    looks_local || (!reference.contains([':', '?']) && cwd.join(reference).exists())
}

/// The flake that is meant by a path: looked for upwards, and where the configuration says.
fn flake_of(path: &Path) -> PathBuf {
    if path.is_file() {
        let folder = path.parent().filter(|_| path.ends_with("flake.nix"));
        return folder.unwrap_or(path).into();
    }
    let Some(project) = project_above(path) else { return path.into() };
    let configured = Config::load(project).and_then(|(config, _)| config.flake_folder(project));
    configured.unwrap_or_else(|_| project.into())
}

/// The nearest folder with a flake or a configuration, not looked for beyond the top of the repository.
fn project_above(path: &Path) -> Option<&Path> {
    for folder in path.ancestors() {
        let configured = ConfigFile::ALL.iter().any(|file| folder.join(file.name()).exists());
        if configured || folder.join("flake.nix").exists() {
            return Some(folder);
        }
        if folder.join(".git").exists() {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_local_flake_is_its_folder_wherever_one_stands() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("project/src/deep")).unwrap();
        fs::create_dir(root.join("project/.git")).unwrap();
        fs::write(root.join("project/flake.nix"), "").unwrap();
        let project = root.join("project").to_string_lossy().into_owned();
        let check = |reference: &str, cwd: &str| assert_eq!(subject_of(reference, &root.join(cwd)), project);
        check(".", "project");
        check(".#checks", "project");
        check("", "project/src/deep");
        check("..", "project/src/deep");
        check("./project", "");
        check("project", "");
        check("project/flake.nix", "");
        check(&project, "");
        check(&format!("path:{project}"), "");
        check(&format!("git+file://{project}?ref=main"), "");
        check(&format!("git+file:{}?dir=project", root.display()), "");
    }

    #[test]
    fn a_folder_without_flake_is_itself_and_the_repository_is_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("flake.nix"), "").unwrap();
        fs::create_dir_all(root.join("other/.git")).unwrap();
        assert_eq!(subject_of(".", &root.join("other")), root.join("other").to_string_lossy());
        assert_eq!(subject_of("./gone", &root.join("other")), root.join("other/./gone").to_string_lossy());
    }

    #[test]
    fn a_configuration_says_where_the_flake_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("nix/ci")).unwrap();
        fs::write(root.join("nix/ci/flake.nix"), "").unwrap();
        fs::write(root.join("esker.toml"), "flake_dir = 'nix/ci'").unwrap();
        let flake = root.join("nix/ci").to_string_lossy().into_owned();
        for cwd in ["", "nix", "nix/ci"] {
            assert_eq!(subject_of(".", &root.join(cwd)), flake);
        }
    }

    #[test]
    fn a_file_is_itself() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("flake.nix"), "").unwrap();
        fs::write(root.join("ci.nix"), "").unwrap();
        assert_eq!(subject_of("./ci.nix", &root), root.join("ci.nix").to_string_lossy());
        assert_eq!(subject_of_file(Path::new("ci.nix"), &root), root.join("ci.nix").to_string_lossy());
        assert_eq!(subject_of_file(Path::new("flake.nix"), &root), root.join("flake.nix").to_string_lossy());
    }

    #[test]
    fn a_remote_flake_is_its_reference() {
        assert_eq!(subject_of("github:acme/hello#x", Path::new("/")), "github:acme/hello");
        assert_eq!(subject_of("nixpkgs", Path::new("/")), "nixpkgs");
    }
}
