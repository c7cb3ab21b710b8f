//! Which call the instructions before a `syscall` make.
//!
//! The kernel says nowhere which call a signal frame comes from. Most sites always make
//! the same one and say so; at others the number comes from elsewhere (libc's
//! `syscall()`), and then nothing is guessed: a call made again under another number
//! would be worse than one that ends early.
#![allow(unsafe_code, reason = "reads the application's code")]

use crate::abi::is_upper;
use std::sync::Mutex;

/// Sites seen blocked, by the address after the instruction; without a number where
/// several were seen.
static SITES: Mutex<Vec<(u64, Option<i64>)>> = Mutex::new(Vec::new());
const SITES_KEPT: usize = 512;
/// How far back the number is looked for.
const REACH: u64 = 48;

/// Remembers which call a site makes.
pub(crate) fn remember(site: u64, nr: i64) {
    if let Ok(mut sites) = SITES.try_lock() {
        if let Some(known) = sites.iter_mut().find(|s| s.0 == site) {
            known.1 = known.1.filter(|k| *k == nr);
        } else if sites.len() < SITES_KEPT {
            sites.push((site, Some(nr)));
        }
    }
}

/// True when `syscall` stands right before `address`.
pub(crate) fn is_after_syscall(address: u64) -> bool {
    // SAFETY: a thread has just executed there; a page's first two bytes
    // cannot follow an instruction of an unmapped page.
    is_upper(address)
        && unsafe { ((address - 2) as *const [u8; 2]).read_unaligned() } == [0x0f, 0x05]
}

/// The call made right before `address`, if it is certain.
pub(crate) fn number(address: u64) -> Option<i64> {
    let seen = {
        let sites = SITES.try_lock().ok()?;
        sites.iter().find(|s| s.0 == address).map(|s| s.1)
    };
    // Stay within the page: the one before need not be mapped.
    let reach = REACH.min((address - 2) & 0xfff);
    let mut code = [0u8; REACH as usize];
    let code = &mut code[..reach as usize];
    let from = address - 2 - reach;
    for (i, byte) in code.iter_mut().enumerate() {
        // SAFETY: the same page as the instruction itself.
        *byte = unsafe { *(from as *const u8).add(i) };
    }
    match (in_eax(code), seen) {
        (Eax::Is(nr), None) => Some(nr).filter(|nr| *nr < 1024),
        (Eax::Is(nr), Some(seen)) => seen.filter(|s| *s == nr),
        (Eax::Untouched, Some(seen)) => seen,
        _ => None,
    }
}

/// What is known about eax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eax {
    /// No instruction that was understood has set it.
    Untouched,
    /// This number.
    Is(i64),
    /// Something from elsewhere.
    Varies,
}

/// What eax holds after `code`. Where instructions begin is not known: the first place
/// from which all are understood up to the end counts, for those that begin in the
/// middle of one soon fall into step.
fn in_eax(code: &[u8]) -> Eax {
    (0..code.len())
        .find_map(|start| follow(&code[start..]))
        .unwrap_or(Eax::Untouched)
}

/// The same, from the beginning of an instruction; `None` where one is not understood.
fn follow(code: &[u8]) -> Option<Eax> {
    let (mut at, mut eax) = (0, Eax::Untouched);
    while at < code.len() {
        let (length, effect) = instruction(&code[at..])?;
        at += length;
        if let Effect::Sets(to) = effect {
            eax = to;
        }
    }
    (at == code.len()).then_some(eax)
}

enum Effect {
    None,
    Sets(Eax),
}

/// Length and effect of the instruction at the beginning of `code`, of the kinds that
/// prepare a system call.
fn instruction(code: &[u8]) -> Option<(usize, Effect)> {
    let mut at = 0;
    while matches!(code.get(at)?, 0x64 | 0x66 | 0xf3) {
        at += 1;
    }
    let rex = match *code.get(at)? {
        rex @ 0x40..=0x4f => {
            at += 1;
            rex
        }
        _ => 0,
    };
    let (wide, to_reg, to_rm) = (rex & 8 != 0, rex & 4 == 0, rex & 1 == 0);
    let opcode = *code.get(at)?;
    at += 1;
    // ModRM: its length, and whether its two operands are eax.
    let operands = |at: usize| -> Option<(usize, bool, bool)> {
        let modrm = *code.get(at)?;
        let (mode, reg, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
        let sib = usize::from(mode != 3 && rm == 4);
        let displacement = match mode {
            1 => 1,
            2 => 4,
            0 if rm == 5 || sib == 1 && code.get(at + 1)? & 7 == 5 => 4,
            _ => 0,
        };
        let is_rm = mode == 3 && rm == 0 && to_rm;
        Some((1 + sib + displacement, reg == 0 && to_reg, is_rm))
    };
    let sets = |eax: bool| {
        if eax {
            Effect::Sets(Eax::Varies)
        } else {
            Effect::None
        }
    };
    let word = |at: usize| -> Option<i64> {
        let bytes = code.get(at..at + 4)?.try_into().ok()?;
        Some(i64::from(u32::from_le_bytes(bytes)))
    };
    match opcode {
        // xor, of eax with itself: zero
        0x31 | 0x33 if *code.get(at)? == 0xc0 && to_reg && to_rm => {
            Some((at + 1, Effect::Sets(Eax::Is(0))))
        }
        0x01 | 0x09 | 0x21 | 0x29 | 0x31 | 0x88 | 0x89 => {
            let (length, _, rm) = operands(at)?;
            Some((at + length, sets(rm)))
        }
        0x03 | 0x0b | 0x23 | 0x2b | 0x33 | 0x63 | 0x8a | 0x8b | 0x8d => {
            let (length, reg, _) = operands(at)?;
            Some((at + length, sets(reg)))
        }
        0x38..=0x3b | 0x84 | 0x85 => Some((at + operands(at)?.0, Effect::None)),
        0x80 | 0x83 | 0xc6 => {
            let (length, _, rm) = operands(at)?;
            Some((at + length + 1, sets(rm)))
        }
        0x81 => {
            let (length, _, rm) = operands(at)?;
            Some((at + length + 4, sets(rm)))
        }
        0xc7 => {
            let (length, reg, rm) = operands(at)?;
            let value = word(at + length)?;
            let effect = match rm {
                true if reg => Effect::Sets(Eax::Is(value)),
                _ => sets(rm),
            };
            Some((at + length + 4, effect))
        }
        0xb8 if to_rm && !wide => Some((at + 4, Effect::Sets(Eax::Is(word(at)?)))),
        0xb8..=0xbf => Some((at + if wide { 8 } else { 4 }, sets(opcode == 0xb8 && to_rm))),
        0x50..=0x57 | 0x90 => Some((at, Effect::None)),
        0x58..=0x5f => Some((at, sets(opcode == 0x58 && to_rm))),
        0x70..=0x7f => Some((at + 1, Effect::None)),
        0x0f => match *code.get(at)? {
            0x05 => Some((at + 1, Effect::Sets(Eax::Varies))),
            0x1e | 0x1f => Some((at + 1 + operands(at + 1)?.0, Effect::None)),
            0x80..=0x8f => Some((at + 5, Effect::None)),
            0x40..=0x4f | 0xb6 | 0xb7 | 0xbe | 0xbf => {
                let (length, reg, _) = operands(at + 1)?;
                Some((at + 1 + length, sets(reg)))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_where_they_are_constant() {
        // mov $7,%eax
        assert_eq!(in_eax(&[0xb8, 7, 0, 0, 0]), Eax::Is(7));
        // xor %eax,%eax, after a jump around it
        assert_eq!(in_eax(&[0x75, 0x14, 0x31, 0xc0]), Eax::Is(0));
        // mov $0x119,%rax in its long form
        assert_eq!(in_eax(&[0x48, 0xc7, 0xc0, 0x19, 1, 0, 0]), Eax::Is(281));
        // mov $0xe8,%eax; mov %ebp,%edi; mov 0x10(%rsp),%r8; xor $0x80,%sil
        let code = [
            0xb8, 0xe8, 0, 0, 0, 0x89, 0xef, 0x4c, 0x8b, 0x44, 0x24, 0x10, 0x40, 0x80, 0xf6, 0x80,
        ];
        assert_eq!(in_eax(&code), Eax::Is(232));
    }

    #[test]
    fn numbers_from_elsewhere_are_not_guessed() {
        // libc's syscall(): mov %rdi,%rax; mov %rsi,%rdi; ...; mov 8(%rsp),%r9
        let code = [
            0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89,
            0xc2, 0x4d, 0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08,
        ];
        assert_eq!(in_eax(&code), Eax::Varies);
        // mov $7,%eax; mov %r8d,%eax
        assert_eq!(in_eax(&[0xb8, 7, 0, 0, 0, 0x44, 0x89, 0xc0]), Eax::Varies);
        // a call of its own: mov $7,%eax; syscall
        assert_eq!(in_eax(&[0xb8, 7, 0, 0, 0, 0x0f, 0x05]), Eax::Varies);
        // nothing but arguments: mov %rsi,%rdi
        assert_eq!(in_eax(&[0x48, 0x89, 0xf7]), Eax::Untouched);
        assert_eq!(in_eax(&[]), Eax::Untouched);
    }

    #[test]
    fn a_site_with_several_numbers_has_none() {
        let code = [0x90u8; 64];
        let site = code.as_ptr() as u64 + 32;
        remember(site, 7);
        remember(site, 7);
        let known = || {
            let sites = SITES.lock().expect("nobody panics with it");
            sites.iter().find(|s| s.0 == site).and_then(|s| s.1)
        };
        assert_eq!(known(), Some(7));
        remember(site, 35);
        remember(site, 7);
        assert_eq!(known(), None);
    }
}
