//! Function bodies: scopes, labels, declarations, instructions, operands.

use super::PtxError;
use super::ast::{Base, Instruction, Operand, Statement};
use super::cursor::Cursor;
use super::lexer::Tok;
use super::module::Linkage;
use super::parser::{addend, parameters, pragma, variables};

/// A body with its braces.
pub(super) fn body<'a>(c: &mut Cursor<'a>) -> Result<Vec<Statement<'a>>, PtxError> {
    c.expect('{')?;
    c.enter()?;
    let mut statements = Vec::new();
    while !c.eat('}') {
        statement(c, &mut statements)?;
    }
    c.leave();
    Ok(statements)
}

fn statement<'a>(c: &mut Cursor<'a>, into: &mut Vec<Statement<'a>>) -> Result<(), PtxError> {
    match c.peek() {
        Tok::Punct(';') => {
            c.next();
        }
        Tok::Punct('{') => into.push(Statement::Scope(body(c)?)),
        Tok::Word(".loc" | ".file") => c.skip_line(),
        Tok::Word(".pragma") => pragma(c)?,
        Tok::Word(".section") => {
            c.next();
            c.next();
            c.skip_braces()?;
        }
        Tok::Word(word) if word.starts_with('.') => {
            let mut decls = Vec::new();
            variables(c, Linkage::Internal, &mut decls)?;
            into.extend(decls.into_iter().map(Statement::Decl));
        }
        Tok::Word(name) if c.peek_at(1) == Tok::Punct(':') => {
            let line = c.line();
            c.next();
            c.next();
            labelled(c, name, line, into)?;
        }
        Tok::Punct('@') if c.peek_at(1) == Tok::Punct('@') => c.skip_line(),
        _ => into.push(Statement::Instruction(instruction(c)?)),
    }
    Ok(())
}

fn labelled<'a>(
    c: &mut Cursor<'a>,
    name: &'a str,
    line: u32,
    into: &mut Vec<Statement<'a>>,
) -> Result<(), PtxError> {
    if c.eat_word(".branchtargets") || c.eat_word(".calltargets") {
        let mut targets = vec![c.name()?];
        while c.eat(',') {
            targets.push(c.name()?);
        }
        c.expect(';')?;
        into.push(Statement::BranchTargets(name, targets));
    } else if c.eat_word(".callprototype") {
        let returns = if c.peek() == Tok::Punct('(') {
            parameters(c)?
        } else {
            Vec::new()
        };
        c.name()?;
        let params = if c.peek() == Tok::Punct('(') {
            parameters(c)?
        } else {
            Vec::new()
        };
        while c.eat_word(".noreturn") {}
        c.expect(';')?;
        into.push(Statement::CallPrototype(name, returns, params));
    } else {
        into.push(Statement::Label(name, line));
    }
    Ok(())
}

fn instruction<'a>(c: &mut Cursor<'a>) -> Result<Instruction<'a>, PtxError> {
    let mut guard = None;
    if c.eat('@') {
        let negated = c.eat('!');
        guard = Some((c.name()?, negated));
    }
    let line = c.line();
    let opcode = c.name()?;
    let mut operands = Vec::new();
    if !c.eat(';') {
        loop {
            operands.push(operand(c, opcode)?);
            if !c.eat(',') {
                c.expect(';')?;
                break;
            }
        }
    }
    Ok(Instruction {
        line,
        guard,
        opcode,
        operands,
    })
}

fn operand<'a>(c: &mut Cursor<'a>, opcode: &str) -> Result<Operand<'a>, PtxError> {
    let first = simple_operand(c, opcode)?;
    if c.eat('|') {
        let second = simple_operand(c, opcode)?;
        return Ok(Operand::Pair(Box::new(first), Box::new(second)));
    }
    Ok(first)
}

fn simple_operand<'a>(c: &mut Cursor<'a>, opcode: &str) -> Result<Operand<'a>, PtxError> {
    Ok(match c.peek() {
        Tok::Word("_") => {
            c.next();
            Operand::Sink
        }
        Tok::Word(name) if !name.starts_with('.') => {
            c.next();
            Operand::Name(name, addend(c)?)
        }
        Tok::Punct('!') if matches!(c.peek_at(1), Tok::Word(_)) => {
            c.next();
            Operand::Not(c.name()?)
        }
        Tok::F32(bits) => {
            c.next();
            Operand::F32(bits)
        }
        Tok::F64(bits) => {
            c.next();
            Operand::F64(bits)
        }
        Tok::Punct('-') if matches!(c.peek_at(1), Tok::F32(_) | Tok::F64(_)) => {
            c.next();
            match c.next() {
                Tok::F32(bits) => Operand::F32(bits ^ 1 << 31),
                Tok::F64(bits) => Operand::F64(bits ^ 1 << 63),
                _ => return Err(c.unexpected("a number")),
            }
        }
        Tok::Punct('[') => address(c, opcode)?,
        Tok::Punct('{') => Operand::Vector(list(c, opcode, '}')?),
        Tok::Punct('(') => Operand::List(list(c, opcode, ')')?),
        Tok::Int(_) | Tok::Punct('-' | '~' | '!') => Operand::Int(c.expression()?),
        _ => return Err(c.unexpected("an operand")),
    })
}

fn list<'a>(c: &mut Cursor<'a>, opcode: &str, end: char) -> Result<Vec<Operand<'a>>, PtxError> {
    c.next();
    c.enter()?;
    let mut items = Vec::new();
    while !c.eat(end) {
        items.push(operand(c, opcode)?);
        if !c.eat(',') {
            c.expect(end)?;
            break;
        }
    }
    c.leave();
    Ok(items)
}

fn address<'a>(c: &mut Cursor<'a>, opcode: &str) -> Result<Operand<'a>, PtxError> {
    let line = c.line();
    c.next();
    let (base, offset) = match c.peek() {
        Tok::Word(name) if !name.starts_with('.') => {
            c.next();
            (Base::Name(name), addend(c)?)
        }
        _ => (Base::None, c.expression()? as i64),
    };
    if !c.eat(']') {
        let what = format!("opcode `{opcode}` with this kind of address");
        return Err(PtxError::Unsupported { line, what });
    }
    Ok(Operand::Address(base, offset))
}
