//! System calls that have no safe form: all `unsafe` of Esker is here.
//!
//! What runs between [`fork`] and [`execute`] may be the copy of one thread of many, with locks held
//! by threads that are not there. So nothing here allocates, and the callers must not either.
#![expect(unsafe_code, reason = "the system calls below have no safe form")]

use std::ffi::{CStr, CString, c_char, c_int, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// New namespaces of each kind that a builder gets.
pub(crate) const ALL_NAMESPACES: c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Whose turn it is after a fork.
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// Forks into new namespaces. The child must end in [`execute`] or [`exit`] without allocating.
pub(crate) fn fork(namespaces: c_int) -> io::Result<Forked> {
    let flags = namespaces as c_ulong | libc::SIGCHLD as c_ulong;
    // SAFETY: without CLONE_VM the child has a copy of all memory, so it cannot harm the parent; that
    // only this thread goes on in it is what the callers are told above. A null stack keeps the stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    match i32::try_from(pid) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid @ 1..) => Pid::from_raw(pid).map(Forked::Parent).ok_or_else(io::Error::last_os_error),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends the process at once, running nothing.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: has no conditions, and does not return.
    unsafe { libc::_exit(code) }
}

/// Moves this thread into a new namespace of a kind that does not share its descriptors.
pub(crate) fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: unsafe only for CLONE_FILES, which would take descriptors away from other threads.
    unsafe { rustix::thread::unshare_unsafe(flags - UnshareFlags::FILES) }
}

/// Strings as `execve` takes them.
pub(crate) struct StringArray {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringArray {
    /// Keeps the strings alive and their addresses at hand.
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { _strings: strings, pointers }
    }
}

/// Becomes another program. Returns only on failure.
pub(crate) fn execute(
    program: &CStr,
    arguments: &StringArray,
    environment: &StringArray,
) -> rustix::io::Errno {
    // SAFETY: both arrays end with a null pointer, and their strings live as long as they do.
    unsafe { libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last_error()
}

/// Gives every signal its default action and lets it through.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours; signals that cannot be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero set is a valid set; sigemptyset and sigprocmask take pointers to it.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Adds to the execution domain: that of 32-bit programs, no random addresses.
pub(crate) fn add_personality(domain: c_int) {
    // SAFETY: changes only what later calls of this process report; 0xffffffff reads.
    unsafe {
        let now = libc::personality(0xffff_ffff);
        libc::personality((now | domain) as c_ulong);
    }
}

/// Marks every descriptor but the first three to be closed when another program is run.
pub(crate) fn close_on_exec_from_3() -> rustix::io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC no descriptor is closed now.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Closes a descriptor that came along with a fork.
pub(crate) fn close(number: RawFd) {
    // SAFETY: called in a child, about a copy that nothing in it uses.
    unsafe { libc::close(number) };
}

/// Closes all descriptors from this number on: copies that came along with a fork.
pub(crate) fn close_from(number: u32) -> rustix::io::Result<()> {
    // SAFETY: called in a child, about copies that nothing in it uses.
    let result = unsafe { libc::syscall(libc::SYS_close_range, number, u32::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Makes `number` another name of `from`.
pub(crate) fn duplicate_to(from: RawFd, number: RawFd) -> rustix::io::Result<()> {
    // SAFETY: the numbers are 0, 1 and 2, in a process that is about to run another program.
    let result = unsafe { libc::dup3(from, number, 0) };
    if result >= 0 { Ok(()) } else { Err(last_error()) }
}

/// Switches the loopback interface of this network namespace on.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // SAFETY: an all-zero `ifreq` is valid; the name is shorter than its field; the call reads the
    // structure and keeps nothing of it.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as c_char;
        request.ifr_name[1] = b'o' as c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING) as i16;
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request)
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// One instruction of a seccomp filter.
pub(crate) type Instruction = libc::sock_filter;

/// Filters the system calls of this thread and of all that come from it, for ever.
pub(crate) fn filter_calls(program: &[Instruction]) -> rustix::io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| rustix::io::Errno::TOOBIG)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, whose length is right, and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &filter) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// The descriptor's number, for use in a child that has a copy of it.
pub(crate) fn number(descriptor: &OwnedFd) -> RawFd {
    descriptor.as_raw_fd()
}

/// A descriptor by number, in a child that has a copy of it.
pub(crate) fn borrowed(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the numbers come from [`number`] of descriptors that the parent keeps open until the
    // child has ended; a child never closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

fn last_error() -> rustix::io::Errno {
    // SAFETY: the address is that of this thread's errno.
    rustix::io::Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
