//! What the names of module scope mean, in one text or in several that are linked.
//!
//! Each text has a scope of its own. What is visible or weak is one for all texts; what has no
//! linking directive belongs to its text alone; what a text declares as external is found among
//! the visible ones of the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::PtxError;
use super::super::ast::{Ast, Decl, DeclSpace, Function};
use super::super::module::Linkage;
use super::unit::{Global, Unit};

/// For each function its body, with the text that it stands in.
pub(super) type Bodies<'t, 'a> = Vec<Option<(usize, &'t Function<'a>)>>;

/// Declares everything of module scope.
pub(super) fn link<'t, 'a>(
    unit: &mut Unit<'a>,
    texts: &'t [Ast<'a>],
) -> Result<Bodies<'t, 'a>, PtxError> {
    let mut shared = HashMap::new();
    let mut private = HashMap::new();
    let mut bodies = Vec::new();
    for (scope, text) in texts.iter().enumerate() {
        unit.scopes.push(HashMap::new());
        unit.scope = scope;
        for decl in text.variables.iter().filter(|decl| !imported(decl)) {
            define(unit, &mut shared, &mut private, decl)?;
        }
        functions(unit, &mut shared, &mut bodies, text)?;
    }
    for (scope, text) in texts.iter().enumerate() {
        unit.scope = scope;
        for decl in text.variables.iter().filter(|decl| imported(decl)) {
            // An `.extern` declaration may come beside the definition.
            if unit.find(scope, decl.name).is_some() {
                continue;
            }
            let global = match shared.entry(decl.name) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(unit.declare(decl)?),
            };
            unit.scopes[scope].insert(decl.name, global);
        }
    }
    Ok(bodies)
}

/// Declared here, defined elsewhere. External shared memory is the launch's dynamic one instead.
fn imported(decl: &Decl<'_>) -> bool {
    decl.linkage == Linkage::Extern && decl.space != DeclSpace::Shared
}

fn twice(line: u32, name: &str) -> PtxError {
    let message = format!("`{name}` is defined twice");
    PtxError::Syntax { line, message }
}

/// Declares a variable that this text defines.
fn define<'a>(
    unit: &mut Unit<'a>,
    shared: &mut HashMap<&'a str, Global>,
    private: &mut HashMap<&'a str, usize>,
    decl: &Decl<'a>,
) -> Result<(), PtxError> {
    let (name, scope) = (decl.name, unit.scope);
    let global = match decl.linkage {
        Linkage::Visible | Linkage::Weak if decl.space != DeclSpace::Shared => {
            match shared.get(name) {
                None => unit.declare(decl)?,
                Some(&known) => {
                    let Global::Variable(index) = known else {
                        return Err(twice(decl.line, name));
                    };
                    let before = &mut unit.variables[index as usize];
                    match (before.linkage, decl.linkage) {
                        (_, Linkage::Weak) => {}
                        (Linkage::Weak, _) => {
                            *before = decl.clone();
                            unit.homes[index as usize] = scope;
                        }
                        _ => return Err(twice(decl.line, name)),
                    }
                    known
                }
            }
        }
        _ => {
            let elsewhere = private
                .insert(name, scope)
                .is_some_and(|other| other != scope);
            if elsewhere && can_change(decl) {
                let what = format!("variable `{name}` in two of the texts, private to each,");
                let line = decl.line;
                return Err(PtxError::Unsupported { line, what });
            }
            unit.declare(decl)?
        }
    };
    if matches!(decl.linkage, Linkage::Visible | Linkage::Weak) {
        shared.insert(name, global);
    }
    unit.scopes[scope].insert(name, global);
    Ok(())
}

/// Variables are asked for by name, so that two of one name could not be told apart. Those that
/// the compiler makes for literals are never asked for.
fn can_change(decl: &Decl<'_>) -> bool {
    let made = decl.name.starts_with('$') || decl.name.starts_with("__unnamed");
    decl.space == DeclSpace::Global && !made
}

/// Numbers the functions of a text. One may be declared several times and defined once.
fn functions<'t, 'a>(
    unit: &mut Unit<'a>,
    shared: &mut HashMap<&'a str, Global>,
    bodies: &mut Bodies<'t, 'a>,
    text: &'t Ast<'a>,
) -> Result<(), PtxError> {
    let scope = unit.scope;
    for function in &text.functions {
        let name = function.name;
        let public = text
            .functions
            .iter()
            .any(|f| f.name == name && f.linkage != Linkage::Internal);
        let known = unit.find(scope, name);
        let known = known.or_else(|| shared.get(name).copied().filter(|_| public));
        let number = match known {
            Some(Global::Function(number)) => number,
            Some(_) => return Err(twice(function.line, name)),
            None => {
                let number = unit.declared.len() as u32;
                unit.declared.push(declaration(function));
                bodies.push(None);
                number
            }
        };
        let global = Global::Function(number);
        unit.scopes[scope].insert(name, global);
        if public {
            shared.insert(name, global);
        }
        if function.body.is_none() {
            continue;
        }
        let body = &mut bodies[number as usize];
        match body {
            Some((other, _)) if *other == scope => return Err(twice(function.line, name)),
            Some(_) if function.linkage == Linkage::Weak => continue,
            Some((_, before)) if before.linkage != Linkage::Weak => {
                return Err(twice(function.line, name));
            }
            _ => {}
        }
        *body = Some((scope, function));
        unit.declared[number as usize] = declaration(function);
    }
    Ok(())
}

fn declaration<'a>(function: &Function<'a>) -> Function<'a> {
    Function {
        body: None,
        ..function.clone()
    }
}
