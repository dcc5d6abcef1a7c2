//! The filter of system calls: what Nix refuses its builders, and what would let a run see or do
//! something unobserved.
//!
//! As Nix (`src/libstore`, "seccomp"): no set-user-id and set-group-id bits may be given to files,
//! and extended attributes cannot be set, nor, as wanted, asked for. Beyond Nix: `io_uring`, `userfaultfd`, `perf_event_open`,
//! `bpf` and the keyrings do not exist, nor file handles, whose bytes tell the number of a node.
//!
//! The filter is made once, in the order in which the kernel runs it: the machine (a 64-bit kernel
//! also takes calls in the numbering of its 32-bit forebear), then each call. Anything not named is
//! allowed. A numbering that is not known here is refused altogether.

use crate::exec::Attributes;
use crate::sys::Instruction;

/// Set-user-id and set-group-id.
const PRIVILEGE_BITS: u32 = 0o6000;

/// What a filter says about a call.
#[derive(Clone, Copy)]
enum Rule {
    /// Fails with this error.
    Refuse(i32),
    /// Fails with EPERM if this argument has a privilege bit.
    NoPrivilege { argument: u32 },
}

/// The calls of one numbering.
struct Numbering {
    audit: u32,
    rules: Vec<(i64, Rule)>,
}

/// The filter for this machine.
pub(super) fn program(attributes: Attributes) -> Vec<Instruction> {
    assemble(&numberings(attributes))
}

fn numberings(attributes: Attributes) -> Vec<Numbering> {
    let no_attributes = |[get, lget, fget]: [i64; 3]| {
        let calls = [get, lget, fget].map(|call| (call, Rule::Refuse(libc::ENOTSUP)));
        calls.into_iter().filter(move |_| attributes == Attributes::Refused)
    };
    let mut native = native_rules();
    native.extend(no_attributes([libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr]));
    #[cfg(target_arch = "x86_64")]
    {
        native.push((libc::SYS_chmod, Rule::NoPrivilege { argument: 1 }));
        // arch/x86/entry/syscalls/syscall_32.tbl
        let mut old = vec![
            (15, Rule::NoPrivilege { argument: 1 }),  // chmod
            (94, Rule::NoPrivilege { argument: 1 }),  // fchmod
            (306, Rule::NoPrivilege { argument: 2 }), // fchmodat
            (452, Rule::NoPrivilege { argument: 2 }), // fchmodat2
            (226, Rule::Refuse(libc::ENOTSUP)),       // setxattr
            (227, Rule::Refuse(libc::ENOTSUP)),       // lsetxattr
            (228, Rule::Refuse(libc::ENOTSUP)),       // fsetxattr
            (463, Rule::Refuse(libc::ENOTSUP)),       // setxattrat
            (286, Rule::Refuse(libc::ENOSYS)),        // add_key
            (287, Rule::Refuse(libc::ENOSYS)),        // request_key
            (288, Rule::Refuse(libc::ENOSYS)),        // keyctl
            (336, Rule::Refuse(libc::ENOSYS)),        // perf_event_open
            (341, Rule::Refuse(libc::ENOTSUP)),       // name_to_handle_at
            (357, Rule::Refuse(libc::ENOSYS)),        // bpf
            (374, Rule::Refuse(libc::ENOSYS)),        // userfaultfd
            (425, Rule::Refuse(libc::ENOSYS)),        // io_uring_setup
            (426, Rule::Refuse(libc::ENOSYS)),        // io_uring_enter
            (427, Rule::Refuse(libc::ENOSYS)),        // io_uring_register
        ];
        old.extend(no_attributes([229, 230, 231]));
        vec![Numbering { audit: 0xc000_003e, rules: native }, Numbering { audit: 0x4000_0003, rules: old }]
    }
    #[cfg(target_arch = "aarch64")]
    {
        vec![Numbering { audit: 0xc000_00b7, rules: native }]
    }
}

/// The rules by the numbers of this machine, as far as all machines have them.
fn native_rules() -> Vec<(i64, Rule)> {
    vec![
        (libc::SYS_fchmod, Rule::NoPrivilege { argument: 1 }),
        (libc::SYS_fchmodat, Rule::NoPrivilege { argument: 2 }),
        (452, Rule::NoPrivilege { argument: 2 }), // fchmodat2
        (libc::SYS_setxattr, Rule::Refuse(libc::ENOTSUP)),
        (libc::SYS_lsetxattr, Rule::Refuse(libc::ENOTSUP)),
        (libc::SYS_fsetxattr, Rule::Refuse(libc::ENOTSUP)),
        (463, Rule::Refuse(libc::ENOTSUP)), // setxattrat
        (libc::SYS_add_key, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_request_key, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_keyctl, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_perf_event_open, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_name_to_handle_at, Rule::Refuse(libc::ENOTSUP)),
        (libc::SYS_bpf, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_userfaultfd, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_io_uring_setup, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_io_uring_enter, Rule::Refuse(libc::ENOSYS)),
        (libc::SYS_io_uring_register, Rule::Refuse(libc::ENOSYS)),
    ]
}

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const AUDIT: u32 = 4;
const ARGUMENTS: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;

fn refuse(error: i32) -> u32 {
    0x0005_0000 | error.unsigned_abs()
}

/// Numbers above this are the x32 numbering of an x86-64 kernel.
const X32: u32 = 0x4000_0000;

fn assemble(numberings: &[Numbering]) -> Vec<Instruction> {
    let mut out = vec![load(AUDIT)];
    for numbering in numberings {
        let mut section = vec![load(NUMBER)];
        section.push(jump_if_at_least(X32, 0, 1));
        section.push(end(refuse(libc::ENOSYS)));
        for (number, rule) in &numbering.rules {
            let number = u32::try_from(*number).expect("call numbers are small and positive");
            match rule {
                Rule::Refuse(error) => section.extend([jump_if(number, 0, 1), end(refuse(*error))]),
                Rule::NoPrivilege { argument } => section.extend([
                    jump_if(number, 0, 4),
                    load(ARGUMENTS + 8 * argument),
                    jump_if_any(PRIVILEGE_BITS, 0, 1),
                    end(refuse(libc::EPERM)),
                    end(ALLOW),
                ]),
            }
        }
        section.push(end(ALLOW));
        let length = u8::try_from(section.len()).expect("a section is short");
        out.push(jump_if(numbering.audit, 0, length));
        out.extend(section);
    }
    out.push(end(KILL));
    out
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code: u16::try_from(code).expect("codes have 16 bits"), jt, jf, k }
}

fn load(offset: u32) -> Instruction {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn jump_if(value: u32, then: u8, otherwise: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, otherwise, value)
}

fn jump_if_any(bits: u32, then: u8, otherwise: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, then, otherwise, bits)
}

fn jump_if_at_least(value: u32, then: u8, otherwise: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, then, otherwise, value)
}

fn end(answer: u32) -> Instruction {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: u32 = 0x4000_0003;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;

    /// What the kernel would do with a call, by running the filter as it does.
    fn verdict(audit: u32, number: i64, arguments: [u32; 3]) -> u32 {
        verdict_with(Attributes::Answered, audit, number, arguments)
    }

    fn verdict_with(attributes: Attributes, audit: u32, number: i64, arguments: [u32; 3]) -> u32 {
        let program = program(attributes);
        let (mut at, mut loaded) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let holds = match u32::from(code) {
                0x20 => {
                    loaded = match k {
                        NUMBER => u32::try_from(number).unwrap(),
                        AUDIT => audit,
                        offset => arguments[(offset as usize - 16) / 8],
                    };
                    continue;
                }
                0x06 => return k,
                0x15 => loaded == k,
                0x35 => loaded >= k,
                0x45 => loaded & k != 0,
                other => panic!("no such instruction: {other:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn calls_are_judged_in_both_numberings() {
        let native = 0xc000_003e;
        assert_eq!(verdict(native, libc::SYS_read, [0; 3]), ALLOW);
        assert_eq!(verdict(native, libc::SYS_chmod, [0, 0o755, 0]), ALLOW);
        assert_eq!(verdict(native, libc::SYS_chmod, [0, 0o4755, 0]), EPERM);
        assert_eq!(verdict(native, libc::SYS_fchmod, [0, 0o2755, 0]), EPERM);
        assert_eq!(verdict(native, libc::SYS_fchmodat, [0o4000, 0, 0o755]), ALLOW);
        assert_eq!(verdict(native, libc::SYS_fchmodat, [0, 0, 0o6755]), EPERM);
        assert_eq!(verdict(native, libc::SYS_io_uring_setup, [0; 3]), ENOSYS);
        assert_eq!(verdict(native, libc::SYS_keyctl, [0; 3]), ENOSYS);
        assert_eq!(verdict(OLD, 94, [0, 0o4755, 0]), EPERM);
        assert_eq!(verdict(OLD, 90, [0, 0o4755, 0]), ALLOW);
        assert_eq!(verdict(OLD, 427, [0; 3]), ENOSYS);
        assert_eq!(verdict(native, i64::from(X32) + 1, [0; 3]), ENOSYS);
        assert_eq!(verdict(0xc000_00b7, 1, [0; 3]), KILL);
        assert_eq!(verdict(native, libc::SYS_fgetxattr, [0; 3]), ALLOW);
        for (audit, call) in [(native, libc::SYS_getxattr), (native, libc::SYS_fgetxattr), (OLD, 230)] {
            assert_eq!(verdict_with(Attributes::Refused, audit, call, [0; 3]), 0x0005_005f);
        }
        assert_eq!(verdict_with(Attributes::Refused, native, libc::SYS_listxattr, [0; 3]), ALLOW);
    }
}
