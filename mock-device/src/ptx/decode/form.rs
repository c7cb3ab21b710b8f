//! An opcode taken apart: its head and the modifiers not yet understood.
//!
//! Every decoder takes the modifiers it knows; `done` refuses the form when
//! one is left over, so that nothing is ignored silently.

use super::super::PtxError;
use super::super::exec::softfloat::Round;
use super::super::types::Ty;

pub(super) struct Form<'a> {
    pub(super) full: &'a str,
    pub(super) line: u32,
    pub(super) head: &'a str,
    parts: Vec<&'a str>,
}

impl<'a> Form<'a> {
    pub(super) fn new(opcode: &'a str, line: u32) -> Form<'a> {
        let mut parts = opcode.split('.');
        let head = parts.next().unwrap_or("");
        Form {
            full: opcode,
            line,
            head,
            parts: parts.collect(),
        }
    }

    pub(super) fn unsupported(&self) -> PtxError {
        PtxError::Unsupported {
            line: self.line,
            what: format!("opcode `{}`", self.full),
        }
    }

    pub(super) fn syntax(&self, message: &str) -> PtxError {
        PtxError::Syntax {
            line: self.line,
            message: format!("`{}`: {message}", self.full),
        }
    }

    /// Takes that modifier if it is there.
    pub(super) fn eat(&mut self, name: &str) -> bool {
        let at = self.parts.iter().position(|p| *p == name);
        at.map(|at| self.parts.remove(at)).is_some()
    }

    /// Takes all modifiers that are left.
    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.parts).join(".")
    }

    /// Takes the first modifier that `f` understands.
    pub(super) fn find<T>(&mut self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, value) = self
            .parts
            .iter()
            .enumerate()
            .find_map(|(at, part)| Some((at, f(part)?)))?;
        self.parts.remove(at);
        Some(value)
    }

    /// Takes the next type.
    pub(super) fn ty(&mut self) -> Result<Ty, PtxError> {
        self.find(Ty::parse).ok_or_else(|| self.unsupported())
    }

    /// Takes a rounding mode of floating-point results.
    pub(super) fn rounding(&mut self) -> Option<Round> {
        self.find(|part| match part {
            "rn" => Some(Round::Nearest),
            "rna" => Some(Round::NearestAway),
            "rz" => Some(Round::Zero),
            "rm" => Some(Round::Down),
            "rp" => Some(Round::Up),
            _ => None,
        })
    }

    /// Takes a rounding mode of integer results.
    pub(super) fn integer_rounding(&mut self) -> Option<Round> {
        self.find(|part| match part {
            "rni" => Some(Round::Nearest),
            "rzi" => Some(Round::Zero),
            "rmi" => Some(Round::Down),
            "rpi" => Some(Round::Up),
            _ => None,
        })
    }

    /// Refuses the form when a modifier is left.
    pub(super) fn done(&self) -> Result<(), PtxError> {
        if self.parts.is_empty() {
            Ok(())
        } else {
            Err(self.unsupported())
        }
    }
}
