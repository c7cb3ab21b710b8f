//! A parsed module, what it declares, and its executable form.

use std::sync::Arc;

use super::code::{CONST, CallSite, Code, ConstValue, Inst, Slot};
use super::describe::{Entry, Piece, kernels, pieces, variable};
use super::exec::cx::{CODE_STEP, Rows};
use super::types::Width;
use super::{Fault, Launch, LaunchStats, PtxError, decode, launch, parser};

/// State space of a module-scope variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// `.global`
    Global,
    /// `.const`
    Const,
}

/// Who can see a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// No linking directive: this module only.
    Internal,
    /// `.visible`
    Visible,
    /// `.weak` or `.common`
    Weak,
    /// `.extern`: defined elsewhere.
    Extern,
}

/// A module-scope variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Symbol as it stands in the text.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Who can see it.
    pub linkage: Linkage,
    /// Bytes.
    pub size: u64,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// `.attribute(.managed)`
    pub managed: bool,
}

/// One kernel parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Offset in the parameter buffer.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
}

/// What the driver can be asked about a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelInfo {
    /// Symbol of the entry.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Bytes of the whole parameter buffer.
    pub params_size: u32,
    /// Static shared memory in bytes.
    pub shared_size: u32,
    /// Local memory of a thread in bytes, as far as known before running.
    pub local_size: u32,
    /// Estimate of the 32-bit registers of a thread (what ptxas would say is
    /// unknown), between 8 and 255.
    pub registers: u32,
    /// `.maxntid` or `.reqntid` as a number of threads, else 1024.
    pub max_threads: u32,
    /// `.reqntid`, when given.
    pub required_block: Option<[u32; 3]>,
    /// `.minnctapersm`, when given.
    pub min_blocks: Option<u32>,
}

/// Where [`Module::instantiate`] puts what has an address.
#[derive(Debug, Clone, Copy)]
pub struct Placement<'a> {
    /// Device address of each of [`Module::variables`], in order; for an
    /// `.extern` one the address of its definition elsewhere.
    pub variables: &'a [u64],
    /// Function pointers count from here: any value that is no mapped device
    /// address, a multiple of 4096. Functions lie 16 bytes apart, in the order
    /// of the text.
    pub code: u64,
}

/// Code of a module, the same for every instantiation.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) code: Vec<Inst>,
    pub(super) functions: Vec<Code>,
    pub(super) sites: Vec<CallSite>,
}

/// A parsed and decoded PTX module.
#[derive(Debug)]
pub struct Module {
    variables: Vec<Variable>,
    initial: Vec<Vec<Piece>>,
    kernels: Vec<KernelInfo>,
    entries: Vec<Entry>,
    constants: Vec<(Slot, Width, ConstValue)>,
    constant_bytes: u32,
    shared_offsets: Vec<u64>,
    pub(super) image: Image,
}

impl Module {
    /// Parses and decodes PTX text. Never panics, whatever the text.
    ///
    /// # Errors
    /// [`PtxError`] with the line; `Unsupported` names the opcode or directive.
    pub fn parse(source: &str) -> Result<Module, PtxError> {
        Self::link(&[source])
    }

    /// Parses and decodes PTX texts that name each other's symbols, as separate compilation
    /// makes them, into one module.
    ///
    /// # Errors
    /// As [`Module::parse`]; also for symbols that are defined twice.
    pub fn link(sources: &[&str]) -> Result<Module, PtxError> {
        let texts: Vec<_> = sources
            .iter()
            .map(|source| parser::parse(source))
            .collect::<Result<_, _>>()?;
        let unit = decode::decode(&texts)?;
        let initial = unit
            .variables
            .iter()
            .zip(&unit.homes)
            .map(|(v, &scope)| pieces(v, scope, &unit))
            .collect::<Result<_, _>>()?;
        let (kernels, entries) = kernels(&texts, &unit).into_iter().unzip();
        Ok(Module {
            variables: unit.variables.iter().map(variable).collect(),
            initial,
            kernels,
            entries,
            shared_offsets: unit.shared.iter().map(|s| s.offset).collect(),
            constants: unit.constants,
            constant_bytes: unit.constant_bytes,
            image: Image {
                code: unit.code,
                functions: unit.functions,
                sites: unit.sites,
            },
        })
    }

    /// Module-scope variables in the order of the texts, those defined elsewhere last.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Entries in the order of the text.
    pub fn kernels(&self) -> &[KernelInfo] {
        &self.kernels
    }

    /// Fills in addresses. The same module can be instantiated many times.
    ///
    /// # Errors
    /// [`PtxError::Placement`] when `placement.variables` has not one properly
    /// aligned address for each variable.
    pub fn instantiate(self: &Arc<Self>, placement: Placement<'_>) -> Result<Executable, PtxError> {
        if placement.variables.len() != self.variables.len() {
            return Err(PtxError::Placement("wrong number of addresses".into()));
        }
        for (variable, &address) in self.variables.iter().zip(placement.variables) {
            if address % variable.align.max(1) != 0 {
                let message = format!("`{}` at {address:#x} is not aligned", variable.name);
                return Err(PtxError::Placement(message));
            }
        }
        let mut constants = Rows::new(self.constant_bytes);
        for &(slot, width, value) in &self.constants {
            let value = self.resolve(value, placement.variables, placement.code);
            let at = (slot & !CONST) as usize;
            let row = &mut constants.bytes_mut()[at..at + width.row() as usize];
            if width == Width::Pred {
                row.fill(if value != 0 { 0xff } else { 0 });
                continue;
            }
            let size = row.len() / 32;
            let bytes = value.to_le_bytes();
            row.chunks_exact_mut(size)
                .for_each(|lane| lane.copy_from_slice(&bytes[..size]));
        }
        Ok(Executable {
            module: self.clone(),
            constants: Arc::new(constants),
            variables: placement.variables.into(),
            code: placement.code,
        })
    }

    fn resolve(&self, value: ConstValue, variables: &[u64], code: u64) -> u128 {
        let address = match value {
            ConstValue::Bits(bits) => return bits,
            ConstValue::Variable { index, addend } => {
                variables[index as usize].wrapping_add(addend as u64)
            }
            ConstValue::Shared { index, addend } => {
                self.shared_offsets[index as usize].wrapping_add(addend as u64)
            }
            ConstValue::Function { index } => code.wrapping_add(u64::from(index) * CODE_STEP),
        };
        address.into()
    }
}

/// A module whose symbols have addresses.
#[derive(Debug, Clone)]
pub struct Executable {
    module: Arc<Module>,
    pub(super) constants: Arc<Rows>,
    variables: Arc<[u64]>,
    pub(super) code: u64,
}

impl Executable {
    /// The module this was made from.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// The bytes that variable number `index` holds after loading: its
    /// initialiser with symbols resolved, zero where there is none. Exactly
    /// [`Variable::size`] bytes. Empty for `.extern` variables.
    pub fn initial_bytes(&self, index: usize) -> Vec<u8> {
        let variable = &self.module.variables[index];
        if variable.linkage == Linkage::Extern {
            return Vec::new();
        }
        let mut bytes = Vec::new();
        for piece in &self.module.initial[index] {
            match piece {
                Piece::Bytes(piece) => bytes.extend(piece),
                Piece::Address { value, shift, size } => {
                    let address = self.module.resolve(*value, &self.variables, self.code);
                    bytes.extend(&(address >> shift).to_le_bytes()[..*size as usize]);
                }
            }
        }
        bytes.resize(variable.size as usize, 0);
        bytes
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Option<Kernel> {
        let index = self.module.kernels.iter().position(|k| k.name == name)?;
        Some(Kernel {
            executable: self.clone(),
            index,
        })
    }
}

/// A kernel that can be launched. Cheap to clone; keeps its module alive.
#[derive(Debug, Clone)]
pub struct Kernel {
    executable: Executable,
    index: usize,
}

impl Kernel {
    /// What is known about it.
    pub fn info(&self) -> &KernelInfo {
        &self.executable.module.kernels[self.index]
    }

    pub(super) fn executable(&self) -> &Executable {
        &self.executable
    }

    pub(super) fn entry(&self) -> Entry {
        self.executable.module.entries[self.index]
    }

    /// Runs the whole grid and returns when every block has ended.
    ///
    /// # Errors
    /// The first [`Fault`] of any thread. Other blocks may have run or not;
    /// what they wrote stays.
    pub fn launch(&self, launch: &Launch<'_>) -> Result<LaunchStats, Fault> {
        launch::run(self, launch)
    }
}
