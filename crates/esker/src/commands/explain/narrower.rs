//! Which part of a source would have been enough.
//!
//! The part is found from above: beginning with the whole source, the folder with the most files that
//! nobody looked at is replaced by what somebody looked at in it, for as long as the list stays short.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use esker_nix::flake::nix_string;

/// A part of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Folders and files, below the source.
    pub(super) paths: Vec<Vec<u8>>,
    /// How many files it has.
    pub(super) files: usize,
}

/// All files and links of a source, by their paths below it.
///
/// # Errors
/// It cannot be read, or is no folder.
pub(super) fn files_of(source: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        let place = source.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&folder));
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            let mut path = folder.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.file_name().as_bytes());
            if entry.file_type()?.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}

/// At most `most` folders and files that have all of `wanted` and few others. `None`: that is no less
/// than all, or nothing is wanted.
pub(super) fn part(files: &[Vec<u8>], wanted: &BTreeSet<&[u8]>, most: usize) -> Option<Part> {
    let tree = Tree::of(files, wanted);
    let mut final_ones: Vec<&[u8]> = Vec::new();
    let mut open: Vec<&[u8]> = vec![b""];
    loop {
        let unwanted = |path: &&[u8]| tree.counts.get(*path).map_or(0, |count| count.files - count.wanted);
        let (at, _) = open.iter().enumerate().max_by_key(|(_, path)| unwanted(path))?;
        let path = open.swap_remove(at);
        let inside: Vec<&[u8]> = tree.wanted_in(path);
        let fits = final_ones.len() + open.len() + inside.len() <= most;
        if unwanted(&path) > 0 && fits && !inside.is_empty() {
            open.extend(inside);
        } else {
            final_ones.push(path);
        }
        if open.is_empty() {
            break;
        }
    }
    if final_ones.contains(&&b""[..]) {
        return None;
    }
    let files = final_ones.iter().filter_map(|path| tree.counts.get(path)).map(|count| count.files).sum();
    final_ones.sort_unstable();
    Some(Part { paths: final_ones.into_iter().map(<[u8]>::to_vec).collect(), files })
}

/// How many files a folder (or file) has.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    files: usize,
    wanted: usize,
}

struct Tree<'a> {
    counts: BTreeMap<&'a [u8], Count>,
    /// What lies directly in a folder.
    inside: BTreeMap<&'a [u8], BTreeSet<&'a [u8]>>,
}

impl<'a> Tree<'a> {
    fn of(files: &'a [Vec<u8>], wanted: &BTreeSet<&[u8]>) -> Self {
        let mut tree = Self { counts: BTreeMap::new(), inside: BTreeMap::new() };
        for file in files {
            let wanted = usize::from(wanted.contains(file.as_slice()));
            let mut path = file.as_slice();
            loop {
                let count = tree.counts.entry(path).or_default();
                count.files += 1;
                count.wanted += wanted;
                if path.is_empty() {
                    break;
                }
                let parent = &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
                tree.inside.entry(parent).or_default().insert(path);
                path = parent;
            }
        }
        tree
    }

    fn wanted_in(&self, folder: &[u8]) -> Vec<&'a [u8]> {
        let is_wanted = |path: &&&[u8]| self.counts.get(**path).is_some_and(|count| count.wanted > 0);
        self.inside.get(folder).into_iter().flatten().filter(is_wanted).copied().collect()
    }
}

impl Part {
    /// As Nix would be told of it, in the folder of the source.
    pub(super) fn to_nix(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(|path| nix_path(path)).collect();
        match &paths[..] {
            [path] => path.clone(),
            _ => format!("lib.fileset.unions [ {} ]", paths.join(" ")),
        }
    }
}

fn nix_path(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match text.chars().all(plain) {
        true => format!("./{text}"),
        false => format!("(./. + {})", nix_string(&format!("/{text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &str, wanted: &str, most: usize, expected: Option<(&str, usize)>) {
        let files: Vec<Vec<u8>> = files.split(' ').map(|file| file.as_bytes().to_vec()).collect();
        let wanted = wanted.split(' ').map(str::as_bytes).collect();
        let found = part(&files, &wanted, most).map(|part| (part.to_nix(), part.files));
        assert_eq!(found, expected.map(|(text, files)| (text.to_owned(), files)));
    }

    const FILES: &str = "Makefile README docs/a docs/b src/lib/x.c src/lib/y.c src/main.c src/odd";

    #[test]
    fn what_was_read_is_enough() {
        check(FILES, "Makefile src/main.c", 5, Some(("lib.fileset.unions [ ./Makefile ./src/main.c ]", 2)));
        check(FILES, "src/lib/x.c src/lib/y.c", 5, Some(("./src/lib", 2)));
    }

    #[test]
    fn a_long_list_is_made_short_by_whole_folders() {
        let wanted = "Makefile src/lib/x.c src/main.c src/odd";
        check(FILES, wanted, 2, Some(("lib.fileset.unions [ ./Makefile ./src ]", 5)));
        check(FILES, wanted, 1, None);
    }

    #[test]
    fn nothing_and_everything_is_no_part() {
        check("a b", "c", 5, None);
        check("a b", "a b", 5, None);
        check("", "a", 5, None);
    }

    #[test]
    fn odd_names_are_strings() {
        check("a$b c", "a$b", 5, Some((r#"(./. + "/a$b")"#, 1)));
    }

    #[test]
    fn a_source_is_read_with_all_its_folders() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let mut files = files_of(dir.path()).unwrap();
        files.sort();
        assert_eq!(files, [b"a/b/c".to_vec(), b"link".to_vec()]);
        assert!(files_of(&dir.path().join("link")).is_err());
    }
}
