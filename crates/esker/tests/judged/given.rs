//! Programs of this machine, as inputs of builds: with their libraries, so that the builds see nothing
//! of the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::story::Project;

/// Puts a program and its libraries into `interpreters/NAME`, as `bin/NAME` and `lib`; and the files of
/// folders, as `modules/…`. Says loudly when it is not here.
pub(crate) fn give(project: &Project, name: &str, program: &str, modules: &[&str]) {
    let folder = project.folder().join("interpreters").join(name);
    let Some(libraries) = libraries(program) else {
        eprintln!("SKIPPED: no {name} here that could be an input");
        return;
    };
    for part in ["bin", "lib", "modules"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    fs::copy(program, folder.join("bin").join(name)).unwrap();
    for library in libraries {
        let base = Path::new(&library).file_name().unwrap().to_str().unwrap();
        let base = if base.starts_with("ld-") { "ld.so" } else { base };
        fs::copy(&library, folder.join("lib").join(base)).unwrap();
    }
    for module in modules {
        let from = Path::new(module);
        let to = folder.join("modules").join(from.file_name().unwrap());
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
}

/// Where the libraries of a program lie, its loader among them; `None` if there is no such program.
fn libraries(program: &str) -> Option<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut libraries: Vec<String> =
        text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect();
    // Loaded when a thread ends, and named nowhere.
    let beside = libraries.iter().find_map(|library| library.strip_suffix("libc.so.6"));
    libraries
        .extend(beside.map(|folder| format!("{folder}libgcc_s.so.1")).filter(|it| Path::new(it).exists()));
    Some(libraries)
}
