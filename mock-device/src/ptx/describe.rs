//! What a decoded module says about itself: variables with their
//! initialisers, kernels with their sizes.

use std::collections::HashSet;

use super::PtxError;
use super::ast::{Ast, Decl, DeclSpace, Function, Init};
use super::code::ConstValue;
use super::decode::{Global, Unit, kernel_params, reachable};
use super::module::{KernelInfo, Param, Space, Variable};
use super::types::Ty;

/// One element of a variable's initialiser.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// An address, shifted right and cut to `size` bytes.
    Address {
        value: ConstValue,
        shift: u32,
        size: u32,
    },
}

/// A module-scope variable as the driver sees it.
pub(super) fn variable(decl: &Decl<'_>) -> Variable {
    Variable {
        name: decl.name.into(),
        space: if decl.space == DeclSpace::Const {
            Space::Const
        } else {
            Space::Global
        },
        linkage: decl.linkage,
        size: decl.size(),
        align: decl.align,
        managed: decl.managed,
    }
}

/// The initialiser as bytes and addresses.
pub(super) fn pieces(
    decl: &Decl<'_>,
    scope: usize,
    unit: &Unit<'_>,
) -> Result<Vec<Piece>, PtxError> {
    let given = decl.init.len() as u64 * u64::from(decl.ty.size());
    if given > decl.size() {
        let message = format!("too many initialisers for `{}`", decl.name);
        return Err(PtxError::Syntax {
            line: decl.line,
            message,
        });
    }
    decl.init
        .iter()
        .map(|init| piece(decl, init, scope, unit))
        .collect()
}

fn piece(
    decl: &Decl<'_>,
    init: &Init<'_>,
    scope: usize,
    unit: &Unit<'_>,
) -> Result<Piece, PtxError> {
    let size = decl.ty.size() as usize;
    let bits = match (*init, decl.ty) {
        (Init::Int(value), Ty::F32) => (value as f32).to_bits().into(),
        (Init::Int(value), Ty::F64) => (value as f64).to_bits().into(),
        (Init::Int(value), _) => value as u128,
        (Init::F32(bits), Ty::F64) => f64::from(f32::from_bits(bits)).to_bits().into(),
        (Init::F32(bits), _) => bits.into(),
        (Init::F64(bits), Ty::F32) => (f64::from_bits(bits) as f32).to_bits().into(),
        (Init::F64(bits), _) => bits.into(),
        (
            Init::Symbol {
                name, addend, mask, ..
            },
            _,
        ) => {
            let value = match unit.find(scope, name) {
                Some(Global::Variable(index)) => ConstValue::Variable { index, addend },
                Some(Global::Function(index)) => ConstValue::Function { index },
                Some(Global::Shared(_)) => {
                    let what = format!("the address of shared `{name}` in an initialiser");
                    return Err(PtxError::Unsupported {
                        line: decl.line,
                        what,
                    });
                }
                None => {
                    return Err(PtxError::Undefined {
                        line: decl.line,
                        name: name.into(),
                    });
                }
            };
            // `0xff00(sym)` takes the address's second byte.
            let shift = mask.map_or(0, |m| m.trailing_zeros().min(63));
            return Ok(Piece::Address {
                value,
                shift,
                size: decl.ty.size(),
            });
        }
    };
    Ok(Piece::Bytes(bits.to_le_bytes()[..size].to_vec()))
}

/// A kernel's function number and where its dynamic shared memory starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) function: u32,
    pub(super) dynamic_shared: u32,
}

/// All kernels that have a body.
pub(super) fn kernels(texts: &[Ast<'_>], unit: &Unit<'_>) -> Vec<(KernelInfo, Entry)> {
    let mut seen = HashSet::new();
    let mut kernels = Vec::new();
    for (scope, ast) in texts.iter().enumerate() {
        for function in ast.functions.iter().filter(|f| f.entry && f.body.is_some()) {
            // A weak kernel may stand in several texts.
            if let Some(Global::Function(number)) = unit.find(scope, function.name)
                && seen.insert(number)
            {
                kernels.push(kernel(function, number, unit));
            }
        }
    }
    kernels
}

fn kernel(function: &Function<'_>, number: u32, unit: &Unit<'_>) -> (KernelInfo, Entry) {
    let (offsets, params_size) = kernel_params(&function.params);
    let params = function
        .params
        .iter()
        .zip(offsets)
        .map(|(decl, offset)| Param {
            offset,
            size: decl.size() as u32,
            align: decl.align as u32,
        });
    let reach = reachable(unit, number);
    let seen = unit
        .shared
        .iter()
        .filter(|s| s.users.iter().any(|&u| reach[u as usize]));
    let (mut end, mut dynamic) = (0, None);
    for shared in seen {
        if shared.dynamic {
            dynamic = dynamic.max(Some(shared.offset as u32));
        } else {
            end = end.max((shared.offset + shared.size) as u32);
        }
    }
    let used = reach.iter().zip(&unit.functions).filter(|(seen, _)| **seen);
    let block = function.required_block.or(function.max_block);
    let threads = |b: [u32; 3]| b.iter().fold(1u32, |n, &x| n.saturating_mul(x));
    let info = KernelInfo {
        name: function.name.into(),
        params: params.collect(),
        params_size,
        shared_size: end,
        local_size: used.map(|(_, f)| f.local).sum(),
        registers: (unit.functions[number as usize].rows / 128).clamp(8, 255),
        max_threads: block.map_or(1024, threads).clamp(1, 1024),
        required_block: function.required_block,
        min_blocks: function.min_blocks,
    };
    (
        info,
        Entry {
            function: number,
            dynamic_shared: dynamic.unwrap_or(end),
        },
    )
}
