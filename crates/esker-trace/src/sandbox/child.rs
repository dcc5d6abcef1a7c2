//! The child's way from fork to builder.
//!
//! Invariant: nothing here allocates, takes a lock or unwinds (see [`crate::sys`]). A failure is
//! written to the report as two numbers and told in words by the supervisor.

use std::ffi::CStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Resource, Rlimit, Signal, WaitOptions};
use rustix::thread::{Gid, Uid};

use super::plan::{Plan, Step};
use crate::observe::watch::{LISTED, OPENED};
use crate::sys::{self, Forked};

/// The ids that a builder sees as its own.
pub(crate) const USER: u32 = 1000;
/// See [`USER`].
pub(crate) const GROUP: u32 = 100;

/// Where the child failed: the number of a step of the plan, or one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Place {
    Start = u32::MAX,
    Network = u32::MAX - 1,
    Root = u32::MAX - 2,
    Ids = u32::MAX - 3,
    Streams = u32::MAX - 4,
    Filter = u32::MAX - 5,
    Execute = u32::MAX - 6,
}

impl Place {
    /// For a message about a failure there.
    pub(crate) fn describe(place: u32) -> &'static str {
        let places = [
            (Self::Start, "begin"),
            (Self::Network, "set up the network"),
            (Self::Root, "change the root"),
            (Self::Ids, "set ids and limits"),
            (Self::Streams, "open the standard streams"),
            (Self::Filter, "filter system calls"),
        ];
        places.iter().find(|(one, _)| *one as u32 == place).map_or("start the builder", |(_, what)| what)
    }
}

/// The warden: starts the builder, says how it ended, and is killed at the latest with the
/// supervisor's thread.
///
/// `alive` and `alive_end` are the ends of a pipe that the supervisor keeps open while it lives; `news`
/// takes the builder's status, as `wait` has it.
pub(crate) fn guard(alive: i32, alive_end: i32, news: i32, plan: &Plan) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The supervisor may have died before that call: then no signal comes, but the pipe has ended.
    sys::close(alive_end);
    let mut waited = [PollFd::from_borrowed_fd(sys::borrowed(alive), PollFlags::IN)];
    if poll(&mut waited, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0) {
        sys::exit(1);
    }
    let builder = match sys::fork(sys::ALL_NAMESPACES) {
        Ok(Forked::Child) => become_builder(plan),
        Ok(Forked::Parent(builder)) => builder,
        Err(error) => fail(plan, Place::Start as u32, error.raw_os_error().unwrap_or(0)),
    };
    sys::reset_signals();
    // Nothing of the supervisor's is kept open: not its pipes, not the device of the inputs.
    if sys::duplicate_to(news, 0).is_err() || sys::close_from(1).is_err() {
        sys::exit(1);
    }
    loop {
        match rustix::process::waitpid(Some(builder), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let _ = rustix::io::write(sys::borrowed(0), &status.as_raw().to_ne_bytes());
                sys::exit(0);
            }
            Err(Errno::INTR) | Ok(None) => {}
            Err(_) => sys::exit(1),
        }
    }
}

/// Becomes the builder.
pub(crate) fn become_builder(plan: &Plan) -> ! {
    let (place, error) = match prepare(plan) {
        Err(failure) => failure,
        Ok(()) => {
            let error = sys::execute(&plan.program, &plan.arguments, &plan.environment);
            (Place::Execute as u32, error)
        }
    };
    fail(plan, place, error.raw_os_error())
}

/// Sends a message of two numbers to the supervisor.
fn tell(plan: &Plan, first: u32, second: i32) {
    let mut message = [0; 8];
    message[..4].copy_from_slice(&first.to_ne_bytes());
    message[4..].copy_from_slice(&second.to_ne_bytes());
    let _ = rustix::io::write(sys::borrowed(plan.report), &message);
}

fn fail(plan: &Plan, place: u32, error: i32) -> ! {
    tell(plan, place, error);
    sys::exit(1)
}

/// Tells the supervisor which process this is: by the host's `/proc`, which is still mounted here.
fn introduce(plan: &Plan) -> Result<(), Errno> {
    let mut digits = [0_u8; 16];
    let length = rustix::fs::readlinkat_raw(CWD, c"/proc/self", &mut digits[..])?;
    let digits = digits.get(..length).unwrap_or_default();
    let number = digits
        .iter()
        .fold(0_u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0'))));
    tell(plan, number, 0);
    Ok(())
}

fn at(place: Place) -> impl Fn(Errno) -> (u32, Errno) {
    move |error| (place as u32, error)
}

fn prepare(plan: &Plan) -> Result<(), (u32, Errno)> {
    introduce(plan).map_err(at(Place::Start))?;
    let mut byte = [0];
    match rustix::io::read(sys::borrowed(plan.go), &mut byte) {
        Ok(1) => {}
        Ok(_) => return Err(at(Place::Start)(Errno::PIPE)),
        Err(error) => return Err(at(Place::Start)(error)),
    }
    rustix::process::setsid().map_err(at(Place::Start))?;
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(at(Place::Start))?;
    for (step, place) in plan.steps.iter().zip(0..) {
        take(step, plan).map_err(|error| (place, error))?;
    }
    network().map_err(at(Place::Network))?;
    change_root(&plan.root).map_err(at(Place::Root))?;
    rustix::process::chdir(&*plan.folder).map_err(at(Place::Root))?;
    streams(plan.log).map_err(at(Place::Streams))?;
    limits(plan.personality).map_err(at(Place::Ids))?;
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(GROUP));
    rustix::thread::set_thread_res_gid(group, group, group).map_err(at(Place::Ids))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(at(Place::Ids))?;
    sys::close_on_exec_from_3().map_err(at(Place::Streams))?;
    rustix::thread::set_no_new_privs(true).map_err(at(Place::Filter))?;
    sys::filter_calls(&plan.filter).map_err(at(Place::Filter))
}

fn take(step: &Step, plan: &Plan) -> Result<(), Errno> {
    match step {
        Step::Bind { source, target, recursive: false } => rustix::mount::mount_bind(&**source, &**target),
        Step::Bind { source, target, recursive: true } => {
            rustix::mount::mount_bind_recursive(&**source, &**target)
        }
        Step::Mount { kind, target, data } => {
            rustix::mount::mount(c"none", &**target, &**kind, MountFlags::empty(), &**data)
        }
        Step::Mode { path, mode } => {
            rustix::fs::chmodat(CWD, &**path, Mode::from_raw_mode(*mode), rustix::fs::AtFlags::empty())
        }
        Step::Watch { path, listed } => {
            let (queue, flags) = (sys::borrowed(plan.watches), if *listed { LISTED } else { OPENED });
            match rustix::fs::inotify::add_watch(queue, &**path, flags) {
                // Watches are told apart by their numbers, so the number is used up.
                Err(Errno::NOENT) if !listed => {
                    let stand_in = rustix::fs::inotify::add_watch(queue, &*plan.root, flags)?;
                    rustix::fs::inotify::remove_watch(queue, stand_in)
                }
                outcome => outcome.map(drop),
            }
        }
    }
}

/// A network of its own, in which only the machine itself can be reached.
fn network() -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::loopback_up(std::os::fd::AsFd::as_fd(&socket))?;
    rustix::system::sethostname(b"localhost")?;
    rustix::system::setdomainname(b"(none)")
}

fn change_root(root: &CStr) -> Result<(), Errno> {
    rustix::process::chdir(root)?;
    // The old root ends up on top of the new one, and is taken away.
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

fn streams(log: i32) -> Result<(), Errno> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    sys::duplicate_to(sys::number(&null), 0)?;
    sys::duplicate_to(log, 1)?;
    sys::duplicate_to(log, 2)
}

fn limits(personality: i32) -> Result<(), Errno> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::reset_signals();
    sys::add_personality(personality);
    let hard = rustix::process::getrlimit(Resource::Core).maximum;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: hard })
}
