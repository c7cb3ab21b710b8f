//! Fundamental types of PTX and the widths of registers that hold them.

/// A fundamental type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ty {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    BF16,
    BF16x2,
    TF32,
    E4M3x2,
    E5M2x2,
    U16x2,
    S16x2,
    F32x2,
    F32,
    F64,
}

/// Width of a register or of a value in bytes; predicates stand apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Width {
    Pred,
    W16,
    W32,
    W64,
    W128,
}

impl Width {
    /// Bytes that 32 lanes of such a register take.
    pub(super) fn row(self) -> u32 {
        match self {
            Width::Pred => 4,
            Width::W16 => 64,
            Width::W32 => 128,
            Width::W64 => 256,
            Width::W128 => 512,
        }
    }
}

impl Ty {
    /// The type of that name, written without its dot.
    pub(super) fn parse(name: &str) -> Option<Ty> {
        Some(match name {
            "pred" => Ty::Pred,
            "b8" => Ty::B8,
            "b16" => Ty::B16,
            "b32" => Ty::B32,
            "b64" => Ty::B64,
            "b128" => Ty::B128,
            "u8" => Ty::U8,
            "u16" => Ty::U16,
            "u32" => Ty::U32,
            "u64" => Ty::U64,
            "s8" => Ty::S8,
            "s16" => Ty::S16,
            "s32" => Ty::S32,
            "s64" => Ty::S64,
            "f16" => Ty::F16,
            "f16x2" => Ty::F16x2,
            "bf16" => Ty::BF16,
            "bf16x2" => Ty::BF16x2,
            "tf32" => Ty::TF32,
            "e4m3x2" => Ty::E4M3x2,
            "e5m2x2" => Ty::E5M2x2,
            "u16x2" => Ty::U16x2,
            "s16x2" => Ty::S16x2,
            "f32x2" => Ty::F32x2,
            "f32" => Ty::F32,
            "f64" => Ty::F64,
            _ => return None,
        })
    }

    /// Size in memory in bytes.
    pub(super) fn size(self) -> u32 {
        use Ty::*;
        match self {
            Pred | B8 | U8 | S8 => 1,
            B16 | U16 | S16 | F16 | BF16 | E4M3x2 | E5M2x2 => 2,
            B32 | U32 | S32 | F32 | F16x2 | BF16x2 | U16x2 | S16x2 | TF32 => 4,
            B64 | U64 | S64 | F64 | F32x2 => 8,
            B128 => 16,
        }
    }

    /// Width of the register that holds a value of this type.
    pub(super) fn width(self) -> Width {
        match self {
            Ty::Pred => Width::Pred,
            _ => match self.size() {
                1 | 2 => Width::W16,
                4 => Width::W32,
                8 => Width::W64,
                _ => Width::W128,
            },
        }
    }

    pub(super) fn is_signed(self) -> bool {
        matches!(self, Ty::S8 | Ty::S16 | Ty::S32 | Ty::S64 | Ty::S16x2)
    }

    pub(super) fn is_float(self) -> bool {
        use Ty::*;
        matches!(
            self,
            F16 | F16x2 | BF16 | BF16x2 | TF32 | E4M3x2 | E5M2x2 | F32x2 | F32 | F64
        )
    }
}
