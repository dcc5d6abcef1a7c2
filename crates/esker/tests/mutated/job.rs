//! A job with a random builder and two random inputs, and what is known of its builds.

use std::fmt::Write as _;
use std::path::Path;

use esker_trace::observation::Kind;

use super::tree::{Dice, Node, folder};

/// See the module.
pub(crate) struct Job {
    pub(crate) name: String,
    /// Its builder, for busybox's shell.
    pub(crate) script: String,
    /// The result depends on the hash of an input.
    pub(crate) tells_hash: bool,
    /// The result is an empty file.
    pub(crate) is_empty: bool,
    /// The inputs `a` and `b`, now.
    pub(crate) inputs: [Node; 2],
    /// Each build that was observed.
    pub(crate) builds: Vec<Build>,
}

/// A build: what it asked, of what inputs.
pub(crate) struct Build {
    pub(crate) asked: Vec<(usize, Vec<u8>, Kind)>,
    pub(crate) inputs: [Node; 2],
}

impl Job {
    pub(crate) fn new(name: String, dice: &mut Dice) -> Self {
        let inputs = [folder(dice, 0), folder(dice, 0)];
        let (is_empty, tells_hash) = (dice.one_in(3), dice.one_in(12));
        let mut script = String::from("exec 2> /dev/null\nlook() {\n");
        for _ in 0..=dice.below(5) {
            let input = dice.below(2);
            let paths = inputs[input].paths();
            let path = match dice.one_in(4) {
                true => b"lib/config".to_vec(),
                false => dice.of(&paths).clone(),
            };
            let step = step(&quoted(&path), dice);
            let _ = writeln!(script, "(cd ${}; {step})", ["a", "b"][input]);
        }
        if tells_hash {
            script += "echo $a | sha256sum\n";
        }
        script += match is_empty {
            true => "}\nlook > $TMPDIR/seen; : > $out\n",
            false => "}\nlook > $out; :\n",
        };
        Self { name, script, tells_hash, is_empty, inputs, builds: Vec::new() }
    }

    /// Whether all observations of some earlier build hold for these inputs.
    pub(crate) fn holds(&self, inputs: &[Node; 2]) -> bool {
        self.builds.iter().any(|build| {
            build.asked.iter().all(|(input, path, kind)| {
                build.inputs[*input].answer(path, *kind) == inputs[*input].answer(path, *kind)
            })
        })
    }

    /// Changes the inputs: only what nobody asked about, or something that was asked about, if that can
    /// be found.
    pub(crate) fn change(&mut self, inside: bool, dice: &mut Dice) {
        for _ in 0..60 {
            let mut inputs = self.inputs.clone();
            for _ in 0..=dice.below(3) {
                let input = dice.below(2);
                let asked = self.builds.last().into_iter().flat_map(|build| &build.asked);
                let mut paths: Vec<_> =
                    asked.filter(|(of, ..)| *of == input).map(|(_, path, _)| path.clone()).collect();
                if !inside || dice.one_in(2) {
                    paths.extend(inputs[input].paths());
                }
                paths.push(super::tree::name(dice));
                let path = dice.of(&paths).clone();
                inputs[input].change(&path, dice);
            }
            if inputs != self.inputs && self.holds(&inputs) != inside {
                self.inputs = inputs;
                return;
            }
        }
    }

    /// Writes the inputs into a folder that is made anew.
    pub(crate) fn write(&self, folder: &Path) {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
        for (input, name) in self.inputs.iter().zip(["a", "b"]) {
            input.write(&folder.join(name));
        }
    }
}

/// One thing that a builder does with a path, in the folder of an input. It tells nothing of the folder's
/// own path.
fn step(path: &str, dice: &mut Dice) -> String {
    match dice.below(18) {
        0..3 => format!("cat ./{path}"),
        3 => format!("wc -c < ./{path}"),
        4 => format!("[ -e ./{path} ] && echo there"),
        5 => format!("[ -x ./{path} ] && echo may be run; [ -L ./{path} ] && echo link"),
        6 => format!("ls ./{path}"),
        7 => format!("readlink ./{path}"),
        8 => format!("sha256sum < ./{path}"),
        9 => format!("find ./{path} | sort"),
        10 => format!("find ./{path} -type f | sort | while IFS= read -r f; do wc -c < \"$f\"; done"),
        11 => format!("find ./{path} | sort | tar c --no-recursion -T - | gzip -n | md5sum"),
        12 => format!("grep -r o ./{path} | sort"),
        13 => format!("for f in ./{path}/*; do [ -f \"$f\" ] && head -n 1 \"$f\"; done"),
        14 => format!("[ -d ./{path} ] && cat ./{path}/a || cat ./a"),
        15 => format!("read x < ./{path}; case $x in one) cat ./b;; *) ls ./lib;; esac"),
        16 => format!("sh ./{path}"),
        _ => format!(
            "exec 5< ./{path}; tail -c 3 /proc/self/fd/5; [ -f ./{path} ] && stat -c '%s %a %F' ./{path}"
        ),
    }
}

/// As one word of a shell.
fn quoted(path: &[u8]) -> String {
    path.iter().fold(String::new(), |mut word, byte| {
        match byte {
            b'a'..=b'z' | b'/' | b'.' => word.push(char::from(*byte)),
            // Of two or three digits and never followed by one: no name has any.
            other => {
                let _ = write!(word, "\"$(printf '\\{other:o}')\"");
            }
        }
        word
    })
}
