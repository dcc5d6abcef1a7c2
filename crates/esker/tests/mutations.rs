//! Random builders, and random changes of what they observed and of what they did not: only the former
//! leads to a build, and a reused result is always what Nix itself would build.
//!
//! `ESKER_SEED` repeats a run, `ESKER_SOAK_REUSES` says how many judged reuses a long one is to make.

#![expect(clippy::unwrap_used, reason = "tests")]

mod judged;
mod mutated;
mod story;

use std::collections::BTreeSet;
use std::env;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use judged::{drvs, judge, reason, reuse, traces};
use mutated::job::{Build, Job};
use mutated::tree::Dice;
use story::told::Told;
use story::{Nix, Project};

/// After so many builds of a job it is only certain that nothing is reused wrongly: a store keeps a few
/// sets of questions for each derivation, and makes them coarser when there are more.
const MOST_BUILDS: usize = 8;

/// What was done until now.
#[derive(Default)]
struct Count {
    changes: usize,
    inside: usize,
    reuses: usize,
    of_content: usize,
    builds: usize,
    differing: Vec<String>,
}

struct Mutations {
    project: Project,
    jobs: Vec<Job>,
    dice: Dice,
    count: Count,
}

impl Mutations {
    fn new(project: Project, jobs: usize, mut dice: Dice) -> Self {
        let jobs: Vec<Job> = (0..jobs).map(|number| Job::new(format!("job-{number}"), &mut dice)).collect();
        let mut list = String::from(
            "map (name: { inherit name; a = ./jobs + \"/${name}/a\"; b = ./jobs + \"/${name}/b\";\n",
        );
        list += "script = builtins.readFile (./jobs + \"/${name}/script\"); }) [\n";
        jobs.iter().for_each(|job| list += &format!("\"{}\"\n", job.name));
        project.write("jobs.nix", &(list + "]\n"));
        Self { project, jobs, dice, count: Count::default() }
    }

    /// Has everything checked as it is now, compares with the model, and calls the judge.
    fn round(&mut self) {
        let folder = self.project.folder().join("jobs");
        for job in &self.jobs {
            job.write(&folder.join(&job.name));
            std::fs::write(folder.join(&job.name).join("script"), &job.script).unwrap();
        }
        let told = reuse(&self.project);
        let drvs = drvs(&told);
        assert_eq!(drvs.len(), self.jobs.len(), "{told}");
        let store = traces(&self.project);
        let summaries = store.traces(usize::MAX).unwrap();
        let (mut judged, mut reused) = (Vec::new(), BTreeSet::new());
        for job in &mut self.jobs {
            let drv = &drvs.iter().find(|(name, _)| *name == job.name).unwrap().1;
            match as_expected(job, &told, drv) {
                How::Known => continue,
                How::Reused => {
                    self.count.reuses += 1;
                    self.count.of_content += usize::from(!job.is_empty);
                    reused.insert(drv.clone());
                    judged.push(drv.clone());
                }
                How::Built => {
                    self.count.builds += 1;
                    // A build with the same observations gives its trace the name of its derivation.
                    let trace = summaries.iter().find(|trace| trace.produced.log == *drv);
                    judged.push(drv.clone());
                    let Some(trace) = trace else {
                        // One that depends on a hash is revoked when it had been reused under other ones.
                        assert!(job.tells_hash, "{}: not recorded\n{}", job.name, job.script);
                        job.builds.clear();
                        continue;
                    };
                    let observed = store.observations(&trace.trace).unwrap().unwrap();
                    let input = |key: &str| ["a", "b"].iter().position(|name| *name == key);
                    let asked =
                        observed.into_iter().filter_map(|it| Some((input(&it.key)?, it.path, it.kind)));
                    job.builds.push(Build { asked: asked.collect(), inputs: job.inputs.clone() });
                }
            }
        }
        drop(store);
        for drv in judge(&self.project, &told, &judged) {
            let job = &self.jobs[drvs.iter().position(|(_, other)| *other == drv).unwrap()];
            let how = if reused.contains(&drv) { "REUSED FALSELY" } else { "built otherwise than by Nix" };
            self.count
                .differing
                .push(format!("{how}: {} {drv}\n{}\n{:#?}", job.name, job.script, job.inputs));
        }
        assert!(self.count.differing.is_empty(), "{}", self.count.differing.join("\n"));
    }

    fn change(&mut self) {
        for job in &mut self.jobs {
            let inside = self.dice.one_in(4) && job.builds.len() < MOST_BUILDS;
            job.change(inside, &mut self.dice);
            self.count.changes += 1;
            self.count.inside += usize::from(inside);
        }
    }
}

enum How {
    Built,
    Reused,
    /// These very inputs were met before.
    Known,
}

fn as_expected(job: &Job, told: &Told, drv: &str) -> How {
    let (outcome, reason) = (&told.outcome(&job.name)["outcome"], reason(told, drv));
    let holds = job.holds(&job.inputs);
    let context = || format!("{} was {outcome} ({reason})\n{}\n{:#?}", job.name, job.script, job.inputs);
    match outcome.as_str().unwrap() {
        "in_store" => How::Known,
        "reused" => {
            assert!(holds, "something that it observed is not as it was: {}", context());
            How::Reused
        }
        "built" => {
            let certain = job.builds.len() < MOST_BUILDS && !job.tells_hash;
            let (empty, proof) = (job.is_empty, reason == "unproven");
            assert!(
                !(holds && certain) || (proof && !empty),
                "nothing it observed has changed: {}",
                context()
            );
            assert!(!proof || holds, "an observation has changed: {}", context());
            How::Built
        }
        _ => panic!("{}", context()),
    }
}

/// From the environment, or new, and told.
fn seed() -> u64 {
    let given = env::var("ESKER_SEED").ok().map(|text| text.parse().unwrap());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = given.unwrap_or_else(now);
    eprintln!("ESKER_SEED={seed}");
    seed
}

/// Sets of jobs, each changed and checked for some rounds, until this is enough.
fn mutate(nix: &Nix, jobs: usize, rounds: usize, enough: impl Fn(&Count, Duration) -> bool) {
    let (seed, began) = (seed(), Instant::now());
    let mut total = Count::default();
    for set in 0.. {
        let Some(project) = judged::project(nix, "mutated") else { return };
        let dice = Dice(seed.wrapping_add(set * 0x1_0000_0000));
        let mut mutations = Mutations::new(project, jobs, dice);
        mutations.round();
        for _ in 0..rounds {
            mutations.change();
            mutations.round();
        }
        let count = mutations.count;
        total.changes += count.changes;
        total.inside += count.inside;
        total.reuses += count.reuses;
        total.of_content += count.of_content;
        total.builds += count.builds;
        eprintln!(
            "in all {} changes ({} of what was observed), {} builds, {} judged reuses ({} with content), {} false, \
             seed {seed}, {} s",
            total.changes,
            total.inside,
            total.builds,
            total.reuses,
            total.of_content,
            total.differing.len(),
            began.elapsed().as_secs()
        );
        if enough(&total, began.elapsed()) {
            eprintln!("total: {} reuses, {} false", total.reuses, total.differing.len());
            return;
        }
    }
}

fn what_was_not_observed_may_change_and_nothing_else(nix: &Nix) {
    mutate(nix, 16, 5, |_, _| true);
}

story::on_each_nix! { what_was_not_observed_may_change_and_nothing_else }

mod thousands_of_changes {
    use super::*;

    fn soak(which: story::Which) {
        let wanted: usize = env::var("ESKER_SOAK_REUSES").map_or(1600, |text| text.parse().unwrap());
        story::tell(which, |nix| mutate(nix, 40, 30, |count, _| count.reuses >= wanted));
    }

    #[test]
    #[ignore = "takes minutes: make soak"]
    fn old_nix() {
        soak(story::Which::Old);
    }

    #[test]
    #[ignore = "takes minutes: make soak"]
    fn new_nix() {
        soak(story::Which::New);
    }
}
