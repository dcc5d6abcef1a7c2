//! The place in which a builder runs: what Nix's sandbox is on Linux, with inputs that are watched.
//!
//! Compared with Nix 2.8 and 2.34 by a derivation that prints what it sees: the same namespaces
//! (user, process, mount, network, IPC, host name), ids (1000 and 100), host name, files in `/etc`,
//! `/dev` and `/`, permissions, limits and system calls refused. `/sys`, `/usr` and `/bin` are absent
//! unless asked for.
//!
//! Three processes take part. The *supervisor* (the caller) serves the inputs and pumps the log. The
//! *warden* is the first process of a process namespace and only sleeps; the kernel kills it when the
//! supervisor dies, of whatever cause, and everything below it with it. The *builder* is the first
//! process of a namespace inside that one, with the namespaces above, and cannot see either.
//!
//! Invariant: between fork and execution nothing is allocated; the child walks a list of steps that
//! was made before ([`plan`]).

pub(crate) mod child;
pub(crate) mod limit;
pub(crate) mod plan;
pub(crate) mod root;
mod seccomp;
pub(crate) mod tree;
