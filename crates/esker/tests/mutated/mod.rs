//! Random builders over random inputs, and random changes of these.

pub(crate) mod job;
pub(crate) mod tree;
