//! What a derivation's builder is started with, as Nix would: program, arguments, environment and
//! files in the build folder.
//!
//! Source: the Nix manual, "Derivations" and "Advanced attributes", and by experiment
//! (`tests/traced_like_nix.rs` compares with Nix's own builds).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use esker_nix::StorePath;
use esker_nix::derivation::{Derivation, Method, Output, Rewrites};
use esker_nix::hash::{Algorithm, Hash};
use serde_json::{Map, Value};

use super::graph::Graphs;
use super::structured;
use super::version::Version;

/// The build folder, as the builder sees it.
pub(crate) const BUILD_FOLDER: &str = "/build";

/// What a builder is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) builder: Vec<u8>,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Name and content, in the build folder.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// What a builder finds of this that the derivation alone does not tell, by name.
    pub(crate) added: Vec<(String, Vec<u8>)>,
}

/// Features that only Nix itself provides to a builder.
const NIX_ONLY: [&str; 4] = ["kvm", "recursive-nix", "uid-range", "apple-virt"];
/// A feature that Nix offers wherever such derivations are switched on, and without them refuses itself.
const OF_EVERY_MACHINE: &str = "ca-derivations";

/// Why `derivation` is left to Nix, if it is.
///
/// `features` are the system features of this machine: what needs another one goes to another
/// machine, or nowhere, and Nix knows which.
pub(crate) fn why_not(derivation: &Derivation, system: &str, features: &[String]) -> Option<String> {
    let options = match derivation.options() {
        Ok(options) => options,
        Err(error) => return Some(error.to_string()),
    };
    if derivation.outputs.values().any(|output| matches!(output, Output::Fixed { .. })) {
        return Some("its output is fixed".to_owned());
    }
    for output in derivation.outputs.values() {
        match output {
            Output::Impure { .. } => return Some("it is impure".to_owned()),
            Output::Floating { algorithm: Algorithm::Sha256, method: Method::Nar | Method::Flat } => {}
            Output::Floating { .. } => return Some("its outputs are hashed in an unusual way".to_owned()),
            Output::InputAddressed(_) | Output::Deferred | Output::Fixed { .. } => {}
        }
    }
    if derivation.builder.starts_with(b"builtin:") || derivation.system != system {
        return Some(format!("it is for {}", derivation.system));
    }
    if options.no_sandbox {
        return Some("it asks for no sandbox".to_owned());
    }
    let missing = |feature: &&String| {
        NIX_ONLY.contains(&feature.as_str()) || !features.iter().any(|ours| ours == *feature)
    };
    let mut required = options.required_system_features.iter().filter(|feature| *feature != OF_EVERY_MACHINE);
    let feature = required.find(missing);
    feature.map(|feature| format!("it requires the system feature {feature}"))
}

/// The recipe of a derivation all outputs of which have paths; its own is `drv`.
pub(crate) fn recipe(
    drv: &StorePath,
    derivation: &Derivation,
    attributes: Option<Map<String, Value>>,
    graphs: &Graphs,
    cores: u64,
    nix: Version,
) -> Recipe {
    let placeholders = Rewrites::of_outputs(derivation);
    let mut recipe = Recipe {
        builder: derivation.builder.as_bytes().to_vec(),
        arguments: derivation.arguments.iter().map(|argument| placeholders.apply(argument)).collect(),
        environment: BTreeMap::new(),
        files: Vec::new(),
        added: Vec::new(),
    };
    recipe.set("PATH", "/path-not-set");
    recipe.set("HOME", "/homeless-shelter");
    recipe.set("NIX_STORE", "/nix/store");
    let cores = cores_to_tell(cores, nix);
    recipe.set("NIX_BUILD_CORES", &cores);
    recipe.added.push(("cores".to_owned(), cores.into_bytes()));
    match (attributes, graphs) {
        (Some(attributes), Graphs::Attributes(graphs)) => {
            let (json, shell) = structured::files(attributes, derivation, graphs);
            // Where Nix has the build folder outside, which old versions tell the builder.
            let outside = format!("{}/nix-build-{}-0", std::env::temp_dir().display(), drv.name());
            let folder = if nix < Version::NAMES_ATTRIBUTES_INSIDE { outside.as_str() } else { BUILD_FOLDER };
            for (variable, file, content) in
                [("NIX_ATTRS_JSON_FILE", ".attrs.json", json), ("NIX_ATTRS_SH_FILE", ".attrs.sh", shell)]
            {
                let path = format!("{folder}/{file}");
                recipe.set(variable, &path);
                recipe.added.push((variable.to_owned(), path.into_bytes()));
                recipe.add(file, placeholders.apply(&content));
            }
        }
        (_, graphs) => {
            recipe.add_variables(derivation, &placeholders);
            if let Graphs::Files(files) = graphs {
                for (name, content) in files {
                    recipe.add(name, content.clone());
                }
            }
        }
    }
    for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"] {
        recipe.set(name, BUILD_FOLDER);
    }
    recipe.set("NIX_LOG_FD", "2");
    recipe.set("TERM", "xterm-256color");
    recipe
}

/// 0 means all.
fn cores_to_tell(cores: u64, nix: Version) -> String {
    match cores {
        0 if nix >= Version::COUNTS_CORES => {
            /// It takes long to find out.
            static ALL: LazyLock<usize> =
                LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
            ALL.to_string()
        }
        cores => cores.to_string(),
    }
}

impl Recipe {
    fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
    }

    /// A file whose content does not follow from the derivation alone.
    fn add(&mut self, name: &str, content: Vec<u8>) {
        self.added.push((format!("file {name}"), content.clone()));
        self.files.push((name.to_owned(), content));
    }

    fn add_variables(&mut self, derivation: &Derivation, placeholders: &Rewrites) {
        let as_files = derivation.variable("passAsFile").map(|names| names.to_string_lossy().into_owned());
        let as_files: Vec<&str> = as_files.as_deref().unwrap_or_default().split_whitespace().collect();
        for (name, value) in &derivation.environment {
            if name.to_str().is_some_and(|name| as_files.contains(&name)) {
                let file = format!(".attr-{}", Hash::sha256(name.as_bytes()).to_nix32());
                let variable = [name.as_bytes(), b"Path"].concat();
                self.environment.insert(variable, format!("{BUILD_FOLDER}/{file}").into_bytes());
                self.files.push((file, placeholders.apply(value)));
            } else {
                self.environment.insert(placeholders.apply(name), placeholders.apply(value));
            }
        }
    }
}
