//! Which derivation is built next: pure decisions on the graph of what is left to do.
//!
//! The derivation at the head of the longest path (in estimated seconds) goes first, because
//! nothing else can make the whole run shorter.
//!
//! Invariant: a node is handed out at most once, and only after all it needs has passed. A node
//! fails for at most one reason: the first dependency that failed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use esker_nix::StorePath;

use super::resolve::NodeSpec;
use crate::event::Action;

/// Index of a node.
pub(crate) type NodeId = usize;

/// What a node occupies while it runs: a machine, or only the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Build = 0,
    Fetch = 1,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Build, Self::Fetch];

    pub(crate) fn of(action: Action) -> Self {
        match action {
            Action::Build | Action::Rebuild => Self::Build,
            Action::Fetch => Self::Fetch,
        }
    }
}

/// What is left to do, and what became of it.
#[derive(Default)]
pub(crate) struct Schedule {
    nodes: Vec<Node>,
    by_drv: HashMap<StorePath, NodeId>,
    /// Ready nodes by lane, the most urgent first (milliseconds of the longest path that begins there).
    ready: [BTreeSet<(Reverse<u64>, NodeId)>; 2],
    unfinished: usize,
}

pub(crate) struct Node {
    pub(crate) spec: NodeSpec,
    pub(crate) state: NodeState,
    estimate: u64,
    urgency: u64,
    missing: usize,
    needs: Vec<NodeId>,
    needed_by: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    Waiting,
    Running,
    Passed,
    /// It was run and did not pass.
    Failed,
    /// It cannot be run, since this one failed.
    Blocked {
        culprit: NodeId,
    },
}

/// When nothing is known: long enough that known short ones wait.
const UNKNOWN_MILLIS: u64 = 5_000;

impl Schedule {
    /// Adds a node, unless the derivation has one. Its inputs must have been added before.
    /// Returns the node and whether it is new.
    pub(crate) fn add(&mut self, spec: NodeSpec, estimate: Option<f64>) -> (NodeId, bool) {
        if let Some(&id) = self.by_drv.get(&spec.drv) {
            return (id, false);
        }
        let id = self.nodes.len();
        let needs: Vec<NodeId> = spec.inputs.iter().filter_map(|drv| self.by_drv.get(drv).copied()).collect();
        let missing = needs.iter().filter(|need| self.nodes[**need].state != NodeState::Passed).count();
        let blocked = needs.iter().find_map(|&need| match self.nodes[need].state {
            NodeState::Failed => Some(need),
            NodeState::Blocked { culprit } => Some(culprit),
            _ => None,
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate; saturates")]
        let estimate = estimate.map_or(UNKNOWN_MILLIS, |seconds| (seconds * 1000.0) as u64);
        for &need in &needs {
            self.nodes[need].needed_by.push(id);
        }
        self.by_drv.insert(spec.drv.clone(), id);
        let state = blocked.map_or(NodeState::Waiting, |culprit| NodeState::Blocked { culprit });
        self.unfinished += usize::from(blocked.is_none());
        self.nodes.push(Node { spec, state, estimate, urgency: 0, missing, needs, needed_by: Vec::new() });
        self.raise(id, estimate);
        if missing == 0 && blocked.is_none() {
            let lane = Lane::of(self.nodes[id].spec.action);
            self.ready[lane as usize].insert((Reverse(self.nodes[id].urgency), id));
        }
        (id, true)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn find(&self, drv: &StorePath) -> Option<NodeId> {
        self.by_drv.get(drv).copied()
    }

    /// Nodes that are neither done nor blocked.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Whether a node of this lane could run now.
    pub(crate) fn is_ready(&self, lane: Lane) -> bool {
        !self.ready[lane as usize].is_empty()
    }

    /// Hands out the most urgent node of this lane that can run now.
    pub(crate) fn take(&mut self, lane: Lane) -> Option<NodeId> {
        let (_, id) = self.ready[lane as usize].pop_first()?;
        self.nodes[id].state = NodeState::Running;
        Some(id)
    }

    /// Takes back the end of a node. Returns all nodes that are settled by it: itself first, then
    /// those that are blocked when it did not pass.
    pub(crate) fn finish(&mut self, id: NodeId, passed: bool) -> Vec<NodeId> {
        if self.nodes[id].state != NodeState::Running {
            return Vec::new();
        }
        self.unfinished -= 1;
        let mut settled = vec![id];
        if passed {
            self.nodes[id].state = NodeState::Passed;
            for dependent in self.nodes[id].needed_by.clone() {
                let node = &mut self.nodes[dependent];
                node.missing -= 1;
                if node.missing == 0 && node.state == NodeState::Waiting {
                    self.ready[Lane::of(node.spec.action) as usize]
                        .insert((Reverse(node.urgency), dependent));
                }
            }
            return settled;
        }
        self.nodes[id].state = NodeState::Failed;
        let mut next = self.nodes[id].needed_by.clone();
        while let Some(dependent) = next.pop() {
            let node = &mut self.nodes[dependent];
            if node.state == NodeState::Waiting {
                node.state = NodeState::Blocked { culprit: id };
                self.unfinished -= 1;
                next.extend(node.needed_by.iter().copied());
                settled.push(dependent);
            }
        }
        settled
    }

    /// A path through this node takes at least `millis`: tell all that come before it.
    fn raise(&mut self, id: NodeId, millis: u64) {
        let mut next = vec![(id, millis)];
        while let Some((id, millis)) = next.pop() {
            let node = &mut self.nodes[id];
            if millis <= node.urgency {
                continue;
            }
            let ready = &mut self.ready[Lane::of(node.spec.action) as usize];
            let was_ready = ready.remove(&(Reverse(node.urgency), id));
            node.urgency = millis;
            if was_ready {
                ready.insert((Reverse(millis), id));
            }
            for &need in &self.nodes[id].needs {
                next.push((need, millis.saturating_add(self.nodes[need].estimate)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drv(name: &str) -> StorePath {
        format!("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-{name}.drv").parse().unwrap()
    }

    fn spec(name: &str, inputs: &[&str]) -> NodeSpec {
        NodeSpec {
            drv: drv(name),
            name: name.to_owned(),
            system: "x86_64-linux".to_owned(),
            inputs: inputs.iter().map(|name| drv(name)).collect(),
            action: Action::Build,
            substitutes: false,
        }
    }

    fn order(schedule: &mut Schedule) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(id) = schedule.take(Lane::Build) {
            names.push(schedule.node(id).spec.name.clone());
            schedule.finish(id, true);
        }
        names
    }

    #[test]
    fn the_longest_path_goes_first() {
        let mut schedule = Schedule::default();
        schedule.add(spec("short", &[]), Some(1.0));
        schedule.add(spec("base", &[]), Some(1.0));
        schedule.add(spec("long", &["base"]), Some(60.0));
        assert_eq!(order(&mut schedule), ["base", "long", "short"]);
        assert_eq!(schedule.unfinished(), 0);
    }

    #[test]
    fn a_failure_blocks_what_needs_it_and_names_the_culprit() {
        let mut schedule = Schedule::default();
        let (base, _) = schedule.add(spec("base", &[]), None);
        let (middle, _) = schedule.add(spec("middle", &["base"]), None);
        let (top, _) = schedule.add(spec("top", &["middle"]), None);
        assert_eq!(schedule.take(Lane::Build), Some(base));
        assert_eq!(schedule.finish(base, false), [base, middle, top]);
        assert_eq!(schedule.node(top).state, NodeState::Blocked { culprit: base });
        assert_eq!(schedule.unfinished(), 0);
    }

    #[test]
    fn what_comes_late_under_a_failed_node_is_blocked_at_once() {
        let mut schedule = Schedule::default();
        let (base, _) = schedule.add(spec("base", &[]), None);
        schedule.take(Lane::Build);
        schedule.finish(base, false);
        let (late, _) = schedule.add(spec("late", &["base"]), None);
        assert_eq!(schedule.node(late).state, NodeState::Blocked { culprit: base });
        assert_eq!(schedule.take(Lane::Build), None);
    }

    #[test]
    fn a_derivation_has_one_node() {
        let mut schedule = Schedule::default();
        let (first, _) = schedule.add(spec("base", &[]), None);
        assert_eq!(schedule.add(spec("base", &[]), None), (first, false));
    }
}
