//! Module level of the grammar: directives, variables, function headers.
//!
//! Bodies are in `parse_body`. Debug information is skipped here and never
//! reaches the tree.

use super::PtxError;
use super::ast::{Ast, Decl, DeclSpace, Function, Init};
use super::cursor::{Cursor, describe};
use super::lexer::{Tok, tokens};
use super::module::Linkage;
use super::parse_body::body;
use super::types::Ty;

/// Parses a whole module.
pub(super) fn parse(source: &str) -> Result<Ast<'_>, PtxError> {
    let mut cursor = Cursor::new(tokens(source)?);
    let mut ast = Ast::default();
    loop {
        match cursor.peek() {
            Tok::End => break,
            Tok::Punct(';') => {
                cursor.next();
            }
            Tok::Punct('@') => cursor.skip_line(), // old DWARF lines: @@DWARF …
            Tok::Word(word) => item(&mut cursor, &mut ast, word)?,
            other => {
                return Err(cursor.error(format!("{} cannot start a directive", describe(other))));
            }
        }
    }
    if ast.version == (0, 0) {
        return Err(PtxError::Syntax {
            line: 1,
            message: "no .version directive".into(),
        });
    }
    Ok(ast)
}

fn item<'a>(c: &mut Cursor<'a>, ast: &mut Ast<'a>, word: &'a str) -> Result<(), PtxError> {
    match word {
        ".version" => {
            c.next();
            let version = match c.next() {
                Tok::F64(bits) => f64::from_bits(bits),
                Tok::Int(v) => v as f64,
                _ => return Err(c.unexpected("a version")),
            };
            ast.version = (version as u32, ((version.fract() * 10.0).round()) as u32);
        }
        ".target" => {
            c.next();
            ast.target = c.name()?;
            while c.eat(',') {
                c.name()?;
            }
        }
        ".address_size" => {
            c.next();
            if c.int()? != 64 {
                return Err(unsupported(c, ".address_size other than 64"));
            }
        }
        ".file" | ".loc" => c.skip_line(),
        ".section" => {
            c.next();
            c.next();
            c.skip_braces()?;
        }
        ".pragma" => pragma(c)?,
        ".alias" => return Err(unsupported(c, "directive `.alias`")),
        _ => {
            let linkage = linkage(c);
            match c.peek() {
                Tok::Word(".entry" | ".func") => ast.functions.push(function(c, linkage)?),
                _ => variables(c, linkage, &mut ast.variables)?,
            }
        }
    }
    Ok(())
}

pub(super) fn unsupported(c: &Cursor<'_>, what: &str) -> PtxError {
    PtxError::Unsupported {
        line: c.line(),
        what: what.into(),
    }
}

pub(super) fn pragma(c: &mut Cursor<'_>) -> Result<(), PtxError> {
    c.next();
    while matches!(c.peek(), Tok::Str(_) | Tok::Punct(',')) {
        c.next();
    }
    c.expect(';')
}

fn linkage(c: &mut Cursor<'_>) -> Linkage {
    let mut linkage = Linkage::Internal;
    loop {
        linkage = match c.peek() {
            Tok::Word(".visible") => Linkage::Visible,
            Tok::Word(".extern") => Linkage::Extern,
            Tok::Word(".weak" | ".common") => Linkage::Weak,
            _ => return linkage,
        };
        c.next();
    }
}

/// `.space attributes .type name[dims] = init, name…;`
pub(super) fn variables<'a>(
    c: &mut Cursor<'a>,
    linkage: Linkage,
    into: &mut Vec<Decl<'a>>,
) -> Result<(), PtxError> {
    let head = decl_head(c, linkage)?;
    loop {
        into.push(declarator(c, &head)?);
        if !c.eat(',') {
            return c.expect(';');
        }
    }
}

fn space(word: &str) -> Option<DeclSpace> {
    Some(match word {
        ".reg" => DeclSpace::Reg,
        ".param" => DeclSpace::Param,
        ".local" => DeclSpace::Local,
        ".shared" | ".shared::cta" => DeclSpace::Shared,
        ".global" => DeclSpace::Global,
        ".const" => DeclSpace::Const,
        _ => return None,
    })
}

/// Everything of a declaration before its name.
fn decl_head<'a>(c: &mut Cursor<'a>, linkage: Linkage) -> Result<Decl<'a>, PtxError> {
    let line = c.line();
    let Tok::Word(word) = c.peek() else {
        return Err(c.unexpected("a declaration"));
    };
    // `.reg.b32` is one word of the lexer's, but two of the grammar's.
    let mut parts = Vec::new();
    split_directives(word, &mut parts);
    let Some(space) = space(parts[0]) else {
        return Err(unsupported(c, &format!("directive `{word}`")));
    };
    c.next();
    let mut queue: std::collections::VecDeque<&str> = parts[1..].iter().copied().collect();
    let (mut align, mut ty, mut vector, mut managed) = (None, None, 1, false);
    loop {
        let word = match queue.pop_front() {
            Some(word) => word,
            None => match c.peek() {
                Tok::Word(w) if w.starts_with('.') => {
                    c.next();
                    let mut parts = Vec::new();
                    split_directives(w, &mut parts);
                    queue.extend(parts);
                    continue;
                }
                _ => break,
            },
        };
        match word {
            ".align" => {
                let value = c.int()?;
                // After `.ptr` it speaks of what the pointer points to.
                if ty.is_none() || align.is_none() && !managed {
                    align = align.or(Some(value));
                }
            }
            ".ptr" => {
                let ty: Ty = ty.ok_or_else(|| c.error("`.ptr` before a type"))?;
                align = align.or(Some(u64::from(ty.size())));
            }
            ".v2" => vector = 2,
            ".v4" => vector = 4,
            ".v8" => vector = 8,
            ".attribute" => {
                c.expect('(')?;
                while !c.eat(')') {
                    match c.next() {
                        Tok::Word(".managed") => managed = true,
                        Tok::End => return Err(c.unexpected("`)`")),
                        _ => {}
                    }
                }
            }
            ".global" | ".const" | ".local" | ".shared" if ty.is_some() => {} // of `.ptr`
            _ => match word.strip_prefix('.').and_then(Ty::parse) {
                Some(parsed) if ty.is_none() => ty = Some(parsed),
                _ => return Err(unsupported(c, &format!("`{word}` in a declaration"))),
            },
        }
    }
    let ty = ty.ok_or_else(|| c.unexpected("a type"))?;
    let own = u64::from(ty.size()) * u64::from(vector);
    let align = align.unwrap_or(own);
    if !align.is_power_of_two() || align > 1 << 20 {
        return Err(c.error(format!("alignment {align} is no power of two")));
    }
    Ok(Decl {
        line,
        space,
        linkage,
        name: "",
        ty,
        vector,
        align,
        elements: Some(1),
        range: None,
        init: Vec::new(),
        managed,
    })
}

fn split_directives<'a>(word: &'a str, into: &mut Vec<&'a str>) {
    let mut start = 0;
    for (at, _) in word.match_indices('.').filter(|(at, _)| *at > 0) {
        into.push(&word[start..at]);
        start = at;
    }
    into.push(&word[start..]);
}

/// `name`, `name<10>`, `name[2][3] = {…}`
fn declarator<'a>(c: &mut Cursor<'a>, head: &Decl<'a>) -> Result<Decl<'a>, PtxError> {
    let mut decl = Decl {
        name: c.name()?,
        line: c.line(),
        ..head.clone()
    };
    if c.eat('<') {
        decl.range = Some(c.small()?);
        c.expect('>')?;
        if decl.range > Some(1 << 20) {
            return Err(c.error("too many registers"));
        }
    }
    let mut first = true;
    while c.eat('[') {
        if c.eat(']') {
            if !first {
                return Err(c.error("only the first dimension may be open"));
            }
            decl.elements = None;
        } else {
            let size = u64::try_from(c.expression()?).map_err(|_| c.error("negative size"))?;
            c.expect(']')?;
            decl.elements = decl.elements.map(|n| n.saturating_mul(size));
        }
        first = false;
    }
    if decl.size() > 1 << 40 {
        return Err(c.error("variable too large"));
    }
    if c.eat('=') {
        initialiser(c, &mut decl.init)?;
        if decl.elements.is_none() {
            decl.elements = Some(decl.init.len() as u64);
        }
    }
    Ok(decl)
}

fn initialiser<'a>(c: &mut Cursor<'a>, into: &mut Vec<Init<'a>>) -> Result<(), PtxError> {
    if c.eat('{') {
        c.enter()?;
        while !c.eat('}') {
            initialiser(c, into)?;
            if !c.eat(',') {
                c.expect('}')?;
                break;
            }
        }
        c.leave();
        return Ok(());
    }
    into.push(init_element(c)?);
    Ok(())
}

fn init_element<'a>(c: &mut Cursor<'a>) -> Result<Init<'a>, PtxError> {
    let negative = matches!(
        (c.peek(), c.peek_at(1)),
        (Tok::Punct('-'), Tok::F32(_) | Tok::F64(_))
    );
    if negative {
        c.next();
    }
    match c.peek() {
        Tok::F32(bits) => {
            c.next();
            Ok(Init::F32(bits ^ (u32::from(negative) << 31)))
        }
        Tok::F64(bits) => {
            c.next();
            Ok(Init::F64(bits ^ (u64::from(negative) << 63)))
        }
        Tok::Word(word) => {
            c.next();
            let generic = word == "generic" && c.eat('(');
            let name = if generic { c.name()? } else { word };
            if generic {
                c.expect(')')?;
            }
            Ok(Init::Symbol {
                name,
                addend: addend(c)?,
                generic,
                mask: None,
            })
        }
        Tok::Int(mask) if c.peek_at(1) == Tok::Punct('(') => {
            c.next();
            c.next();
            let Init::Symbol {
                name,
                addend,
                generic,
                ..
            } = init_element(c)?
            else {
                return Err(c.unexpected("a symbol"));
            };
            c.expect(')')?;
            Ok(Init::Symbol {
                name,
                addend,
                generic,
                mask: Some(mask),
            })
        }
        _ => Ok(Init::Int(c.expression()?)),
    }
}

/// `+4`, `-4`, nothing.
pub(super) fn addend(c: &mut Cursor<'_>) -> Result<i64, PtxError> {
    if matches!(c.peek(), Tok::Punct('+' | '-')) {
        Ok(c.expression()? as i64)
    } else {
        Ok(0)
    }
}

fn function<'a>(c: &mut Cursor<'a>, linkage: Linkage) -> Result<Function<'a>, PtxError> {
    let line = c.line();
    let entry = c.next() == Tok::Word(".entry");
    let mut function = Function {
        line,
        entry,
        linkage,
        name: "",
        returns: Vec::new(),
        params: Vec::new(),
        max_block: None,
        required_block: None,
        min_blocks: None,
        body: None,
    };
    if c.peek() == Tok::Punct('(') {
        function.returns = parameters(c)?;
    }
    function.name = c.name()?;
    if c.peek() == Tok::Punct('(') {
        function.params = parameters(c)?;
    }
    loop {
        match c.peek() {
            Tok::Punct('{') => {
                function.body = Some(body(c)?);
                return Ok(function);
            }
            Tok::Punct(';') => {
                c.next();
                return Ok(function);
            }
            Tok::Word(".maxntid") => function.max_block = Some(triple(c)?),
            Tok::Word(".reqntid") => function.required_block = Some(triple(c)?),
            Tok::Word(".minnctapersm") => function.min_blocks = Some(triple(c)?[0]),
            Tok::Word(".maxnreg" | ".maxnctapersm" | ".maxclusterrank") => {
                triple(c)?;
            }
            Tok::Word(".noreturn" | ".blocksareclusters") => {
                c.next();
            }
            Tok::Word(".pragma") => pragma(c)?,
            Tok::Word(word) if word.starts_with('.') => {
                return Err(unsupported(c, &format!("directive `{word}`")));
            }
            _ => return Err(c.unexpected("a function body")),
        }
    }
}

fn triple(c: &mut Cursor<'_>) -> Result<[u32; 3], PtxError> {
    c.next();
    let mut values = [1; 3];
    values[0] = c.small()?;
    for value in &mut values[1..] {
        if !c.eat(',') {
            break;
        }
        *value = c.small()?;
    }
    Ok(values)
}

/// `(.param .b32 a, .reg .b32 b)`
pub(super) fn parameters<'a>(c: &mut Cursor<'a>) -> Result<Vec<Decl<'a>>, PtxError> {
    c.expect('(')?;
    let mut list = Vec::new();
    if c.eat(')') {
        return Ok(list);
    }
    loop {
        let head = decl_head(c, Linkage::Internal)?;
        list.push(declarator(c, &head)?);
        if !c.eat(',') {
            c.expect(')')?;
            return Ok(list);
        }
    }
}
